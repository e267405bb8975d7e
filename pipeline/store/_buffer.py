"""Codes that wait to become a shard."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# What a kill can cost at the most, and what a shard may weigh: while it is written it is in memory
# twice, as rows and as the bytes of the file. Numbers of 16 bits count as the 32 that a reader has
# of them: what reading a shard takes in memory is the same for both.
SECONDS = 60.0


BYTES = 16 << 20
# Beside its codes a row takes about a kilobyte of memory: tiny codes must not wait by the million.
ROWS = 1 << 14


_WIDTH = np.dtype(np.float32).itemsize


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """
    One image with its codes, or with the reason why it has none.

    Attributes
    ----------
    path : bytes
        Where the image was, relative to the source.
    sha256 : bytes of length 32
        Hash of the image's bytes.
    stat : tuple of int
        Size, modification and change time in nanoseconds when it was read; zeros if unknown.
    codes : mapping of str to float array, or None
        For each layer, the codes, as wide as they are to be stored; None for a rejected image. Of
        several views all, the image's own first.
    reason : str
        Why the image was rejected; empty for a good one.
    """

    path: bytes
    sha256: bytes
    stat: tuple[int, int, int]
    codes: Mapping[str, NDArray[np.floating]] | None
    reason: str = ""


class Buffer:
    """
    Rows that wait in memory to become a shard.

    A shard ends where a batch of the network does: what is computed after a kill then has the
    places in its batches that it would have had without, and TensorFlow's last bits depend on
    these.

    Attributes
    ----------
    rows : list of Row
        All of them.
    whole : int
        How many of them, from the first, end with a batch.
    """

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.whole = 0
        self._bytes = self._whole_bytes = self._batch_bytes = 0
        self._since = 0.0

    def add(self, row: Row) -> None:
        """Take one more row."""
        if not self.rows:
            self._since = time.monotonic()
        self.rows.append(row)
        if row.codes is not None:
            self._bytes += sum(_WIDTH * codes.size for codes in row.codes.values())

    def end_batch(self) -> None:
        """Note that a batch ends with the last row."""
        self.whole = len(self.rows)
        self._batch_bytes = self._bytes - self._whole_bytes
        self._whole_bytes = self._bytes

    @property
    def full(self) -> bool:
        """Whether it is time to write the rows of whole batches."""
        late = time.monotonic() - self._since >= SECONDS
        large = self._bytes + self._batch_bytes > BYTES or len(self.rows) >= ROWS
        return bool(self.whole) and (late or large)

    def take(self) -> list[Row]:
        """Take out the rows of whole batches."""
        taken, self.rows = self.rows[: self.whole], self.rows[self.whole :]
        self.whole = 0
        self._bytes -= self._whole_bytes
        self._whole_bytes = 0
        self._since = time.monotonic()
        return taken
