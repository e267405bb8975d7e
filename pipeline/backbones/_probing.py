"""Whether a network computes what it should: its codes of the probe images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pipeline.backbones._backbone import Backbone
from pipeline.backbones._layers import parse_layer
from pipeline.common.choices import Precision
from pipeline.common.errors import BackboneError, SpaceMismatch
from pipeline.common.space import check_probe

if TYPE_CHECKING:
    from pipeline.backbones._network import Network


def too_far(network: Network) -> str:
    """Say why an engine or a precision is not used."""
    return (
        f"note: {network.engine} in {network.precision} moves this network's codes too far from "
        "TensorFlow's in float32 on the probe images, and is not used"
    )


def agrees(network: Network, probe: NDArray[np.uint8]) -> bool:
    """Whether a network gives the codes of its reference."""
    network.probed = network(probe)
    exact = network.precision == Precision.float32.value
    try:
        for layer, kept in network.reference.items():
            check_probe(kept, network.probed[layer], layer=layer, exact=exact)
    except SpaceMismatch:
        return False
    return True


def checked(
    backbone: Backbone, layers: Sequence[str], *, size: int, batch_size: int | None
) -> dict[str, tuple[str, str]]:
    """Check a request without Keras; map each text to layer and pooling."""
    if size < backbone.minimum_size:
        raise BackboneError(
            f"expected a size of at least {backbone.minimum_size} for {backbone.name}, "
            f"found {size}; its own is {backbone.size}"
        )
    if batch_size is not None and batch_size < 1:
        raise BackboneError(f"expected a batch size of at least 1, found {batch_size}")
    if not layers:
        raise BackboneError(
            f"expected at least one layer, found none; the default is {backbone.default}"
        )
    return {text: parse_layer(text) for text in layers}
