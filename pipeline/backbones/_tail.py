"""The upper layers of a backbone, from a block boundary to where it is cut, to be trained further.

What a network computes from a map that every path runs through depends on nothing below that map:
trained on cached codes of the map, the layers above are the same as if the whole network had run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.backbones._backbone import Backbone
from pipeline.backbones._build import build, numbers
from pipeline.backbones._cut import connect, cut, needs_top, tensor_of, weighted
from pipeline.backbones._folding import copy_weights, folded
from pipeline.backbones._layers import canonical_names, parse_layer, unknown_layer
from pipeline.backbones._preprocessing import from_pixels
from pipeline.backbones._tensorflow import BATCH_SIZE, in_bfloat16, trains_in_bfloat16
from pipeline.backbones._weights import variables
from pipeline.backbones._weights_file import put
from pipeline.common.choices import Precision
from pipeline.common.errors import BackboneError
from pipeline.common.lazy import in_batches

INPUT = "input"


class Tail:
    """
    The layers of a backbone above a boundary; made by `load_tail` or `rebuild_tail`.

    Attributes
    ----------
    start, stop : str
        The boundary, and the layer whose codes come out, pooled where the name says so.
    shape : tuple of int
        Of one image's codes at the boundary; of `INPUT` its pixels.
    model : keras.Model
        Maps float32 (b, *shape) to codes (b, ...). Batch statistics and dropout rest.
    precision : Precision
        What they are trained in; `model` computes in float32.
    weights_sha256 : mapping of str to str
        For `start` and `stop`, the hash of all weights between the pixels and these codes, as
        they were loaded; empty for a rebuilt one.
    """

    def __init__(self, backbone: Backbone, whole: Any, start: str, stop: str) -> None:
        self.start, self.stop = start, stop
        self.precision = Precision.float32
        self.weights_sha256: Mapping[str, str] = {}
        self._backbone, self._whole = backbone, whole
        names = canonical_names(whole)
        last = tensor_of(backbone, names, stop)
        first = whole.inputs[0] if start == INPUT else names[start].output
        self._network = self._trained = connect(first, last)
        self.model = self._from_codes(self._network)
        self.shape: tuple[int, ...] = tuple(self.model.inputs[0].shape[1:])
        self._compiled: Callable[[NDArray[np.float32]], NDArray[np.float32]] | None = None

    def __call__(self, codes: NDArray[np.float32]) -> NDArray[np.float32]:
        """
        Compute the codes that come out.

        Parameters
        ----------
        codes : float32 array of shape (b, *shape)

        Returns
        -------
        float32 array of shape (b, ...)
        """
        if self._compiled is None:
            self._compiled = in_batches(self.model, shape=self.shape, batch_size=BATCH_SIZE)
        return self._compiled(np.asarray(codes, np.float32))

    def arrays(self) -> dict[str, NDArray[np.float32]]:
        """Copy the weights, by paths that name them in every process."""
        return {path: numbers(variable) for path, variable in self._variables()}

    def assign(self, arrays: Mapping[str, NDArray[np.floating]]) -> None:
        """
        Replace the weights.

        Raises
        ------
        BackboneError
            If these are the weights of other layers.
        """
        found = {path: array.shape for path, array in arrays.items()}
        if found != {path: tuple(variable.shape) for path, variable in self._variables()}:
            raise BackboneError(
                f"expected the weights of the layers above {self.start}, found those of others"
            )
        put(self._whole, arrays)

    @property
    def count(self) -> int:
        """How many numbers are trained: all but the statistics of batches."""
        return sum(int(np.prod(v.shape)) for v in self.model.trainable_variables)

    @property
    def activations(self) -> int:
        """How many numbers are computed of one image."""
        outputs = [each for op in self._network.operations for each in _flat(op.output)]
        return sum(int(np.prod(each.shape[1:])) for each in outputs)

    def training_model(self) -> Any:
        """
        Return the layers as a keras.Model whose weights may be trained.

        Its batch statistics rest, and it computes faster than `model` does; see `folded`.
        """
        low = self.precision is Precision.bfloat16
        self._trained = folded(in_bfloat16(self._network, pooling=False) if low else self._network)
        return self._from_codes(self._trained)

    def learn(self) -> None:
        """Take over the weights of the model that `training_model` returned."""
        if self._trained is not self._network:
            copy_weights(self._trained, self._network)

    def choose(self, precision: Precision) -> None:
        """Train in bfloat16 where that is asked for, or pays and nothing is said."""
        if precision is Precision.auto and trains_in_bfloat16(self._network):
            precision = Precision.bfloat16
        low = precision is Precision.bfloat16
        self.precision = Precision.bfloat16 if low else Precision.float32

    def _from_codes(self, network: Any) -> Any:
        """Put the preprocessing in front where the codes are pixels."""
        if self.start != INPUT:
            return network
        size, preprocessing = network.inputs[0].shape[1], self._backbone.preprocessing
        return from_pixels(network, preprocessing, size=size, dtype="float32")

    def _variables(self) -> Iterator[tuple[str, Any]]:
        """Yield the variables that are numbers of the network, by path."""
        own = {id(variable) for variable in self.model.weights}
        for path, variable in variables(canonical_names(self._whole)):
            if id(variable) in own and variable.dtype.startswith("float"):
                yield path, variable


def load_tail(
    backbone: Backbone,
    *,
    start: str,
    stop: str,
    size: int,
    weights: str,
    precision: Precision = Precision.float32,
) -> Tail:
    """
    Build the layers above a boundary with the weights of the backbone.

    Parameters
    ----------
    backbone : Backbone
    start : str
        A block boundary, see `boundaries`, or `INPUT` for the whole network.
    stop : str
        A layer as for `load`.
    size : int
        Edge of the input in pixels.
    weights : str
        As for `load`.
    precision : Precision, default Precision.float32
        What the layers are trained in; ``auto`` is bfloat16 where it is faster.

    Returns
    -------
    Tail

    Raises
    ------
    BackboneError
        If the start is no boundary below the stop; the message names those that are.
    WeightsNotFound
        If the weights are neither on this machine nor within reach.
    """
    _check(backbone, start, stop, size=size)
    top = needs_top(backbone, [parse_layer(stop)[0]], size=size)
    whole, _ = weighted(backbone, weights, top=top, size=size)
    tail = Tail(backbone, whole, start, stop)
    tail.choose(precision)
    asked = {text: parse_layer(text) for text in (start, stop) if text != INPUT}
    _, outputs = cut(backbone, whole, asked)
    tail.weights_sha256 = {text: output.weights_sha256 for text, output in outputs.items()}
    return tail


def rebuild_tail(
    backbone: Backbone,
    *,
    start: str,
    stop: str,
    size: int,
    arrays: Mapping[str, NDArray[np.floating]],
) -> Tail:
    """
    Build the layers above a boundary with weights of their own, as `Tail.arrays` gave them.

    Raises
    ------
    BackboneError
        If the weights are not those of these layers.
    """
    top = needs_top(backbone, [parse_layer(stop)[0]], size=size)
    tail = Tail(backbone, build(backbone, top=top, size=size), start, stop)
    tail.assign(arrays)
    return tail


def boundaries(backbone: Backbone, *, stop: str, size: int) -> tuple[str, ...]:
    """
    Name where a network can be parted below `stop`: maps that every path runs through.

    Parameters
    ----------
    backbone : Backbone
    stop : str
        A layer as for `load`.
    size : int
        Edge of the input in pixels.

    Returns
    -------
    tuple of str
        `INPUT`, then the maps of the table with weights above them, from early to late.
    """
    name, _ = parse_layer(stop)
    top = needs_top(backbone, [name], size=size)
    whole = build(backbone, top=top, size=size)
    names = canonical_names(whole)
    last = backbone.final_map if name == "avg" else name
    if last not in names:
        raise unknown_layer(backbone, last, names)
    tensor = names[last].output
    maps = [layer for layer, shape in backbone.layers.items() if len(shape) == 3]
    good = [layer for layer in maps if _parts(whole, names[layer].output, tensor)]
    return (INPUT, *good)


def _check(backbone: Backbone, start: str, stop: str, *, size: int) -> None:
    known = boundaries(backbone, stop=stop, size=size)
    if start not in known:
        raise BackboneError(
            f"expected a block boundary of {backbone.name} below {stop} ({', '.join(known)}), "
            f"found '{start}'"
        )


def _parts(whole: Any, tensor: Any, last: Any) -> bool:
    """Whether every path to `last` runs through `tensor`, and weights lie between the two."""
    above = connect(whole.inputs[0], last).operations
    below = {id(operation) for operation in connect(whole.inputs[0], tensor).operations}
    if not below < {id(operation) for operation in above}:
        return False
    made = {
        id(each)
        for operation in whole.operations
        if id(operation) in below
        for each in _flat(operation.output)
    } - {id(tensor)}
    rest = [operation for operation in above if id(operation) not in below]
    return all(
        id(each) not in made for operation in rest for each in _flat(operation.input)
    ) and any(getattr(operation, "weights", ()) for operation in rest)


def _flat(tensors: Any) -> list[Any]:
    if isinstance(tensors, list | tuple):
        return [each for some in tensors for each in _flat(some)]
    return [tensors]
