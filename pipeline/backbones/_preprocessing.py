"""How 8-bit RGB becomes what a network was trained on."""

from __future__ import annotations

from enum import Enum
from typing import Any

import numpy as np
from numpy.typing import NDArray


class Preprocessing(str, Enum):
    """The conventions of `keras.applications.imagenet_utils.preprocess_input`, and Lite0's."""

    caffe = "caffe"
    tf = "tf"
    torch = "torch"
    none = "none"
    lite = "lite"


_CAFFE_MEANS_BGR = np.array([103.939, 116.779, 123.68], np.float32)
_TORCH_MEANS = np.array([0.485, 0.456, 0.406], np.float32)
_TORCH_DEVIATIONS = np.array([0.229, 0.224, 0.225], np.float32)


def preprocess(pixels: NDArray[np.uint8], preprocessing: Preprocessing) -> NDArray[np.float32]:
    """
    Scale RGB pixels; the argument is left as it is.

    This is done in NumPy and not by the engine, whose compiler turns a division into a product
    and so changes last bits (and codes by some 1e-5).

    Parameters
    ----------
    pixels : uint8 array of shape (b, h, w, 3)
    preprocessing : Preprocessing
        ``caffe``: BGR minus the channel means; ``tf``: -1..1; ``torch``: 0..1, then standardized;
        ``none``: the network does it itself; ``lite``: ``(x - 127) / 128``.

    Returns
    -------
    float32 array of the same shape
        The very bits that the `preprocess_input` of `keras.applications` gives.
    """
    x = pixels.astype(np.float32)
    if preprocessing is Preprocessing.caffe:
        return x[..., ::-1] - _CAFFE_MEANS_BGR
    if preprocessing is Preprocessing.tf:
        return x / np.float32(127.5) - np.float32(1)
    if preprocessing is Preprocessing.torch:
        return (x / np.float32(255) - _TORCH_MEANS) / _TORCH_DEVIATIONS
    if preprocessing is Preprocessing.lite:
        return (x - np.float32(127)) / np.float32(128)
    return x


def preprocess_symbolically(pixels: Any, preprocessing: Preprocessing) -> Any:
    """
    Say the same as operations of a graph, for an engine that takes the pixels as they are.

    Parameters
    ----------
    pixels : KerasTensor of uint8, shape (None, h, w, 3)
    preprocessing : Preprocessing

    Returns
    -------
    KerasTensor of float32
        Equal to `preprocess` but for last bits.
    """
    from keras import ops

    x = ops.cast(pixels, "float32")
    if preprocessing is Preprocessing.caffe:
        return ops.flip(x, axis=-1) - _CAFFE_MEANS_BGR
    if preprocessing is Preprocessing.tf:
        return x / 127.5 - 1.0
    if preprocessing is Preprocessing.torch:
        return (x / 255.0 - _TORCH_MEANS) / _TORCH_DEVIATIONS
    if preprocessing is Preprocessing.lite:
        return (x - 127.0) / 128.0
    return x


def from_pixels(
    model: Any, preprocessing: Preprocessing, *, size: int, dtype: str = "uint8"
) -> Any:
    """
    Put the preprocessing in front of a network.

    Parameters
    ----------
    model : keras.Model
        From preprocessed pixels, to one tensor or a list of them.
    preprocessing : Preprocessing
        What it expects to be done to the pixels.
    size : int
        Edge of the input in pixels.
    dtype : str, default "uint8"
        Of the pixels.

    Returns
    -------
    keras.Model
        From ``pixels`` (None, size, size, 3), with built-in layers and operations only.
    """
    import keras

    pixels = keras.Input((size, size, 3), dtype=dtype, name="pixels")
    return keras.Model(pixels, model(preprocess_symbolically(pixels, preprocessing)))
