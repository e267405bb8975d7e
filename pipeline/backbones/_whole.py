"""A backbone as one ordinary Keras model, from pixels to codes, for exports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.backbones._backbone import Backbone
from pipeline.backbones._cut import connect, needs_top, shared, tensor_of, weighted
from pipeline.backbones._layers import canonical_names
from pipeline.backbones._preprocessing import from_pixels
from pipeline.backbones._probing import checked
from pipeline.backbones._weights_file import put
from pipeline.common.lazy import import_keras


def codes_model(
    backbone: Backbone,
    *,
    weights: str = "imagenet",
    layers: Sequence[str],
    size: int | None = None,
    tuned: Mapping[str, NDArray[np.floating]] | None = None,
) -> Any:
    """
    Build a backbone as one Keras model that needs nothing of this package.

    Parameters
    ----------
    backbone, weights, size
        As for `load`.
    layers : sequence of str
        Where to cut: ``NAME``, ``avg``, ``NAME:avg`` or ``NAME:max``; at least one.
    tuned : mapping of str to array, optional
        Weights that were trained further, as `Tail.arrays` gave them; they are put back into the
        network.

    Returns
    -------
    keras.Model
        From uint8 pixels (None, size, size, 3), as the decoder gives them, to float32 codes; of
        several layers to a list of them.

    Raises
    ------
    WeightsNotFound, BackboneError
        As `load` does.
    """
    import_keras()
    size = backbone.size if size is None else size
    asked = checked(backbone, layers, size=size, batch_size=None)
    top = needs_top(backbone, [name for name, _ in asked.values()], size=size)
    if tuned is None:
        whole, _ = shared(backbone, weights, top=top, size=size)
    else:
        whole, _ = weighted(backbone, weights, top=top, size=size)
        put(whole, tuned)
    names = canonical_names(whole)
    tensors = [tensor_of(backbone, names, layer) for layer in layers]
    codes = tensors if len(tensors) > 1 else tensors[0]
    return from_pixels(connect(whole.inputs[0], codes), backbone.preprocessing, size=size)
