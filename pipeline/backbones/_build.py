"""Calling a builder of Keras, and reading what it built, without a trace elsewhere."""

from __future__ import annotations

import math
import random
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from itertools import pairwise
from typing import Any

from numpy.typing import NDArray

from pipeline.backbones._backbone import Backbone
from pipeline.common.lazy import import_keras
from pipeline.common.memory import check_room

# While Keras makes a network it takes so many times its weights: seen with VGG16.
_TIMES_BUILT = 2.6


def build(backbone: Backbone, *, top: bool, size: int, weights: str | None = None) -> Any:
    """
    Call a backbone's builder, without a trace in `random`, stdout or warnings.

    Parameters
    ----------
    backbone : Backbone
        The row.
    top : bool
        Whether the classifier is part of it.
    size : int
        Edge of the input in pixels.
    weights : {"imagenet", None}
        As in `keras.applications`; with None the weights are Keras' initial ones.

    Returns
    -------
    keras.Model

    Raises
    ------
    ResourceError
        If there is too little memory for it.
    """
    import_keras()
    check_room(
        f"{backbone.name} with its classifier" if top else backbone.name,
        resident=_TIMES_BUILT * 4 * _count_weights(backbone, top=top),
        mapped=0,
        advice="choose a layer before the classifier, such as --layer avg"
        if top
        else "end other programs",
    )
    module, _, function = backbone.builder.partition(":")
    builder = getattr(import_module(module), function)
    with _no_side_effects():
        return builder(
            include_top=top, weights=weights, input_shape=(size, size, 3), **backbone.arguments
        )


def _count_weights(backbone: Backbone, *, top: bool) -> int:
    """Count the weights of a network; those of a classifier roughly."""
    dense = [s[0] for name, s in backbone.layers.items() if len(s) == 1 and name != "avg"]
    if not top:
        return backbone.parameters
    flat = math.prod(backbone.layers[backbone.final_map]) if dense else 0
    return backbone.parameters + sum(a * b for a, b in pairwise([flat, *dense]))


@contextmanager
def _no_side_effects() -> Iterator[None]:
    """Keep Keras from drawing global random numbers, printing progress and warning of sizes."""
    import keras

    state = random.getstate()
    talks = keras.config.is_interactive_logging_enabled()
    keras.config.disable_interactive_logging()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        random.setstate(state)
        if talks:
            keras.config.enable_interactive_logging()


def numbers(variable: Any) -> NDArray[Any]:
    """Copy a variable or tensor to NumPy."""
    import keras

    numbers: NDArray[Any] = keras.ops.convert_to_numpy(variable)
    return numbers


def first_line(error: BaseException) -> str:
    """Shorten what another library said to one line."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0].rstrip(".")
