"""The process that reads an HDF5 file of another program for `pipeline.common.foreign`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from pipeline.common.child import (
    LARGEST_ANSWER,
    Asker,
    limit_memory,
    limit_time,
)
from pipeline.common.foreign import MEMORY
from pipeline.common.hdf5 import STRINGS, OpenDatasets, open_hdf5
from pipeline.common.hostile import HostileFile
from pipeline.common.text import one_line

_PIECE = 32 << 20
_MOST_LETTERS = 500  # of an error


def main(path: str) -> None:
    """Answer requests about one file until nobody asks any more."""
    asker, datasets = Asker(), None
    import h5py  # noqa: F401 - before memory is limited

    limit_memory(MEMORY)
    for request, _ in asker.requests():
        limit_time(request["seconds"])
        data: bytes | memoryview = b""
        try:
            if datasets is None:
                datasets = OpenDatasets(open_hdf5(Path(path)))
            reply, data = _answer(datasets, request)
        except HostileFile as error:
            reply = {"error": "hostile", "message": one_line(error)[:_MOST_LETTERS]}
        except (MemoryError, RecursionError) as error:
            why = f"HDF5 needs too much for it ({one_line(error)[:_MOST_LETTERS]})"
            reply = {"error": "hostile", "message": why}
        except Exception as error:  # h5py has many words for damage
            reply = {"error": "damaged", "message": one_line(error)[:_MOST_LETTERS]}
        limit_time(0)
        asker.answer(reply, data)
        del data


def _answer(
    datasets: OpenDatasets, request: dict[str, Any]
) -> tuple[dict[str, Any], bytes | memoryview]:
    if request["ask"] == "describe":
        entries = [(name, entry.shape, entry.dtype) for name, entry in datasets.entries.items()]
        return {"entries": entries, "attributes": dict(datasets.attributes)}, b""
    if request["ask"] == "look":
        _look(datasets)
        return {}, b""
    rows = datasets.read(request["name"], request["start"], request["stop"])
    if datasets.entries[request["name"]].dtype != STRINGS:
        return {}, np.ascontiguousarray(rows).reshape(-1).view(np.uint8).data
    texts = np.ravel(rows).tolist()
    if sum(map(len, texts)) > LARGEST_ANSWER:
        raise HostileFile(f"the strings of '{request['name']}' are too long")
    lengths = np.fromiter(map(len, texts), np.int64, len(texts))
    return {}, lengths.tobytes() + b"".join(texts)


def _look(datasets: OpenDatasets) -> None:
    """Read every dataset a piece at a time, and every attribute."""

    def attributes(_: str, item: Any) -> None:
        for name in item.attrs:
            item.attrs[name]

    datasets.file.visititems(attributes)
    for name, entry in datasets.entries.items():
        if not entry.shape:
            datasets.read(name)
            continue
        step = max(1, _PIECE // max(1, entry.bytes // max(1, entry.shape[0])))
        for start in range(0, entry.shape[0], step):
            datasets.read(name, start, start + step)
