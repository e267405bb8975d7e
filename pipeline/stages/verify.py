"""Read every byte of a store and say whether it is what was written."""

from __future__ import annotations

from pathlib import Path

from pipeline import store
from pipeline.common.listener import SILENT, Listener


def verify(store_path: str | Path, *, listener: Listener = SILENT) -> store.Verification:
    """
    Check a store byte for byte.

    Parameters
    ----------
    store_path : str or Path
        The store, or a packed file.
    listener : Listener, optional
        Hears how far it is.

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

    Examples
    --------
    >>> import pipeline
    >>> found = pipeline.verify("artifacts/features/photos")
    >>> found.rows, found.damage
    (61, ())
    """
    path = Path(store_path)
    if path.is_file():
        return store.verify_packed(path, progress=listener.progress)
    return store.verify_folder(path, progress=listener.progress)
