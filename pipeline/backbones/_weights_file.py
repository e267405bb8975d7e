"""Weights from a file of Keras, of either layout, with the classifier or without."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.backbones._backbone import Backbone
from pipeline.backbones._build import build, first_line, numbers
from pipeline.backbones._layers import canonical_names
from pipeline.backbones._weights import Weights, variables
from pipeline.common.errors import BackboneError, WeightsNotFound
from pipeline.common.files import sha256_file
from pipeline.common.foreign import Foreign
from pipeline.common.hdf5 import open_hdf5


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
    model = build(backbone, top=False, size=size)
    source, source_top = model, False
    if stored > len(model.weights):
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
    if top:
        model = source if size == backbone.size else build(backbone, top=True, size=size)
    if model is not source:
        _transfer(source, model)
    settle(model)
    return model, weights


def _count_arrays(backbone: Backbone, path: Path) -> int:
    """Look into a file without Keras; count the arrays that belong to layers."""
    try:
        # Keras reads the file in this process: see first that HDF5 can.
        with Foreign(path) as datasets:
            datasets.look()
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
        raise _foreign(backbone, path, first_line(error)) from error
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
    if not all(np.isfinite(numbers(variable)).all() for variable in model.weights):
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


def put(whole: Any, arrays: Mapping[str, NDArray[np.floating]]) -> None:
    """Give a network weights by the paths that `variables` gives them."""
    own = dict(variables(canonical_names(whole)))
    for path, array in arrays.items():
        own[path].assign(array)
    settle(whole)


def settle(model: Any) -> None:
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
            if np.allclose(np.ravel(numbers(layer.variance)), deviations, atol=1e-3):
                layer.variance = layer.variance * deviations
