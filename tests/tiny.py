"""Backbones of a few layers: fast enough for every unit test."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from pipeline.backbones import TABLE, Backbone, Preprocessing

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

# Its layers have the names that Keras counts.
NUMBERED = replace(
    TINY,
    name="numbered",
    builder="tests.tiny:build_numbered",
    layers={"add_1": (8, 8, 4), "avg": (4,)},
    final_map="add_1",
)

_FEW_LAYERS = {
    "block5c_add": (14, 14, 8),
    "block6d_add": (7, 7, 16),
    "top_activation": (7, 7, 32),
    "avg": (32,),
}
# What README and recipes name, with little behind the names.
THIN = {
    name: replace(
        TABLE[name],
        builder="tests.tiny:few_layers",
        layers=_FEW_LAYERS,
        final_map="top_activation",
    )
    for name in ("efficientnet-lite0", "mobilenetv2")
} | {name: replace(TABLE[name], builder=f"tests.tiny:{name}") for name in ("vgg16", "vgg19")}


def build(include_top: bool = False, weights: str | None = None, input_shape: Any = None) -> Any:
    """Build it as keras.applications would."""
    from keras import Model, layers

    pixels = layers.Input(input_shape)
    x = layers.Conv2D(4, 3, strides=2, padding="same", activation="relu", name="conv")(pixels)
    x = layers.Conv2D(8, 3, strides=2, padding="same", activation="relu", name="top")(x)
    return Model(pixels, x)


def build_numbered(include_top: bool = False, weights: str | None = None, **shape: Any) -> Any:
    """Build a network that leaves all names to Keras."""
    from keras import Model, layers

    pixels = layers.Input(shape["input_shape"])
    x = layers.Conv2D(4, 3, strides=2, padding="same", activation="relu")(pixels)
    x = layers.MaxPooling2D()(x)
    for _ in range(2):
        x = layers.Add()([x, layers.Conv2D(4, 3, padding="same", activation="relu")(x)])
    return Model(pixels, x)


def few_layers(
    include_top: bool = False, weights: str | None = None, input_shape: Any = None
) -> Any:
    """Build four layers that are called like some of EfficientNet-Lite0, with seeded weights."""
    from keras import Model, initializers, layers

    x = pixels = layers.Input(input_shape)
    for seed, (name, filters, stride) in enumerate(
        (("stem", 8, 4), ("block5c_add", 8, 4), ("block6d_add", 16, 2), ("top_activation", 32, 1))
    ):
        kernel = initializers.HeNormal(seed=seed)
        more = {"padding": "same", "activation": "relu", "kernel_initializer": kernel}
        x = layers.Conv2D(filters, 3, strides=stride, name=name, **more)(x)
    return Model(pixels, x)


def vgg16(**arguments: Any) -> Any:
    """Build VGG16 with a sixteenth of its width: the layers have their names."""
    return _vgg((2, 2, 3, 3, 3), **arguments)


def vgg19(**arguments: Any) -> Any:
    """Build VGG19 likewise."""
    return _vgg((2, 2, 4, 4, 4), **arguments)


def _vgg(
    convolutions: tuple[int, ...],
    *,
    include_top: bool = False,
    weights: str | None = None,
    input_shape: Any = None,
) -> Any:
    from keras import Model, layers

    x = pixels = layers.Input(input_shape)
    for block, count in enumerate(convolutions, start=1):
        for number in range(1, count + 1):
            name, filters = f"block{block}_conv{number}", min(2 << block, 32)
            x = layers.Conv2D(filters, 3, padding="same", activation="relu", name=name)(x)
        x = layers.MaxPooling2D(name=f"block{block}_pool")(x)
    if include_top:
        x = layers.Flatten(name="flatten")(x)
        x = layers.Dense(256, activation="relu", name="fc1")(x)
        x = layers.Dense(256, activation="relu", name="fc2")(x)
        x = layers.Dense(1000, activation="softmax", name="predictions")(x)
    return Model(pixels, x)
