from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import pipeline
from pipeline import HeadKind


@pytest.fixture
def cached(tiny: str, make_photos: Callable[..., Path], tmp_path: Path) -> Path:
    """A finished store of three classes with a map, a vector and all splits."""
    photos = make_photos(each=24)
    out = tmp_path / "store"
    pipeline.extract(photos, out=out, backbone=tiny, weights="random", layers=["avg", "top"])
    return out


@pytest.fixture
def svm(cached: Path, tmp_path: Path) -> Path:
    """A head fitted on the averaged codes."""
    return Path(pipeline.fit_head(cached, kind=HeadKind.svm, out=tmp_path / "svm", C=0.1).head)


@pytest.fixture
def joined(cached: Path, tmp_path: Path) -> Path:
    """A head fitted on the averaged codes and, beside them, the largest of each map."""
    layers = ["avg", "top:max"]
    fit = pipeline.fit_head(cached, kind=HeadKind.svm, layer=layers, out=tmp_path / "joined", C=0.1)
    return Path(fit.head)
