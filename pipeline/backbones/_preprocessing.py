"""How 8-bit RGB becomes what a network was trained on."""

from __future__ import annotations

from enum import Enum
from typing import Any


class Preprocessing(str, Enum):
    """The conventions of `keras.applications.imagenet_utils.preprocess_input`, and Lite0's."""

    caffe = "caffe"
    tf = "tf"
    torch = "torch"
    none = "none"
    lite = "lite"


_CAFFE_MEANS_BGR = (103.939, 116.779, 123.68)
_TORCH_MEANS = (0.485, 0.456, 0.406)
_TORCH_DEVIATIONS = (0.229, 0.224, 0.225)


def preprocess(pixels: Any, preprocessing: Preprocessing) -> Any:
    """
    Scale float32 RGB pixels in 0..255; the argument is left as it is.

    Parameters
    ----------
    pixels : float32 array or tensor of shape (b, h, w, 3)
        Arithmetic is all that is asked of it, so NumPy and TensorFlow give the same.
    preprocessing : Preprocessing
        ``caffe``: BGR minus the channel means; ``tf``: -1..1; ``torch``: 0..1, then standardized;
        ``none``: the network does it itself; ``lite``: ``(x - 127) / 128``.

    Returns
    -------
    array or tensor of the same type and shape
    """
    if preprocessing is Preprocessing.caffe:
        return pixels[..., ::-1] - _CAFFE_MEANS_BGR
    if preprocessing is Preprocessing.tf:
        return pixels / 127.5 - 1.0
    if preprocessing is Preprocessing.torch:
        return (pixels / 255.0 - _TORCH_MEANS) / _TORCH_DEVIATIONS
    if preprocessing is Preprocessing.lite:
        return (pixels - 127.0) / 128.0
    return pixels
