"""Where the shards of a store keep each content."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from pipeline.store._header import Header, shard_names
from pipeline.store._shard import Index, read_index

_KEY = 16  # bytes of a SHA-256 that tell contents apart, as they do shards in their names
_RECENT = 1 << 14  # rows that are kept one by one, until they are sorted in among the others


class ShardRows(NamedTuple):
    """
    What is kept of a shard.

    Attributes
    ----------
    name : str
        Of its file.
    reasons : mapping of int to str
        Why rows were rejected.
    """

    name: str
    reasons: Mapping[int, str]


class _Run(NamedTuple):
    """Contents sorted by the first 8 bytes of their hashes, and where each is."""

    first: NDArray[np.uint64]
    second: NDArray[np.uint64]
    shard: NDArray[np.int32]
    code: NDArray[np.int32]

    @classmethod
    def of(
        cls, sha256: NDArray[np.uint8], shard: NDArray[np.int32], code: NDArray[np.int32]
    ) -> _Run:
        keys = np.ascontiguousarray(sha256[:, :_KEY]).view(">u8").astype(np.uint64)
        order = np.argsort(keys[:, 0], kind="stable")
        return cls(keys[order, 0], keys[order, 1], shard[order], code[order])

    def merged(self, later: _Run) -> _Run:
        """Sort two runs into one; of equals the later stands behind."""
        places = np.searchsorted(self.first, later.first, "right")
        return _Run(
            np.insert(self.first, places, later.first),
            np.insert(self.second, places, later.second),
            np.insert(self.shard, places, later.shard),
            np.insert(self.code, places, later.code),
        )

    def find(
        self, first: NDArray[np.uint64], second: NDArray[np.uint64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return which of some contents are here, and where; of equals the last."""
        places = np.searchsorted(self.first, first, "right") - 1
        asked = np.arange(len(first))
        hits, found = [asked[:0]], [places[:0]]
        while len(asked):
            alike = (places >= 0) & (self.first[places] == first[asked])
            asked, places = asked[alike], places[alike]
            same = self.second[places] == second[asked]
            hits.append(asked[same])
            found.append(places[same])
            asked, places = asked[~same], places[~same] - 1
        return np.concatenate(hits), np.concatenate(found)


class Lookup:
    """
    The rows of all shards, found by content hash: 24 bytes of memory for each.

    Asking is safe in any thread, while one of them adds.

    Attributes
    ----------
    shards : list of ShardRows
        In their order.
    """

    def __init__(self, indexes: Iterable[Index] = ()) -> None:
        self.shards: list[ShardRows] = []
        self._runs: tuple[_Run, ...] = ()  # each at least twice as long as the next
        self._recent: dict[bytes, tuple[int, int]] = {}
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
        number = len(self.shards)
        self.shards.append(ShardRows(index.name, index.reasons))
        # A rejected row is known by a number below 0.
        code = np.where(index.code_row >= 0, index.code_row, -1 - np.arange(len(index.code_row)))
        keys = index.sha256[:, :_KEY]
        pairs = zip(keys, code.tolist(), strict=True)
        self._recent |= {key.tobytes(): (number, row) for key, row in pairs}
        if len(self._recent) >= _RECENT:
            self._sort_in()

    def _sort_in(self) -> None:
        """Make a sorted run of the recent rows, and one of all runs that are not longer."""
        if not self._recent:
            return
        keys = np.frombuffer(b"".join(self._recent), np.uint8).reshape(-1, _KEY)
        shard, code = np.array(list(self._recent.values()), np.int32).T
        runs, last = list(self._runs), _Run.of(keys, shard, code)
        while runs and len(runs[-1].first) < 2 * len(last.first):
            last = runs.pop().merged(last)
        self._runs = (*runs, last)
        self._recent = {}  # after the runs have them

    def place(self, sha256: bytes) -> tuple[int, int] | None:
        """
        Find a content.

        Returns
        -------
        shard : int
            The number of the shard that has it.
        code : int
            Its row in each ``codes/<layer>``; of a rejected one a number below 0, see `reason`.
        """
        key = sha256[:_KEY]
        if (recent := self._recent.get(key)) is not None:
            return recent
        first, second = np.frombuffer(key, ">u8").astype(np.uint64)
        for run in reversed(self._runs):
            place = int(run.first.searchsorted(first, "right")) - 1
            while place >= 0 and run.first[place] == first:
                if run.second[place] == second:
                    return int(run.shard[place]), int(run.code[place])
                place -= 1
        return None

    def places(self, sha256: NDArray[np.uint8]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """
        Find many contents; not to be called while another thread adds.

        Parameters
        ----------
        sha256 : uint8 array of shape (m, 32)

        Returns
        -------
        shard, code : int32 array of shape (m,)
            As of `place`; -1 and -1 for what is not known.
        """
        self._sort_in()
        keys = np.ascontiguousarray(sha256[:, :_KEY]).view(">u8").astype(np.uint64)
        shard, code = np.full(len(keys), -1, np.int32), np.full(len(keys), -1, np.int32)
        for run in self._runs:
            rows, found = run.find(keys[:, 0], keys[:, 1])
            shard[rows], code[rows] = run.shard[found], run.code[found]
        return shard, code

    def reason(self, shard: int, code: int) -> str:
        """Return why a content was rejected."""
        return self.shards[shard].reasons[-1 - code]
