"""Images that the caller holds: as an array in memory, or as files named one by one, in order."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import IO

import numpy as np
from numpy.typing import NDArray

from pipeline.common.errors import SourceError

from ._arrays import ArrayRows, ArraySource, array_source, labelled
from ._files import FileSource
from ._source import UNLABELLED, Given


@dataclass(frozen=True, eq=False)
class _Held(ArrayRows):
    """An array in memory, or mapped into it, in whatever order its numbers lie."""

    array: NDArray[np.generic] = field(kw_only=True)

    def read(self, stream: IO[bytes], start: int, stop: int) -> NDArray[np.generic]:
        return self.array[start:stop]


def held(array: NDArray[np.generic], *, name: str = "X") -> ArraySource:
    """
    Take an array of images; one becomes the same file as it would in a ``.npz``.

    Parameters
    ----------
    array : uint8 array of shape (n, h, w), (n, h, w, 1) or (n, h, w, 3)
        Not copied, and not to be changed while images are read.
    name : str, default "X"
        What it is called in messages and in the paths of rows.

    Returns
    -------
    Source
        Unlabelled rows in the order of the array.

    Raises
    ------
    SourceError
        If the shape is not one of images, or the numbers are not bytes: whether white is 1 or 255
        cannot be seen from a part of the images, and must not depend on it.
    """
    rows = _Held(name, array.shape, array.dtype, 0, io.BytesIO, array=array)
    part = labelled(rows, None, Given.NONE)
    if array.dtype != np.uint8:
        raise SourceError(
            f"expected {name} of dtype uint8, found {array.dtype}; bring its pixels to 0..255 and "
            f"call {name}.astype('uint8')"
        )
    return array_source(layout="array", location=name, parts=[part])


def listed(paths: Sequence[bytes]) -> FileSource:
    """
    Take files as they are named, one row each, whether they can be read or not.

    Parameters
    ----------
    paths : sequence of bytes
        Relative ones are relative to the working directory; in the result all are absolute.

    Returns
    -------
    Source
        Unlabelled rows in the order given.
    """
    return FileSource(
        layout="files",
        location=os.getcwd(),
        classes=(),
        paths=[os.path.abspath(path) for path in paths],
        labels=np.full(len(paths), UNLABELLED, np.int32),
        splits=np.zeros(len(paths), np.uint8),
        listed=True,
    )
