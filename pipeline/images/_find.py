"""Which layout a source of images has."""

from __future__ import annotations

import os
from functools import partial

from pipeline.choices import Folders, choose
from pipeline.errors import SourceError, SourceNotFound

from . import _class_folders, _digits, _flat, _idx, _manifest, _npz, _split_folders
from ._source import Source
from ._text import printable

# Tried in this order; each returns None for what it does not know. A new layout is one file with
# a `read`, and one entry here.
_ONE_FILE = (_manifest.read, _npz.read, _idx.read)
_FOLDERS = (_class_folders.read, _flat.read)
_ACCEPTED = (
    "class folders, train/val/test folders, flat files such as cat.1.jpg, a .csv or .tsv with "
    "columns path,label, an .npz with x_train and y_train, a folder of IDX files, or digits"
)


def find(
    source: str | os.PathLike[str],
    *,
    follow_links: bool = False,
    folders: Folders | str = Folders.auto,
) -> Source:
    """
    Find images and their labels.

    Parameters
    ----------
    source : path-like
        A folder of class folders; a folder with folders named after two splits or more (``train``,
        ``training_set``, ``valid``, ``test1``, ...); a folder of files with the label in the name;
        a CSV or TSV file with columns ``path,label[,split,group]``; a NumPy archive; a folder of
        IDX files; or the word ``digits``.
    follow_links : bool, default False
        Whether to read what links in a folder lead to outside of it. What a CSV or TSV file names
        is read wherever it lies.
    folders : Folders or str, default Folders.auto
        What the folders in it are, where their names leave that open.

    Returns
    -------
    Source
        What was found. Files are listed, not opened; arrays that are compressed or not of bytes
        are looked through once.

    Raises
    ------
    SourceNotFound
        If nothing exists under this name.
    SourceError
        If it is no known layout, holds no images, or its folders may be splits as well as classes.
    """
    how = choose(Folders, folders, what="folders")
    name = os.fspath(source)
    if (digits := _digits.read(name)) is not None:
        return digits
    path = os.path.abspath(name)
    if not name or not os.path.exists(path):
        raise SourceNotFound(
            f"expected a source of images, found nothing at '{printable(name)}'; check it"
        )
    for read in _ONE_FILE:
        if (found := read(path)) is not None:
            return found
    for read_folder in (partial(_split_folders.read, how=how), *_FOLDERS):
        if (found := read_folder(path, follow_links=follow_links)) is not None:
            return found
    what = "no images there" if os.path.isdir(path) else "a file of another kind"
    raise SourceError(
        f"expected a source of images at {printable(path)}, found {what}; accepted: {_ACCEPTED}"
    )
