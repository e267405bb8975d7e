"""Verification: whether the bytes of a store are still those that were written."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.common.errors import StoreDamaged, StoreError, counted
from pipeline.common.files import check_regular
from pipeline.common.listener import SILENT, Progress
from pipeline.common.names import among
from pipeline.common.seal import BLOCK, BrokenSeal, Seal, has_seal
from pipeline.store._header import (
    SHARDS,
    read_header,
    read_probe,
    repair_command,
    shard_names,
    unreadable,
)
from pipeline.store._packed import PackedStore
from pipeline.store._rows import Status, Table, first_bytes
from pipeline.store._shard import Index, read_index
from pipeline.store._shard_file import damaged
from pipeline.store._table import FILE as TABLE
from pipeline.store._table import lost_table, read_table

_MOST_LINES = 10


@dataclass(frozen=True, kw_only=True)
class Verification:
    """
    What `verify` found.

    Attributes
    ----------
    shards, rows, bytes : int
        How much was read.
    damage : tuple of str
        One line for each damaged or missing file; empty for a sound store.
    unreadable : tuple of str
        One line for each file that could not be read this time.
    notes : tuple of str
        What could not be judged, such as a file of an earlier version, which has no checksum.
    waiting : int or None
        Images of the table that have no codes yet; None where there is no table (yet).
    unfinished : bool
        Whether the last extract did not come to its end.
    """

    shards: int
    rows: int
    bytes: int
    damage: tuple[str, ...]
    unreadable: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    waiting: int | None = 0
    unfinished: bool = False


@dataclass
class _Findings:
    """What was found so far."""

    damage: list[str] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @contextmanager
    def taking(self) -> Iterator[None]:
        """Note what is wrong with a file, and go on behind the block."""
        try:
            yield
        except StoreDamaged as error:
            self.damage.append(str(error))
        except StoreError as error:
            self.unreadable.append(str(error))

    def result(self, **more: Any) -> Verification:
        return Verification(
            damage=tuple(self.damage),
            unreadable=tuple(self.unreadable),
            notes=tuple(self.notes),
            **more,
        )


def verify_folder(folder: Path, *, progress: Progress | None = None) -> Verification:
    """
    Read every byte of a store and compare it with what was written.

    Parameters
    ----------
    folder : Path
        The store.
    progress : callable, optional
        Called with (shards done, shards in all).

    Returns
    -------
    Verification

    Raises
    ------
    StoreNotFound
        If there is no store.
    StoreDamaged
        If its header is damaged: nothing else can be judged then.
    StoreError
        If its header cannot be read this time.
    """
    header = read_header(folder)
    found = _Findings()
    with found.taking():
        read_probe(folder)
    table = _table(folder, found)
    names: list[str] = []
    rows = size = 0
    with found.taking():
        names = shard_names(folder / SHARDS)
        if table is not None:
            found.damage += _missing(folder, table, names)
    named = None if table is None else _Named(table)
    for done, name in enumerate(names, start=1):
        path = folder / SHARDS / name
        with found.taking():
            index = read_index(path, header=header, again=True)
            size += path.stat().st_size
            rows += len(index.paths)
            if named is not None:
                named.compare(index)
        if progress is not None:
            progress(done, len(names))
    if named is not None:
        found.damage += named.slipped(folder)
        found.notes += named.left_out()
    return found.result(
        shards=len(names),
        rows=rows,
        bytes=size,
        waiting=None if table is None else table.count(Status.pending),
        unfinished=table is None or table.unfinished,
    )


def _table(folder: Path, found: _Findings) -> Table | None:
    """Read the table, and note what is wrong with it."""
    path = folder / TABLE
    with found.taking():
        table = read_table(folder)
        if (lost := lost_table(folder)) is not None:
            raise lost
        if table is not None and not has_seal(path):
            found.notes.append(
                f"{path} was written by an earlier version and has no checksum as a whole; the "
                "next extract writes one"
            )
        return table
    return None


def _missing(folder: Path, table: Table, names: list[str]) -> list[str]:
    """Say which shards the table needs and are not there."""
    used = {table.shards[shard] for shard in np.unique(table.shard[table.status == Status.ok])}
    return [
        str(damaged(folder / SHARDS / name, FileNotFoundError()))
        for name in sorted(used - set(names))
    ]


class _Named:
    """The images that a table names, as shards are compared with them one by one."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._number = {name: number for number, name in enumerate(table.shards)}
        rows = np.flatnonzero(table.status == Status.ok).astype(np.uint32)
        self._rows = rows[np.argsort(table.shard[rows], kind="stable")]
        self._shard = table.shard[self._rows]
        self._known = first_bytes(table.sha256)
        self._known.sort()
        self._wrong = 0
        self._others: set[bytes] = set()

    def compare(self, index: Index) -> None:
        """Compare one shard."""
        if (number := self._number.get(index.name)) is not None:
            start, stop = np.searchsorted(self._shard, (number, number + 1))
            rows = self._rows[start:stop]
            right = index.holds(self._table.row[rows], self._table.sha256[rows])
            self._wrong += int(np.count_nonzero(~right))
        coded = index.sha256[index.code_row >= 0]
        keys = first_bytes(coded)
        self._others.update(digest.tobytes() for digest in coded[~among(keys, self._known)])

    def left_out(self) -> list[str]:
        """Say that shards have codes of images that the table does not name."""
        if not self._others:
            return []
        return [
            f"the codes of {counted(len(self._others), 'image')} are of none in the table: these "
            "left the source, or the table is an older one"
        ]

    def slipped(self, folder: Path) -> list[str]:
        """Say when rows of the table point at codes of another image."""
        if not self._wrong:
            return []
        return [
            f"{folder / TABLE} is damaged ({self._wrong} of its rows point at codes of other "
            f"images); {repair_command(folder)} makes it again"
        ]


def verify_packed(path: Path, *, progress: Progress | None = None) -> Verification:
    """
    Read every byte of a packed file and compare it with its seal.

    A file without one, of an earlier version or another program, is read as a whole: the checksums
    of its chunks, if it has any, do the rest.

    Parameters
    ----------
    path : Path
        The file.
    progress : callable, optional
        Called with (parts done, parts in all).

    Returns
    -------
    Verification

    Raises
    ------
    StoreNotFound, StoreError
        If it is not there or not such a file.
    StoreDamaged
        If it cannot even be opened.
    """
    progress = progress or SILENT.progress
    found = _Findings()
    size = path.stat().st_size
    if has_seal(path):
        found.damage += _broken_blocks(path, progress)
        if found.damage:
            return found.result(shards=1, rows=0, bytes=size)
    opened = PackedStore(path)
    if not opened.sealed:
        found.damage += opened.look(progress)
        found.notes.append(
            f"{path} has no checksum as a whole (written by an earlier version or another "
            "program): only the chunks that have checksums were compared"
        )
    return found.result(shards=1, rows=len(opened.labels), bytes=size)


def _broken_blocks(path: Path, progress: Progress) -> list[str]:
    """Compare every block of a sealed file; one line for each that differs, up to some."""
    check_regular(path)
    damage: list[str] = []
    try:
        with Seal(path.open("rb", buffering=0)) as sealed:
            for number in range(sealed.blocks):
                try:
                    sealed.compare(number * BLOCK, (number + 1) * BLOCK)
                except BrokenSeal as error:
                    damage.append(f"{path} is damaged ({error}); pack the store again")
                progress(number + 1, sealed.blocks)
    except BrokenSeal as error:
        damage.append(f"{path} is damaged ({error}); pack the store again")
    except OSError as error:
        raise unreadable(path, error) from error
    others = len(damage) - _MOST_LINES
    return damage[:_MOST_LINES] + ([f"and {others} more blocks of {path}"] if others > 0 else [])
