"""A manifest: a CSV or TSV file with one image per line."""

from __future__ import annotations

import codecs
import csv
import os
from array import array
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import IO, Any

from pipeline.common.errors import SourceError

from ._columns import (
    WANTED,
    Line,
    absent_columns,
    as_bytes,
    missing_columns,
    parse_columns,
    resolved,
    source_of,
)
from ._files import FileSource
from ._text import printable

_EXTENSIONS = {".csv": ",", ".tsv": "\t"}
_DELIMITERS = (",", ";", "\t", "|")
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def read(
    path: str, *, names: Mapping[str, str], root: str | None, look: bool = True
) -> FileSource | None:
    """
    Return the source, or None if this is not a CSV or TSV file.

    Parameters
    ----------
    path : str
    names : mapping of str to str
        From `parse_columns`.
    root : str or None
        The folder that the paths are relative to; None for that of the file.
    look : bool, default True
        Whether the files must be there.

    Raises
    ------
    SourceError
        If columns are missing, lines cannot be understood, or nothing that they name is there.
    """
    if (usual := _usual_delimiter(path)) is None:
        return None
    lines, numbers, columns = _lines(path, usual, names, WANTED)
    known = {_plain(column) for column in names.values()}
    unused = [column for column in columns if column and column not in known]
    if not lines:
        raise SourceError(
            f"expected one image per line in {printable(path)}, found only a header; add lines"
        )
    return source_of(
        lines,
        layout=f"manifest {printable(os.path.basename(path))}",
        location=os.path.dirname(path) if root is None else root,
        where=lambda place: f"line {numbers[place]} of {printable(path)}",
        grouped=_plain(names["group"]) in columns,
        unused=unused,
        look=look,
    )


def paths_in(path: str) -> list[bytes] | None:
    """
    Return the paths that a CSV or TSV file names, with labels or without; None of other files.

    Raises
    ------
    SourceError
        If it has no column of paths.
    """
    if (usual := _usual_delimiter(path)) is None:
        return None
    lines, _, _ = _lines(path, usual, parse_columns(None), ("path",))
    location = os.path.dirname(path)
    return resolved([line.path for line in lines], location, required=False)[0]


def _usual_delimiter(path: str) -> str | None:
    """Return what separates columns by a file's extension; None if it is no CSV or TSV file."""
    usual = _EXTENSIONS.get(os.path.splitext(path)[1].lower())
    return usual if os.path.isfile(path) else None


def _lines(
    path: str, usual: str, names: Mapping[str, str], needed: Sequence[str]
) -> tuple[list[Line], Sequence[int], list[str]]:
    """Read the whole manifest; bytes that are not UTF-8 survive in the paths."""
    try:
        with _opened(path) as file:
            first = file.readline()
            while first.isspace():
                first = file.readline()
            if first.lower().startswith("sep="):  # Excel's own first line
                first = file.readline()
            delimiter = _delimiter(first, usual, names, needed, path)
            reader = csv.DictReader(
                chain([first], file), delimiter=delimiter, restval="", strict=True
            )
            absent_columns(names, list(reader.fieldnames or ()), _first_line(path))
            reader.fieldnames = [_plain(name) for name in reader.fieldnames or ()]
            columns = {name: _plain(column) for name, column in names.items()}
            lines, numbers = [], array("L")
            same: dict[Any, Any] = {}  # one object for all lines with the same label or group
            for fields in reader:
                if None in fields:
                    raise SourceError(
                        f"expected {len(reader.fieldnames)} fields in line {reader.line_num} of "
                        f"{printable(path)}, as in the first line, found "
                        f"{len(reader.fieldnames) + len(fields[None])}; put what has a "
                        f"'{printable(delimiter)}' in it between quotes"
                    )
                if any(value for value in fields.values()):
                    named, *rest = _line(fields, columns)
                    lines.append(Line(named, *(same.setdefault(text, text) for text in rest)))
                    numbers.append(reader.line_num)
            return lines, numbers, list(reader.fieldnames)
    except (csv.Error, UnicodeError) as error:
        raise SourceError(
            f"{printable(path)} cannot be read as a table: {error}; save it again"
        ) from error
    except OSError as error:
        raise SourceError(
            f"cannot read {printable(path)}: {error.strerror}; make it readable"
        ) from error


def _opened(path: str) -> IO[str]:
    with open(path, "rb") as file:
        wide = file.read(2) in _UTF16  # as Excel saves "Unicode text"
    if wide:
        return open(path, encoding="utf-16", newline="")
    return open(path, encoding="utf-8-sig", errors="surrogateescape", newline="")


def _delimiter(
    first: str, usual: str, names: Mapping[str, str], needed: Sequence[str], path: str
) -> str:
    """
    Return what separates the columns, by which of them the first line has.

    Raises
    ------
    SourceError
        If it has not those that are needed, whatever separates them.
    """
    wanted = {_plain(names[name]) for name in needed}
    tried = {
        delimiter: _split(first, delimiter) for delimiter in dict.fromkeys((usual, *_DELIMITERS))
    }
    for delimiter, columns in tried.items():
        if wanted <= {_plain(column) for column in columns}:
            return delimiter
    columns = max(tried.values(), key=len)
    if "label" not in needed:
        found = printable(", ".join(column.strip() for column in columns[:8])) or "an empty file"
        raise SourceError(
            f"expected a column path in {_first_line(path)}, found {found}; rename the column of "
            "the paths"
        )
    raise missing_columns([column.strip() for column in columns], names, _first_line(path))


def _first_line(path: str) -> str:
    return f"the first line of {printable(path)}"


def _split(line: str, delimiter: str) -> list[str]:
    rows: Iterator[list[str]] = csv.reader([line], delimiter=delimiter)
    return next(rows, [])


def _plain(column: str) -> str:
    return column.strip().lower()


def _line(fields: Mapping[str, str], columns: Mapping[str, str]) -> Line:
    path, label, split, group = (
        (fields.get(columns[name]) or "").strip() for name in ("path", "label", "split", "group")
    )
    return Line(as_bytes(path), label, split, as_bytes(group))
