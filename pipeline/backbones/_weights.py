"""The numbers of a network: where they come from, and their hash."""

from __future__ import annotations

import hashlib
import random
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.backbones._backbone import Backbone
from pipeline.backbones._layers import canonical_names
from pipeline.backbones._tensorflow import import_keras
from pipeline.errors import BackboneError, PipelineError, WeightsNotFound
from pipeline.files import canonical_json, open_hdf5, sha256_file


@dataclass(frozen=True, kw_only=True)
class Weights:
    """
    Where the weights of a network came from.

    Attributes
    ----------
    source : str
        ``"imagenet"``, ``"random"`` or the absolute path of a file.
    file_sha256 : str or None
        Hash of that file in hex, where one is known.
    """

    source: str
    file_sha256: str | None = None

    def to_json(self) -> dict[str, str | None]:
        """Return the two as plain JSON values."""
        return asdict(self)


def build(backbone: Backbone, *, top: bool, size: int, weights: str | None = None) -> Any:
    """
    Call a backbone's builder, without a trace in `random`, stdout or warnings.

    Parameters
    ----------
    backbone : Backbone
        The row.
    top : bool
        Whether the classifier is part of it.
    size : int
        Edge of the input in pixels.
    weights : {"imagenet", None}
        As in `keras.applications`; with None the weights are Keras' initial ones.

    Returns
    -------
    keras.Model
    """
    import_keras()
    module, _, function = backbone.builder.partition(":")
    builder = getattr(import_module(module), function)
    with _no_side_effects():
        return builder(
            include_top=top, weights=weights, input_shape=(size, size, 3), **backbone.arguments
        )


@contextmanager
def _no_side_effects() -> Iterator[None]:
    """Keep Keras from drawing global random numbers, printing progress and warning of sizes."""
    import keras

    state = random.getstate()
    talks = keras.config.is_interactive_logging_enabled()
    keras.config.disable_interactive_logging()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        random.setstate(state)
        if talks:
            keras.config.enable_interactive_logging()


def load_imagenet(backbone: Backbone, *, top: bool, size: int) -> tuple[Any, Weights]:
    """
    Build a network with the ImageNet weights that its builder finds or downloads.

    Raises
    ------
    WeightsNotFound
        If they are neither on this machine nor within reach.
    """
    try:
        model = build(backbone, top=top, size=size, weights="imagenet")
    except (PipelineError, MemoryError):
        raise
    except Exception as error:  # Keras raises a bare Exception when a download fails
        raise WeightsNotFound(
            f"expected the ImageNet weights of {backbone.name}, found no way to download them "
            f"({_first_line(error)}); give a file by --weights PATH, or take "
            "--backbone efficientnet-lite0, which needs no download"
        ) from error
    module = import_module(backbone.builder.partition(":")[0])
    return model, Weights(source="imagenet", file_sha256=getattr(module, "WEIGHTS_SHA256", None))


def randomize(model: Any) -> None:
    """
    Give every kernel of a network random numbers that depend on nothing but its place.

    Scaled by the inputs of a unit (He et al. 2015, "Delving deep into rectifiers"), so that the
    codes of deep networks neither vanish nor overflow. What Keras itself starts at zero or one
    (biases, batch statistics) stays.
    """
    for path, variable in variables(canonical_names(model)):
        if len(variable.shape) < 2:
            continue
        seed = int.from_bytes(hashlib.sha256(path.encode()).digest()[:8], "little")
        depthwise = len(variable.shape) == 4 and variable.shape[-1] == 1  # (h, w, channels, 1)
        fan_in = np.prod(variable.shape[:2] if depthwise else variable.shape[:-1])
        values = np.random.default_rng(seed).standard_normal(variable.shape, dtype=np.float32)
        variable.assign(values * np.float32(np.sqrt(2 / fan_in)))


def load_file(backbone: Backbone, path: Path, *, top: bool, size: int) -> tuple[Any, Weights]:
    """
    Build a network with the weights of a file, which may hold the classifier or not.

    Parameters
    ----------
    backbone : Backbone
        The row.
    path : Path
        A Keras ``.weights.h5`` or the classic ``*_tf_kernels[_notop].h5``.
    top : bool
        Whether the classifier is needed.
    size : int
        Edge of the input in pixels.

    Raises
    ------
    WeightsNotFound
        If there is no such file.
    BackboneError
        If it is not HDF5, or holds the weights of another network.
    """
    stored = _count_arrays(backbone, path)
    source, source_top = build(backbone, top=False, size=backbone.size), False
    if stored > len(source.weights):
        source, source_top = build(backbone, top=True, size=backbone.size), True
    if stored != len(source.weights):
        raise _foreign(backbone, path, f"{stored} arrays instead of {len(source.weights)}")
    if top and not source_top:
        raise BackboneError(
            f"expected weights of {backbone.name} with its classifier, found none in {path}; "
            "choose a layer before it, or a file saved with include_top=True"
        )
    _fill(backbone, source, path)
    weights = Weights(source=str(path.absolute()), file_sha256=sha256_file(path))
    if source_top == top and size == backbone.size:
        model = source
    else:
        model = build(backbone, top=top, size=size)
        _transfer(source, model)
    _settle(model)
    return model, weights


def _count_arrays(backbone: Backbone, path: Path) -> int:
    """Look into a file without Keras; count the arrays that belong to layers."""
    try:
        with open_hdf5(path) as file:
            group = file.get("model_weights", file)
            classic = any(name.startswith("layer_names") for name in group.attrs)
            layers = group if classic else group["layers"]
            count = _count_datasets(layers)
    except FileNotFoundError as error:
        raise WeightsNotFound(
            f"expected a file of weights of {backbone.name}, found nothing at {path}; "
            "give its path by --weights PATH"
        ) from error
    except (OSError, KeyError, ValueError, TypeError, AttributeError) as error:
        raise _foreign(backbone, path, _first_line(error)) from error
    # Keras chooses the format by the name.
    if path.name.endswith(".weights.h5") is classic or not path.name.endswith((".h5", ".hdf5")):
        ending = ".h5, not .weights.h5" if classic else ".weights.h5"
        raise BackboneError(
            f"expected a file of this layout to have a name in {ending}, found {path}; rename it"
        )
    return count


def _count_datasets(group: Any) -> int:
    """Count the arrays below a group, but for the states of random numbers (of dropout)."""
    import h5py

    count = 0

    def visit(name: str, item: Any) -> None:
        nonlocal count
        count += isinstance(item, h5py.Dataset) and "seed_generator" not in name

    group.visititems(visit)
    return count


def _fill(backbone: Backbone, model: Any, path: Path) -> None:
    """Load a file into a model whose every number is NaN before, and finite after."""
    for variable in model.weights:
        if variable.dtype.startswith("float"):
            variable.assign(np.full(variable.shape, np.nan, variable.dtype))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model.load_weights(str(path))
    except (ValueError, KeyError, OSError, TypeError, AttributeError) as error:
        raise _foreign(backbone, path, "other shapes or layers") from error
    if not all(np.isfinite(_numbers(variable)).all() for variable in model.weights):
        raise _foreign(backbone, path, "missing or not finite numbers")


def _foreign(backbone: Backbone, path: Path, found: str) -> BackboneError:
    """Say that a file is not what a backbone needs."""
    return BackboneError(
        f"expected weights of {backbone.name} in {path}, found {found}; "
        "give a .weights.h5 or .h5 file that Keras saved from this very network"
    )


def _transfer(source: Any, target: Any) -> None:
    """Copy the weights of all layers that two variants of one network share."""
    names = canonical_names(source)
    # ConvNeXt normalizes after its last map, or after pooling it when the classifier follows.
    names.setdefault("layer_normalization", names.get(f"{source.name}_head_layernorm"))
    for name, layer in canonical_names(target).items():
        if getattr(layer, "weights", None):
            layer.set_weights(names[name].get_weights())


def _settle(model: Any) -> None:
    """
    Let layers that normalize pixels act on the statistics just loaded.

    The ImageNet files of EfficientNet-B hold standard deviations in place of variances, and
    `keras.applications` makes up for it only when it loads them itself:
    https://github.com/tensorflow/tensorflow/issues/49930
    """
    import keras

    for layer in model.layers:
        if isinstance(layer, keras.layers.Normalization) and layer.weights:
            layer.finalize_state()
            deviations = np.array([0.229, 0.224, 0.225], np.float32)
            if np.allclose(np.ravel(_numbers(layer.variance)), deviations, atol=1e-3):
                layer.variance = layer.variance * deviations


def variables(names: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield the variables of named layers under paths that any process gives them."""
    for name, layer in names.items():
        for index, variable in enumerate(getattr(layer, "weights", ())):
            yield f"{name}/{index}/{variable.name}", variable


def hash_weights(names: Mapping[str, Any], digests: dict[str, str]) -> str:
    """
    Hash the variables of some layers.

    Parameters
    ----------
    names : mapping of str to keras.Operation
        Those that an output depends on, by canonical names.
    digests : dict of str to str
        Hashes already taken, by path; completed here, so that each variable is hashed once.

    Returns
    -------
    str
        SHA-256 in hex over path, dtype, shape and the hash of the bytes of each, sorted by path.
    """
    facts = []
    for path, variable in variables(names):
        if path not in digests:
            digests[path] = hashlib.sha256(_numbers(variable).tobytes()).hexdigest()
        facts.append([path, str(variable.dtype), list(variable.shape), digests[path]])
    return hashlib.sha256(canonical_json(sorted(facts))).hexdigest()


def _numbers(variable: Any) -> NDArray[Any]:
    """Copy a variable or tensor to NumPy."""
    import keras

    numbers: NDArray[Any] = keras.ops.convert_to_numpy(variable)
    return numbers


def _first_line(error: BaseException) -> str:
    """Shorten what another library said to one line."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0].rstrip(".")
