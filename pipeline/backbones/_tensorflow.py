"""The TensorFlow engine: one compiled forward pass over batches of a fixed size."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.backbones._preprocessing import Preprocessing, preprocess

BATCH_SIZE = 32
"""Images in one batch where the user leaves it to us: TensorFlow spreads one over all cores."""


def compile_forward(
    model: Any, preprocessing: Preprocessing, *, batch_size: int, size: int
) -> Callable[[NDArray[np.uint8]], list[NDArray[np.float32]]]:
    """
    Compile a network for batches of one size.

    Parameters
    ----------
    model : keras.Model
        With one output or a list of them.
    preprocessing : Preprocessing
        What it expects to be done to the pixels.
    batch_size, size : int
        The only batch and the only edge that the function accepts.

    Returns
    -------
    callable
        Maps uint8 (batch_size, size, size, 3) to one float32 array for each output.
    """
    import tensorflow as tf

    def forward(x: Any) -> list[Any]:
        codes = model(x, training=False)
        return codes if isinstance(codes, list) else [codes]

    signature = [tf.TensorSpec((batch_size, size, size, 3), tf.float32)]
    compiled: Any = tf.function(forward, input_signature=signature, autograph=False)
    compiled.get_concrete_function()  # traced now; tracing in a call would be warned of
    return lambda pixels: [codes.numpy() for codes in compiled(preprocess(pixels, preprocessing))]
