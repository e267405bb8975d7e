"""The numbers of a network: where they come from, and their hash."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from importlib import import_module
from typing import Any

import numpy as np

from pipeline.backbones._backbone import Backbone
from pipeline.backbones._build import build, first_line, numbers
from pipeline.backbones._layers import canonical_names
from pipeline.common.errors import PipelineError, WeightsNotFound
from pipeline.common.files import canonical_json


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
            f"({first_line(error)}); give a file by --weights PATH, or take "
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


def variables(names: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """
    Yield the variables of named layers under paths that any process gives them.

    Keras counts variables without a name (ConvNeXt's scales) through the whole life of a process,
    so the lowest count is taken as the first.
    """
    found = [
        (name, index, variable)
        for name, layer in names.items()
        for index, variable in enumerate(getattr(layer, "weights", ()))
    ]
    counts = [_count(variable.name) for _, _, variable in found]
    lowest = min((count for count in counts if count is not None), default=0)
    for (name, index, variable), count in zip(found, counts, strict=True):
        own = variable.name
        if count is not None:
            own = f"variable_{count - lowest}" if count > lowest else "variable"
        yield f"{name}/{index}/{own}", variable


def _count(name: str) -> int | None:
    """Return the count in a name that Keras made up for a variable."""
    match = re.fullmatch(r"variable(?:_(\d+))?", name)
    return int(match[1] or 0) if match else None


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
            digests[path] = hashlib.sha256(numbers(variable).tobytes()).hexdigest()
        facts.append([path, str(variable.dtype), list(variable.shape), digests[path]])
    return hashlib.sha256(canonical_json(sorted(facts))).hexdigest()
