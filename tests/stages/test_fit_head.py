from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

import pipeline
from pipeline import HeadKind, Pool, heads, store
from pipeline.errors import ChoiceError, HeadError, OutputError, StoreError


@pytest.mark.parametrize("kind", list(HeadKind))
def test_every_kind_learns_to_tell_red_from_green_from_blue(
    cached: Path, tmp_path: Path, kind: HeadKind
) -> None:
    fit = pipeline.fit_head(cached, kind=kind, out=tmp_path / "head")
    assert fit.val_accuracy is not None
    assert fit.val_accuracy > 0.8
    assert fit.classes == ("class_0", "class_1", "class_2")
    assert pipeline.evaluate(fit.head, cached, out=tmp_path / "r").report.accuracy > 0.8


def test_a_map_is_averaged_unless_told_otherwise(cached: Path, tmp_path: Path) -> None:
    dimensions = {
        pool: pipeline.fit_head(
            cached, kind=HeadKind.svm, layer="top", pool=pool, C=1.0, out=tmp_path / "h"
        ).dimensions
        for pool in (None, Pool.avg, Pool.max, Pool.flat)
    }
    assert dimensions == {None: 8, Pool.avg: 8, Pool.max: 8, Pool.flat: 512}


def test_the_head_carries_what_it_depends_on(cached: Path, svm: Path) -> None:
    card = heads.load(svm).card
    opened = store.open_store(cached)
    assert opened.header is not None
    assert card.space == opened.header.space
    assert card.layer == "avg"
    np.testing.assert_array_equal(card.probe, opened.probe("avg"))


def test_curves_of_an_mlp_are_drawn(cached: Path, tmp_path: Path) -> None:
    pipeline.fit_head(cached, kind="mlp", epochs=3, out=tmp_path / "h")
    assert (tmp_path / "h" / "curves.png").read_bytes().startswith(b"\x89PNG")
    history = heads.load(tmp_path / "h").head.history_
    assert history is not None
    assert {name: len(values) for name, values in history.items()} == {
        "accuracy": 3,
        "loss": 3,
        "val_accuracy": 3,
        "val_loss": 3,
    }


def test_one_class_only(tiny: str, make_photos: Callable[..., Path], tmp_path: Path) -> None:
    pipeline.extract(make_photos(classes=1), out=tmp_path / "s", backbone=tiny, weights="random")
    with pytest.raises(HeadError, match=r"at least two classes in .*, found 1 \(class_0\)"):
        pipeline.fit_head(tmp_path / "s", kind=HeadKind.svm, out=tmp_path / "h")
    assert not (tmp_path / "h").exists()


def test_an_unknown_layer_names_those_there_are(cached: Path, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"\(top.*\), found 'tpo'"):
        pipeline.fit_head(cached, kind=HeadKind.svm, layer="tpo", out=tmp_path / "h")


def test_a_place_with_other_files_is_refused_before_fitting(cached: Path, tmp_path: Path) -> None:
    with pytest.raises(OutputError):
        pipeline.fit_head(cached, kind=HeadKind.svm, out=cached)


def test_settings_of_an_mlp_with_another_kind(cached: Path, tmp_path: Path) -> None:
    with pytest.raises(HeadError, match="hidden with kind mlp only"):
        pipeline.fit_head(cached, kind="svm", hidden=(5,), out=tmp_path / "h")
    with pytest.raises(HeadError, match="C with kind svm, softmax or ridge"):
        pipeline.fit_head(cached, kind="mlp", C=1.0, out=tmp_path / "h")
    with pytest.raises(HeadError, match="no option 'hiden'"):
        pipeline.fit_head(cached, kind="mlp", hiden=(5,), out=tmp_path / "h")


def test_choices_are_named(cached: Path, tmp_path: Path) -> None:
    with pytest.raises(
        ChoiceError, match="svm, softmax, ridge, knn, centroid, mlp, found 'forest'"
    ):
        pipeline.fit_head(cached, kind="forest", out=tmp_path / "h")
    with pytest.raises(ChoiceError, match="avg, max, flat"):
        pipeline.fit_head(cached, kind="svm", layer="top", pool="mean", out=tmp_path / "h")


def test_numbers_may_come_from_numpy(cached: Path, tmp_path: Path) -> None:
    pipeline.fit_head(cached, kind="svm", C=np.float32(0.5), seed=np.int64(3), out=tmp_path / "h")
    assert heads.load(tmp_path / "h").head.parameters["C"] == 0.5
    for wrong in ({"seed": -1}, {"seed": 2**32}, {"seed": None}, {"C": None}, {"C": -1.0}):
        with pytest.raises(HeadError):
            pipeline.fit_head(cached, kind="svm", out=tmp_path / "h", **wrong)


def test_the_curves_of_an_mlp_do_not_stay_beside_an_svm(cached: Path, tmp_path: Path) -> None:
    pipeline.fit_head(cached, kind="mlp", epochs=1, out=tmp_path / "h")
    pipeline.fit_head(cached, kind="svm", C=1.0, out=tmp_path / "h")
    assert not (tmp_path / "h" / "curves.png").exists()


def test_vectors_have_nothing_to_pool(cached: Path, tmp_path: Path) -> None:
    with pytest.raises(HeadError, match="drop --pool"):
        pipeline.fit_head(cached, kind="svm", layer="avg", pool="max", out=tmp_path / "h")


def test_a_preset_takes_its_codes_as_its_article_does(cached: Path, tmp_path: Path) -> None:
    fit = pipeline.fit_head(
        cached, kind="mlp", preset="mnist-upscaling", layer="top", epochs=1, out=tmp_path / "h"
    )
    assert (fit.pool, fit.dimensions) == ("flat", 8 * 8 * 8)


def test_a_linear_head_is_fitted_on_validation_images_too_and_says_so(
    cached: Path, tmp_path: Path
) -> None:
    fit = pipeline.fit_head(cached, kind="svm", out=tmp_path / "h")
    assert fit.fitted_on == "train and val"
    assert fit.validated_on == "validation images"


def test_codes_as_arrays_for_other_estimators(cached: Path) -> None:
    train = pipeline.load_codes(cached)
    assert train.X.shape == (len(train.y), 8)
    assert train.X.dtype == np.float32
    assert [train.classes[label] for label in train.y] == [
        path.split("/")[0] for path in train.paths
    ]
    maps = pipeline.load_codes(cached, split="test", layer="top")
    assert maps.X.shape[1:] == (8, 8, 8)
    np.testing.assert_allclose(
        pipeline.load_codes(cached, split="test", layer="top", pool="max").X,
        maps.X.max(axis=(1, 2)),
    )


def test_codes_of_another_program(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    labels = random.integers(0, 3, 200)
    X = random.normal(size=(200, 6)) + 4 * np.eye(6)[labels]
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["codes/theirs"] = X
        file["labels"] = labels
    fit = pipeline.fit_head(tmp_path / "x.h5", kind=HeadKind.svm, out=tmp_path / "h")
    result = pipeline.evaluate(fit.head, tmp_path / "x.h5", out=tmp_path / "r")
    assert result.report.accuracy > 0.9
    with pytest.raises(HeadError, match="codes of another program"):
        pipeline.predict(fit.head, [__file__])


def test_a_choice_by_few_images_is_told(
    tiny: str, make_photos: Callable[..., Path], tmp_path: Path
) -> None:
    photos = make_photos(each=8)
    pipeline.extract(photos, out=tmp_path / "s", backbone=tiny, weights="random")
    for kind, name in (("svm", "C"), ("knn", "k")):
        told: list[str] = []
        fit = pipeline.fit_head(tmp_path / "s", kind=kind, out=tmp_path / kind, tell=told.append)
        assert (
            any(
                line.startswith(
                    f"note: {fit.val_images} validation images chose {name}: fewer than 10"
                )
                for line in told
            )
            or fit.val_images == 1
        )
    told.clear()
    pipeline.fit_head(tmp_path / "s", kind="svm", C=1.0, out=tmp_path / "fixed", tell=told.append)
    assert not any("say little" in line for line in told)
