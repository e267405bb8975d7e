"""Heads on the codes of several stores of the same images."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from threadpoolctl import threadpool_limits

import pipeline
from pipeline import Listener, backbones, heads
from pipeline.backbones import Preprocessing
from pipeline.common.choices import ExportFormat
from pipeline.common.errors import HeadError, SpaceMismatch, StoreError
from tests.tiny import TINY

# The same layers behind another preprocessing.
OTHER = replace(TINY, name="other", preprocessing=Preprocessing.caffe)


@pytest.fixture
def stores(
    make_photos: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[Path, Path]:
    """Two stores of the same photos, of two backbones, scanned from two places."""
    table = {**backbones.TABLE, TINY.name: TINY, OTHER.name: OTHER}
    monkeypatch.setattr("pipeline.backbones._table.TABLE", table)
    monkeypatch.chdir(tmp_path)
    photos = make_photos(each=24)
    pipeline.extract(photos, out="a", backbone="tiny", weights="random")
    shutil.copytree(photos, "moved")
    for photo in sorted(Path("moved").rglob("*.png")):
        photo.rename(photo.with_name(f"{999 - int(photo.stem)}.png"))  # another order
    pipeline.extract("moved", out="b", backbone="other", weights="random", layers=["avg", "top"])
    return Path("a"), Path("b")


@pytest.fixture
def head(stores: tuple[Path, Path]) -> Path:
    """A head on the averaged codes of one and the largest of each map of the other."""
    a, b = stores
    layers = ["other/top:max", "avg"]
    fit = pipeline.fit_head(a, joined_with=b, layer=layers, kind="softmax", C=0.1, out="head")
    assert (fit.layer, fit.dimensions) == ("avg+other/top:max", 16)
    return Path(fit.head)


def test_the_head_is_that_of_the_codes_side_by_side(stores: tuple[Path, Path], head: Path) -> None:
    a, b = (
        pipeline.load_codes(path, layer=layer, split="all")
        for path, layer in zip(stores, ("avg", "top:max"), strict=True)
    )
    places = [b.sha256.index(digest) for digest in a.sha256]  # type: ignore[union-attr]
    X = np.concatenate([a.X, b.X[places]], axis=1)
    splits = np.array(a.splits)
    learned = np.concatenate([np.flatnonzero(splits == name) for name in ("train", "val")])
    scaler = heads.ParetoScaler(widths=(8, 8), with_mean=True)
    by_hand = make_pipeline(scaler, LogisticRegression(C=0.1, tol=1e-2, max_iter=1000))
    with threadpool_limits(1):
        by_hand.fit(X[learned], a.y[learned])
    estimator = pipeline.load_head(head).estimator_
    np.testing.assert_array_equal(estimator.predict_proba(X), by_hand.predict_proba(X))


def test_without_layers_the_first_of_each_store_is_taken(stores: tuple[Path, Path]) -> None:
    fit = pipeline.fit_head("a", joined_with=["b"], kind="ridge")
    assert fit.layer == "avg+other/avg"
    assert fit.head == "artifacts/heads/a-avg+other-avg-ridge"


def test_evaluate_predict_and_load_head_agree(head: Path) -> None:
    result = pipeline.evaluate(head, "a", joined_with="b", out="r")
    assert result.report.accuracy > 0.8
    about = json.loads(Path("r/report.json").read_text())
    assert about["with"] == ["b"]
    codes = pipeline.load_codes("a", joined_with="b", layer=["avg", "other/top:max"], split="test")
    saved = heads.load(head)
    expected = saved.head.predict_proba(codes.X)
    photos = [Path("photos") / path for path in codes.paths]
    answers = pipeline.predict(head, photos, top=3).predictions
    assert [answer.label for answer in answers] == [
        codes.classes[best] for best in expected.argmax(axis=1)
    ]
    found = pipeline.load_head(head).predict_proba(photos)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    np.testing.assert_allclose([answer.score for answer in answers], expected.max(axis=1), 1e-5)


@pytest.mark.parametrize("format", list(ExportFormat))
def test_it_leaves_in_any_format(head: Path, format: ExportFormat) -> None:
    result = pipeline.export(head, format=format)
    assert result.images == 32
    assert result.max_difference <= 1e-4
    text = Path(result.model_card).read_text()
    assert "| backbone | tiny and other |" in text
    assert "| layer | avg+other/top:max |" in text


def test_it_is_scored_on_just_such_stores(stores: tuple[Path, Path], head: Path) -> None:
    with pytest.raises(SpaceMismatch, match=r"expected 2 stores .*, found 1; .* --with .*b$"):
        pipeline.evaluate(head, "a", out="r")
    with pytest.raises(SpaceMismatch, match="backbone: tiny against other"):
        pipeline.evaluate(head, "b", joined_with="a", out="r")
    alone = pipeline.fit_head("a", kind="centroid", out="alone").head
    with pytest.raises(SpaceMismatch, match=r"expected 1 store .*, found 2; .* leave --with out"):
        pipeline.evaluate(alone, "a", joined_with="b", out="r")
    with pytest.raises(HeadError, match=r"expected a head on one layer, found .*other/top:max"):
        pipeline.fine_tune(head, start="conv", out="tuned")
    assert not Path("r").exists()


def test_images_that_are_not_in_both_are_told(stores: tuple[Path, Path]) -> None:
    for photo in sorted(Path("moved/class_1").iterdir())[:5]:
        photo.unlink()
    pipeline.extract("moved", out="b", backbone="other", weights="random", layers=["avg", "top"])
    told: list[str] = []
    fit = pipeline.fit_head(
        "a", joined_with="b", kind="centroid", out="h", listener=Listener(tell=told.append)
    )
    assert "note: 5 images of a without codes in b: left out" in told
    said = pipeline.evaluate(fit.head, "a", joined_with="b", split="train", out="r").warnings
    assert "note: 5 images of a without codes in b: left out" in said


def test_a_store_is_not_joined_for_nothing(stores: tuple[Path, Path]) -> None:
    with pytest.raises(HeadError, match="a layer of every store, found none of b; add --layer ot"):
        pipeline.fit_head("a", joined_with="b", layer="avg", kind="svm", out="h")
    with pytest.raises(StoreError, match=r"\(other/avg.*found 'other/agv'; cache .* --layer agv`"):
        pipeline.fit_head("a", joined_with="b", layer=["avg", "other/agv"], kind="svm", out="h")
