"""The extract command that makes a store again, as text to be typed."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline import store
from pipeline.space import Space

_DEFAULT_SHARE = 0.2


def extract_command(
    space: Space,
    *,
    weights: Mapping[str, Any],
    table: store.Table | None,
    layers: Sequence[str],
    dtype: str,
    out: str | Path,
) -> str:
    """
    Write down a command that computes codes like those of a store.

    Parameters
    ----------
    space : Space
        Of the store.
    weights : mapping
        Where the backbone's weights came from.
    table : Table or None
        What says where the images are, and how they were split; without it the command has SOURCE
        in their place.
    layers : sequence of str
        Which codes.
    dtype : str
        How wide they are to be stored.
    out : str or Path
        Where to.

    Returns
    -------
    str
    """
    source: Mapping[str, Any] = table.source if table is not None else {}
    words = ["pipeline", "extract", _place(source), "--backbone", space.backbone]
    if weights["source"] != "imagenet":
        words += ["--weights", str(weights["source"])]
    words += ["--size", str(space.size), "--resize", space.resize]
    for layer in layers:
        words += ["--layer", layer]
    if space.views > 1:
        words += ["--views", str(space.views), "--augment", space.augment]
        words += ["--seed", str(space.augment_seed)]
    if dtype != "float32":
        words += ["--dtype", dtype]
    for name in ("val", "test"):
        if source.get(name, _DEFAULT_SHARE) != _DEFAULT_SHARE:
            words += [f"--{name}", f"{source[name]:g}"]
    if source.get("limit") is not None:
        words += ["--limit", str(source["limit"])]
    return shlex.join([*words, "--out", str(out)])


def _place(source: Mapping[str, Any]) -> str:
    """Return what was typed as SOURCE: a folder, a file or a name."""
    if "location" not in source:
        return "SOURCE"
    location, layout = str(source["location"]), str(source.get("layout", ""))
    manifest = layout.removeprefix("manifest ")
    return location if manifest == layout else str(Path(location) / manifest)
