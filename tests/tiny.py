"""A backbone of three layers with seeded weights: fast enough for every unit test."""

from __future__ import annotations

from typing import Any

from pipeline.backbones import Backbone, Preprocessing

TINY = Backbone(
    name="tiny",
    builder="tests.tiny:build",
    size=32,
    minimum_size=8,
    preprocessing=Preprocessing.tf,
    parameters=0,
    layers={"conv": (16, 16, 4), "top": (8, 8, 8), "avg": (8,)},
    final_map="top",
)


def build(include_top: bool = False, weights: str | None = None, input_shape: Any = None) -> Any:
    """Build it as keras.applications would."""
    from keras import Model, layers

    pixels = layers.Input(input_shape)
    x = layers.Conv2D(4, 3, strides=2, padding="same", activation="relu", name="conv")(pixels)
    x = layers.Conv2D(8, 3, strides=2, padding="same", activation="relu", name="top")(x)
    return Model(pixels, x)
