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
        m batches; the last part may be one smaller batch (1, r, d).
    y : int64 array of shape (m, batch_size)
    """
    blocks = ((codes, rows.y[positions]) for positions, codes in rows.codes.blocks())
    return _stacked(blocks, batch_size)


def shuffled(rows: Rows, *, batch_size: int, room: int, rng: np.random.Generator) -> Iterator[Part]:
    """
    Yield the rows once, in random order.

    From memory that is any order. From a store, shards come in random order, and each row that is
    read takes the place of a random one that waits in a pool: rows of one class that lie side by
    side in the store do not meet in a batch more often than others do, as long as the pool holds
    some dozens of shards.

    Parameters
    ----------
    rows : Rows
    batch_size : int
    room : int
        Bytes for the pool.
    rng : Generator
        Decides the order.

    Yields
    ------
    As `in_order`.
    """
    if isinstance(rows.codes, InMemory):
        return _stacked(_from_memory(rows, rows.codes, rng), batch_size)
    return _stacked(_from_pool(rows, room, rng), batch_size)


def _from_memory(rows: Rows, codes: InMemory, rng: np.random.Generator) -> Iterator[Part]:
    order = rng.permutation(len(rows))
    step = max(1, _PART_BYTES // (4 * codes.width))
    for start in range(0, len(order), step):
        part = order[start : start + step]
        yield codes.gather(part), rows.y[part]


def _from_pool(rows: Rows, room: int, rng: np.random.Generator) -> Iterator[Part]:
    """Swap each row read for a random one of those that wait."""
    size = max(1, min(len(rows), room // (4 * rows.codes.width)))
    pool = np.empty((size, rows.codes.width), np.float32)
    labels = np.empty(size, np.int64)
    filled = 0
    for positions, codes in rows.codes.blocks(rng):
        fresh = min(size - filled, len(codes))
        pool[filled : filled + fresh] = codes[:fresh]
        labels[filled : filled + fresh] = rows.y[positions[:fresh]]
        filled += fresh
        for start in range(fresh, len(codes), size):
            part = slice(start, min(start + size, len(codes)))
            places = rng.choice(size, part.stop - part.start, replace=False)
            yield pool[places], labels[places]
            pool[places], labels[places] = codes[part], rows.y[positions[part]]
    order = rng.permutation(filled)
    step = max(1, _PART_BYTES // (4 * rows.codes.width))
    for start in range(0, filled, step):
        places = order[start : start + step]
        yield pool[places], labels[places]


def _stacked(parts: Iterator[Part], batch_size: int) -> Iterator[Part]:
    """Cut parts of any length into whole batches; what is left over goes before the next part."""
    left: Part | None = None
    for codes, y in parts:
        if left is not None and len(left[1]):
            codes, y = np.concatenate([left[0], codes]), np.concatenate([left[1], y])
        whole = len(y) // batch_size * batch_size
        if whole:
            shape = (-1, batch_size)
            yield codes[:whole].reshape(*shape, codes.shape[1]), y[:whole].reshape(shape)
        left = codes[whole:], y[whole:]
    if left is not None and len(left[1]):
        yield left[0][None], left[1][None]
