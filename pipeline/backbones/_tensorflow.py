"""The TensorFlow engine: one compiled forward pass over batches of a fixed size."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast


def compile_forward(model: Any, *, batch_size: int, size: int) -> Callable[[Any], list[Any]]:
    """
    Compile a network for batches of one size.

    Parameters
    ----------
    model : keras.Model
        With one output or a list of them.
    batch_size, size : int
        The only batch and the only edge that the function accepts.

    Returns
    -------
    callable
        Maps float32 (batch_size, size, size, 3) to one float32 tensor for each output.
    """
    import tensorflow as tf

    def forward(x: Any) -> list[Any]:
        codes = model(x, training=False)
        return codes if isinstance(codes, list) else [codes]

    signature = [tf.TensorSpec((batch_size, size, size, 3), tf.float32)]
    compiled: Any = tf.function(forward, input_signature=signature, autograph=False)
    compiled.get_concrete_function()  # traced now; tracing in a call would be warned of
    return cast("Callable[[Any], list[Any]]", compiled)
