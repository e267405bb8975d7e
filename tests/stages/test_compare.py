"""Every head on every layer; the winner is chosen on validation and tested once."""

from __future__ import annotations

from pathlib import Path

import pytest

import pipeline
from pipeline import HeadKind, heads
from pipeline.errors import HeadError, OutputError

QUICK = (HeadKind.ridge, HeadKind.centroid)


@pytest.fixture
def store(tiny: str, make_photos, tmp_path: Path) -> Path:
    out = tmp_path / "s"
    layers = ["avg", "top"]
    pipeline.extract(make_photos(each=12), out=out, backbone=tiny, weights="random", layers=layers)
    return out


def test_every_layer_pooling_and_kind_is_tried(store: Path, tmp_path: Path) -> None:
    result = pipeline.compare(store, kinds=QUICK, out=tmp_path / "h", report_out=tmp_path / "r")
    tried = {(each.layer, each.pool, each.kind) for each in result.candidates}
    expected = {("avg", None), ("top", "avg"), ("top", "max"), ("top", "flat")}
    assert tried == {(*where, kind.value) for where in expected for kind in QUICK}


def test_the_best_on_validation_is_kept_and_tested(store: Path, tmp_path: Path) -> None:
    result = pipeline.compare(store, kinds=QUICK, out=tmp_path / "h", report_out=tmp_path / "r")
    scores = [each.val_accuracy for each in result.candidates]
    assert scores == sorted(scores, reverse=True)
    best, saved = result.candidates[0], heads.load(tmp_path / "h")
    assert (saved.card.layer, saved.card.pool) == (best.layer, best.pool)
    assert saved.head.kind.value == best.kind
    assert saved.head.validation_["accuracy"] == best.val_accuracy
    again = pipeline.evaluate(tmp_path / "h", store, out=tmp_path / "r2")
    assert result.evaluation.report.accuracy == again.report.accuracy
    assert sorted(path.name for path in tmp_path.iterdir()) == ["h", "photos", "r", "r2", "s"]


def test_of_equals_the_one_with_fewer_numbers_is_first(store: Path, tmp_path: Path) -> None:
    result = pipeline.compare(store, kinds=QUICK, out=tmp_path / "h", report_out=tmp_path / "r")
    ranks = [(-each.val_accuracy, each.dimensions) for each in result.candidates]
    assert ranks == sorted(ranks)


def test_a_kind_that_cannot_take_the_codes_is_named_and_the_others_go_on(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.stages.fit_head.resident_bytes", lambda: 0)
    places = {"out": tmp_path / "h", "report_out": tmp_path / "r"}
    result = pipeline.compare(store, kinds=["centroid", "mlp"], memory="400MB", **places)
    assert result.candidates[0].kind == "centroid"
    failed = [each for each in result.candidates if each.reason is not None]
    assert {each.kind for each in failed} == {"mlp"}
    assert result.candidates[-1] in failed
    with pytest.raises(HeadError, match="no head could be fitted: expected to fit the mlp head"):
        pipeline.compare(store, kinds=["mlp"], memory="400MB", out=tmp_path / "h2")


@pytest.mark.parametrize(("split", "shares"), [("val", {"val": 0.0}), ("test", {"test": 0.0})])
def test_splits_that_are_missing_are_named_before_any_fit(
    tiny: str, make_photos, tmp_path: Path, split: str, shares: dict[str, float]
) -> None:
    photos = make_photos()
    pipeline.extract(photos, out=tmp_path / "s", backbone=tiny, weights="random", **shares)
    with pytest.raises(HeadError, match=f"split '{split}'.*extract with --{split} 0.2"):
        pipeline.compare(tmp_path / "s", out=tmp_path / "h")


def test_something_else_in_the_place_of_the_head(store: Path) -> None:
    with pytest.raises(OutputError, match="a head to replace"):
        pipeline.compare(store, out=store)
