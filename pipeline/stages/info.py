"""What a store or a head says of itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pipeline import heads, store
from pipeline.common.choices import Split
from pipeline.common.errors import HeadNotFound


def info(path: str | Path) -> dict[str, Any]:
    """
    Describe a store, a packed file or a head.

    Parameters
    ----------
    path : str or Path
        Any of the three.

    Returns
    -------
    dict
        Plain JSON values; ``what`` is ``"store"``, ``"packed file"`` or ``"head"``.

    Raises
    ------
    StoreNotFound
        If the path is none of the three.
    StoreDamaged, HeadDamaged
        If it is not what was written.

    Examples
    --------
    >>> import pipeline
    >>> pipeline.info("artifacts/features/photos")["splits"]
    {'train': 35, 'val': 13, 'test': 12}
    >>> pipeline.info("artifacts/heads/photos-svm")["classes"]
    ['blue', 'green', 'red']
    """
    path = Path(path)
    if path.is_file():
        return {"what": "packed file", "path": str(path)} | _of_packed(store.open_store(path))
    try:
        return {"what": "head", "path": str(path)} | _of_head(heads.load(path))
    except HeadNotFound:
        header, table = store.contents(path)
        return {"what": "store", "path": str(path)} | header.to_json() | _of_table(table)


def _of_head(saved: heads.SavedHead) -> dict[str, Any]:
    head = saved.head
    plain = {"kind": head.kind.value, "parameters": head.parameters}
    return plain | saved.card.to_json() | {"validation": head.validation_}


def _of_table(table: store.Table | None) -> dict[str, Any]:
    if table is None:
        return {"complete": False, "scanned": 0, "ok": 0, "rejected": 0, "pending": 0}
    counts = {status.name: table.count(status) for status in store.Status}
    return {
        "complete": table.complete,
        "scanned": len(table),
        **counts,
        "splits": table.split_counts(),
        "unlabelled": table.unlabelled_counts(),
        "classes": table.class_counts(),
        "source": dict(table.source),
        "reasons": table.reason_counts(),
    }


def _of_packed(opened: store.Store) -> dict[str, Any]:
    header = opened.header.to_json() if opened.header is not None else {"space": None}
    splits = {split.value: len(store.rows_of(opened, split)) for split in Split}
    layers = {name: list(shape) for name, shape in opened.layers.items()}
    return header | {
        "complete": True,
        "ok": len(opened.labels),
        "layers": layers,
        "splits": splits,
        "classes": list(opened.classes),
    }
