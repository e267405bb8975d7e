"""The names of the classes, as they lie in a file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from zipfile import ZIP_STORED, ZipFile

NAME = "labels.txt"


def labels_text(classes: Sequence[str]) -> str:
    """Write one name a line, in the order of the probabilities."""
    return "".join(f"{plain(name)}\n" for name in classes)


def plain(name: str) -> str:
    """Write a name as UTF-8 on one line; folders may be called by bytes that are no text."""
    line = " ".join(name.split("\n"))
    return line.encode("utf-8", "backslashreplace").decode()


def add_labels(path: Path, classes: Sequence[str]) -> None:
    """
    Put the names into a file as a member of a zip archive.

    A ``.keras`` file is one. To a ``.tflite`` file it is appended, as is its custom for such files;
    what runs it does not look there.
    """
    with ZipFile(path, "a", ZIP_STORED) as archive:
        archive.writestr(NAME, labels_text(classes))
