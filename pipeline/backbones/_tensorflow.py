"""The TensorFlow engine: one compiled forward pass over batches of a fixed size."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast

from pipeline.errors import BackboneError


def import_keras() -> None:
    """
    Import Keras on TensorFlow without a word on stderr.

    Raises
    ------
    BackboneError
        If Keras was set to another backend, image layout or precision.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if "keras" not in sys.modules:
        os.environ["KERAS_BACKEND"] = "tensorflow"  # over the user's keras.json
    with _no_import_noise():
        import keras
    found = (
        keras.backend.backend(),
        keras.backend.image_data_format(),
        keras.config.dtype_policy().name,
    )
    if found != ("tensorflow", "channels_last", "float32"):
        raise BackboneError(
            f"expected Keras with tensorflow, channels_last and float32, found {', '.join(found)}; "
            "unset KERAS_BACKEND and look into ~/.keras/keras.json"
        )


@contextmanager
def _no_import_noise() -> Iterator[None]:
    """
    Keep stderr clean while TensorFlow's libraries are loaded.

    They write two notices to the descriptor itself before TF_CPP_MIN_LOG_LEVEL is obeyed.
    """
    if "tensorflow" in sys.modules:
        yield
        return
    sys.stderr.flush()
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


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
