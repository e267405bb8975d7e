"""Verification: whether the bytes of a store are still those that were written."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.errors import PipelineError, StoreDamaged
from pipeline.files import open_hdf5
from pipeline.store._header import read_header, read_probe
from pipeline.store._packed import PackedStore
from pipeline.store._shard import VIEWS, damaged, name_is_true, read_index, shard_names
from pipeline.store._table import Table, read_table
from pipeline.store._writer import SHARDS


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
    """

    shards: int
    rows: int
    bytes: int
    damage: tuple[str, ...]


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
    """
    space_id = read_header(folder).space.space_id
    damage = []
    table: Table | None = None
    try:
        read_probe(folder)
        table = read_table(folder)
    except StoreDamaged as error:
        damage.append(str(error))
    names = shard_names(folder / SHARDS)
    rows = size = 0
    for done, name in enumerate(names):
        path = folder / SHARDS / name
        try:
            size += path.stat().st_size
            rows += _check_shard(path, space_id)
        except PipelineError as error:
            damage.append(str(error))
        if progress is not None:
            progress(done + 1, len(names))
    for name in sorted(set(table.shards if table else ()) - set(names)):
        damage.append(str(damaged(folder / SHARDS / name, FileNotFoundError())))
    return Verification(shards=len(names), rows=rows, bytes=size, damage=tuple(damage))


def _check_shard(path: Path, space_id: str) -> int:
    index = read_index(path, space_id=space_id)
    if not name_is_true(path):
        raise damaged(path, "its SHA-256 is not the one in its name")
    good = int((index.code_row >= 0).sum())
    with open_hdf5(path) as file:
        groups = [file[name] for name in ("codes", VIEWS) if name in file]
        for layer, codes in (item for group in groups for item in group.items()):
            if len(codes) != good:
                raise damaged(path, f"layer {layer} has {len(codes)} rows of {good}")
    return len(index.paths)


def verify_packed(
    path: Path, *, progress: Callable[[int, int], None] | None = None
) -> Verification:
    """
    Read every row of a packed file; the checksums of its chunks do the rest.

    Parameters
    ----------
    path : Path
        The file.
    progress : callable, optional
        Called with (layers done, layers in all).

    Returns
    -------
    Verification

    Raises
    ------
    StoreNotFound, StoreError
        If it is not there or not such a file.
    """
    opened = PackedStore(path)
    rows = np.arange(len(opened.labels))
    damage = []
    for done, layer in enumerate(opened.layers):
        try:
            for _ in opened.blocks(layer, rows, views=True):
                pass
        except StoreDamaged as error:
            damage.append(str(error))
        if progress is not None:
            progress(done + 1, len(opened.layers))
    return Verification(shards=1, rows=len(rows), bytes=path.stat().st_size, damage=tuple(damage))
