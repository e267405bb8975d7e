"""The extract command that makes a store again, as text to be typed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.common.files import command_line
from pipeline.common.space import Space

# For validation, and for test, where a source does not say.
DEFAULT_SHARE = 0.2


def extract_command(
    space: Space,
    *,
    weights: Mapping[str, Any],
    source: Mapping[str, Any],
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
    source : mapping
        What a table says of where the images are, and how they were split; if empty, the command
        has SOURCE in their place.
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
    same = ["--backbone", space.backbone]
    if weights["source"] != "imagenet":
        same += ["--weights", str(weights["source"])]
    same += ["--size", str(space.size), "--resize", space.resize]
    for layer in layers:
        same += ["--layer", layer]
    if space.views > 1:
        same += ["--views", str(space.views), "--augment", space.augment]
        same += ["--seed", str(space.augment_seed)]
    if dtype != "float32":
        same += ["--dtype", dtype]
    commands: list[str] = []
    for each in (source, *source.get("added", ())):
        words = ["pipeline", "extract", _place(each), *same, *_how(each)]
        words += ["--add"] * bool(commands)
        commands.append(command_line([*words, "--out", str(out)]))
    return " && ".join(commands)


def _how(source: Mapping[str, Any]) -> list[str]:
    """Return the options that say how a source is read and split."""
    words: list[str] = []
    # Earlier versions did not write down what was asked for.
    given = {name: source[name] for name in ("val", "test") if name in source}
    changed = {name: share for name, share in given.items() if share != DEFAULT_SHARE}
    for name, share in source.get("asked", changed).items():
        words += [f"--{name}", str(share)]
    if source.get("limit") is not None:
        words += ["--limit", str(source["limit"])]
    if source.get("folders", "auto") != "auto":
        words += ["--folders", str(source["folders"])]
    for name in ("root", "columns"):
        if source.get(name) is not None:
            words += [f"--{name}", str(source[name])]
    return words + ["--follow-links"] * bool(source.get("follow_links"))


def _place(source: Mapping[str, Any]) -> str:
    """Return what was typed as SOURCE: a folder, a file or a name."""
    if "location" not in source:
        return "SOURCE"
    if "manifest" in source:
        return str(source["manifest"])
    location, layout = str(source["location"]), str(source.get("layout", ""))
    if layout == "table in memory":
        return "SOURCE"
    manifest = layout.removeprefix("manifest ")
    return location if manifest == layout else str(Path(location) / manifest)
