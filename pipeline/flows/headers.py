"""What a store says of its codes, and how it differs from what is asked for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pipeline import backbones, store
from pipeline.common.choices import Dtype
from pipeline.common.errors import SpaceMismatch
from pipeline.common.files import sha256_file
from pipeline.common.space import Space
from pipeline.flows.codes_config import CodesConfig


def header_of(network: backbones.Network, space: Space, *, dtype: Dtype) -> store.Header:
    """Return what a store says of codes of a space, by the network that computes them."""
    return store.Header(
        space=space,
        weights=network.weights.to_json(),
        batch_size=network.batch_size,
        engine=network.engine,
        precision=network.precision,
        versions=network.versions,
        dtype=dtype,
    )


def differences_of(header: store.Header, request: CodesConfig) -> list[str]:
    """Compare a store with what is asked for, as far as that needs no network."""
    kept = header.space.to_json() | {
        "layers": ", ".join(sorted(header.space.layers)),
        "dtype": header.dtype.value,
    }
    return [
        f"{name}: {kept.get(name, 'none')} there, {value} asked for"
        for name, value in asked(request).items()
        if kept.get(name) != value
    ]


def asked(request: CodesConfig) -> dict[str, Any]:
    """Return what must be as it was, as far as it is known before the network is loaded."""
    return {
        "backbone": request.backbone.name,
        "layers": ", ".join(sorted(request.layers)),
        "size": request.size,
        "resize": request.resize.value,
        **request.policy,
        **request.views.policy,
        "dtype": request.dtype.value,
    }


def same_weights(kept: Mapping[str, Any], asked: str) -> bool:
    """Whether the weights asked for are those that the store was made with."""
    if asked in ("imagenet", "random"):
        return bool(kept["source"] == asked)
    path = Path(asked).expanduser()
    return path.is_file() and kept["file_sha256"] == sha256_file(path)


def mismatch(folder: Path, differences: Iterable[str]) -> SpaceMismatch:
    """Return the error for codes of another space."""
    return SpaceMismatch(
        f"expected codes of the space of {folder}, found another ({'; '.join(differences)}); "
        "choose another place with --out"
    )
