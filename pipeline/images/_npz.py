"""NumPy archives: ``x_train``, ``y_train``, ... or ``x``, ``y`` in an ``.npz`` file."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from math import prod
from typing import IO

import numpy as np

from pipeline.common.errors import SourceError
from pipeline.common.hostile import DEFLATE_LIMIT

from ._arrays import ArrayRows, ArraySource, array_source, damage, labelled
from ._source import Given
from ._text import printable

_SUFFIXES = {
    "": Given.NONE,
    "_train": Given.TRAIN,
    "_val": Given.VAL,
    "_valid": Given.VAL,
    "_validation": Given.VAL,
    "_test": Given.TEST,
}
# Of Keras' data sets, and of MedMNIST.
_PAIRS = {f"x{suffix}": (f"y{suffix}", given) for suffix, given in _SUFFIXES.items()} | {
    f"{split}_images": (f"{split}_labels", Given[split.upper()])
    for split in ("train", "val", "test")
}


def read(path: str) -> ArraySource | None:
    """
    Return the source, or None if this is not an ``.npz`` file.

    No object arrays are loaded, hence no pickle.

    Raises
    ------
    SourceError
        If the archive is damaged, lies about its size, or holds no images.
    """
    if os.path.splitext(path)[1].lower() != ".npz" or not os.path.isfile(path):
        return None
    with damage(path):
        arrays = _arrays(path)
    pairs = [(arrays[name], *_PAIRS[name]) for name in arrays if name in _PAIRS]
    if not pairs:
        raise SourceError(
            f"expected arrays x_train, y_train, x_test, y_test, or x and y in {printable(path)}, "
            f"found {', '.join(list(arrays)[:8]) or 'none'}; save them with np.savez"
        )
    parts, notes = [], []
    for images, labels_name, given in pairs:
        labels = arrays.get(labels_name)
        if labels is None:
            notes.append(f"{images.name} has no labels: there is no {labels_name}")
        parts.append(labelled(images, labels, given))
    return array_source(layout="numpy archive", location=path, parts=parts, notes=notes)


def _arrays(path: str) -> dict[str, ArrayRows]:
    """Read the headers of all arrays that may matter, by their names in lower case."""
    size = os.path.getsize(path)
    known = set(_PAIRS) | {labels for labels, _ in _PAIRS.values()}
    with zipfile.ZipFile(path) as archive:
        names = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
        return {
            name.lower(): _rows(archive, path, name, info, size)
            for name, info in names.items()
            if name.lower() in known
        }


def _rows(
    archive: zipfile.ZipFile, path: str, name: str, info: zipfile.ZipInfo, size: int
) -> ArrayRows:
    """Read one header and compare what it claims with what the file can hold."""
    with archive.open(info) as stream:
        shape, fortran, dtype = _header(stream)
        offset = stream.tell()
    if dtype.hasobject:
        raise SourceError(
            f"expected numbers in {name} of {printable(path)}, found Python objects, which are "
            "never loaded; save it as uint8"
        )
    if fortran and len(shape) > 1:
        raise SourceError(
            f"expected {name} of {printable(path)} in C order, found Fortran order; "
            f"save np.ascontiguousarray({name})"
        )
    claimed = offset + prod(shape) * dtype.itemsize
    held = DEFLATE_LIMIT * min(info.compress_size, size)
    if claimed != info.file_size or claimed > held + 65536:
        raise SourceError(
            f"{name} of {printable(path)} claims {claimed} bytes, but its {info.compress_size} "
            f"bytes unpack to {min(info.file_size, held)}; get the file again"
        )
    compressed = info.compress_type != zipfile.ZIP_STORED
    opened = partial(_open, path, info.filename)
    return ArrayRows(name, tuple(shape), dtype, offset, opened, compressed)


def _header(stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[np.generic]]:
    """Read the shape, whether it is in Fortran order, and the type of the numbers."""
    try:
        version = np.lib.format.read_magic(stream)
        if version == (1, 0):
            return np.lib.format.read_array_header_1_0(stream)
        return np.lib.format.read_array_header_2_0(stream)
    except (OSError, zipfile.BadZipFile):
        raise
    except Exception as error:  # it is parsed as Python, and fails in as many ways
        raise ValueError("the header of an array is damaged") from error


@contextmanager
def _open(path: str, member: str) -> Iterator[IO[bytes]]:
    with zipfile.ZipFile(path) as archive, archive.open(member) as stream:
        yield stream
