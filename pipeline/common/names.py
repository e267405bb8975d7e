"""Byte strings end to end: a path takes the bytes of its letters, and four more."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

BLOCK = 1 << 13
"""How many rows are looked at in one piece wherever columns are gone through."""


def blocks(count: int) -> Iterator[slice]:
    """Cut rows into pieces of `BLOCK`."""
    return (slice(start, min(start + BLOCK, count)) for start in range(0, max(0, count), BLOCK))


def one_by_one(rows: NDArray[np.integer]) -> Iterator[int]:
    """Yield the numbers of an array as Python's own."""
    for piece in blocks(len(rows)):
        yield from rows[piece].tolist()


def among(keys: NDArray[np.uint64], others: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """Say of numbers whether they are among others, which are sorted."""
    found = np.zeros(len(keys), bool)
    for piece in blocks(len(keys) if len(others) else 0):
        places = np.searchsorted(others, keys[piece]).clip(max=len(others) - 1)
        found[piece] = others[places] == keys[piece]
    return found


class ByteStrings(Sequence[bytes]):
    """A list of byte strings that does not change, of which `_at` gives one and `_cut` some."""

    __hash__ = None  # type: ignore[assignment]

    @overload
    def __getitem__(self, place: int) -> bytes: ...
    @overload
    def __getitem__(self, place: slice) -> Names: ...
    def __getitem__(self, place: int | slice) -> bytes | Names:
        if isinstance(place, slice):
            return self._cut(range(*place.indices(len(self))))
        row = place + len(self) if place < 0 else place
        if not 0 <= row < len(self):
            raise IndexError(place)
        return self._at(row)

    def _at(self, row: int) -> bytes:
        raise NotImplementedError

    def _cut(self, rows: range) -> Names:
        return Names.of(map(self._at, rows))


class Names(ByteStrings):
    """
    A list of byte strings that does not change, in two arrays.

    Parameters
    ----------
    data : uint8 array of shape (bytes,)
        All of them, one behind the other.
    ends : integer array of shape (n,)
        Behind the last byte of each.
    start : int, default 0
        The first byte of the first.
    """

    def __init__(self, data: NDArray[np.uint8], ends: NDArray[Any], start: int = 0) -> None:
        small = ends.dtype.itemsize <= 4 or len(data) >= 1 << 32
        self._data = data
        self._ends: NDArray[Any] = ends if small else ends.astype(np.uint32)
        self._start = start

    @classmethod
    def of(cls, values: Iterable[bytes]) -> Names:
        """Pack byte strings; what is packed already is returned as it is."""
        if isinstance(values, Names):
            return values
        data, ends, size = bytearray(), array("Q"), 0
        for value in values:
            data += value
            size += len(value)
            ends.append(size)
        return cls(np.frombuffer(data, np.uint8), np.array(ends, np.uint64))

    @classmethod
    def joined(cls, parts: Sequence[Names]) -> Names:
        """Put several behind each other."""
        parts = [part for part in parts if len(part)]
        if len(parts) == 1:
            return parts[0]
        sizes = np.array([0, *(part.size for part in parts)], np.int64)
        starts = np.cumsum(sizes)
        dtype = np.uint32 if starts[-1] < 1 << 32 else np.int64
        counts = np.cumsum([0, *map(len, parts)])
        data, ends = np.empty(starts[-1], np.uint8), np.empty(counts[-1], dtype)
        for place, part in enumerate(parts):
            data[starts[place] : starts[place + 1]] = part.data
            ends[counts[place] : counts[place + 1]] = part.ends + starts[place]
        return cls(data, ends)

    @property
    def data(self) -> NDArray[np.uint8]:
        """The bytes of all."""
        return self._data[self._start : self._start + self.size]

    @property
    def ends(self) -> NDArray[np.int64]:
        """Behind the last byte of each, in `data`."""
        return self._ends.astype(np.int64) - self._start

    @property
    def size(self) -> int:
        """How many bytes they have together."""
        return int(self._ends[-1]) - self._start if len(self._ends) else 0

    def take(self, rows: Iterable[int]) -> Names:
        """Return some of them, in the order of the rows."""
        return Names.of(self[row] for row in rows)

    def __len__(self) -> int:
        return len(self._ends)

    def _at(self, row: int) -> bytes:
        return self._data[self._begin(row) : int(self._ends[row])].tobytes()

    def _cut(self, rows: range) -> Names:
        if rows.step != 1:
            return super()._cut(rows)
        stop = max(rows.start, rows.stop)
        return Names(self._data, self._ends[rows.start : stop], self._begin(rows.start))

    def _begin(self, row: int) -> int:
        return int(self._ends[row - 1]) if row else self._start

    def __iter__(self) -> Iterator[bytes]:
        for piece in blocks(len(self)):
            part = self[piece]
            data, start = part.data.tobytes(), 0
            for end in part.ends.tolist():
                yield data[start:end]
                start = end

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence) or isinstance(other, (str, bytes)):
            return NotImplemented
        return len(self) == len(other) and all(a == b for a, b in zip(self, other, strict=True))

    def __repr__(self) -> str:
        more = f", and {len(self) - 3} more" if len(self) > 3 else ""
        return f"<{', '.join(map(repr, self[:3]))}{more}>"


def hashed(values: Iterable[bytes]) -> NDArray[np.int64]:
    """Return a number of 64 bits for each, by which this process finds it again."""
    return np.fromiter(map(hash, values), np.int64)


class Places:
    """
    Where each of some names is, found by a number of 64 bits: the names themselves are not kept.

    The number is keyed anew in each process, so that nobody can prepare two names that share it.

    Parameters
    ----------
    values : sequence of bytes
        The same one may come several times.
    """

    def __init__(self, values: Sequence[bytes]) -> None:
        numbers = np.empty(len(values), np.int64)
        for piece in blocks(len(values)):
            numbers[piece] = hashed(values[piece])
        self._order = np.argsort(numbers, kind="stable").astype(np.uint32)
        numbers.sort()
        self._numbers = numbers

    def find(self, values: Iterable[bytes]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """
        Find names.

        Returns
        -------
        rows : int64 array of shape (m,)
            Places in what was given first, for each name all of them.
        places : int64 array of shape (m,)
            Of each of these rows its place in `values`; rising.
        """
        numbers = hashed(values)
        first = np.searchsorted(self._numbers, numbers, "left")
        counts = np.searchsorted(self._numbers, numbers, "right") - first
        places = np.repeat(np.arange(len(numbers)), counts)
        within = np.arange(len(places)) - np.repeat(np.cumsum(counts) - counts, counts)
        return self._order[first[places] + within].astype(np.int64), places
