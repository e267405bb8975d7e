"""Repair: set aside what is damaged, make again what the rest of the store can tell."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import StoreDamaged, StoreError, StoreNotFound
from pipeline.files import make_folder, sync_directory
from pipeline.hdf5 import BrokenSeal, SealedDatasets, has_seal
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
from pipeline.store._shard import Origin, read_index, read_origin, shard_names
from pipeline.store._table import FILE as TABLE
from pipeline.store._table import Status, Table, read_source, read_table, write_table
from pipeline.store._writer import alone

SET_ASIDE = "set-aside"


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
    waiting: int | None


def repair(folder: Path, *, progress: Callable[[int, int], None] | None = None) -> Repair:
    """
    Compare every file of a store with what was written, and mend what can be.

    A damaged file is moved aside, never deleted. ``store.json`` and ``probe.h5`` are made again
    from the shards, each of which carries them; rows whose codes are gone become pending in the
    table, so that extract computes just these.

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
        If a later version wrote it, or its header cannot be read this time.
    """
    with suppress(StoreDamaged):
        read_header(folder)  # where there is no store, it says what is there instead
    with alone(folder, advice="copy the store to another place"):
        return _Run(folder).repair(progress or (lambda done, total: None))


@dataclass
class _Run:
    """One repair: what is sound, what is set aside, what is made."""

    folder: Path
    sound: dict[str, Origin | None] = field(default_factory=dict)
    spaces: dict[str, str] = field(default_factory=dict)
    bad: dict[str, str] = field(default_factory=dict)  # paths in the store, and why
    unreadable: list[str] = field(default_factory=list)
    rows: int = 0

    def repair(self, progress: Callable[[int, int], None]) -> Repair:
        kept = self._header()
        self._look(progress)
        header = kept or self._header_of_shards()
        self._other_spaces(header)
        probe = self._probe(kept)
        rebuilt = None if kept is not None and probe is not None else self._probe_of_shards(header)
        table = self._table()
        source = {} if table is not None else read_source(self.folder)
        # Until here nothing was changed.
        made = []
        self._set_aside()
        if rebuilt is not None:
            write_header(self.folder, header, rebuilt)
            made += [FILE, PROBE]
        waiting = None
        if table is not None:
            table, changed = self._without_lost(table)
            waiting = table.count(Status.pending)
            if changed:
                write_table(self.folder, table)
                made.append(TABLE)
        return Repair(
            header=header,
            table=table,
            source=table.source if table is not None else source,
            set_aside=tuple(f"{name}: {why}" for name, why in self.bad.items()),
            made=tuple(made),
            unreadable=tuple(self.unreadable),
            rows=self.rows,
            waiting=waiting,
        )

    def _header(self) -> Header | None:
        try:
            return read_header(self.folder)
        except StoreNotFound:
            raise
        except StoreDamaged as error:
            if (self.folder / FILE).exists():
                self.bad[FILE] = _why(error)
            return None

    def _look(self, progress: Callable[[int, int], None]) -> None:
        """Compare every shard with its name, and note what it carries."""
        names = shard_names(self.folder / SHARDS)
        for done, name in enumerate(names, start=1):
            path = self.folder / SHARDS / name
            try:
                index = read_index(path, space_id=None, again=True)
                self.sound[name] = read_origin(path)
                self.spaces[name] = index.space_id
                self.rows += len(index.paths)
            except StoreDamaged as error:
                self.bad[f"{SHARDS}/{name}"] = _why(error)
            except StoreError as error:
                self.unreadable.append(str(error))
            progress(done, len(names))

    def _header_of_shards(self) -> Header:
        """Take the header that most shards carry."""
        found = {
            origin.header.space.space_id: origin.header
            for origin in self.sound.values()
            if origin is not None
        }
        if not found:
            raise StoreDamaged(
                f"{self.folder / FILE} is lost, and no sound shard carries what it said (shards of "
                "earlier versions do not); restore a copy of it, or extract into a new folder"
            )
        common = Counter(space for space in self.spaces.values() if space in found)
        return found[common.most_common(1)[0][0]]

    def _other_spaces(self, header: Header) -> None:
        for name, space_id in self.spaces.items():
            if space_id != header.space.space_id:
                del self.sound[name]
                self.bad[f"{SHARDS}/{name}"] = f"it belongs to another space, {space_id[:12]}"

    def _probe(self, header: Header | None) -> Codes | None:
        if header is None:
            return None
        try:
            return read_probe(self.folder)
        except StoreDamaged as error:
            if (self.folder / PROBE).exists():
                self.bad[PROBE] = _why(error)
            return None

    def _probe_of_shards(self, header: Header) -> Codes:
        """Gather the probe's codes: from the shards, or from a sound probe.h5 of a lost header."""
        kept = self._probe_alone(header)
        images = 0
        found: dict[int, dict[str, NDArray[np.float32]]] = {}
        for origin in self.sound.values():
            if origin is not None:
                images = max(images, origin.images)
                found |= origin.probe
        if images and len(found) == images:
            return {
                layer: np.stack([found[place][layer] for place in range(images)])
                for layer in header.space.layers
            }
        if kept is not None:
            return kept
        raise StoreDamaged(
            f"{self.folder / PROBE} is lost, and the sound shards carry {len(found)} of "
            f"{images or 'its'} images (shards of earlier versions carry none); restore a copy of "
            "it, or extract into a new folder"
        )

    def _probe_alone(self, header: Header) -> Codes | None:
        """Read probe.h5 without store.json, by its own seal."""
        path = self.folder / PROBE
        if PROBE in self.bad or not path.is_file():
            return None
        try:
            if not has_seal(path):
                raise BrokenSeal("it has no seal")
            with SealedDatasets(path) as kept:
                return {layer: kept.read(layer) for layer in header.space.layers}
        except (OSError, KeyError, ValueError) as error:
            self.bad[PROBE] = str(error)
            return None

    def _table(self) -> Table | None:
        try:
            return read_table(self.folder)
        except StoreDamaged as error:
            self.bad[TABLE] = _why(error)
            return None

    def _without_lost(self, table: Table) -> tuple[Table, bool]:
        """Let rows whose codes are gone wait for extract."""
        lost = np.zeros(len(table), bool)
        for number, name in enumerate(table.shards):
            if name in self.sound:
                places = self._places(name)
                for row in np.flatnonzero((table.shard == number) & (table.status == Status.ok)):
                    lost[row] = places.get(int(table.row[row])) != table.sha256[row].tobytes()
            elif self.folder.joinpath(SHARDS, name).exists() and f"{SHARDS}/{name}" not in self.bad:
                continue  # it cannot be read this time
            else:
                lost |= table.shard == number
        lost &= table.status == Status.ok
        if not lost.any():
            return table, False
        reasons = dict(table.reasons) | dict.fromkeys(
            np.flatnonzero(lost).tolist(), "its codes were damaged and set aside"
        )
        return (
            replace(
                table,
                status=np.where(lost, np.uint8(Status.pending), table.status).astype(np.uint8),
                shard=np.where(lost, np.int32(-1), table.shard).astype(np.int32),
                row=np.where(lost, np.int32(-1), table.row).astype(np.int32),
                reasons=reasons,
            ),
            True,
        )

    def _places(self, name: str) -> dict[int, bytes]:
        return read_index(self.folder / SHARDS / name, space_id=None).places()

    def _set_aside(self) -> None:
        """Move what is damaged away, under a name of its own."""
        if not self.bad:
            return
        aside = self.folder / SET_ASIDE
        make_folder(aside)
        for name in self.bad:
            target, number = aside / Path(name).name, 1
            while target.exists():
                number += 1
                target = aside / f"{Path(name).name}.{number}"
            os.rename(self.folder / name, target)
        for place in (aside, self.folder / SHARDS, self.folder):
            if place.is_dir():
                sync_directory(place)


def _why(error: StoreError) -> str:
    """Return the reason between the brackets of a message, which says the rest again."""
    text = str(error)
    return text.partition("(")[2].rpartition(")")[0] or text
