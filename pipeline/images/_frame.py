"""Tables in memory as sources: data frames, columns in a dict, lists of paths and labels."""

from __future__ import annotations

import math
import numbers
import os
from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.common.errors import SourceError

from ._columns import KNOWN, WANTED, Line, absent_columns, as_bytes, missing_columns, source_of
from ._files import FileSource

_WHOLE = 2.0**53  # below it floating point numbers hold every whole number


def read(
    source: object, *, names: Mapping[str, str], root: str | None, look: bool = True
) -> FileSource | None:
    """
    Return the source, or None if this is no table.

    Parameters
    ----------
    source : object
        A DataFrame of pandas or polars, or a dict of columns; a pair of lists, of paths and of
        labels; a list of such pairs; or a list of paths alone.
    names : mapping of str to str
        From `parse_columns`.
    root : str or None
        The folder that the paths are relative to; None for the working directory.
    look : bool, default True
        Whether the files must be there.

    Raises
    ------
    SourceError
        If columns are missing, rows cannot be understood, or nothing that they name is there.
    """
    columns, unused = _columns(source, names)
    if columns is None:
        return None
    lengths = {name: len(column) for name, column in columns.items()}
    if len(set(lengths.values())) != 1:
        found = ", ".join(f"{count} {name}s" for name, count in lengths.items())
        raise SourceError(f"expected as many labels as paths, found {found}; make them agree")
    rows = zip(*(columns.get(name) or [""] * lengths["path"] for name in KNOWN), strict=True)
    lines = [
        Line(_path(path, place), _text(label), _text(split), as_bytes(_text(group)))
        for place, (path, label, split, group) in enumerate(rows)
    ]
    if not lines:
        raise SourceError("expected one image per row, found a table without rows; add some")
    return source_of(
        lines,
        layout="table in memory",
        location=os.getcwd() if root is None else root,
        where=lambda place: f"row {place}",
        grouped="group" in columns,
        unused=unused,
        look=look,
    )


def _columns(
    source: object, names: Mapping[str, str]
) -> tuple[dict[str, list[Any]] | None, list[str]]:
    """Return the columns that are there, as lists, and the names of others."""
    if isinstance(source, Mapping) or (hasattr(source, "columns") and hasattr(source, "shape")):
        table: Any = source
        there = list(table) if isinstance(source, Mapping) else list(table.columns)
        absent_columns(names, [str(column) for column in there], "the table")
        known = {str(column).strip().lower(): column for column in there}
        if not {names[name].lower() for name in WANTED} <= set(known):
            raise missing_columns([str(column) for column in there], names, "the table")
        chosen = {name: known.get(column.lower()) for name, column in names.items()}
        used = {name: list(table[key]) for name, key in chosen.items() if key is not None}
        return used, [str(column) for column in there if column not in chosen.values()]
    if not isinstance(source, Sequence) or isinstance(source, (str, bytes)):
        return None, []
    if isinstance(source, list) and source and all(_is_pair(part) for part in source):
        return {"path": [path for path, _ in source], "label": [label for _, label in source]}, []
    if len(source) == 2 and all(_is_list(part) for part in source):
        return {"path": list(source[0]), "label": list(source[1])}, []
    return {"path": list(source)}, []


def _is_pair(value: object) -> bool:
    """Whether a value is a path with its label."""
    return isinstance(value, tuple) and len(value) == 2 and not _is_list(value[0])


def _is_list(value: object) -> bool:
    return hasattr(value, "__len__") and not isinstance(value, (str, bytes, os.PathLike))


def _path(value: object, place: int) -> bytes:
    if isinstance(value, (str, bytes, os.PathLike)):
        return os.fsencode(value)
    raise SourceError(
        f"expected a path in row {place}, found {type(value).__name__}; name files by their paths"
    )


def _text(value: object) -> str:
    """Return a label or a name as a CSV would have it; nothing for what is missing."""
    if _is_list(value):
        raise SourceError(
            f"expected one class for each image, found several ({str(value)[:80]!r}); keep one of "
            "them"
        )
    if value is None or (isinstance(value, numbers.Real) and math.isnan(value)):
        return ""
    if isinstance(value, bytes):
        return os.fsdecode(value).strip()
    number = float(value) if isinstance(value, numbers.Real) else math.nan
    if number.is_integer() and not isinstance(value, bool) and abs(number) < _WHOLE:
        return str(int(number))  # a column of whole numbers with gaps becomes one of floats
    text = str(value).strip()
    return "" if text in ("<NA>", "NaT") else text
