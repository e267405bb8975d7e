"""Files and folders named one by one, as for a prediction."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence

import numpy as np

from pipeline.errors import SourceError, SourceNotFound

from . import _manifest, _scan
from ._files import FileSource
from ._source import UNLABELLED
from ._text import printable


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
        Whether a CSV or TSV file with a column of paths, and a text file with a path on each line,
        stand for the images that they name.

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
    for path in paths:
        name = os.fsencode(path)
        if not os.path.lexists(name):
            raise SourceNotFound(
                f"expected an image or a folder of images, found nothing at {printable(name)}; "
                "check the path"
            )
        if not os.path.isdir(name):
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


def _named_by(path: bytes) -> list[bytes]:
    """
    Return the paths that a list names, relative to what the list's own path is relative to.

    Raises
    ------
    SourceError
        If it is a list and names nothing.
    """
    name, folder = os.fsdecode(path), os.path.dirname(path)
    named = _manifest.paths_in(name)
    if named is None and name.lower().endswith(".txt") and os.path.isfile(path):
        named = _lines(path)
    if named is None:
        return []
    if not named:
        raise SourceError(f"expected a path on each line of {printable(path)}, found none")
    return [os.path.join(folder, each) for each in named]


def _lines(path: bytes) -> list[bytes]:
    try:
        with open(path, "rb") as file:
            return [line for line in (line.strip() for line in file) if line]
    except OSError as error:
        raise SourceError(
            f"cannot read {printable(path)}: {error.strerror}; make it readable"
        ) from error
