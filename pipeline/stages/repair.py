"""Set aside what is damaged in a store, and make again what can be."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pipeline import store
from pipeline.common.listener import SILENT, Listener
from pipeline.flows.command import extract_command


@dataclass(frozen=True, kw_only=True)
class Repairing:
    """
    What `repair` did.

    Attributes
    ----------
    store : str
    rows : int
        Rows of sound shards.
    set_aside : tuple of str
        Files that were damaged and moved to the folder ``set-aside`` of the store, with reasons.
    made : tuple of str
        Files that were made again.
    unreadable : tuple of str
        One line for each file that could not be read this time, and was left where it is.
    found : int
        Images of the table that had lost their codes, which another sound shard has.
    waiting : int or None
        Images whose codes must be computed again; None if only the source can tell, because the
        table was lost.
    unfinished : bool
        Whether the last extract did not come to its end.
    command : str or None
        What computes just these; None if nothing is missing.
    source_lost : bool
        Whether that command has SOURCE in place of the photos, since nothing says where they are.
    """

    store: str
    rows: int
    set_aside: tuple[str, ...]
    made: tuple[str, ...]
    unreadable: tuple[str, ...]
    found: int
    waiting: int | None
    unfinished: bool
    command: str | None
    source_lost: bool


def repair(store_path: str | Path, *, listener: Listener = SILENT) -> Repairing:
    """
    Compare every file of a store with what was written, and mend what can be.

    Nothing is deleted: what is damaged is moved to the folder ``set-aside``.

    Parameters
    ----------
    store_path : str or Path
        The store.
    listener : Listener, optional
        Hears how far it is.

    Returns
    -------
    Repairing

    Raises
    ------
    StoreNotFound
        If there is no store.
    StoreDamaged
        If what is lost cannot be made again; nothing was changed then.
    StoreLocked
        If another process writes to the store.
    StoreError
        If a later version wrote it, it is a packed file, or it cannot be read this time.
    """
    path = Path(store_path)
    done = store.repair(path, progress=listener.progress)
    space = done.header.space
    unfinished = done.table is None or done.table.unfinished
    return Repairing(
        store=str(path),
        rows=done.rows,
        set_aside=done.set_aside,
        made=done.made,
        unreadable=done.unreadable,
        found=done.found,
        waiting=done.waiting,
        unfinished=unfinished,
        command=None
        if done.waiting == 0 and not unfinished
        else extract_command(
            space,
            weights=done.header.weights,
            source=done.source,
            layers=list(space.layers),
            dtype=done.header.dtype.value,
            out=path,
        ),
        source_lost=not done.source,
    )
