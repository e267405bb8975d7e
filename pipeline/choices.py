"""The choices a user can type, as enums: light to import, shared by the commands and the rooms."""

from __future__ import annotations

from enum import Enum


class Resize(str, Enum):
    """How an image of any shape becomes a square."""

    crop = "crop"
    squash = "squash"
    pad = "pad"


class Split(str, Enum):
    """What a row is used for."""

    train = "train"
    val = "val"
    test = "test"


class Pool(str, Enum):
    """How a map of codes (h, w, c) becomes a vector."""

    avg = "avg"
    max = "max"
    flat = "flat"


class HeadKind(str, Enum):
    """The classifiers that can be trained on codes."""

    svm = "svm"
    softmax = "softmax"
    mlp = "mlp"


class Preset(str, Enum):
    """The MLP heads of the articles the project grew from."""

    tflearn = "tflearn"
    mnist_upscaling = "mnist-upscaling"
    cats_dogs = "cats-dogs"
    surfing = "surfing"


class Activation(str, Enum):
    """Activation of the hidden layers of an MLP head."""

    relu = "relu"
    tanh = "tanh"
    sigmoid = "sigmoid"
    elu = "elu"


class Optimizer(str, Enum):
    """What trains an MLP head."""

    adam = "adam"
    sgd = "sgd"
