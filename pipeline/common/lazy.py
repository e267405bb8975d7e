"""Keras on TensorFlow, and OpenVINO, imported late and quietly."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from pipeline.common.choices import Pool
from pipeline.common.errors import BackboneError
from pipeline.common.memory import check_room

if TYPE_CHECKING:
    import keras
    import numpy as np
    from numpy.typing import NDArray


# What the libraries take once they are in use, without any network: seen with TensorFlow 2.21 and
# OpenVINO 2026.4 on Linux.
_TENSORFLOW = {"resident": 0.7e9, "mapped": 2.1e9}
_OPENVINO = {"resident": 0.1e9, "mapped": 0.8e9}
_ADVICE = "end other programs"


def import_keras() -> None:
    """
    Import Keras on TensorFlow without a word on stderr.

    Raises
    ------
    BackboneError
        If Keras was set to another backend, image layout or precision.
    ResourceError
        If there is too little memory for it.
    """
    if "tensorflow" not in sys.modules:
        check_room("TensorFlow", advice=_ADVICE, **_TENSORFLOW)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # TensorFlow turns oneDNN on by itself on processors with AVX-512 VNNI only. On one with AVX2
    # it runs EfficientNetB0 and MobileNetV2 twice as fast, VGG16 and ResNet50 1.1 to 1.2 times.
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
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


def import_openvino() -> Any:
    """
    Import OpenVINO without its telemetry.

    Its converter reports its use to the makers, from a child process that would also hold the
    lock of a store; without the package for that it goes on in silence.
    """
    if "openvino" not in sys.modules:
        check_room("OpenVINO", advice=_ADVICE, **_OPENVINO)
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    import openvino

    return openvino


def in_batches(
    model: Any, *, shape: Sequence[int], batch_size: int
) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
    """
    Compile a Keras model, at rest, for batches of one size.

    Kernels that TensorFlow chooses for batches of another size give other last bits, so that the
    last batch is filled up with zeros.

    Parameters
    ----------
    model : keras.Model
        With one input and one output.
    shape : sequence of int
        Of one row that goes in.
    batch_size : int

    Returns
    -------
    callable
        Maps float32 (n, *shape) to float32 (n, ...).
    """
    import numpy as np
    import tensorflow as tf

    signature = [tf.TensorSpec((batch_size, *shape), tf.float32)]
    compiled: Any = tf.function(
        lambda rows: tf.cast(model(rows, training=False), tf.float32),
        input_signature=signature,
        autograph=False,
    )
    compiled.get_concrete_function()  # traced now; tracing in a call would be warned of

    def run(rows: NDArray[np.float32]) -> NDArray[np.float32]:
        results = []
        for start in range(0, len(rows), batch_size):
            part = rows[start : start + batch_size]
            missing = [(0, batch_size - len(part)), *((0, 0) for _ in shape)]
            results.append(compiled(np.pad(part, missing)).numpy()[: len(part)])
        return np.concatenate(results)

    return run


@contextmanager
def _no_import_noise() -> Iterator[None]:
    """
    Keep stderr clean while TensorFlow's libraries are loaded.

    They write two notices to the descriptor itself before TF_CPP_MIN_LOG_LEVEL is obeyed.
    """
    try:
        kept = -1 if "tensorflow" in sys.modules else os.dup(2)
    except OSError:  # started without stderr
        kept = -1
    if kept < 0:
        yield
        return
    sys.stderr.flush()
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def pooling_layer(how: Pool, **options: Any) -> keras.Layer:
    """
    Return the layer of Keras's that makes vectors of maps.

    Parameters
    ----------
    how : Pool
    **options
        As every layer takes them: ``name``, ``dtype``.

    Returns
    -------
    keras.Layer
    """
    from keras import layers

    kinds = {
        Pool.avg: layers.GlobalAveragePooling2D,
        Pool.max: layers.GlobalMaxPooling2D,
        Pool.flat: layers.Flatten,
    }
    return kinds[how](**options)
