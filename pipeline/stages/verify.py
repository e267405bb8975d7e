"""Read every byte of a store and say whether it is what was written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from pipeline import store


def verify(
    store_path: str | Path, *, progress: Callable[[int, int], None] | None = None
) -> store.Verification:
    """
    Check a store byte for byte.

    Parameters
    ----------
    store_path : str or Path
        The store, or a packed file.
    progress : callable, optional
        Called with (shards done, shards in all).

    Returns
    -------
    Verification
        Its ``damage`` is empty for a sound store.

    Raises
    ------
    StoreNotFound
        If there is no store.
    StoreDamaged
        If its header is damaged.
    """
    path = Path(store_path)
    if path.is_file():
        return store.verify_packed(path, progress=progress)
    return store.verify_folder(path, progress=progress)
