"""Images that a table names: one row each, with its path, label, split and group."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from pipeline.common.errors import SourceError
from pipeline.common.names import Names
from pipeline.images._label_notes import check_labels, note_on_bytes, notes_on

from . import _formats
from ._files import FileSource
from ._source import Given, indexed
from ._split_names import split_name
from ._text import decoded, printable

WANTED = ("path", "label")
KNOWN = (*WANTED, "split", "group")
# What such columns are called elsewhere: proposed, never taken unasked.
_OTHER_NAMES = {
    "path": "filename file file_name filepath file_path image_path img_path image img image_name "
    "image_id id name",
    "label": "class category target class_name label_name labels species breed y",
}
_EXTENSIONS = tuple(b".jpg .jpeg .png .JPG .JPEG .PNG .webp .tif .tiff .bmp .gif".split())


class Line(NamedTuple):
    """One image as a table has it."""

    path: bytes
    label: str
    split: str
    group: bytes


@dataclass
class _Faults:
    """What is wrong with lines: of each kind the first line, and how many there are."""

    first: dict[str, str] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)

    def add(self, expected: str, found: str, where: str) -> None:
        self.counts[expected] += 1
        self.first.setdefault(expected, f"{where}, found '{printable(found)}'")

    def check(self) -> None:
        if not self.counts:
            return
        told = [
            f"expected {expected} in {self.first[expected]}"
            + (f", as {count - 1} others" if count > 1 else "")
            for expected, count in self.counts.items()
        ]
        raise SourceError("; ".join(told) + "; correct that")


def parse_columns(columns: str | Mapping[str, str] | None) -> dict[str, str]:
    """
    Understand which column is what.

    Parameters
    ----------
    columns : str, mapping of str to str, or None
        Such as ``"path=filename,label=class"``; what is not named has its own name.

    Returns
    -------
    dict of str to str
        The name of the column for each of path, label, split and group.

    Raises
    ------
    SourceError
        If it is not of that form.
    """
    names = {name: name for name in KNOWN}
    if columns is None:
        return names
    pairs = columns.items() if isinstance(columns, Mapping) else _pairs(columns)
    for name, column in pairs:
        if name not in names or not column:
            raise SourceError(
                "expected columns such as path=filename,label=class, with the names "
                f"{', '.join(KNOWN)}, found '{printable(f'{name}={column}')}'; correct it"
            )
        names[name] = column
    return names


def _pairs(text: str) -> Iterable[tuple[str, str]]:
    for part in text.split(","):
        name, _, column = part.partition("=")
        yield name.strip().lower(), column.strip()


def absent_columns(names: Mapping[str, str], found: Sequence[str], where: str) -> None:
    """
    Check that columns that were named in so many words are there, each once.

    Raises
    ------
    SourceError
    """
    lower = [column.strip().lower() for column in found]
    for name, column in names.items():
        if column != name and column.lower() not in lower:
            raise SourceError(
                f"expected a column {printable(column)} for {name} in {where}, found "
                f"{printable(', '.join(found[:8]))}; correct --columns"
            )
        if lower.count(column.lower()) > 1:
            raise SourceError(
                f"expected one column {printable(column)} in {where}, found "
                f"{lower.count(column.lower())}; rename one of them"
            )


def missing_columns(found: Sequence[str], names: Mapping[str, str], where: str) -> SourceError:
    """Say which columns are there, and what to type if they have other names."""
    lower = {column.strip().lower(): column.strip() for column in found}
    proposed = {}
    for name in WANTED:
        if names[name].lower() in lower:
            continue
        others = [other for other in _OTHER_NAMES[name].split() if other in lower]
        proposed[name] = lower[others[0]] if others else "..."
    shown = printable(", ".join(map(str, found[:8]))) or "an empty file"
    expected = f"expected columns path,label[,split,group] in {where}, found {shown}"
    typed = printable(",".join(f"{name}={column}" for name, column in proposed.items()))
    if "..." in proposed.values():
        return SourceError(
            f"{expected}; give it a first line with these names, or say which columns they are, "
            f"such as --columns {typed}"
        )
    return SourceError(f"{expected}; say which they are with --columns {typed}, or rename them")


def source_of(
    lines: Sequence[Line],
    *,
    layout: str,
    location: str,
    where: Callable[[int], str],
    grouped: bool,
    unused: Sequence[str] = (),
    look: bool = True,
) -> FileSource:
    """
    Make a source of the lines of a table.

    Parameters
    ----------
    lines : sequence of Line
    layout : str
    location : str
        The folder that paths are relative to.
    where : callable
        Names a line, by its place, in a message.
    grouped : bool
        Whether the table says which images belong together.
    unused : sequence of str, optional
        Columns that the table has besides.
    look : bool, default True
        Whether the files must be there, under names that may be written otherwise.

    Raises
    ------
    SourceError
        If lines cannot be understood, none of the files is there, or the labels are no classes.
    """
    faults = _Faults()
    given = [_understood(line, where(place), faults) for place, line in enumerate(lines)]
    faults.check()
    labels_as_bytes = {label: as_bytes(label) for label in {line.label for line in lines}}
    # Those that are not UTF-8 are most likely of a Windows program.
    wide = {
        label: text
        for label, data in labels_as_bytes.items()
        if (text := _as_utf8(data)) is not None
    }
    known = {
        label: decoded(wide.get(label, data)) or None for label, data in labels_as_bytes.items()
    }
    names = [known[line.label] for line in lines]
    paths = [line.path for line in lines]
    notes: list[str] = []
    if look:
        paths, notes = resolved(paths, location)
    check_labels(names, paths)
    classes, labels = indexed(names)
    return FileSource(
        layout=layout,
        location=location,
        classes=classes,
        paths=Names.of(paths),
        labels=labels,
        splits=np.array(given, np.uint8),
        groups=Names.of(line.group for line in lines) if grouped else None,
        notes=(
            *notes,
            *note_on_bytes(sum(line.label in wide for line in lines)),
            *notes_on(names, paths),
            *_unused(unused),
        ),
        listed=True,
    )


def as_bytes(text: str) -> bytes:
    """Return the very bytes that a text was read from."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # half a letter that no file has
        return text.encode("utf-8", "backslashreplace")


def _as_utf8(data: bytes) -> bytes | None:
    """Return text in Windows-1252 as UTF-8; None of what is UTF-8, or neither."""
    try:
        data.decode()
        return None
    except UnicodeDecodeError:
        pass
    try:
        return data.decode("cp1252").encode()
    except UnicodeDecodeError:
        return None


def _understood(line: Line, where: str, faults: _Faults) -> Given:
    """Check a line, and return the split that it names."""
    if not line.path or b"\0" in line.path:
        faults.add("a path", printable(line.path), where)
    if "\0" in line.label:
        faults.add("a label", line.label, where)
    if not line.split:
        return Given.NONE
    found = split_name(line.split)
    if found is None or found.rest:
        faults.add("train, val, test or nothing as split", line.split, where)
        return Given.NONE
    return found.given


def resolved(
    paths: Sequence[bytes], location: str, *, required: bool = True
) -> tuple[list[bytes], list[str]]:
    """
    Find files that are named as on Windows, or by a number without an extension.

    Parameters
    ----------
    paths : sequence of bytes
    location : str
        What they are relative to.
    required : bool, default True
        Whether one of them must be there.

    Returns
    -------
    list of bytes
        The paths of the files.
    list of str
        What was changed.

    Raises
    ------
    SourceError
        If nothing that is named is there.
    """
    base = os.fsencode(location)

    def there(path: bytes) -> bool:
        return os.path.lexists(os.path.join(base, path))

    found, changed = list(paths), Counter[str]()
    likely = list(_EXTENSIONS)
    for place, path in enumerate(paths):
        if (other := _as_utf8(path)) and not there(path):
            found[place] = path = other
            changed["paths are read as Windows-1252"] += 1
        slashed = path.replace(b"\\", b"/") if os.sep == "/" else path
        if slashed != path and not there(path):
            found[place] = path = slashed
            changed["paths with \\ are read with /"] += 1
        if _formats.has_image_extension(path) or there(path):
            continue
        for extension in likely:
            if there(path + extension):
                found[place] = path + extension
                changed["paths without an extension are those of files with one"] += 1
                likely.remove(extension)
                likely.insert(0, extension)
                break
    if not required:
        return found, []
    if not any(there(path) for path in found):
        raise SourceError(
            f"expected the files that are named in {printable(location)}, found none of "
            f"{len(found)}, such as {printable(found[0])}; name their folder with --root"
        )
    return found, [f"{count} {words}" for words, count in changed.items()]


def _unused(columns: Sequence[str]) -> list[str]:
    if not columns:
        return []
    shown = printable(", ".join(columns[:8])) + (", ..." if len(columns) > 8 else "")
    return [
        f"columns that are not used: {shown} (--columns split=NAME,group=NAME says what they are)"
    ]
