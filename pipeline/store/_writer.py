"""The writer: one process adds rows to a store, shard by shard, and at last replaces the table."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.common.errors import StoreNotFound
from pipeline.common.files import make_folder
from pipeline.common.mapped import let_go
from pipeline.common.names import blocks
from pipeline.common.space import Space
from pipeline.store._buffer import Buffer, Row
from pipeline.store._dtype import narrowed
from pipeline.store._header import (
    FILE,
    PROBE,
    SHARDS,
    Codes,
    Header,
    read_header,
    read_probe,
    write_header,
)
from pipeline.store._lookup import Lookup
from pipeline.store._place import _is_leftover, alone, explained
from pipeline.store._reasons import Reasons
from pipeline.store._rows import Status, Table
from pipeline.store._shard import Index, Seen, seen_in, write_shard
from pipeline.store._table import StoredTable, read_table, write_table

# A file may change twice within one tick of a coarse clock: a time stamp this fresh when the file
# was read proves nothing later (git's "racy" entries are the same matter).
_FRESH_NS = 2_000_000_000
_NO_STAT = (0, 0, 0)


@dataclass(frozen=True, kw_only=True)
class Scan:
    """
    What a run learnt of the source, to be written down as the table.

    Attributes
    ----------
    paths, classes, labels, splits, sha256, source, groups
        As in `Table`.
    stat : int64 array of shape (n, 3)
    rejected : mapping of int to str
        Rows that have no content to hash, and why.
    pending : mapping of int to str
        Rows that could not be read this time, and why.
    unfinished : bool
        Whether more is to come.
    """

    paths: Sequence[bytes]
    classes: tuple[str, ...]
    labels: NDArray[np.int32]
    splits: NDArray[np.uint8]
    sha256: NDArray[np.uint8]
    stat: NDArray[np.int64]
    rejected: Mapping[int, str] = field(default_factory=dict)
    pending: Mapping[int, str] = field(default_factory=dict)
    source: Mapping[str, Any] = field(default_factory=dict)
    groups: Sequence[bytes] | None = None
    unfinished: bool = False


class Writer:
    """
    Exclusive access to a store for one run of extract.

    Entering takes a lock that ends with the process; nothing is created in the folder but the
    lock file until `create`. A folder that was made for this and did not become a store is removed
    on leaving; what was there before never is.

    Parameters
    ----------
    folder : Path
        The store; need not exist.

    Attributes
    ----------
    header : Header or None
        None until the folder is a store.
    table : StoredTable or None
        As the last run left it.
    seconds : float
        What writing the shards took so far.

    Raises
    ------
    StoreLocked
        If another process writes to this store.
    StoreDamaged
        If the header, the table or a shard is not what was written.
    StoreError
        If one of them cannot be read this time.
    OutputError
        If the folder cannot be written or holds other files.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.header: Header | None = None
        self._probe: Codes = {}
        self._lookup = Lookup()
        self._buffer = Buffer()
        self._buffered: set[bytes] = set()
        self._writing: Future[Index] | None = None
        self._in_flight: list[bytes] = []  # hashes only: the rows are let go when written
        self.seconds = 0.0
        self.table: StoredTable | None = None

    def __enter__(self) -> Writer:
        with ExitStack() as stack:
            stack.enter_context(alone(self.folder))
            # One thread writes while the next rows are computed: the network never waits for the
            # disk.
            self._pool = stack.enter_context(ThreadPoolExecutor(1, thread_name_prefix="store"))
            self._open()
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stack.close()  # after the shard that is being written

    def _open(self) -> None:
        """Read what is there: the header, the contents of the shards, the last table."""
        shards = self.folder / SHARDS
        for leftover in (*self.folder.glob(".*.tmp"), *shards.glob(".*.tmp")):
            if _is_leftover(leftover):
                leftover.unlink(missing_ok=True)
        try:
            self.header = read_header(self.folder)
        except StoreNotFound:
            return
        self._lookup = Lookup.of(shards, header=self.header)
        self._probe = read_probe(self.folder)
        self.table = read_table(self.folder)

    @property
    def space(self) -> Space:
        """The space of the store; only a store that was created has one."""
        if self.header is None:
            raise StoreNotFound(f"{self.folder} is not a store yet")
        return self.header.space

    def create(self, header: Header, probe: Codes) -> None:
        """
        Make the folder a store of this space.

        Parameters
        ----------
        header : Header
        probe : mapping of str to float32 array
            The codes of the probe images; they are kept in 32 bits.

        Raises
        ------
        StoreError
            If the store is to keep 16 bits and these codes already do not fit.
        """
        narrowed(probe, header.dtype)
        try:
            with explained(self.folder):
                write_header(self.folder, header, probe)
        except BaseException:
            # With store.json the folder is a store already, and needs its probe.
            with suppress(OSError):
                if not (self.folder / FILE).exists():
                    (self.folder / PROBE).unlink(missing_ok=True)
            raise
        self.header, self._probe = header, probe

    def probe(self) -> Codes:
        """Return the codes of the probe images that were kept when the store was created."""
        return self._probe

    def relabel(self, table: Table) -> None:
        """Replace the table by one that differs in labels, classes, splits and groups alone."""
        with explained(self.folder):
            write_table(self.folder, table)

    def known(self, sha256: bytes) -> bool:
        """Whether the content has its codes, or the reason why not, in this store."""
        return self._lookup.place(sha256) is not None or sha256 in self._buffered

    def knows(self, sha256: NDArray[np.uint8]) -> NDArray[np.bool_]:
        """Say of many contents, of shape (m, 32), whether they are in the shards."""
        return self._lookup.places(sha256)[0] >= 0

    def seen(self) -> Iterator[Seen]:
        """Say shard by shard which content each file had when it was read; see `Seen`."""
        for shard in self._lookup.shards:
            yield seen_in(self.folder / SHARDS / shard.name)

    def append(self, row: Row) -> bool:
        """
        Add a row; it becomes part of a shard once `end_batch` was called.

        Returns
        -------
        bool
            False for content that is known, which is passed over.

        Raises
        ------
        StoreError
            If the store keeps 16 bits and a code does not fit; shards that are written stay.
        """
        if self.known(row.sha256):
            return False
        if row.codes is not None and self.header is not None:
            row = replace(row, codes=narrowed(row.codes, self.header.dtype))
        self._buffer.add(row)
        self._buffered.add(row.sha256)
        return True

    def end_batch(self) -> None:
        """
        Note that the network's next batch begins; a full buffer becomes a shard.

        Raises
        ------
        ResourceError
            If the disk is full or fails; earlier shards are not touched.
        """
        self._buffer.end_batch()
        if self._buffer.full:
            self.flush()

    def flush(self) -> None:
        """
        Begin to commit the whole batches that wait in memory as a shard.

        The shard begun before is finished first.

        Raises
        ------
        ResourceError
            If the disk is full or fails; earlier shards are not touched.
        """
        self._settle()
        rows = self._buffer.take()
        if not rows or self.header is None:
            return
        # A shard that was deleted by hand leaves a gap: go on behind the last name.
        shards = self._lookup.shards
        number = int(shards[-1].name.partition("-")[0]) + 1 if shards else 0
        self._in_flight = [row.sha256 for row in rows]
        self._writing = self._pool.submit(self._write, number, rows, self.header)

    def _write(self, number: int, rows: list[Row], header: Header) -> Index:
        started = time.monotonic()
        with explained(self.folder):
            make_folder(self.folder / SHARDS)
            index = write_shard(
                self.folder / SHARDS, number, rows, header=header, probe=self._probe
            )
        self.seconds += time.monotonic() - started
        return index

    def _settle(self) -> None:
        """Wait for the shard that is being written, and raise what went wrong with it."""
        if self._writing is None:
            return
        writing, self._writing = self._writing, None
        self._lookup.add(writing.result())
        self._buffered.difference_update(self._in_flight)
        self._in_flight = []

    def commit(self, *, interrupted: bool = False) -> None:
        """
        Commit what waits in memory, and leave the table as it is.

        Parameters
        ----------
        interrupted : bool, default False
            Whether more was to come: then rows of the batch that was begun are let go, so that
            they are computed again in their places.

        Raises
        ------
        ResourceError
            If the disk is full or fails; earlier shards are not touched.
        """
        if not interrupted:
            self._buffer.end_batch()
        self.flush()
        self._settle()

    def finish(self, scan: Scan, *, interrupted: bool = False) -> Table:
        """
        Commit the last shard and replace the table.

        Parameters
        ----------
        scan : Scan
            All images of the source, in its order.
        interrupted : bool, default False
            As for `commit`.

        Returns
        -------
        Table
            As written. Rows that are neither in a shard nor rejected are pending.
        """
        self.commit(interrupted=interrupted)
        table = self._place(scan)
        with explained(self.folder):
            write_table(self.folder, table)
        return table

    def _place(self, scan: Scan) -> Table:
        n, lookup = len(scan.paths), self._lookup
        status = np.full(n, Status.pending, np.uint8)
        shard, row = np.full(n, -1, np.int32), np.full(n, -1, np.int32)
        others = np.fromiter(chain(scan.rejected, scan.pending), np.int64)
        refused: dict[int, str] = {}
        for piece in blocks(n):
            found, code = lookup.places(scan.sha256[piece])
            let_go(scan.sha256)
            found[others[(others >= piece.start) & (others < piece.stop)] - piece.start] = -1
            good = (found >= 0) & (code >= 0)
            status[piece][good] = Status.ok
            shard[piece][good], row[piece][good] = found[good], code[good]
            for i in np.flatnonzero((found >= 0) & ~good).tolist():
                refused[piece.start + i] = lookup.reason(int(found[i]), int(code[i]))
        refused |= scan.rejected
        status[np.fromiter(refused, np.int64, len(refused))] = Status.rejected
        return Table(
            paths=scan.paths,
            classes=scan.classes,
            labels=scan.labels,
            splits=scan.splits,
            sha256=scan.sha256,
            stat=scan.stat,
            status=status,
            shards=tuple(each.name for each in lookup.shards),
            shard=shard,
            row=row,
            reasons=Reasons.mostly(
                "not processed yet",
                np.flatnonzero(status != Status.ok),
                {**scan.pending, **refused},
            ),
            source=scan.source,
            groups=scan.groups,
            unfinished=scan.unfinished,
        )


def lasting(stat: Sequence[int] | None) -> tuple[int, int, int]:
    """
    Keep a file's times only if they are old enough to prove later that it is unchanged.

    Parameters
    ----------
    stat : sequence of three int, or None
        Size, modification and change time in nanoseconds, taken just now.

    Returns
    -------
    tuple of int
        The same, or zeros.
    """
    if stat is None or time.time_ns() - max(stat[1], stat[2]) < _FRESH_NS:
        return _NO_STAT
    return (stat[0], stat[1], stat[2])
