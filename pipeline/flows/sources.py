"""Which images are meant: a source, looked at by the options that say how it is to be read."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypedDict

from pipeline import images
from pipeline.common.choices import Folders
from pipeline.common.errors import SourceError
from pipeline.common.listener import Tell
from pipeline.flows.codes_config import CodesConfig, CodesOptions
from pipeline.flows.remarks import describe


class SourceOptions(TypedDict, total=False):
    """
    How a source is read; every option may be left out.

    Attributes
    ----------
    limit : str, int or None
        Use only so many images: ``"500"``, or by split ``"train=2000,test=1000"``.
    follow_links : bool
        Whether to read what links in the source lead to outside of it.
    folders : Folders or str
        Whether the folders in the source are splits or classes, where their names leave that open.
    root : str, Path or None
        The folder that the paths in a manifest or a table are relative to, if not its own.
    columns : str, mapping of str to str, or None
        Names of its columns, such as ``"path=filename,label=class"``.
    """

    limit: str | int | None
    follow_links: bool
    folders: Folders | str
    root: str | Path | None
    columns: str | Mapping[str, str] | None


def find_source(source: Any, how: SourceOptions, tell: Tell) -> images.Source:
    """Look at a source, and say what was understood."""
    found = images.find(
        source,
        follow_links=how.get("follow_links", False),
        folders=how.get("folders", Folders.auto),
        root=how.get("root"),
        columns=how.get("columns"),
    )
    if (limit := how.get("limit")) is not None:
        found = found.limited(images.parse_limit(str(limit)))
    describe(found, tell)
    return found


def manifest_options(source: Any, how: SourceOptions) -> dict[str, str]:
    """Return what is typed to read a manifest again."""
    names = images.parse_columns(how.get("columns"))
    changed = ",".join(f"{name}={column}" for name, column in names.items() if name != column)
    kept = {"columns": changed} if changed else {}
    if (root := how.get("root")) is not None:
        kept["root"] = str(Path(root).absolute())
    if isinstance(source, (str, Path)) and Path(source).suffix.lower() in (".csv", ".tsv"):
        kept["manifest"] = str(Path(source).absolute())
    return kept


class ExtractOptions(CodesOptions, SourceOptions, total=False):
    """Which codes are asked for, and how the source is read."""


def parse_options(options: ExtractOptions) -> tuple[CodesConfig, SourceOptions]:
    """Tell what concerns the codes from what concerns the source."""
    ours = SourceOptions.__annotations__.keys()
    how: Any = {name: value for name, value in options.items() if name in ours}
    codes: Any = {name: value for name, value in options.items() if name not in ours}
    return CodesConfig.parse(codes), how


def check_shares(val: float, test: float) -> None:
    """Raise SourceError unless shares of validation and test leave something to train on."""
    if not (val >= 0 and test >= 0 and val + test < 1):
        raise SourceError(
            f"expected shares --val and --test of 0 or more that leave images to train on, "
            f"found {val:g} and {test:g}; try --val 0.2 --test 0.2"
        )


def parse_bound(text: str) -> Callable[[int], int]:
    """Understand ``"1%"`` and ``"10"`` as a bound on a count."""
    try:
        number = float(text.removesuffix("%"))
    except ValueError:
        number = -1.0
    if not 0 <= number < math.inf:
        raise SourceError(
            f"expected --max-rejected as a number or a share, found '{text}'; try 1% or 10"
        )
    if text.endswith("%"):
        return lambda count: int(count * number / 100)
    return lambda count: int(number)
