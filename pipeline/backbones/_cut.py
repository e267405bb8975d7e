"""A network with weights, cut at layers."""

from __future__ import annotations

import gc
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.backbones._backbone import Backbone
from pipeline.backbones._build import build
from pipeline.backbones._exported import NetworkOutput
from pipeline.backbones._layers import canonical_names, parse_layer, unknown_layer
from pipeline.backbones._sharing import key_of, once
from pipeline.backbones._weights import Weights, hash_weights, load_imagenet, randomize
from pipeline.backbones._weights_file import load_file
from pipeline.common.choices import Pool
from pipeline.common.errors import BackboneError
from pipeline.common.lazy import pooling_layer


def needs_top(backbone: Backbone, names: Sequence[str], *, size: int) -> bool:
    """Tell whether any layer is part of the classifier; refuse unknown ones before a download."""
    wanted = [name for name in names if name != "avg"]
    if all(len(backbone.layers.get(name, ())) == 3 for name in wanted):
        return False
    body = canonical_names(build(backbone, top=False, size=size))
    beyond = [name for name in wanted if name not in body]
    if not beyond:
        return False
    whole = list(canonical_names(build(backbone, top=True, size=backbone.size)))
    gc.collect()  # a Keras model refers to itself, and VGG16's takes 1.4 GB
    for name in wanted:
        if name not in whole:
            raise unknown_layer(backbone, name, {*body, *whole})
    if size != backbone.size:
        raise BackboneError(
            f"expected size {backbone.size} for layer '{beyond[0]}' of {backbone.name}, "
            f"found {size}; drop --size, or choose a layer before the classifier"
        )
    return True


def weighted(backbone: Backbone, weights: str, *, top: bool, size: int) -> tuple[Any, Weights]:
    """Build the network and give it its weights."""
    if weights == "imagenet":
        return load_imagenet(backbone, top=top, size=size)
    if weights != "random":
        return load_file(backbone, Path(weights).expanduser(), top=top, size=size)
    model = build(backbone, top=top, size=size)
    randomize(model)
    return model, Weights(source="random")


def shared(backbone: Backbone, weights: str, *, top: bool, size: int) -> tuple[Any, Weights]:
    """Do the same for those who leave the weights as they are; inside `sharing` only once."""

    def make() -> tuple[Any, Weights]:
        return weighted(backbone, weights, top=top, size=size)

    if weights not in ("imagenet", "random") and not Path(weights).expanduser().is_file():
        return make()  # which says what is wrong
    return once("network", key_of(backbone, weights, top=top, size=size), make)


def cut(
    backbone: Backbone, model: Any, requests: Mapping[str, tuple[str, str]]
) -> tuple[list[Any], dict[str, NetworkOutput]]:
    """Find the tensor of each request, and what is to be known of it."""
    names = canonical_names(model)
    digests: dict[str, str] = {}
    tensors, outputs = [], {}
    for text, (_, pooling) in requests.items():
        tensor = tensor_of(backbone, names, text)
        below = connect(model.inputs[0], tensor).operations
        needed = {id(operation) for operation in below}
        used = {key: operation for key, operation in names.items() if id(operation) in needed}
        tensors.append(tensor)
        outputs[text] = NetworkOutput(
            shape=tuple(tensor.shape[1:]),
            pooling=pooling,
            weights_sha256=hash_weights(used, digests),
        )
    return tensors, outputs


def tensor_of(backbone: Backbone, names: Mapping[str, Any], text: str) -> Any:
    """Find the tensor of a request among the operations of a network, pooled as it says."""
    name, pooling = parse_layer(text)
    layer = backbone.final_map if name == "avg" else name
    if layer not in names:
        raise unknown_layer(backbone, layer, names)
    return _pool(backbone, names[layer].output, text, pooling)


def _pool(backbone: Backbone, tensor: Any, text: str, pooling: str) -> Any:
    """Average or maximize a map over its places."""
    if pooling == "none":
        return tensor
    if len(tensor.shape) != 4:
        raise BackboneError(
            f"expected a layer with maps for pooling, found '{text}' of {backbone.name} with "
            f"codes of shape {tuple(tensor.shape[1:])}; ask for it without :{pooling}"
        )
    return pooling_layer(Pool(pooling))(tensor)


def connect(inputs: Any, outputs: Any) -> Any:
    """Make a model of what leads from one tensor to others."""
    import keras

    return keras.Model(inputs, outputs)
