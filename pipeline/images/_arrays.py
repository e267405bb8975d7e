"""Images inside arrays: read row by row from the front, handed over as BMP files."""

from __future__ import annotations

import struct
import zipfile
import zlib
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from math import prod
from typing import IO, Self

import numpy as np
from numpy.typing import NDArray

from pipeline.common.errors import SourceError
from pipeline.common.names import blocks

from ._decode import MOST_PIXELS
from ._numbered import Numbered, starts_of
from ._source import Content, Given, Read, Source, Stat, indexed
from ._text import printable

_BLOCK = 2**22  # bytes read at a time where the whole array is looked through


@dataclass(frozen=True, eq=False)
class ArrayRows:
    """
    A C-ordered array somewhere in a stream of bytes; nothing but single blocks of rows is read.

    Attributes
    ----------
    name : str
        What the array is called in messages and in the paths of rows.
    shape : tuple of int
        Rows first.
    dtype : numpy.dtype
        Never one that holds Python objects.
    offset : int
        Where the numbers begin in the stream.
    open : callable
        Returns a context manager that opens the stream, which can seek.
    compressed : bool
        Then only reading all of it shows whether it is whole.
    """

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[np.generic]
    offset: int
    open: Callable[[], AbstractContextManager[IO[bytes]]]
    compressed: bool = False

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def row_bytes(self) -> int:
        """Bytes of one row."""
        return prod(self.shape[1:]) * self.dtype.itemsize

    def read(self, stream: IO[bytes], start: int, stop: int) -> NDArray[np.generic]:
        """
        Read rows; cheap when they follow the ones read before.

        Raises
        ------
        SourceError
            If the stream is damaged or ends early.
        """
        wanted = self.row_bytes * (stop - start)
        with damage(self.name):
            position = self.offset + self.row_bytes * start
            if stream.tell() == 0:  # reading on keeps the CRC check of a zip alive; a seek ends it
                stream.read(self.offset)
            if stream.tell() != position:
                stream.seek(position)
            data = stream.read(wanted)
        if len(data) != wanted:
            raise SourceError(
                f"expected {len(self)} rows in {self.name}, found the end in row {start}; "
                "the file is cut short: get it again"
            )
        return np.frombuffer(data, self.dtype).reshape(stop - start, *self.shape[1:])

    def blocks(self) -> Iterator[tuple[int, NDArray[np.generic]]]:
        """Yield the first row's number and the rows of one block after the other."""
        step = max(1, _BLOCK // max(1, self.row_bytes))
        with damage(self.name), self.open() as stream:
            for start in range(0, len(self), step):
                yield start, self.read(stream, start, min(start + step, len(self)))
            stream.read(1)  # the end of a compressed stream is where its checksum is compared


@contextmanager
def damage(name: str) -> Iterator[None]:
    """Turn all that a damaged archive raises into one error."""
    try:
        yield
    except SourceError:
        raise
    except (OSError, EOFError, ValueError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        words = " ".join(str(error).split())
        raise SourceError(
            f"{printable(name)} cannot be read: {printable(words)}; get it again"
        ) from error


@dataclass(frozen=True, eq=False)
class ArrayPart:
    """
    Images of one split.

    Attributes
    ----------
    images : ArrayRows
        Shape (n, h, w), (n, h, w, 1) or (n, h, w, 3).
    names : list of str or None
        The class of each image.
    given : Given
        Their split.
    scale : float
        What pixels are multiplied by to reach 0..255.
    """

    images: ArrayRows
    names: Sequence[str | None]
    given: Given
    scale: float = 1.0


@dataclass(frozen=True, kw_only=True, eq=False)
class ArraySource(Source):
    """
    Images in arrays.

    Attributes
    ----------
    parts : sequence of ArrayPart
        The arrays.
    rows : ndarray of int64, shape (n,), or None
        Of each row its place in all parts together; None where these are all rows.
    """

    parts: Sequence[ArrayPart]
    rows: NDArray[np.int64] | None

    def stat(self, row: int) -> Stat | None:
        return None

    def contents(self, rows: Iterable[int]) -> Generator[tuple[int, Read], None, None]:
        with ExitStack() as stack:
            streams: dict[int, IO[bytes]] = {}
            starts = starts_of(len(part.images) for part in self.parts)
            for row in rows:
                place = row if self.rows is None else int(self.rows[row])
                number = bisect_right(starts, place) - 1
                index = place - starts[number]
                part = self.parts[number]
                if number not in streams:
                    with damage(part.images.name):
                        streams[number] = stack.enter_context(part.images.open())
                pixels = part.images.read(streams[number], index, index + 1)[0]
                yield row, partial(_content, pixels, part.scale)

    def subset(self, rows: Sequence[int]) -> Self:
        places = np.array(rows, np.int64)
        if self.rows is not None:
            places = self.rows[places]
        return replace(super().subset(rows), rows=places)


def array_source(
    *, layout: str, location: str, parts: Sequence[ArrayPart], notes: Sequence[str] = ()
) -> ArraySource:
    """
    Join arrays of images to a source, after a look at what they hold.

    Raises
    ------
    SourceError
        If the numbers are not those of pixels, or an array is damaged.
    """
    for part in parts:
        if part.images.compressed and part.images.dtype == np.uint8:  # others are looked through
            deque(part.images.blocks(), maxlen=0)
    parts, scaled = _scaled(parts)
    classes, labels = indexed([name for part in parts for name in part.names])
    counts = [len(part.images) for part in parts]
    return ArraySource(
        layout=layout,
        location=location,
        classes=classes,
        paths=Numbered([part.images.name for part in parts], counts),
        labels=labels,
        splits=np.repeat(np.array([part.given for part in parts], np.uint8), counts),
        notes=(*notes, *scaled),
        parts=[replace(part, names=()) for part in parts],  # the labels say it
        rows=None,
    )


def labelled(images: ArrayRows, labels: ArrayRows | None, given: Given) -> ArrayPart:
    """
    Join images and their labels.

    Raises
    ------
    SourceError
        If the shape of `images` is not one of images, or the labels do not fit.
    """
    _check_shape(images)
    names = [None] * len(images) if labels is None else _class_names(labels, len(images))
    return ArrayPart(images, names, given)


def _check_shape(images: ArrayRows) -> None:
    """Refuse arrays that are not stacks of grey or RGB images, with a hint at what to call."""
    name, shape = images.name, images.shape
    hint = "reshape it"
    if len(shape) == 4 and shape[3] not in (1, 3) and shape[1] in (1, 3):
        hint = f"channels come last: save np.moveaxis({name}, 1, -1)"
    elif len(shape) == 4 and shape[3] == 4:
        hint = f"drop the alpha channel: save {name}[..., :3]"
    elif len(shape) == 2:
        hint = f"rows are flat: save {name}.reshape(-1, height, width)"
    elif (len(shape) == 3 or (len(shape) == 4 and shape[3] in (1, 3))) and min(shape) > 0:
        if prod(shape[1:3]) <= MOST_PIXELS:
            return
        hint = f"images have at most {MOST_PIXELS} pixels"
    raise SourceError(
        f"expected {name} of shape (n, height, width) or (n, height, width, 3), "
        f"found {'x'.join(map(str, shape))}; {hint}"
    )


def _scaled(parts: Sequence[ArrayPart]) -> tuple[list[ArrayPart], list[str]]:
    """Look through arrays that are not bytes, and decide whether white is 1 or 255."""
    plain = [part for part in parts if part.images.dtype == np.uint8]
    numbers = [part for part in parts if part.images.dtype != np.uint8]
    if not numbers:
        return list(parts), []
    highest = {part.images.name: _highest(part.images) for part in numbers}
    unit = [name for name, high in highest.items() if high <= 1]
    if unit and (plain or len(unit) < len(numbers)):
        raise SourceError(
            f"expected one range of pixels, found 0..1 in {unit[0]} and 0..255 elsewhere; "
            "save all arrays as uint8"
        )
    scale = 255.0 if unit else 1.0
    found = "0..1 and were multiplied by 255" if unit else "0..255"
    notes = [f"pixels are {numbers[0].images.dtype.name} in {found}; they are rounded to bytes"]
    return [
        replace(part, scale=scale) if part.images.dtype != np.uint8 else part for part in parts
    ], notes


def _highest(images: ArrayRows) -> float:
    """Return the highest pixel after a check that all of them are within 0..255."""
    if images.dtype.kind not in "fiub":
        raise SourceError(
            f"expected numbers in {images.name}, found {images.dtype}; save it as uint8"
        )
    highest = 0.0
    for start, block in images.blocks():
        rows = block.reshape(len(block), -1).astype(np.float64)
        if not np.isfinite(rows).all():
            index = start + int(np.argmin(np.isfinite(rows).all(axis=1)))
            raise SourceError(
                f"expected finite pixels, found NaN or infinity in {images.name}[{index}]; "
                "remove or repair this image"
            )
        low, high = float(rows.min()), float(rows.max())
        if low < 0 or high > 255:
            raise SourceError(
                f"expected pixels in 0..1 or 0..255, found {low:g}..{high:g} in {images.name} from "
                f"row {start}; undo the preprocessing and save uint8"
            )
        highest = max(highest, high)
    return highest


def _class_names(labels: ArrayRows, count: int) -> list[str]:
    """Read labels: whole numbers, text, or one-hot rows, which name a class by its column."""
    if not labels.shape or len(labels.shape) > 2 or len(labels) != count or 0 in labels.shape:
        raise SourceError(
            f"expected {count} labels in {labels.name}, one for each image, "
            f"found shape {'x'.join(map(str, labels.shape))}; save images and labels together"
        )
    names: list[str] = []
    same: dict[str, str] = {}  # one object for all images of a class
    for start, block in labels.blocks():
        flat = (
            _columns(labels.name, start, block)
            if block.ndim == 2 and block.shape[1] > 1
            else (block.reshape(-1))
        )
        for piece in blocks(len(flat)):
            texts = _texts(labels.name, start + piece.start, flat[piece])
            names += (same.setdefault(text, text) for text in texts)
    return names


def _columns(name: str, start: int, block: NDArray[np.generic]) -> NDArray[np.generic]:
    """Return the columns of the ones in one-hot rows."""
    good = np.zeros(len(block), bool)
    if block.dtype.kind in "fiub":
        good = np.isin(block, (0, 1)).all(axis=1) & (block.astype(np.float64).sum(axis=1) == 1)
    if not good.all():
        raise SourceError(
            f"expected one label for each image or one-hot rows in {name}, found neither in row "
            f"{start + int(np.argmin(good))}; save one class number for each image"
        )
    columns: NDArray[np.generic] = block.argmax(axis=1)
    return columns


def _texts(name: str, start: int, labels: NDArray[np.generic]) -> list[str]:
    """Turn labels into names of classes."""
    if labels.dtype.kind in "iu":
        return [str(label) for label in labels.tolist()]
    if labels.dtype.kind == "b":
        return [str(int(label)) for label in labels.tolist()]
    if labels.dtype.kind == "U":
        return [str(label) for label in labels.tolist()]
    if labels.dtype.kind == "S":
        return [label.decode("utf-8", "backslashreplace") for label in labels.tolist()]
    if labels.dtype.kind == "f":
        values = labels.astype(np.float64)
        whole = np.isfinite(values) & (values == np.rint(values))
        if whole.all():
            return [str(int(value)) for value in values.tolist()]
        index = start + int(np.argmin(whole))
        raise SourceError(
            f"expected whole numbers as labels, found {values[index - start]:g} in {name}[{index}];"
            " save class numbers or names"
        )
    raise SourceError(
        f"expected numbers or text as labels in {name}, found {labels.dtype}; save them so"
    )


def _content(pixels: NDArray[np.generic], scale: float) -> Content:
    """Return one image as the bytes of a BMP file."""
    if pixels.dtype != np.uint8:
        pixels = np.rint(pixels.astype(np.float64) * scale).astype(np.uint8)
    return Content(_bmp(pixels))


def _bmp(pixels: NDArray[np.generic]) -> bytes:
    """
    Encode grey or RGB bytes as a 24-bit BMP file (Microsoft, BITMAPFILEHEADER, BITMAPINFOHEADER).

    Written here and not by Pillow: the bytes are hashed, and must never change.
    """
    height, width = pixels.shape[:2]
    body = np.zeros((height, (3 * width + 3) // 4 * 4), np.uint8)  # rows end on 4 bytes
    rgb = np.broadcast_to(pixels.reshape(height, width, -1), (height, width, 3))
    body[:, : 3 * width] = rgb[::-1, :, ::-1].reshape(height, -1)  # from below, BGR
    headers = 14 + 40
    return (
        struct.pack("<2sIHHI", b"BM", headers + body.size, 0, 0, headers)
        + struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, body.size, 0, 0, 0, 0)
        + body.tobytes()
    )
