"""A manifest: a CSV or TSV file with one image per line."""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from pipeline.choices import Split
from pipeline.errors import SourceError

from ._files import FileSource
from ._source import Given, indexed
from ._text import decoded, printable

_DELIMITERS = {".csv": ",", ".tsv": "\t"}
_GIVEN = {split.value: Given.of(split) for split in Split} | {"": Given.NONE}


class _Line(NamedTuple):
    path: bytes
    label: str | None
    given: Given
    group: bytes


def read(path: str) -> FileSource | None:
    """
    Return the source, or None if this is not a CSV or TSV file.

    Raises
    ------
    SourceError
        If columns are missing or a line cannot be understood.
    """
    delimiter = _DELIMITERS.get(os.path.splitext(path)[1].lower())
    if delimiter is None or not os.path.isfile(path):
        return None
    lines, columns = _lines(path, delimiter)
    if not lines:
        raise SourceError(
            f"expected one image per line in {printable(path)}, found only a header; add lines"
        )
    classes, labels = indexed([line.label for line in lines])
    return FileSource(
        layout=f"manifest {printable(os.path.basename(path))}",
        location=os.path.dirname(path),
        classes=classes,
        paths=[line.path for line in lines],
        labels=labels,
        splits=np.array([line.given for line in lines], np.uint8),
        groups=[line.group for line in lines] if "group" in columns else None,
        notes=_notes(lines),
        listed=True,
    )


def _lines(path: str, delimiter: str) -> tuple[list[_Line], Sequence[str]]:
    """Read the whole manifest; bytes that are not UTF-8 survive in the paths."""
    try:
        with open(path, encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
            reader = csv.DictReader(file, delimiter=delimiter, restval="", strict=True)
            columns = [name.strip().lower() for name in reader.fieldnames or ()]
            _check_columns(path, columns)
            reader.fieldnames = columns
            return [_line(path, reader.line_num, fields) for fields in reader], columns
    except csv.Error as error:
        raise SourceError(
            f"{printable(path)} cannot be read as a table: {error}; save it again"
        ) from error
    except OSError as error:
        raise SourceError(
            f"cannot read {printable(path)}: {error.strerror}; make it readable"
        ) from error


def _check_columns(path: str, columns: list[str]) -> None:
    if not {"path", "label"} <= set(columns):
        found = printable(", ".join(columns[:8])) or "an empty file"
        raise SourceError(
            f"expected columns path,label[,split,group] in the first line of {printable(path)}, "
            f"found {found}; rename the columns or add a first line"
        )


def _line(path: str, number: int, fields: dict[str, str]) -> _Line:
    """Understand one line."""
    where = f"line {number} of {printable(path)}"
    name = _bytes(fields["path"])
    if not name or b"\0" in name:
        raise SourceError(f"expected a path in {where}, found '{printable(name)}'; correct it")
    given = fields.get("split", "").strip().lower()
    if given not in _GIVEN:
        raise SourceError(
            f"expected train, val, test or nothing as split in {where}, found "
            f"'{printable(given)}'; correct it"
        )
    label = decoded(_bytes(fields["label"]))
    if "\0" in label:
        raise SourceError(f"expected a label in {where}, found '{printable(label)}'; correct it")
    group = _bytes(fields.get("group", ""))
    return _Line(name, label or None, _GIVEN[given], group)


def _bytes(field: str) -> bytes:
    """Return the very bytes of the file, whatever the locale."""
    return field.strip().encode("utf-8", "surrogateescape")


def _notes(lines: Sequence[_Line]) -> tuple[str, ...]:
    notes = []
    if unlabelled := sum(line.label is None for line in lines):
        notes.append(f"{unlabelled} lines have no label")
    if repeated := len(lines) - len({line.path for line in lines}):
        notes.append(f"{repeated} lines name a path that an earlier line names")
    return tuple(notes)
