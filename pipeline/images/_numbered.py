"""Names of images that are rows of arrays: made as they are asked for."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from itertools import accumulate

from pipeline.common.names import ByteStrings, Names


class Numbered(ByteStrings):
    """Names of the rows of arrays, such as ``b"x_train#12"``, made as they are asked for."""

    def __init__(self, names: Sequence[str], counts: Sequence[int]) -> None:
        self._names, self._starts = names, starts_of(counts)
        self._count = sum(counts)

    def __len__(self) -> int:
        return self._count

    def _at(self, row: int) -> bytes:
        part = bisect_right(self._starts, row) - 1
        return f"{self._names[part]}#{row - self._starts[part]}".encode()

    def __eq__(self, other: object) -> bool:
        return Names.of(self) == other


def starts_of(counts: Iterable[int]) -> list[int]:
    """Return the number of the first row of each part; of two the later, where one is empty."""
    return list(accumulate(counts, initial=0))[:-1]
