"""What is known of a network before it is built."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from pipeline.backbones._preprocessing import Preprocessing


@dataclass(frozen=True, kw_only=True)
class Backbone:
    """
    What is known of a network before it is built.

    Attributes
    ----------
    name : str
        What users type; Keras' own name in lower case, and the width where it is not 1.
    builder : str
        ``module:function`` with the arguments of `keras.applications`.
    arguments : mapping of str to float
        Further arguments of the builder.
    size : int
        Edge of the square input in pixels that the weights were trained with.
    minimum_size : int
        The smallest edge that the builder accepts.
    preprocessing : Preprocessing
        How the pixels are scaled.
    parameters : int
        Numbers in the network without its classifier.
    default : str
        The layer that is taken where none is asked for.
    layers : mapping of str to tuple of int
        The layers worth cutting at and the shape of their codes at the default size, from early
        to late. Any other layer of the network can be asked for too.
    final_map : str
        The layer whose average over all places is ``avg``.
    """

    name: str
    builder: str
    size: int
    preprocessing: Preprocessing
    parameters: int
    layers: Mapping[str, tuple[int, ...]]
    final_map: str
    default: str = "avg"
    minimum_size: int = 32
    arguments: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
