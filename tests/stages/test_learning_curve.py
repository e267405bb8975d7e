from __future__ import annotations

import json
from pathlib import Path

import pytest

import pipeline
from pipeline import Listener
from pipeline.common.errors import ChoiceError, HeadError


def test_accuracy_by_images_per_class(cached: Path, tmp_path: Path) -> None:
    steps: list[tuple[int, int]] = []
    result = pipeline.learning_curve(
        cached,
        out=tmp_path / "c",
        listener=Listener(progress=lambda *step: steps.append(step)),
    )
    counts = [point.images_per_class for point in result.points]
    assert counts[:3] == [1, 2, 5]
    assert counts == sorted(counts)
    assert result.points[0].images == 3  # one of each class
    assert [point.seeds for point in result.points] == [5] * (len(counts) - 1) + [1]
    assert result.points[-1].val_accuracy > 0.8
    assert steps[-1][0] == steps[-1][1] == sum(point.seeds for point in result.points)


def test_what_was_drawn_can_be_read(cached: Path, tmp_path: Path) -> None:
    result = pipeline.learning_curve(cached, kind="centroid", seeds=[7], out=tmp_path / "c")
    assert (tmp_path / "c" / "learning_curve.png").read_bytes().startswith(b"\x89PNG")
    plain = json.loads((tmp_path / "c" / "learning_curve.json").read_text())
    assert plain["kind"] == "centroid"
    assert len(plain["points"]) == len(result.points)
    assert plain["reading"]["sentence"] == result.reading.sentence


def test_a_desired_accuracy_is_drawn_and_told(cached: Path, tmp_path: Path) -> None:
    result = pipeline.learning_curve(cached, desired=0.5, seeds=[0], out=tmp_path / "c")
    assert result.reading.desired is not None
    assert "0.5 is reached with" in result.reading.sentence
    plain = json.loads((tmp_path / "c" / "learning_curve.json").read_text())
    assert plain["reading"]["desired"]["accuracy"] == 0.5


@pytest.mark.parametrize("desired", [0, 1, 95])
def test_a_desired_accuracy_is_a_share(desired: float, tmp_path: Path) -> None:
    said = f"expected a desired accuracy above 0 and below 1, such as 0.95, found {desired}"
    with pytest.raises(ChoiceError, match=said):
        pipeline.learning_curve(tmp_path, desired=desired)


def test_all_images_give_what_fit_head_gives(cached: Path, tmp_path: Path) -> None:
    fit = pipeline.fit_head(cached, kind="centroid", out=tmp_path / "h")
    result = pipeline.learning_curve(cached, kind="centroid", seeds=[0], out=tmp_path / "c")
    assert result.points[-1].val_accuracy == fit.val_accuracy
    assert result.points[-1].images == fit.train_images


def test_without_validation_images(tiny: str, make_photos, tmp_path: Path) -> None:
    pipeline.extract(make_photos(), out=tmp_path / "s", backbone=tiny, weights="random", val=0.0)
    with pytest.raises(HeadError, match=r"split 'val' .*extract with --val 0\.2"):
        pipeline.learning_curve(tmp_path / "s", out=tmp_path / "c")


def test_two_seeds_that_tie_have_no_deviation(cached: Path, tmp_path: Path) -> None:
    """What two equal scores vary by is not known; of three it is 0."""
    curve = pipeline.learning_curve(cached, seeds=(0, 1), out=tmp_path / "c")
    tied = [point for point in curve.points if point.val_accuracy == 1.0 and point.seeds == 2]
    assert tied
    assert all(point.val_deviation is None for point in tied)
    fit = pipeline.fit_head(cached, kind="svm", seed=[0, 1], out=tmp_path / "h")
    assert fit.val_accuracy_mean is not None
    assert fit.val_accuracy_deviation is None


def test_several_layers_learn_side_by_side(cached: Path, tmp_path: Path) -> None:
    layers = ["avg", "top:max"]
    fit = pipeline.fit_head(cached, kind="centroid", layer=layers, out=tmp_path / "h")
    options = {"kind": "centroid", "seeds": [0], "layer": layers}
    result = pipeline.learning_curve(cached, out=tmp_path / "c", **options)
    assert (result.layer, result.pool) == ("avg+top:max", None)
    assert result.points[-1].val_accuracy == fit.val_accuracy
