"""Which layout a source of images has."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import partial

from pipeline.common.choices import Folders, choose
from pipeline.common.errors import SourceError, SourceNotFound

from . import _class_folders, _digits, _flat, _frame, _idx, _manifest, _npz, _split_folders
from ._columns import parse_columns
from ._source import Source
from ._text import printable

# Tried in this order; each returns None for what it does not know. A new layout is one file with
# a `read`, and one entry here.
_ONE_FILE = (_npz.read, _idx.read)
_FOLDERS = (_class_folders.read, _flat.read)
_ACCEPTED = (
    "class folders, train/val/test folders, flat files such as cat.1.jpg, a .csv or .tsv with "
    "columns path,label, an .npz with x_train and y_train, a folder of IDX files, or digits"
)


def find(
    source: object,
    *,
    follow_links: bool = False,
    folders: Folders | str = Folders.auto,
    root: str | os.PathLike[str] | None = None,
    columns: str | Mapping[str, str] | None = None,
) -> Source:
    """
    Find images and their labels.

    Parameters
    ----------
    source : path-like, data frame, mapping or sequence
        A folder of class folders; a folder with folders named after two splits or more (``train``,
        ``training_set``, ``valid``, ``test1``, ...); a folder of files with the label in the name;
        a CSV or TSV file with columns ``path,label[,split,group]``; a NumPy archive; a folder of
        IDX files; or the word ``digits``. In memory: a DataFrame of pandas or polars, or a dict,
        with columns as of a CSV file; a pair of lists, of paths and of labels; or a list of paths.
    follow_links : bool, default False
        Whether to read what links in a folder lead to outside of it. What a CSV or TSV file names
        is read wherever it lies.
    folders : Folders or str, default Folders.auto
        What the folders in it are, where their names leave that open.
    root : path-like, optional
        The folder that the paths in a table are relative to; by default that of the CSV file, of
        tables in memory the working directory.
    columns : str or mapping of str to str, optional
        What the columns of a table are called, such as ``"path=filename,label=class"``.

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
    names, base = parse_columns(columns), _folder(root)
    if not isinstance(source, (str, os.PathLike)):
        if (table := _frame.read(source, names=names, root=base)) is not None:
            return table
        raise SourceError(
            f"expected a path, a table or lists as source, found {type(source).__name__}; "
            f"accepted: {_ACCEPTED}"
        )
    name = os.fspath(source)
    if (digits := _digits.read(name)) is not None:
        return digits
    path = os.path.abspath(name)
    if not name or not os.path.exists(path):
        raise SourceNotFound(
            f"expected a source of images, found nothing at '{printable(name)}'; check it"
        )
    if (manifest := _manifest.read(path, names=names, root=base)) is not None:
        if how is not Folders.auto:
            raise SourceError(
                f"expected a folder with --folders, found {printable(name)}; leave --folders out"
            )
        return manifest
    for option, value in (("--root", root), ("--columns", columns)):
        if value is not None:
            raise SourceError(
                f"expected a CSV or TSV file with {option}, found {printable(name)}; "
                f"leave {option} out"
            )
    for read in _ONE_FILE:
        if (arrays := read(path)) is not None:
            return arrays
    for read_folder in (partial(_split_folders.read, how=how), *_FOLDERS):
        if (found := read_folder(path, follow_links=follow_links)) is not None:
            return found
    what = "no images there" if os.path.isdir(path) else "a file of another kind"
    raise SourceError(
        f"expected a source of images at {printable(path)}, found {what}; accepted: {_ACCEPTED}"
    )


def named(
    source: object,
    *,
    columns: str | Mapping[str, str] | None = None,
) -> Source:
    """
    Read a manifest or a table in memory without looking for the files that it names.

    Parameters
    ----------
    source, columns
        As for `find`.

    Returns
    -------
    Source
        With the paths as they are written.

    Raises
    ------
    SourceError
        If it is no table, or cannot be understood.
    """
    names = parse_columns(columns)
    if not isinstance(source, (str, os.PathLike)):
        found = _frame.read(source, names=names, root=None, look=False)
    else:
        path = os.path.abspath(source)
        found = _manifest.read(path, names=names, root=None, look=False)
    if found is None:
        raise SourceError(
            f"expected a CSV or TSV file or a table, found {printable(str(source)[:200])}; check it"
        )
    return found


def _folder(root: str | os.PathLike[str] | None) -> str | None:
    """Return the absolute path of the folder that the paths in a table are relative to."""
    if root is None:
        return None
    if not os.path.isdir(root):
        raise SourceError(
            f"expected a folder of images as --root, found none at {printable(os.fspath(root))}; "
            "check it"
        )
    return os.path.abspath(root)
