"""One photo in whatever form it comes: a path, bytes, a PIL image or an array."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline.common.choices import Resize
from pipeline.common.errors import SourceError

from . import _deep
from ._decode import POLICY, Rejected, decode, square_of
from ._listed import files
from ._source import Unreadable
from ._text import printable


def is_photo(value: object) -> bool:
    """Whether a value is of a kind that `pixels_of` takes."""
    kinds = (str, os.PathLike, bytes, bytearray, memoryview, Image.Image, np.ndarray)
    return isinstance(value, kinds) or callable(getattr(value, "read", None))


def pixels_of(
    photo: Any, *, size: int, resize: Resize, policy: Mapping[str, str] = POLICY
) -> NDArray[np.uint8]:
    """
    Decode one photo by the rules for files.

    Parameters
    ----------
    photo : path-like, bytes, file, PIL image or array
        Arrays are of uint8 or uint16, of shape (h, w), (h, w, 1), (h, w, 3) or (h, w, 4).
    size, resize
        As for `decode`.
    policy : mapping of str to str, default POLICY
        As for `stream`.

    Returns
    -------
    ndarray of uint8, shape (size, size, 3)

    Raises
    ------
    SourceError
        If it is none of these, cannot be read or is damaged.
    """
    try:
        if isinstance(photo, (bytes, bytearray, memoryview)):
            return _decoded(bytes(photo), "these bytes", size, resize, policy)
        if isinstance(photo, Image.Image):
            if (file := _unread_file(photo)) is not None:
                return _decoded(file, "this image", size, resize, policy)
            return square_of(photo, size=size, resize=resize)
        if isinstance(photo, np.ndarray):
            return square_of(_image(photo), size=size, resize=resize)
        if isinstance(photo, (str, os.PathLike)):
            return _of_file(photo, size, resize, policy)
        if callable(getattr(photo, "read", None)) and isinstance(data := photo.read(), bytes):
            return _decoded(data, "this file", size, resize, policy)
    except Rejected as error:
        what = "image" if isinstance(photo, Image.Image) else "array"
        raise SourceError(f"expected a photo, found an {what} of which {error}") from error
    raise SourceError(
        f"expected a photo as a path, bytes, a PIL image or an array, found "
        f"{type(photo).__name__}; open it with PIL.Image.open, or name its path"
    )


def _unread_file(image: Image.Image) -> bytes | None:
    """
    Return the file of an image that was opened and is as it was: 16-bit colours are still there.

    Of one that Pillow has read already, what Pillow made of it is all there is; and of one that was
    moved to another frame, that frame is meant, while `decode` would take the first.
    """
    file = getattr(image, "fp", None)
    if file is None or not getattr(image, "tile", None) or image.tell() != 0:
        return None
    try:
        position = file.tell()
        file.seek(0)
        data = file.read()
        file.seek(position)
    except (OSError, ValueError):  # closed, or a pipe
        return None
    return data if isinstance(data, bytes) else None


def _of_file(
    path: str | os.PathLike[str], size: int, resize: Resize, policy: Mapping[str, str]
) -> NDArray[np.uint8]:
    name = printable(os.fsencode(path))
    if os.path.isdir(path):
        raise SourceError(
            f"expected a photo at {name}, found a folder; name the photos in it, or call predict"
        )
    try:
        [(_, read)] = files([path], lists=False).contents([0])
        data = read().data
    except Unreadable as error:
        raise SourceError(f"cannot read {name}: {error.reason}") from error
    return _decoded(data, name, size, resize, policy)


def _decoded(
    data: bytes, name: str, size: int, resize: Resize, policy: Mapping[str, str]
) -> NDArray[np.uint8]:
    try:
        return decode(data, size=size, resize=resize, policy=policy)
    except Rejected as error:
        raise SourceError(f"expected a photo, found {name}: {error}") from error


def _image(array: NDArray[Any]) -> Image.Image:
    """Take an array as an image, or say what is wrong with it."""
    shape, dtype = array.shape, array.dtype
    fits = array.ndim == 2 or (array.ndim == 3 and shape[2] in (1, 3, 4))
    if not fits or 0 in shape or dtype not in (np.uint8, np.uint16):
        advice = "; bring its values to 0..255 and call .astype('uint8')" * (dtype.kind == "f")
        raise SourceError(
            "expected an array of uint8 or uint16 of shape (h, w), (h, w, 3) or (h, w, 4), found "
            f"{dtype} of shape {shape}{advice}"
        )
    array = array[..., 0] if array.ndim == 3 and shape[2] == 1 else array
    if dtype == np.uint16:
        if array.ndim == 3 and shape[2] == 4:
            raise SourceError(
                "expected colours alone in an array of uint16, found shape "
                f"{shape}; leave the opacity out"
            )
        array = _deep.levels(array)
    return Image.fromarray(np.ascontiguousarray(array))
