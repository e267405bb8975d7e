"""Repair: set aside what is damaged, make again what the rest of the store can tell."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.common.errors import StoreDamaged, StoreError, StoreNotFound
from pipeline.common.files import sync_directory
from pipeline.common.hdf5 import SealedDatasets
from pipeline.common.listener import Progress
from pipeline.common.seal import BrokenSeal, has_seal
from pipeline.store._aside import SET_ASIDE, _free_name, copy, make_aside, move
from pipeline.store._header import (
    FILE,
    PROBE,
    SHARDS,
    Codes,
    Header,
    read_header,
    read_probe,
    shard_names,
    write_header,
)
from pipeline.store._lookup import Lookup
from pipeline.store._origin import RowOrigin, read_origin
from pipeline.store._place import alone, explained
from pipeline.store._rows import Status, Table
from pipeline.store._shard import Index, Meaning, read_index
from pipeline.store._table import FILE as TABLE
from pipeline.store._table import read_source, read_table, write_table


@dataclass(frozen=True, kw_only=True)
class Repair:
    """
    What `repair` did.

    Attributes
    ----------
    header : Header
    table : Table or None
        None if it must be made again from the source, by extract.
    source : mapping
        Where the images came from, as the table says; of a damaged one what can be read of it,
        perhaps nothing.
    set_aside : tuple of str
        Files that were moved to the folder ``set-aside``, each with the reason.
    made : tuple of str
        Files that were made again.
    unreadable : tuple of str
        One line for each file that could not be read this time, and was left where it is.
    rows : int
        Rows of sound shards.
    found : int
        Images of the table that had lost their place in the shards, and have one again.
    waiting : int or None
        Images of the table whose codes must be computed again; None without a table.
    """

    header: Header
    table: Table | None
    source: Mapping[str, Any]
    set_aside: tuple[str, ...]
    made: tuple[str, ...]
    unreadable: tuple[str, ...]
    rows: int
    found: int
    waiting: int | None


def repair(folder: Path, *, progress: Progress | None = None) -> Repair:
    """
    Compare every file of a store with what was written, and mend what can be.

    A damaged file is moved aside, never deleted; so is what belongs to another store than most of
    the codes do. ``store.json`` and ``probe.h5`` are made again from the shards, each of which
    carries them. Images without codes get those that a sound shard has of their content; the
    others become pending in the table, so that extract computes just these. The table as it was is
    kept beside what was set aside.

    Parameters
    ----------
    folder : Path
        The store.
    progress : callable, optional
        Called with (shards done, shards in all).

    Returns
    -------
    Repair

    Raises
    ------
    StoreNotFound
        If there is no store.
    StoreDamaged
        If what is lost cannot be made again; nothing was changed then.
    StoreLocked
        If another process writes to the store.
    StoreError
        If a later version wrote it, or its header or the list of its shards cannot be read this
        time; nothing was changed then.
    OutputError, ResourceError
        If nothing can be set aside or written; what was set aside until then stays there.
    """
    with suppress(StoreDamaged):
        read_header(folder)  # where there is no store, it says what is there instead
    with alone(folder, advice="copy the store to another place"):
        return _Run(folder).repair(progress or (lambda done, total: None))


@dataclass
class _Run:
    """One repair: what is sound, what is set aside, what is made."""

    folder: Path
    indexes: dict[str, Index] = field(default_factory=dict)  # of sound shards
    origins: dict[str, RowOrigin] = field(default_factory=dict)
    bad: dict[str, str] = field(default_factory=dict)  # paths in the store, and why
    waiting: set[str] = field(default_factory=set)  # shards that cannot be read this time
    unreadable: list[str] = field(default_factory=list)

    def repair(self, progress: Progress) -> Repair:
        kept = self._header()
        table = self._table()
        self._look(progress)
        header = self._agreed(kept, table)
        self._leave_others(header)
        probe = self._probe() if header is kept else None
        rebuilt = self._probe_of_shards(header) if probe is None else None
        source = table.source if table is not None else _source(self.folder)
        placed, found = (table, 0) if table is None else self._placed(table)
        # Until here nothing was changed.
        made: list[str] = []
        with explained(self.folder):
            self._change(header, rebuilt, None if placed is table else placed, made=made)
        return Repair(
            header=header,
            table=placed,
            source=source,
            set_aside=tuple(f"{name}: {why}" for name, why in self.bad.items()),
            made=tuple(made),
            unreadable=tuple(self.unreadable),
            rows=sum(len(index.paths) for index in self.indexes.values()),
            found=found,
            waiting=None if placed is None else placed.count(Status.pending),
        )

    def _header(self) -> Header | None:
        try:
            return read_header(self.folder)
        except StoreNotFound:
            raise
        except StoreDamaged as error:
            if os.path.lexists(self.folder / FILE):
                self.bad[FILE] = _why(error)
            return None

    def _look(self, progress: Progress) -> None:
        """Compare every shard with its name, and note what it carries."""
        try:
            names = shard_names(self.folder / SHARDS)
        except StoreDamaged as error:
            self.bad[SHARDS] = _why(error)
            names = []
        for done, name in enumerate(names, start=1):
            path = self.folder / SHARDS / name
            try:
                self.indexes[name] = read_index(path, header=None, again=True)
                if (origin := read_origin(path)) is not None:
                    self.origins[name] = origin
            except StoreDamaged as error:
                self.indexes.pop(name, None)
                self.bad[f"{SHARDS}/{name}"] = _why(error)
            except StoreError as error:
                self.indexes.pop(name, None)
                self.waiting.add(name)
                self.unreadable.append(str(error))
            progress(done, len(names))

    def _agreed(self, kept: Header | None, table: Table | None) -> Header:
        """
        Choose the header that the codes belong to: that of store.json, or what shards carry.

        The shards that the table names are of one store, and their majority decides; without such
        a table that of all shards, and those that cannot be asked might be against it.
        """
        voters, silent = self._voters(table)

        def votes(meaning: Meaning) -> int:
            return sum(each.fits(meaning) for each in voters)

        candidates = [] if kept is None else [kept]
        for origin in self.origins.values():
            if Meaning.of(origin.header) not in map(Meaning.of, candidates):
                candidates.append(origin.header)
        path, meanings = self.folder / FILE, list(map(Meaning.of, candidates))
        # Of equals the first, which is the one that is there.
        ranked = sorted(meanings, key=votes, reverse=True)
        if not ranked or any(votes(each) > votes(ranked[0]) for each in voters):
            lost = "is lost" if kept is None else "is of other codes than the shards"
            raise StoreDamaged(
                f"{path} {lost}, and no sound shard carries what it said (shards of earlier "
                "versions do not); restore a copy of it, or extract into a new folder"
            )
        best = candidates[meanings.index(ranked[0])]
        if best is kept:
            return best
        if self.waiting:
            raise StoreError(f"{path} must be made again from all shards: {self.unreadable[0]}")
        if len(ranked) > 1 and votes(ranked[0]) <= votes(ranked[1]) + silent:
            raise StoreDamaged(
                f"{self.folder} has files of different stores ({ranked[0]} and {ranked[1]}), and "
                f"with {silent} damaged shards nothing says which are its own; move away those "
                "that are not"
            )
        if kept is not None:
            self.bad[FILE] = f"it says {Meaning.of(kept)}, most codes are of {ranked[0]}"
        return best

    def _voters(self, table: Table | None) -> tuple[list[Meaning], int]:
        """Return what the shards that decide say, and how many that might decide say nothing."""
        named = set() if table is None else set(table.shards)
        voters = [index.meaning for name, index in self.indexes.items() if name in named]
        if voters:
            return voters, 0
        damaged = sum(name.startswith(f"{SHARDS}/") for name in self.bad)
        return [index.meaning for index in self.indexes.values()], damaged

    def _leave_others(self, header: Header) -> None:
        """Set aside the shards of other stores."""
        for name, index in list(self.indexes.items()):
            if not index.meaning.fits(Meaning.of(header)):
                del self.indexes[name]
                self.origins.pop(name, None)
                self.bad[f"{SHARDS}/{name}"] = f"it has codes of another store, of {index.meaning}"

    def _probe(self) -> Codes | None:
        try:
            return read_probe(self.folder)
        except StoreDamaged as error:
            if os.path.lexists(self.folder / PROBE):
                self.bad[PROBE] = _why(error)
            return None

    def _probe_of_shards(self, header: Header) -> Codes:
        """Gather the probe's codes: from the shards, or from a sound probe.h5 of a lost header."""
        images = max((origin.images for origin in self.origins.values()), default=0)
        carried: dict[int, Codes] = {}
        for origin in self.origins.values():
            carried.update(origin.probe)
        kept = self._probe_alone(header, carried)
        if images and len(carried) == images:
            return {
                layer: np.stack([carried[place][layer] for place in range(images)])
                for layer in header.space.layers
            }
        if kept is not None:
            return kept
        raise StoreDamaged(
            f"{self.folder / PROBE} is lost, and the sound shards carry {len(carried)} of "
            f"{images or 'its'} images (shards of earlier versions carry none); restore a copy of "
            "it, or extract into a new folder"
        )

    def _probe_alone(self, header: Header, carried: Mapping[int, Codes]) -> Codes | None:
        """Read probe.h5 without store.json, by its own seal; it must be that of the shards."""
        path = self.folder / PROBE
        if PROBE in self.bad or not os.path.lexists(path):
            return None
        try:
            if not has_seal(path):
                raise BrokenSeal("it has no seal")
            with SealedDatasets(path) as datasets:
                kept = {layer: datasets.read(layer) for layer in header.space.layers}
            if not all(
                np.array_equal(kept[layer][place], codes[layer])
                for place, codes in carried.items()
                for layer in kept
            ):
                raise ValueError("it is not the probe of these codes")
            return kept
        except (OSError, KeyError, IndexError, ValueError) as error:
            self.bad[PROBE] = str(error)
            return None

    def _table(self) -> Table | None:
        try:
            return read_table(self.folder)
        except StoreDamaged as error:
            self.bad[TABLE] = _why(error)
            return None

    def _placed(self, table: Table) -> tuple[Table, int]:
        """
        Give each image of a table the codes that a sound shard has of its content.

        Returns
        -------
        Table
            The same one if there was nothing to do.
        int
            How many images have their place again.
        """
        lost = self._lost(table)
        waits = (table.status == Status.pending) & table.sha256.any(axis=1)
        missing = np.flatnonzero(lost | waits)
        status, shard, row = table.status.copy(), table.shard.copy(), table.row.copy()
        lookup = Lookup(self.indexes.values()) if len(missing) else Lookup()
        number = {name: place for place, name in enumerate(table.shards)}
        places, codes = lookup.places(table.sha256[missing])
        found = places >= 0
        if not (found.any() or lost.any()):
            return table, 0
        gone = missing[~found & lost[missing]]
        status[gone], shard[gone], row[gone] = Status.pending, -1, -1
        why = dict.fromkeys(gone.tolist(), "its codes were damaged and set aside")
        good, refused = found & (codes >= 0), found & (codes < 0)
        bad = np.flatnonzero(refused)
        status[missing[bad]], shard[missing[bad]], row[missing[bad]] = Status.rejected, -1, -1
        why |= {int(missing[i]): lookup.reason(int(places[i]), int(codes[i])) for i in bad}
        own = [number.setdefault(lookup.shards[p].name, len(number)) for p in places[good].tolist()]
        status[missing[good]], row[missing[good]] = Status.ok, codes[good]
        shard[missing[good]] = own
        again = set(missing[good].tolist())
        kept = {image: text for image, text in table.reasons.items() if image not in again}
        placed = replace(
            table, status=status, shard=shard, row=row, reasons=kept | why, shards=tuple(number)
        )
        return placed, int(found.sum())

    def _lost(self, table: Table) -> NDArray[np.bool_]:
        """Find the images whose place in the shards does not hold their codes."""
        lost = np.zeros(len(table), bool)
        for number, name in enumerate(table.shards):
            own = np.flatnonzero((table.shard == number) & (table.status == Status.ok))
            if name in self.waiting:
                continue
            index = self.indexes.get(name)
            lost[own] = True if index is None else ~index.holds(table.row[own], table.sha256[own])
        return lost

    def _change(
        self, header: Header, rebuilt: Codes | None, table: Table | None, *, made: list[str]
    ) -> None:
        """Move what is damaged away, store.json last, and write what is made again."""
        aside = self.folder / SET_ASIDE
        if self.bad or table is not None:
            make_aside(aside)
        for name in sorted(self.bad, key=(TABLE, PROBE, FILE).__contains__):
            move(self.folder / name, _free_name(aside, Path(name).name))
        for place in (aside, self.folder / SHARDS, self.folder):
            if self.bad and place.is_dir():
                sync_directory(place)
        if rebuilt is not None:
            write_header(self.folder, header, rebuilt)
            made += [FILE, PROBE]
        if table is not None:
            copy(self.folder / TABLE, _free_name(aside, TABLE))
            write_table(self.folder, table)
            made.append(TABLE)


def _source(folder: Path) -> Mapping[str, Any]:
    """Read where the images came from: of the damaged table, or of one that was set aside."""
    aside = (folder / SET_ASIDE).glob(f"{TABLE}*")
    tables = sorted(aside, key=lambda path: path.lstat().st_mtime, reverse=True)
    found = (read_source(path) for path in (folder / TABLE, *tables))
    return next((source for source in found if source), {})


def _why(error: StoreError) -> str:
    """Return the reason between the brackets of a message, which says the rest again."""
    text = str(error)
    return text.partition("(")[2].rpartition(")")[0] or text
