"""Files and folders named one by one, as for a prediction."""

from __future__ import annotations

import codecs
import os
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from pipeline.common.errors import SourceError, SourceNotFound

from . import _formats, _manifest, _scan
from ._columns import resolved
from ._files import FileSource
from ._source import UNLABELLED
from ._text import printable

STDIN = b"-"
"""What stands for a list of paths from standard input."""


def files(
    paths: Sequence[str | os.PathLike[str]], *, follow_links: bool = False, lists: bool = True
) -> FileSource:
    """
    Take files as they are named, of folders all images below them, and of lists what they name.

    Parameters
    ----------
    paths : sequence of path-like
        Files, whatever their extension, and folders. Relative ones are relative to the working
        directory, and stay so in the result.
    follow_links : bool, default False
        Whether to read what links in such a folder lead to outside of it. A link that is named
        itself is always read.
    lists : bool, default True
        Whether a CSV or TSV file with a column of paths, a text file with a path on each line, and
        ``-`` for such a text from standard input stand for the images that they name.

    Returns
    -------
    Source
        Unlabelled rows in the order given; the images of one folder sorted by path.

    Raises
    ------
    SourceNotFound
        If a path does not exist.
    SourceError
        If there is no image at all.
    """
    found: list[bytes] = []
    leaving: set[bytes] = set()
    ignored: Counter[str] = Counter()
    listed = False
    for path in _checked(paths):
        name = os.fsencode(path)
        if not (lists and name == STDIN) and not os.path.lexists(name):
            raise SourceNotFound(
                f"expected an image or a folder of images, found nothing at {printable(name)}; "
                "check the path"
            )
        if name == STDIN or not os.path.isdir(name):
            named = _named_by(name) if lists else []
            listed = listed or bool(named)
            found += named or [name]
            continue
        inside = _scan.boundary(name, follow_links=follow_links)
        listing = _scan.walk(name, b"", inside=inside)
        ignored += listing.ignored
        found += [os.path.join(name, image) for image in listing.images]
        leaving |= {os.path.join(name, image) for image in listing.leaving}
    if not found:
        raise SourceError(
            f"expected images, found {ignored.total()} other files; name image files or folders"
        )
    return FileSource(
        layout="files",
        location=os.getcwd(),
        classes=(),
        paths=found,
        labels=np.full(len(found), UNLABELLED, np.int32),
        splits=np.zeros(len(found), np.uint8),
        ignored=ignored,
        leaving=frozenset(leaving),
        listed=listed,
    )


def _checked(paths: object) -> list[Any]:
    """Return paths as a list, or say what is none."""
    several = list(paths) if isinstance(paths, Iterable) else [paths]
    for path in several:
        if not isinstance(path, (str, bytes, os.PathLike)):
            raise SourceError(
                f"expected paths of images or folders, found {type(path).__name__}; name files, or "
                "load the head with load_head for images in memory"
            )
    return several


def _named_by(path: bytes) -> list[bytes]:
    """
    Return the paths that a list names, relative to what the list's own path is relative to.

    Raises
    ------
    SourceError
        If it is a list and names nothing.
    """
    if path == STDIN:
        return _lines(sys.stdin.buffer.read(), "standard input", folder=b"")
    name, folder = os.fsdecode(path), os.path.dirname(path)
    if (named := _manifest.paths_in(name)) is not None:
        if not named:
            raise SourceError(f"expected a path on each line of {printable(path)}, found none")
        return [os.path.join(folder, each) for each in named]
    if not name.lower().endswith(".txt") or not os.path.isfile(path):
        return []
    try:
        with open(path, "rb") as file:
            data = file.read()
    except OSError as error:
        raise SourceError(
            f"cannot read {printable(path)}: {error.strerror}; make it readable"
        ) from error
    if _formats.is_image(data):  # under a wrong name
        return []
    return _lines(data, printable(path), folder=folder)


def _lines(data: bytes, name: str, *, folder: bytes) -> list[bytes]:
    """Return the paths in a text, one on each line."""
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        data = data.decode("utf-16", "replace").encode()
    lines = [line.strip() for line in data.removeprefix(codecs.BOM_UTF8).splitlines()]
    named = [line for line in lines if line]
    if not named or any(b"\0" in line for line in named):
        found = "none" if not named else "bytes that are no text"
        raise SourceError(f"expected a path on each line of {name}, found {found}")
    found_there, _ = resolved(named, os.fsdecode(folder), required=False)
    return [os.path.join(folder, each) for each in found_there]
