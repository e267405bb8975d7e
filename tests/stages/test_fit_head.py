from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

import pipeline
from pipeline import HeadKind, Pool, heads, store
from pipeline.errors import HeadError, OutputError, StoreError


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
    config = heads.MlpConfig.from_options(None, epochs=3)
    pipeline.fit_head(cached, kind=HeadKind.mlp, config=config, out=tmp_path / "h")
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
    with pytest.raises(HeadError, match="only with --kind mlp"):
        pipeline.fit_head(
            cached,
            kind=HeadKind.svm,
            config=heads.MlpConfig.from_options(None),
            out=tmp_path / "h",
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
