"""Codes that are not in memory, as far as a head can tell."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from pipeline.heads import Streamed


def streamed(X: NDArray[np.float32], *, piece: int = 7) -> Streamed:
    """Return codes that are handed out in pieces, as from the shards of a store."""

    def read(
        rows: NDArray[np.int64], rng: np.random.Generator | None
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
        starts = np.arange(0, len(rows), piece)
        for start in starts if rng is None else rng.permutation(starts):
            positions = np.arange(start, min(start + piece, len(rows)))
            yield positions, X[rows[positions]]

    return Streamed(read, np.arange(len(X)), width=X.shape[1])
