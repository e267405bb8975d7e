"""Codes that look like those of a convnet: sparse, positive, of very different sizes."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.common.choices import HeadKind
from pipeline.common.space import Space
from pipeline.heads import Card, Head, MlpConfig, build

PARAMETERS = {
    HeadKind.svm: {"C": 0.01},
    HeadKind.softmax: {"C": 0.1},
    HeadKind.ridge: {"C": 0.01},
    HeadKind.knn: {"k": 5},
    HeadKind.centroid: {},
    HeadKind.mlp: {"config": MlpConfig(hidden=(16,), epochs=15, learning_rate=0.01)},
}


class CodeRows(NamedTuple):
    X: NDArray[np.float32]
    y: NDArray[np.int64]
    X_val: NDArray[np.float32]
    y_val: NDArray[np.int64]
    X_test: NDArray[np.float32]
    y_test: NDArray[np.int64]


def _codes(classes: int, *, rows: int = 240, width: int = 24, noise: float = 1.0) -> CodeRows:
    rng = np.random.default_rng(classes)
    y = np.arange(rows) % classes
    centres = rng.normal(size=(classes, width)) * 2
    sizes = 10 ** rng.uniform(-2, 2, width)
    X = np.maximum(centres[y] + rng.normal(size=(rows, width)) * noise, 0) * sizes
    X = X.astype(np.float32)
    a, b = rows // 2, rows * 3 // 4
    return CodeRows(X[:a], y[:a], X[a:b], y[a:b], X[b:], y[b:])


def _fit(kind: HeadKind, codes: CodeRows, **changes: object) -> Head:
    head = build(kind, seed=1, **{**PARAMETERS[kind], **changes})
    return head.fit(codes.X, codes.y)


SPACE = Space(
    backbone="tiny",
    weights_sha256={"avg": "0" * 64},
    layers={"avg": (24,)},
    pooling={"avg": "none"},
    size=32,
    resize="crop",
    kernel="bicubic",
    colour="rgb",
    alpha="white",
    exif="upright",
    depth16="high byte",
    preprocessing="tf",
)


@pytest.fixture(scope="session")
def three_classes() -> CodeRows:
    return _codes(3)


@pytest.fixture(scope="session")
def two_classes() -> CodeRows:
    return _codes(2)


@pytest.fixture(scope="session")
def fit() -> Callable[..., Head]:
    """Fit a small head of a kind: fit(kind, codes)."""
    return _fit


@pytest.fixture(scope="session")
def heads(three_classes: CodeRows) -> dict[HeadKind, Head]:
    """One fitted head of each kind; not to be changed."""
    return {kind: _fit(kind, three_classes) for kind in HeadKind}


@pytest.fixture
def card() -> Card:
    """Describe the heads of `heads`; one class is named by a byte that is no text."""
    return Card(
        classes=("cat", "caf\udce9", "=dog"),
        layer="avg",
        pool="avg",
        shape=(24,),
        space=SPACE,
        weights={"source": "random", "seed": 0},
        batch_size=8,
        scores={"validation": {"accuracy": 0.5, "images": 60}},
        seed=1,
        versions={"pipeline": "0.0"},
        trained_on={"train": 120},
        probe=np.random.default_rng(0).random((8, 24), dtype=np.float32),
    )
