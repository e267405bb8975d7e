"""A model of codes so small that only the formats take time, and heads for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.common.steps import Dense, Neighbours, Step, Unit
from pipeline.exports import ExportContent, joined

SIZE, WIDTH, CLASSES = 6, 8, ("été", "two words", "c")


def neighbours(rng: np.random.Generator, k: int = 5) -> tuple[Step, ...]:
    """Steps of a knn head."""
    codes = rng.random((30, WIDTH), dtype=np.float32)
    return (
        Unit(scale=rng.uniform(0.5, 2, WIDTH).astype(np.float32)),
        Neighbours(
            codes=codes / np.linalg.norm(codes, axis=1, keepdims=True),
            labels=rng.integers(0, 3, 30),
            k=k,
            n_classes=3,
            temperature=0.07,
        ),
    )


def layers(rng: np.random.Generator, *activations: str) -> tuple[Step, ...]:
    """Steps of an MLP head."""
    widths = [WIDTH, *[5] * len(activations), 3]
    return tuple(
        Dense(
            kernel=rng.normal(size=shape).astype(np.float32),
            bias=rng.normal(size=shape[1]).astype(np.float32),
            activation=activation,
        )
        for *shape, activation in zip(widths, widths[1:], [*activations, "linear"], strict=False)
    )


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture
def pixels(rng: np.random.Generator) -> NDArray[np.uint8]:
    return rng.integers(0, 256, (7, SIZE, SIZE, 3)).astype(np.uint8)


@pytest.fixture
def codes_model() -> Any:
    """A Keras model from uint8 pixels to eight codes."""
    import keras

    keras.utils.set_random_seed(0)
    pixels = keras.Input((SIZE, SIZE, 3), dtype="uint8", name="pixels")
    x = keras.layers.Conv2D(WIDTH, 3, activation="relu")(keras.ops.cast(pixels, "float32") / 255.0)
    return keras.Model(pixels, keras.layers.GlobalAveragePooling2D()(x))


@pytest.fixture
def content(codes_model: Any) -> Callable[..., ExportContent]:
    """Make what goes into a file from a head's steps."""

    def make(steps: tuple[Step, ...], **more: Any) -> ExportContent:
        return ExportContent(classes=CLASSES, steps=steps, model=joined(codes_model, steps), **more)

    return make
