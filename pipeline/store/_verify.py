"""Verification: whether the bytes of a store are still those that were written."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from pipeline.errors import StoreDamaged, StoreError
from pipeline.files import check_regular
from pipeline.hdf5 import BLOCK, BrokenSeal, Seal, has_seal
from pipeline.store._header import SHARDS, read_header, read_probe, repair_command, unreadable
from pipeline.store._packed import PackedStore
from pipeline.store._shard import damaged, read_index, shard_names
from pipeline.store._table import FILE as TABLE
from pipeline.store._table import Status, Table, read_table

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
    """

    shards: int
    rows: int
    bytes: int
    damage: tuple[str, ...]
    unreadable: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    waiting: int | None = 0


@dataclass
class _Findings:
    """What was found so far."""

    damage: list[str] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def take(self, error: StoreError) -> None:
        """Note what is wrong with a file."""
        (self.damage if isinstance(error, StoreDamaged) else self.unreadable).append(str(error))

    def result(self, *, shards: int, rows: int, size: int, waiting: int | None = 0) -> Verification:
        return Verification(
            shards=shards,
            rows=rows,
            bytes=size,
            damage=tuple(self.damage),
            unreadable=tuple(self.unreadable),
            notes=tuple(self.notes),
            waiting=waiting,
        )


def verify_folder(
    folder: Path, *, progress: Callable[[int, int], None] | None = None
) -> Verification:
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
    space_id = read_header(folder).space.space_id
    found = _Findings()
    table: Table | None = None
    try:
        read_probe(folder)
    except StoreError as error:
        found.take(error)
    try:
        table = read_table(folder)
    except StoreError as error:
        found.take(error)
    if table is not None and not has_seal(folder / TABLE):
        found.notes.append(
            f"{folder / TABLE} was written by an earlier version and has no checksum as a whole; "
            "the next extract writes one"
        )
    names = shard_names(folder / SHARDS)
    places: dict[str, dict[int, bytes]] = {}
    rows = size = 0
    for done, name in enumerate(names, start=1):
        path = folder / SHARDS / name
        try:
            size += path.stat().st_size
            index = read_index(path, space_id=space_id, again=True)
            rows += len(index.paths)
            places[name] = index.places()
        except StoreError as error:
            found.take(error)
        except OSError as error:
            found.take(unreadable(path, error))
        if progress is not None:
            progress(done, len(names))
    if table is not None:
        used = {table.shards[shard] for shard in np.unique(table.shard[table.status == Status.ok])}
        for name in sorted(used - set(names)):
            found.take(damaged(folder / SHARDS / name, FileNotFoundError()))
        found.damage += _slipped(folder, table, places)
    waiting = None if table is None else table.count(Status.pending)
    return found.result(shards=len(names), rows=rows, size=size, waiting=waiting)


def _slipped(folder: Path, table: Table, places: dict[str, dict[int, bytes]]) -> list[str]:
    """Say when rows of the table point at codes of another image."""
    wrong = [
        row
        for row in np.flatnonzero(table.status == Status.ok).tolist()
        if (known := places.get(table.shards[table.shard[row]])) is not None
        and known.get(int(table.row[row])) != table.sha256[row].tobytes()
    ]
    if not wrong:
        return []
    return [
        f"{folder / TABLE} is damaged ({len(wrong)} of its rows point at codes of other images); "
        f"{repair_command(folder)} makes it again"
    ]


def verify_packed(
    path: Path, *, progress: Callable[[int, int], None] | None = None
) -> Verification:
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
    silent: Callable[[int, int], None] = lambda done, total: None  # noqa: E731
    found = _Findings()
    size = path.stat().st_size
    if has_seal(path):
        found.damage += _broken_blocks(path, progress or silent)
        if found.damage:
            return found.result(shards=1, rows=0, size=size)
    opened = PackedStore(path)
    if not opened.sealed:
        found.damage += opened.look(progress or silent)
        found.notes.append(
            f"{path} has no checksum as a whole (written by an earlier version or another "
            "program): only the chunks that have checksums were compared"
        )
    return found.result(shards=1, rows=len(opened.labels), size=size)


def _broken_blocks(path: Path, progress: Callable[[int, int], None]) -> list[str]:
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
    others = len(damage) - _MOST_LINES
    return damage[:_MOST_LINES] + ([f"and {others} more blocks of {path}"] if others > 0 else [])
