from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.backbones import Backbone

# The module of keras.applications that brings a model's own preprocess_input.
_MODULES = {
    "ConvNeXt": "convnext",
    "DenseNet": "densenet",
    "EfficientNetB": "efficientnet",
    "EfficientNetV2": "efficientnet_v2",
    "InceptionResNetV2": "inception_resnet_v2",
    "InceptionV3": "inception_v3",
    "MobileNetV2": "mobilenet_v2",
    "MobileNetV3": "mobilenet_v3",
    "MobileNet": "mobilenet",
    "NASNet": "nasnet",
    "VGG16": "vgg16",
    "VGG19": "vgg19",
    "Xception": "xception",
}

Photos = Callable[[int], NDArray[np.uint8]]


@pytest.fixture(scope="session")
def photos() -> Photos:
    """Two real photos (scikit-learn's temple and flower) as squares of any size."""
    from PIL import Image
    from sklearn.datasets import load_sample_images

    images = [Image.fromarray(image[:, :427]) for image in load_sample_images().images]

    def resized(size: int) -> NDArray[np.uint8]:
        return np.stack([np.asarray(image.resize((size, size))) for image in images])

    return resized


def official(row: Backbone, **arguments: Any) -> Any:
    """Build the model of keras.applications by itself, untrained."""
    import keras

    builder = getattr(keras.applications, row.builder.partition(":")[2])
    return builder(weights=None, **row.arguments, **arguments)


def official_preprocessing(row: Backbone, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Scale pixels with the model's own preprocess_input (on a copy: some write into it)."""
    builder = row.builder.partition(":")[2]
    if builder.startswith("ResNet"):
        module = "resnet_v2" if builder.endswith("V2") else "resnet"
    else:
        module = next(_MODULES[start] for start in _MODULES if builder.startswith(start))
    function = importlib.import_module(f"keras.applications.{module}").preprocess_input
    scaled: NDArray[np.float32] = function(pixels.astype(np.float32))
    return scaled


def outputs(model: Any, names: list[str], x: NDArray[np.float32]) -> dict[str, NDArray[Any]]:
    """Run a Keras model up to some of its layers."""
    import keras

    cut = keras.Model(model.input, {name: model.get_layer(name).output for name in names})
    # Compiled, as ours is: untrained networks of some hundred layers are chaotic, and eager
    # operations give other last bits.
    values: dict[str, NDArray[Any]] = cut.predict(x, verbose=0)
    return values
