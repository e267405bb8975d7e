"""IDX files: ``train-images-idx3-ubyte.gz``, ``train-labels-idx1-ubyte.gz``, ... as of MNIST."""

from __future__ import annotations

import gzip
import os
import re
import struct
from functools import partial
from math import prod
from typing import IO, cast

import numpy as np

from pipeline.common.errors import SourceError
from pipeline.common.hostile import DEFLATE_LIMIT

from ._arrays import ArrayRows, ArraySource, array_source, damage, labelled
from ._source import Given
from ._text import printable

# A name has these parts whether it is train-images-idx3-ubyte or train-images.idx3-ubyte.
_IMAGES = re.compile(r"(?P<split>.*)images(?P<dot>[-.])idx3-ubyte(?P<packed>\.gz)?", re.IGNORECASE)
_SPLITS = {"train": Given.TRAIN, "t10k": Given.TEST, "test": Given.TEST, "val": Given.VAL}
_UBYTE = 0x08  # the third byte of the magic number is the type, the fourth the number of dimensions


def read(root: str) -> ArraySource | None:
    """
    Return the source, or None if this is not a folder with IDX images.

    Raises
    ------
    SourceError
        If a file is damaged or lies about its size.
    """
    if not os.path.isdir(root):
        return None
    try:
        names = sorted(os.listdir(root))
    except OSError:
        return None
    found = {name: match for name in names if (match := _IMAGES.fullmatch(name))}
    # Where someone unpacked a file and kept the archive, the plain one is enough.
    chosen = [name for name in found if not (found[name]["packed"] and name[:-3] in found)]
    if not chosen:
        return None
    parts, notes = [], []
    for name in chosen:
        images = _rows(os.path.join(root, name), dimensions=3)
        beside = _labels_file(found[name], names)
        labels = _rows(os.path.join(root, beside), dimensions=1) if beside else None
        if labels is None:
            notes.append(f"{name} has no labels: there is no file of labels beside it")
        parts.append(labelled(images, labels, _given(found[name]["split"])))
    return array_source(layout="IDX files", location=root, parts=parts, notes=notes)


def _given(split: str) -> Given:
    return next((given for word, given in _SPLITS.items() if word in split.lower()), Given.NONE)


def _labels_file(images: re.Match[str], names: list[str]) -> str | None:
    """Return the name of the labels that belong to images, packed or not."""
    wanted = f"{images['split']}labels{images['dot']}idx1-ubyte".lower()
    return next((name for name in names if name.lower() in (wanted, wanted + ".gz")), None)


def _rows(path: str, *, dimensions: int) -> ArrayRows:
    """Read a header and compare what it claims with what the file can hold."""
    packed = path.lower().endswith(".gz")
    opened = partial(_open, path, packed)
    offset = 4 + 4 * dimensions
    with damage(path), opened() as stream:
        header = stream.read(offset)
    magic = bytes([0, 0, _UBYTE, dimensions])
    if len(header) < offset or header[:4] != magic:
        raise SourceError(
            f"expected an IDX file of bytes in {dimensions} dimensions (it starts with "
            f"{magic.hex()}), found {header[:4].hex() or 'nothing'} in {printable(path)}; "
            "get it again"
        )
    shape = struct.unpack(f">{dimensions}I", header[4:])
    claimed, size = offset + prod(shape), os.path.getsize(path)
    if claimed > size * DEFLATE_LIMIT + 65536 if packed else claimed != size:
        raise SourceError(
            f"{printable(path)} claims {claimed} bytes ({'x'.join(map(str, shape))}) and has "
            f"{size}; get it again"
        )
    return ArrayRows(os.path.basename(path), shape, np.dtype(np.uint8), offset, opened, packed)


def _open(path: str, packed: bool) -> IO[bytes]:
    return cast(IO[bytes], gzip.open(path)) if packed else open(path, "rb")
