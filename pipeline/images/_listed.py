"""Files and folders named one by one, as for a prediction."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence

import numpy as np

from pipeline.errors import SourceError, SourceNotFound

from . import _scan
from ._files import FileSource
from ._source import UNLABELLED
from ._text import printable


def files(paths: Sequence[str | os.PathLike[str]], *, follow_links: bool = False) -> FileSource:
    """
    Take files as they are named, and of folders all images below them.

    Parameters
    ----------
    paths : sequence of path-like
        Files, whatever their extension, and folders. Relative ones are relative to the working
        directory, and stay so in the result.
    follow_links : bool, default False
        Whether to read what links in such a folder lead to outside of it. A link that is named
        itself is always read.

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
    for path in paths:
        name = os.fsencode(path)
        if not os.path.lexists(name):
            raise SourceNotFound(
                f"expected an image or a folder of images, found nothing at {printable(name)}; "
                "check the path"
            )
        if not os.path.isdir(name):
            found.append(name)
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
    )
