"""Names of layers: as users type them, and as Keras gives them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from pipeline.backbones._backbone import Backbone
from pipeline.common.errors import BackboneError, nearest


def parse_layer(text: str) -> tuple[str, str]:
    """
    Take a request for a layer apart.

    Parameters
    ----------
    text : str
        ``NAME``, ``avg``, ``NAME:avg`` or ``NAME:max``.

    Returns
    -------
    name : str
        The layer; ``"avg"`` stands for the backbone's last map.
    pooling : {"none", "avg", "max"}
        What is done to its maps; ``"avg"`` alone is the average of the last map.

    Raises
    ------
    BackboneError
        If it is none of the four.

    Examples
    --------
    >>> parse_layer("block3_pool:max")
    ('block3_pool', 'max')
    >>> parse_layer("avg")
    ('avg', 'avg')
    """
    name, colon, pooling = text.partition(":")
    if not name or (colon and (pooling not in ("avg", "max") or name == "avg")):
        raise BackboneError(
            f"expected a layer as NAME, NAME:avg, NAME:max or avg, found '{text}'; "
            "`pipeline backbones` lists the names"
        )
    return name, pooling or ("avg" if name == "avg" else "none")


def canonical_names(model: Any) -> dict[str, Any]:
    """
    Name the operations of a model as a fresh process would.

    Keras counts layers without a name through the whole life of a process (``conv2d_94`` is the
    first one of the second InceptionV3), so the lowest count of each kind is taken as the first.

    Parameters
    ----------
    model : keras.Model
        A functional model.

    Returns
    -------
    dict of str to keras.Operation
        In the order of the forward pass.
    """
    counted: dict[str, int] = {}
    for operation in model.operations:
        kind, count = _automatic_name(operation)
        if kind:
            counted[kind] = min(count, counted.get(kind, count))
    names = {}
    for operation in model.operations:
        kind, count = _automatic_name(operation)
        rank = count - counted.get(kind, 0)
        names[(f"{kind}_{rank}" if rank else kind) if kind else operation.name] = operation
    return names


def _automatic_name(operation: Any) -> tuple[str, int]:
    """Split a name that Keras made up into kind and count; the kind is empty for other names."""
    # keras.src.utils.naming.to_snake_case
    kind = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", type(operation).__name__)
    kind = re.sub("([a-z])([A-Z])", r"\1_\2", kind).lower()
    match = re.fullmatch(rf"{kind}(?:_(\d+))?", operation.name)
    return (kind, int(match[1] or 0)) if match else ("", 0)


def unknown_layer(backbone: Backbone, name: str, names: Iterable[str]) -> BackboneError:
    """Say that a backbone has no such layer, and which it has."""
    candidates = [*backbone.layers, *(known for known in names if known not in backbone.layers)]
    return BackboneError(
        f"expected a layer of {backbone.name}, found '{name}'; nearest: "
        f"{nearest(name, candidates)} (`pipeline backbones {backbone.name}` lists them)"
    )
