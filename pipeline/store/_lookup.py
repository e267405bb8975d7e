"""Where the shards of a store keep each content, and which content a file had when it was read."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from pipeline.store._header import Header, shard_names
from pipeline.store._shard import Index, read_index


class Lookup:
    """
    The rows of all shards, found by content hash.

    Attributes
    ----------
    indexes : list of Index
        Of the shards, in their order.
    """

    def __init__(self, indexes: Iterable[Index] = ()) -> None:
        self.indexes: list[Index] = []
        self._where: dict[bytes, tuple[int, int]] = {}
        self._hints: dict[bytes, tuple[tuple[int, ...], bytes]] = {}
        for index in indexes:
            self.add(index)

    @classmethod
    def of(cls, shards: Path, *, header: Header) -> Self:
        """
        Look into every shard of a folder.

        Raises
        ------
        StoreDamaged
            If one cannot be read or is of another space.
        """
        return cls(read_index(shards / name, header=header) for name in shard_names(shards))

    def add(self, index: Index) -> None:
        """Take in one more shard."""
        number = len(self.indexes)
        for row, digest in enumerate(index.sha256):
            self._where[digest.tobytes()] = (number, row)
        self.indexes.append(index)
        self.remember(index.paths, index.stat, index.sha256)

    def remember(
        self, paths: list[bytes], stats: NDArray[np.int64], sha256: NDArray[np.uint8]
    ) -> None:
        """Note which content files had, where their times prove later that they are unchanged."""
        for path, stat, digest in zip(paths, stats.tolist(), sha256, strict=True):
            if any(stat):
                self._hints[path] = (tuple(stat), digest.tobytes())

    def place(self, sha256: bytes) -> tuple[int, int] | None:
        """Return the number of the shard that has a content, and its row there."""
        return self._where.get(sha256)

    def hint(self, path: bytes, stat: tuple[int, int, int] | None) -> bytes | None:
        """
        Recall a file's content hash without reading it.

        Parameters
        ----------
        path : bytes
            Relative to the source.
        stat : tuple of int or None
            The file's size, modification and change time now.

        Returns
        -------
        bytes or None
            The hash, if the file was read before and none of the three has changed.
        """
        found = self._hints.get(path)
        return found[1] if found is not None and found[0] == stat else None
