"""Codes that a head learns from: in memory, or read anew for every pass over them."""

from __future__ import annotations

import queue
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.common.errors import HeadError

# Rows and their codes: int64 (m,) and float32 (m, d).
Block = tuple[NDArray[np.int64], NDArray[np.float32]]
# Called with rows, and with a generator where the order of the blocks should be random.
Read = Callable[[NDArray[np.int64], np.random.Generator | None], Iterator[Block]]

# Of a block: rows, and numbers, which wide codes reach first.
BLOCK_ROWS, _BLOCK_NUMBERS = 2048, 1 << 20


def block_rows(width: int) -> int:
    """Return how many rows of so many numbers are worked on at a time."""
    return max(1, min(BLOCK_ROWS, _BLOCK_NUMBERS // max(1, width)))


class CodeRows(ABC):
    """
    The codes of n images, d numbers each, in blocks of rows.

    Attributes
    ----------
    width : int
        Numbers per image.
    in_memory : bool
        Whether a pass over them costs no reading.
    """

    width: int
    in_memory: bool

    @abstractmethod
    def __len__(self) -> int:
        """Return the number of images."""

    @abstractmethod
    def blocks(self, rng: np.random.Generator | None = None) -> Iterator[Block]:
        """
        Yield every row once.

        Parameters
        ----------
        rng : Generator, optional
            Puts blocks (not the rows within) in random order; without it the order is always the
            same.

        Yields
        ------
        positions : int64 array of shape (m,)
        codes : float32 array of shape (m, width)
        """

    @abstractmethod
    def take(self, rows: NDArray[np.int64]) -> CodeRows:
        """Return some of the rows, in this order."""


class InMemory(CodeRows):
    """
    Codes as one array.

    Parameters
    ----------
    X : float32 array of shape (m, d)
    rows : int64 array of shape (n,), optional
        Which rows of it these codes are; all by default.
    """

    def __init__(self, X: NDArray[np.float32], rows: NDArray[np.int64] | None = None) -> None:
        self._X, self._rows = X, rows
        self.width, self.in_memory = X.shape[1], True

    def __len__(self) -> int:
        return len(self._X) if self._rows is None else len(self._rows)

    def blocks(self, rng: np.random.Generator | None = None) -> Iterator[Block]:
        """Yield parts of the array, without copying them where all rows are wanted."""
        step = block_rows(self.width)
        starts = np.arange(0, len(self), step)
        for start in starts if rng is None else rng.permutation(starts):
            part = slice(start, min(start + step, len(self)))
            codes = self._X[part] if self._rows is None else self._X[self._rows[part]]
            yield np.arange(part.start, part.stop), codes

    def take(self, rows: NDArray[np.int64]) -> InMemory:
        """Return some of the rows; nothing is copied."""
        return InMemory(self._X, rows if self._rows is None else self._rows[rows])

    def gather(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Copy some of the rows."""
        return self._X[rows if self._rows is None else self._rows[rows]]


class Streamed(CodeRows):
    """
    Codes that are read whenever they are needed, a piece ahead of whoever uses them.

    Parameters
    ----------
    read : callable
        Called with rows (and a generator); yields places in these rows and their codes, in
        pieces of a size that memory always has room for.
    rows : int64 array of shape (n,)
        Which rows these codes are.
    width : int
        Numbers per image.
    """

    def __init__(self, read: Read, rows: NDArray[np.int64], *, width: int) -> None:
        self._read, self._rows, self.width = read, rows, width
        self.in_memory = False

    def __len__(self) -> int:
        return len(self._rows)

    def blocks(self, rng: np.random.Generator | None = None) -> Iterator[Block]:
        """Read every row once."""
        for positions, codes in _ahead(lambda: self._read(self._rows, rng)):
            check_finite(codes, self._rows[positions])
            step = block_rows(self.width)
            for start in range(0, len(positions), step):
                part = slice(start, start + step)
                yield positions[part], codes[part]

    def take(self, rows: NDArray[np.int64]) -> Streamed:
        """Return a stream of some of the rows."""
        return Streamed(self._read, self._rows[rows], width=self.width)


class Chained(CodeRows):
    """The rows of two, the first ones first; nothing is copied."""

    def __init__(self, first: CodeRows, second: CodeRows) -> None:
        self._first, self._second, self.width = first, second, first.width
        self.in_memory = first.in_memory and second.in_memory

    def __len__(self) -> int:
        return len(self._first) + len(self._second)

    def blocks(self, rng: np.random.Generator | None = None) -> Iterator[Block]:
        """Yield the blocks of the first, then those of the second."""
        yield from self._first.blocks(rng)
        for positions, codes in self._second.blocks(rng):
            yield positions + len(self._first), codes

    def take(self, rows: NDArray[np.int64]) -> CodeRows:
        """Return some of the rows: those of the first, then those of the second, each in order."""
        own = rows < len(self._first)
        return Chained(
            self._first.take(rows[own]), self._second.take(rows[~own] - len(self._first))
        )


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Checked codes and their labels: (n, d) and int64 (n,)."""

    codes: CodeRows
    y: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.y)

    def take(self, rows: NDArray[np.int64]) -> Rows:
        """Return some of the rows, in this order."""
        return Rows(codes=self.codes.take(rows), y=self.y[rows])

    def plus(self, other: Rows) -> Rows:
        """Return the rows of both, these first; nothing is copied."""
        return Rows(codes=Chained(self.codes, other.codes), y=np.concatenate([self.y, other.y]))


def check_finite(
    codes: NDArray[np.float32], rows: NDArray[np.int64], *, what: str = "codes"
) -> None:
    """Raise HeadError for NaN or infinity, naming the first row."""
    bad = ~np.isfinite(codes).all(axis=1)
    if bad.any():
        raise HeadError(
            f"expected finite numbers, found NaN or infinity in row {rows[bad.argmax()]} of the "
            f"{what}; extract again"
        )


def _ahead(blocks: Callable[[], Iterator[Any]]) -> Iterator[Any]:
    """Read the next block in a thread of its own while this one is used."""
    ready: queue.Queue[tuple[Any, BaseException | None]] = queue.Queue(maxsize=1)
    stop = threading.Event()

    def put(item: tuple[Any, BaseException | None]) -> bool:
        while not stop.is_set():
            try:
                ready.put(item, timeout=0.1)
            except queue.Full:
                continue
            return True
        return False

    def read() -> None:
        try:
            for block in blocks():
                if not put((block, None)):
                    return
            put((None, StopIteration()))
        except BaseException as error:  # handed over to whoever waits for it
            put((None, error))

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    try:
        while True:
            block, error = ready.get()
            if isinstance(error, StopIteration):
                return
            if error is not None:
                raise error
            yield block
    finally:
        stop.set()
        thread.join()
