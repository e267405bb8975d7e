"""The choices a user can type, as enums: light to import, shared by commands and packages."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import TypeVar

from pipeline.common.errors import ChoiceError

E = TypeVar("E", bound=Enum)


class Resize(str, Enum):
    """How an image of any shape becomes a square."""

    crop = "crop"
    squash = "squash"
    pad = "pad"


class Augment(str, Enum):
    """How further views of an image differ from it; see `pipeline.images.Views`."""

    flip = "flip"
    crop = "crop"
    rotate = "rotate"
    shear = "shear"
    zoom = "zoom"
    shift = "shift"
    colour = "colour"


class Split(str, Enum):
    """What a row is used for."""

    train = "train"
    val = "val"
    test = "test"


# How a split is written down; 0 is for rows that have none.
SPLITS: Mapping[Split, int] = {Split.train: 1, Split.val: 2, Split.test: 3}


class Scores(str, Enum):
    """Which scores a table of answers has."""

    top = "top"
    all = "all"


class Folders(str, Enum):
    """What the folders of a source are: splits with classes in them, or classes."""

    auto = "auto"
    splits = "splits"
    classes = "classes"


class Pool(str, Enum):
    """How a map of codes (h, w, c) becomes a vector."""

    avg = "avg"
    max = "max"
    flat = "flat"


class Engine(str, Enum):
    """What computes the forward pass."""

    auto = "auto"
    tensorflow = "tensorflow"
    openvino = "openvino"


class Precision(str, Enum):
    """What the forward pass computes with; how codes are stored is for `Dtype` to say."""

    auto = "auto"
    float32 = "float32"
    bfloat16 = "bfloat16"


class Dtype(str, Enum):
    """How wide a number is in a store; whoever reads codes gets 32 bits of either."""

    float32 = "float32"
    float16 = "float16"


class HeadKind(str, Enum):
    """The classifiers that can be trained on codes."""

    svm = "svm"
    softmax = "softmax"
    ridge = "ridge"
    knn = "knn"
    centroid = "centroid"
    mlp = "mlp"


class OtherKind(str, Enum):
    """Heads that are no kind of this package's own."""

    sklearn = "sklearn"


class ClassWeight(str, Enum):
    """What an image counts while a head learns."""

    none = "none"
    balanced = "balanced"


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


class OnError(str, Enum):
    """What happens to images that cannot be used."""

    raise_ = "raise"
    skip = "skip"


class Optimizer(str, Enum):
    """What trains an MLP head."""

    adam = "adam"
    sgd = "sgd"


class Schedule(str, Enum):
    """How a learning rate goes on after the first step."""

    constant = "constant"  # or smoothly smaller, see `decay_rate`
    one_cycle = "one-cycle"  # up during three tenths of all steps, then down to 0 by a half cosine


class ExportFormat(str, Enum):
    """The formats that a head can be exported to, see `pipeline.exports`."""

    keras = "keras"
    saved_model = "saved-model"
    tflite = "tflite"
    onnx = "onnx"
    openvino = "openvino"
    joblib = "joblib"


class Quantize(str, Enum):
    """What a TFLite file computes with: 32 bits, 8 bits for weights, or 8 bits throughout."""

    none = "none"
    dynamic = "dynamic"
    int8 = "int8"


def choose(choices: type[E], value: object, *, what: str) -> E:
    """
    Take a choice as an enum member or as the text that a user would type.

    Raises
    ------
    ChoiceError
        If it is neither.
    """
    try:
        return choices(value)
    except ValueError:
        names = ", ".join(str(choice.value) for choice in choices)
        raise ChoiceError(f"expected {what} to be one of {names}, found {value!r}") from None


def check_known(options: Mapping[str, object], kind: type) -> None:
    """
    Refuse options that a kind of options does not have.

    Parameters
    ----------
    options : mapping of str to object
    kind : type
        A `typing.TypedDict`.

    Raises
    ------
    TypeError
    """
    if unknown := options.keys() - kind.__annotations__.keys():
        raise TypeError(f"unexpected options {', '.join(sorted(unknown))}")
