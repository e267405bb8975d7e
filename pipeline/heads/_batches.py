"""Codes as batches in random order, from memory or as they are read."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from pipeline.heads._codes import InMemory, Rows

Part = tuple[NDArray[np.float32], NDArray[np.int64]]

# What is handed on at a time: large beside the cost of handing on, small beside everything else.
_PART_BYTES = 1 << 24


def in_order(rows: Rows, *, batch_size: int) -> Iterator[Part]:
    """
    Yield the rows once, as they stand.

    Yields
    ------
    codes : float32 array of shape (m, batch_size, d)
        m batches, free to be overwritten; the last part may be one smaller batch (1, r, d).
    y : int64 array of shape (m, batch_size)
    """
    blocks = ((codes.copy(), rows.y[positions]) for positions, codes in rows.codes.blocks())
    return _stacked(blocks, batch_size)


def shuffled(
    rows: Rows, *, batch_size: int, pool: ShuffledPool | None, rng: np.random.Generator
) -> Iterator[Part]:
    """
    Yield the rows once, in random order.

    From memory that is any order. From a store, shards come in random order into a pool, from
    which rows are drawn at random: rows of one class that lie side by side in the store do not meet
    in a batch more often than others do, as long as the pool holds some dozens of shards.

    Parameters
    ----------
    rows : Rows
    batch_size : int
    pool : ShuffledPool or None
        For rows that are not in memory; see `pool_for`.
    rng : Generator
        Decides the order.

    Yields
    ------
    As `in_order`.
    """
    step = max(1, _PART_BYTES // (4 * rows.codes.width) // batch_size) * batch_size
    if isinstance(rows.codes, InMemory):
        return _stacked(_from_memory(rows, rows.codes, step, rng), batch_size)
    assert pool is not None  # noqa: S101 - `pool_for` makes one for all other codes
    return _stacked(_from_pool(rows, step, pool, rng), batch_size)


def pool_for(rows: Rows, *, room: int) -> ShuffledPool | None:
    """Make a pool of up to `room` bytes, to be used in every epoch; none for rows in memory."""
    if isinstance(rows.codes, InMemory):
        return None
    size = max(1, min(len(rows), room // (4 * rows.codes.width)))
    return ShuffledPool(size, rows.codes.width)


def _from_memory(
    rows: Rows, codes: InMemory, step: int, rng: np.random.Generator
) -> Iterator[Part]:
    order = rng.permutation(len(rows))
    for start in range(0, len(order), step):
        part = order[start : start + step]
        yield codes.gather(part), rows.y[part]


def _from_pool(
    rows: Rows, step: int, pool: ShuffledPool, rng: np.random.Generator
) -> Iterator[Part]:
    """Draw from a pool of rows that wait, into which others are read."""
    size, pool.filled = pool.size, 0
    for positions, codes in rows.codes.blocks(rng):
        for start in range(0, len(codes), min(step, size)):
            part = slice(start, min(start + min(step, size), len(codes)))
            count = part.stop - start
            # While it fills, half as many go out as come in, so that nobody waits until it is full.
            go = max(pool.filled + count - size, count // 2 if 4 * pool.filled > size else 0)
            if go:
                yield pool.draw(go, rng)
            pool.add(codes[part], rows.y[positions[part]])
    while pool.filled:
        yield pool.draw(min(step, pool.filled), rng)


class ShuffledPool:
    """Rows that wait to be drawn at random."""

    def __init__(self, size: int, width: int) -> None:
        self.size = size
        self._codes, self._y = np.empty((size, width), np.float32), np.empty(size, np.int64)
        self.filled = 0

    def add(self, codes: NDArray[np.float32], y: NDArray[np.int64]) -> None:
        """Take more rows."""
        places = slice(self.filled, self.filled + len(y))
        self._codes[places], self._y[places] = codes, y
        self.filled += len(y)

    def draw(self, count: int, rng: np.random.Generator) -> Part:
        """Take out random rows; the last ones move into their places."""
        places = rng.choice(self.filled, count, replace=False)
        drawn = self._codes[places], self._y[places]
        rest = self.filled - count
        holes = places[places < rest]
        stay = np.ones(count, bool)
        stay[places[places >= rest] - rest] = False
        movers = rest + np.flatnonzero(stay)
        self._codes[holes], self._y[holes] = self._codes[movers], self._y[movers]
        self.filled = rest
        return drawn


def _stacked(parts: Iterator[Part], batch_size: int) -> Iterator[Part]:
    """Cut parts of any length into whole batches; what is left over waits for the next part."""
    left: Part | None = None
    for codes, y in parts:
        if left is not None and len(left[1]):
            # One batch of what is left over and of the next rows; the others are not copied.
            missing = min(batch_size - len(left[1]), len(y))
            left = (
                np.concatenate([left[0], codes[:missing]]),
                np.concatenate([left[1], y[:missing]]),
            )
            codes, y = codes[missing:], y[missing:]
            if len(left[1]) < batch_size:
                continue
            yield left[0][None], left[1][None]
        whole = len(y) // batch_size * batch_size
        if whole:
            shape = (-1, batch_size)
            yield codes[:whole].reshape(*shape, codes.shape[1]), y[:whole].reshape(shape)
        left = codes[whole:].copy(), y[whole:]
    if left is not None and len(left[1]):
        yield left[0][None], left[1][None]
