"""A loaded backbone: pixels in, codes out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.backbones._backbone import Backbone
from pipeline.backbones._build import build
from pipeline.backbones._layers import canonical_names, parse_layer, unknown_layer
from pipeline.backbones._preprocessing import preprocess
from pipeline.backbones._tensorflow import compile_forward
from pipeline.backbones._weights import Weights, hash_weights, load_imagenet, randomize
from pipeline.backbones._weights_file import load_file
from pipeline.errors import BackboneError
from pipeline.lazy import import_keras
from pipeline.space import Space


class _Output(NamedTuple):
    """What one request for a layer became."""

    tensor: Any
    pooling: str
    weights_sha256: str


class Network:
    """
    A backbone with weights, compiled for batches of one size; made by `load`.

    Attributes
    ----------
    backbone : Backbone
        The row of the table.
    size : int
        Edge of the square input in pixels.
    batch_size : int
        How many images are computed at once.
    layers : tuple of str
        The requests, as they were typed.
    shapes : mapping of str to tuple of int
        For each request, the shape of one image's codes.
    pooling : mapping of str to str
        For each request, ``"none"``, ``"avg"`` or ``"max"``.
    weights : Weights
        Where the weights came from.
    weights_sha256 : mapping of str to str
        For each request, the hash of all weights between the pixels and its codes.
    engine, precision : str
        ``"tensorflow"`` and ``"float32"``.
    versions : mapping of str to str
        Of tensorflow, keras and numpy.
    """

    engine = "tensorflow"
    precision = "float32"

    def __init__(
        self,
        backbone: Backbone,
        outputs: Mapping[str, _Output],
        forward: Callable[[Any], list[Any]],
        *,
        size: int,
        batch_size: int,
        weights: Weights,
    ) -> None:
        self.backbone = backbone
        self.size = size
        self.batch_size = batch_size
        self.weights = weights
        self.layers = tuple(outputs)
        self.shapes = {key: tuple(out.tensor.shape[1:]) for key, out in outputs.items()}
        self.pooling = {key: out.pooling for key, out in outputs.items()}
        self.weights_sha256 = {key: out.weights_sha256 for key, out in outputs.items()}
        self.versions = {name: version(name) for name in ("tensorflow", "keras", "numpy")}
        self._forward = forward

    def space(self, reading: Mapping[str, Any]) -> Space:
        """
        Say what the numbers of this network mean.

        Parameters
        ----------
        reading : mapping of str to object
            How image files become pixels: the fields of `Space` that a network does not know.

        Returns
        -------
        Space
        """
        return Space(
            backbone=self.backbone.name,
            weights_sha256=self.weights_sha256,
            layers=self.shapes,
            pooling=self.pooling,
            size=self.size,
            preprocessing=self.backbone.preprocessing.value,
            **reading,
        )

    def __call__(self, pixels: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
        """
        Compute the codes of some images.

        Whatever their number, the network sees full batches (zeros are added to the last),
        because kernels chosen for another batch size give other last bits.

        Parameters
        ----------
        pixels : uint8 array of shape (b, size, size, 3)
            Upright RGB; it is not changed.

        Returns
        -------
        dict of str to float32 array of shape (b, ...)
            The codes of each requested layer.

        Raises
        ------
        ValueError
            If the pixels have another dtype or shape.
        """
        image = (self.size, self.size, 3)
        if pixels.dtype != np.uint8 or pixels.shape[1:] != image or not len(pixels):
            raise ValueError(f"expected uint8 (b, {image}), found {pixels.dtype} {pixels.shape}")
        step = self.batch_size
        blocks = [self._batch(pixels[i : i + step]) for i in range(0, len(pixels), step)]
        if len(blocks) == 1:
            return blocks[0]
        return {name: np.concatenate([block[name] for block in blocks]) for name in self.layers}

    def _batch(self, pixels: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
        """Compute the codes of at most one batch."""
        count = len(pixels)
        if count < self.batch_size:
            padding = np.zeros((self.batch_size - count, *pixels.shape[1:]), np.uint8)
            pixels = np.concatenate([pixels, padding])
        codes = self._forward(preprocess(pixels, self.backbone.preprocessing))
        return {
            layer: tensor.numpy()[:count] for layer, tensor in zip(self.layers, codes, strict=True)
        }


def load(
    backbone: Backbone,
    *,
    weights: str = "imagenet",
    layers: Sequence[str],
    size: int | None = None,
    batch_size: int = 32,
) -> Network:
    """
    Build a backbone with its weights and compile it up to the layers asked for.

    Parameters
    ----------
    backbone : Backbone
        A row of the table, see `find`.
    weights : str, default "imagenet"
        ``"imagenet"``, ``"random"`` (the same numbers in every process), or the path of a Keras
        ``.weights.h5`` or a classic ``.h5`` file, with the classifier or without.
    layers : sequence of str
        Where to cut: ``NAME``, ``avg``, ``NAME:avg`` or ``NAME:max``; at least one.
    size : int, optional
        Edge of the square input in pixels; the backbone's own by default.
    batch_size : int, default 32
        How many images are computed at a time; fewer are filled up with zeros.

    Returns
    -------
    Network

    Raises
    ------
    WeightsNotFound
        If the weights are neither on this machine nor within reach.
    BackboneError
        If a layer is unknown, the size too small, or the weights are of another network.
    """
    size = backbone.size if size is None else size
    requests = _check(backbone, layers, size=size, batch_size=batch_size)
    import_keras()
    top = _needs_top(backbone, [name for name, _ in requests.values()], size=size)
    model, origin = _weighted(backbone, weights, top=top, size=size)
    outputs = _cut(backbone, model, requests)
    headless = _model(model, [output.tensor for output in outputs.values()])
    forward = compile_forward(headless, batch_size=batch_size, size=size)
    return Network(backbone, outputs, forward, size=size, batch_size=batch_size, weights=origin)


def _check(
    backbone: Backbone, layers: Sequence[str], *, size: int, batch_size: int
) -> dict[str, tuple[str, str]]:
    """Check a request without Keras; map each text to layer and pooling."""
    if size < backbone.minimum_size:
        raise BackboneError(
            f"expected a size of at least {backbone.minimum_size} for {backbone.name}, "
            f"found {size}; its own is {backbone.size}"
        )
    if batch_size < 1:
        raise BackboneError(f"expected a batch size of at least 1, found {batch_size}")
    if not layers:
        raise BackboneError(
            f"expected at least one layer, found none; the default is {backbone.default}"
        )
    return {text: parse_layer(text) for text in layers}


def _needs_top(backbone: Backbone, names: Sequence[str], *, size: int) -> bool:
    """Tell whether any layer is part of the classifier; refuse unknown ones before a download."""
    wanted = [name for name in names if name != "avg"]
    if all(len(backbone.layers.get(name, ())) == 3 for name in wanted):
        return False
    body = canonical_names(build(backbone, top=False, size=size))
    beyond = [name for name in wanted if name not in body]
    if not beyond:
        return False
    whole = canonical_names(build(backbone, top=True, size=backbone.size))
    for name in wanted:
        if name not in whole:
            raise unknown_layer(backbone, name, {**body, **whole})
    if size != backbone.size:
        raise BackboneError(
            f"expected size {backbone.size} for layer '{beyond[0]}' of {backbone.name}, "
            f"found {size}; drop --size, or choose a layer before the classifier"
        )
    return True


def _weighted(backbone: Backbone, weights: str, *, top: bool, size: int) -> tuple[Any, Weights]:
    """Build the network and give it its weights."""
    if weights == "imagenet":
        return load_imagenet(backbone, top=top, size=size)
    if weights != "random":
        return load_file(backbone, Path(weights).expanduser(), top=top, size=size)
    model = build(backbone, top=top, size=size)
    randomize(model)
    return model, Weights(source="random")


def _cut(
    backbone: Backbone, model: Any, requests: Mapping[str, tuple[str, str]]
) -> dict[str, _Output]:
    """Find the tensor of each request."""
    names = canonical_names(model)
    digests: dict[str, str] = {}
    outputs = {}
    for text, (name, pooling) in requests.items():
        layer = backbone.final_map if name == "avg" else name
        if layer not in names:
            raise unknown_layer(backbone, layer, names)
        tensor = _pool(backbone, names[layer].output, text, pooling)
        needed = {id(operation) for operation in _model(model, tensor).operations}
        used = {key: operation for key, operation in names.items() if id(operation) in needed}
        outputs[text] = _Output(tensor, pooling, hash_weights(used, digests))
    return outputs


def _pool(backbone: Backbone, tensor: Any, text: str, pooling: str) -> Any:
    """Average or maximize a map over its places."""
    from keras import layers

    if pooling == "none":
        return tensor
    if len(tensor.shape) != 4:
        raise BackboneError(
            f"expected a layer with maps for pooling, found '{text}' of {backbone.name} with "
            f"codes of shape {tuple(tensor.shape[1:])}; ask for it without :{pooling}"
        )
    pool = layers.GlobalAveragePooling2D if pooling == "avg" else layers.GlobalMaxPooling2D
    return pool()(tensor)


def _model(model: Any, outputs: Any) -> Any:
    """Make a model of what leads from the pixels to some tensors."""
    import keras

    return keras.Model(model.inputs[0], outputs)
