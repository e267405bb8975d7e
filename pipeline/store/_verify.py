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
from pipeline.store._shard import read_index
from pipeline.store._shard_file import damaged
from pipeline.store._table import FILE as TABLE
from pipeline.store._table import Status, Table, lost_table, read_table

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
    places: dict[str, dict[int, bytes]] = {}
    rows = size = 0
    with found.taking():
        names = shard_names(folder / SHARDS)
        if table is not None:
            found.damage += _missing(folder, table, names)
    for done, name in enumerate(names, start=1):
        path = folder / SHARDS / name
        with found.taking():
            index = read_index(path, header=header, again=True)
            size += path.stat().st_size
            rows += len(index.paths)
            places[name] = index.places()
        if progress is not None:
            progress(done, len(names))
    if table is not None:
        found.damage += _slipped(folder, table, places)
        found.notes += _left_out(table, places)
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


def _left_out(table: Table, places: dict[str, dict[int, bytes]]) -> list[str]:
    """Say that shards have codes of images that the table does not name."""
    named = {digest.tobytes() for digest in table.sha256}
    others = {digest for known in places.values() for digest in known.values()} - named
    if not others:
        return []
    return [
        f"the codes of {counted(len(others), 'image')} are of none in the table: these left the "
        "source, or the table is an older one"
    ]


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
