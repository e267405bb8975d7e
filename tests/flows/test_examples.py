"""Fitting within limits: memory, images of a class, and what chance does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pipeline
from pipeline import HeadKind, Listener, heads, store
from pipeline.common.errors import ChoiceError, HeadError, ResourceError
from pipeline.flows.examples import examples

LEARNERS = [
    HeadKind.svm,
    pytest.param(HeadKind.softmax, marks=pytest.mark.slow),
    HeadKind.centroid,
    pytest.param(HeadKind.mlp, marks=pytest.mark.slow),
]


@pytest.mark.parametrize("kind", LEARNERS)
def test_codes_that_are_read_in_every_pass_give_the_same_head(
    cached: Path, tmp_path: Path, kind: HeadKind, monkeypatch: pytest.MonkeyPatch
) -> None:
    options: dict[str, Any] = {"kind": kind, "layer": "top", "pool": "flat"}
    if kind is HeadKind.mlp:
        options["epochs"] = 15
    if kind in (HeadKind.svm, HeadKind.softmax):  # to choose C would be seven such fits
        options["C"] = 0.01
        monkeypatch.setattr("pipeline.heads._fits._ROWS_SEEN", 4000)
    loaded = pipeline.fit_head(cached, out=tmp_path / "a", **options)
    real = heads.plan

    def without_room(*args, **kwargs):  # type: ignore[no-untyped-def]
        from dataclasses import replace

        return replace(real(*args, **kwargs), in_memory=False, val_in_memory=False)

    monkeypatch.setattr(heads, "plan", without_room)
    read = pipeline.fit_head(cached, out=tmp_path / "b", **options)
    assert (loaded.in_memory, read.in_memory) == (True, False)
    test = pipeline.load_codes(cached, split="test", layer="top", pool="flat").X
    a, b = (heads.load(Path(fit.head)).head for fit in (loaded, read))
    assert (a.predict(test) == b.predict(test)).mean() > 0.9
    if kind is HeadKind.centroid:  # the others go another way, or in another order
        np.testing.assert_allclose(a.decision(test), b.decision(test), rtol=0.05, atol=0.05)


def test_too_little_memory_is_refused_before_anything_is_read(cached: Path, tmp_path: Path) -> None:
    with pytest.raises(ResourceError, match=r"expected to fit the svm head within 1\.0 MB"):
        pipeline.fit_head(cached, kind="svm", memory="1MB", out=tmp_path / "h")
    with pytest.raises(ChoiceError, match="a size such as 2GB"):
        pipeline.fit_head(cached, kind="svm", memory="lots", out=tmp_path / "h")
    assert not (tmp_path / "h").exists()


def test_the_plan_is_said(cached: Path, tmp_path: Path) -> None:
    told: list[str] = []
    fit = pipeline.fit_head(
        cached, kind="svm", out=tmp_path / "h", listener=Listener(tell=told.append)
    )
    [plan] = [line for line in told if line.startswith("memory:")]
    assert "are in memory" in plan
    assert fit.memory_bytes > 0


def test_few_images_of_each_class(cached: Path, tmp_path: Path) -> None:
    fit = pipeline.fit_head(cached, kind="svm", fewshot=3, out=tmp_path / "h")
    assert fit.train_images == 9
    assert fit.fitted_on == "train"
    card = heads.load(Path(fit.head)).card
    assert card.seen is not None
    assert len(card.seen) == 9
    assert card.judged is not None
    assert len(card.judged) == fit.val_images
    assert card.trained_on["judged"] == ["chose its C", "calibrated its scores"]
    with pytest.raises(HeadError, match="--fewshot of 1 or more"):
        pipeline.fit_head(cached, kind="svm", fewshot=0, out=tmp_path / "h")


def test_the_seed_chooses_the_few(cached: Path) -> None:
    everything = examples(store.open_store(cached), [heads.Part(layer="avg", shape=(8,))])
    first, again, other = (everything.fewer(2, seed=seed).train for seed in (0, 0, 1))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert np.bincount(everything.opened.labels[first]).tolist() == [2, 2, 2]


def test_each_layer_has_its_width(cached: Path) -> None:
    parts = [
        heads.Part(layer="top", pool="flat", shape=(8, 8, 8)),
        heads.Part(layer="avg", shape=(8,)),
    ]
    used = examples(store.open_store(cached), parts)
    assert used.widths == (512, 8)
    assert used.width == used.size.width == 520


def test_several_seeds_have_a_mean_and_a_deviation(cached: Path, tmp_path: Path) -> None:
    fit = pipeline.fit_head(cached, kind="svm", fewshot=1, seed=[3, 1, 2], out=tmp_path / "h")
    assert [each.seed for each in fit.seeds] == [3, 1, 2]
    scores = [each.val_accuracy for each in fit.seeds]
    assert fit.val_accuracy == scores[0]
    assert fit.val_accuracy_mean == pytest.approx(np.mean(scores))
    assert fit.val_accuracy_deviation == pytest.approx(np.std(scores, ddof=1))
    assert heads.load(Path(fit.head)).card.seed == 3
    with pytest.raises(HeadError, match="seeds that differ"):
        pipeline.fit_head(cached, kind="svm", seed=[1, 1], out=tmp_path / "h")


def test_class_weights_belong_to_kinds_that_minimise_a_loss(cached: Path, tmp_path: Path) -> None:
    fit = pipeline.fit_head(cached, kind="svm", class_weight="balanced", out=tmp_path / "h")
    assert fit.parameters["class_weight"] == "balanced"
    with pytest.raises(HeadError, match="class weights with kind svm, softmax, ridge or mlp"):
        pipeline.fit_head(cached, kind="knn", class_weight="balanced", out=tmp_path / "h")


def test_evaluation_says_what_calibration_was_worth(
    cached: Path, svm: Path, tmp_path: Path
) -> None:
    report = pipeline.evaluate(svm, cached, out=tmp_path / "r").report
    assert report.score_kind == "probability"
    assert report.calibration_error is not None
    assert report.uncalibrated_error is not None
