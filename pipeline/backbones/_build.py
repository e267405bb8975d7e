"""Calling a builder of Keras, and reading what it built, without a trace elsewhere."""

from __future__ import annotations

import random
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from numpy.typing import NDArray

from pipeline.backbones._backbone import Backbone
from pipeline.lazy import import_keras


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
    """
    import_keras()
    module, _, function = backbone.builder.partition(":")
    builder = getattr(import_module(module), function)
    with _no_side_effects():
        return builder(
            include_top=top, weights=weights, input_shape=(size, size, 3), **backbone.arguments
        )


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
