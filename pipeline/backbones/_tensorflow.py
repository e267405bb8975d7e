"""The TensorFlow engine: one compiled forward pass over batches of a fixed size."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.backbones._preprocessing import Preprocessing, preprocess
from pipeline.common.memory import check_room, smaller_batch

BATCH_SIZE = 32
"""Images in one batch where the user leaves it to us: TensorFlow spreads one over all cores."""
# What TensorFlow maps besides the numbers: seen with EfficientNet-Lite0.
_MAPPED = 0.7e9
# NVIDIA's Ampere is the first generation whose tensor cores take bfloat16.
_COMPUTES_BFLOAT16 = (8, 0)


def computes_bfloat16() -> bool:
    """Whether there are GPUs, and all of them multiply in bfloat16 by themselves."""
    import tensorflow as tf

    details = [
        tf.config.experimental.get_device_details(device)
        for device in tf.config.list_physical_devices("GPU")
    ]
    oldest = min((about.get("compute_capability", (0, 0)) for about in details), default=(0, 0))
    return bool(oldest >= _COMPUTES_BFLOAT16)


def trains_in_bfloat16(model: Any) -> bool:
    """
    Whether training a network in bfloat16 pays here.

    On a processor with instructions for it VGG16's last block went from 59 to 85 images/s (with
    pooling in float32; from 59 to 74 otherwise), but EfficientNet-Lite0's last stages from 223 to
    118: TensorFlow has no such kernels for convolutions of single channels.
    """
    if any("Depthwise" in each or "Separable" in each for each in _kinds(model)):
        return False
    return computes_bfloat16() or "avx512_bf16" in _processor() or "amx_bf16" in _processor()


def _kinds(model: Any) -> set[str]:
    return {type(operation).__name__ for operation in model.operations}


def _processor() -> set[str]:
    """Return what Linux says the processor can do; elsewhere nothing."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return set()
    return next((set(line.split()) for line in lines if line.startswith("flags")), set())


def in_bfloat16(model: Any, *, pooling: bool = True) -> Any:
    """
    Copy a network so that it computes in bfloat16.

    Its numbers stay float32 and so do the codes that leave it (Keras's ``mixed_bfloat16``).

    Parameters
    ----------
    model : keras.Model
    pooling : bool, default True
        Whether pooling too.

    Returns
    -------
    keras.Model
    """
    import keras

    def converted(layer: Any) -> Any:
        if not pooling and "Pooling" in type(layer).__name__:
            return layer.__class__.from_config(layer.get_config())
        policy = keras.dtype_policies.DTypePolicy("mixed_bfloat16")
        return layer.__class__.from_config({**layer.get_config(), "dtype": policy})

    copy = keras.models.clone_model(model, clone_function=converted)
    copy.set_weights(model.get_weights())
    return copy


def _largest_step(model: Any) -> int:
    """Return the bytes that go in and out of the largest operation, for one image."""
    import keras

    def numbers(tensors: Any) -> int:
        return sum(math.prod(tensor.shape[1:]) for tensor in keras.tree.flatten(tensors))

    width = 2 if "bfloat16" in str(model.operations[-1].dtype_policy) else 4
    return width * max(
        numbers(operation.input) + numbers(operation.output) for operation in model.operations
    )


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

    needed = batch_size * _largest_step(model)
    check_room(
        f"a batch of {batch_size} images",
        resident=1.5 * needed,
        mapped=_MAPPED + 2.5 * needed,
        advice=smaller_batch(batch_size),
    )

    def forward(x: Any) -> list[Any]:
        codes = model(x, training=False)
        outputs = codes if isinstance(codes, list) else [codes]
        return [tf.cast(output, tf.float32) for output in outputs]

    signature = [tf.TensorSpec((batch_size, size, size, 3), tf.float32)]
    # XLA joins what a GPU would otherwise start one by one; on processors oneDNN does better.
    on_gpu = bool(tf.config.list_physical_devices("GPU"))
    compiled: Any = tf.function(
        forward, input_signature=signature, autograph=False, jit_compile=on_gpu
    )
    compiled.get_concrete_function()  # traced now; tracing in a call would be warned of
    return lambda pixels: [codes.numpy() for codes in compiled(preprocess(pixels, preprocessing))]
