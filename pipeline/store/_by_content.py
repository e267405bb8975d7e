"""Codes by the hash of the image's bytes, whoever asks and whether the store is finished or not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from pipeline.store._header import SHARDS, Header, read_header
from pipeline.store._lookup import Lookup
from pipeline.store._reader import Codes, Rows, probe_of
from pipeline.store._shard import Seen, read_codes, seen_in
from pipeline.store._shard_file import damaged


class ByContent:
    """
    The shards of a store as they are now; labels and splits, which the table has, play no part.

    Nothing is locked: shards never change, and those that come later are not seen.

    Parameters
    ----------
    folder : Path

    Attributes
    ----------
    header : Header

    Raises
    ------
    StoreNotFound
        If there is no store.
    StoreDamaged
        If its header or a shard is not what was written.
    """

    def __init__(self, folder: Path) -> None:
        self.location = folder
        self.header: Header = read_header(folder)
        self._lookup = Lookup.of(folder / SHARDS, header=self.header)

    def known(self, sha256: bytes) -> bool:
        """Whether the content has its codes, or the reason why not."""
        return self._lookup.place(sha256) is not None

    def seen(self) -> Iterator[Seen]:
        """Say shard by shard which content each file had when it was read; see `Seen`."""
        for shard in self._lookup.shards:
            yield seen_in(self.location / SHARDS / shard.name)

    def reason(self, sha256: bytes) -> str | None:
        """Return why a known content has no codes; None for one that has."""
        shard, code = self._place(sha256)
        return self._lookup.reason(shard, code) if code < 0 else None

    def blocks(self, layer: str, sha256s: Sequence[bytes]) -> Iterator[tuple[Rows, Codes]]:
        """
        Read the codes of some contents shard by shard.

        Parameters
        ----------
        layer : str
        sha256s : sequence of bytes
            Of contents that have codes; the same one may come several times.

        Yields
        ------
        positions : int64 array of shape (m,)
            Places in `sha256s`.
        codes : float32 array of shape (m, ...)
            Of the images themselves, whatever further views there are.
        """
        places = np.array([self._place(sha256) for sha256 in sha256s], np.int64).reshape(-1, 2)
        for shard in np.unique(places[:, 0]).tolist():
            positions = np.flatnonzero(places[:, 0] == shard)
            path = self.location / SHARDS / self._lookup.shards[shard].name
            rows = places[positions, 1].astype(np.int32)
            codes = read_codes(path, [layer], rows, header=self.header)[layer]
            if codes.shape[1:] != self.header.space.layers[layer]:
                raise damaged(path, f"codes of shape {codes.shape[1:]}")
            yield positions, codes

    def probe(self, layer: str) -> Codes:
        """Return the codes of the probe images."""
        return probe_of(self.location, layer)

    def _place(self, sha256: bytes) -> tuple[int, int]:
        place = self._lookup.place(sha256)
        if place is None:
            raise KeyError(f"{self.location} does not know content {sha256.hex()}")
        return place
