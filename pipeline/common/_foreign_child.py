"""The process that reads an HDF5 file of another program for `pipeline.common.foreign`."""

from __future__ import annotations

import json
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.common.foreign import FRAME, LARGEST_ANSWER, MEMORY
from pipeline.common.hdf5 import STRINGS, OpenDatasets, open_hdf5
from pipeline.common.hostile import HostileFile
from pipeline.common.memory import address_space_bytes

_PIECE = 32 << 20


def main(path: str) -> None:
    """Answer requests about one file until nobody asks any more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for whoever asks
    answers = os.fdopen(os.dup(1), "wb")
    datasets: OpenDatasets | None = None
    import h5py  # noqa: F401 - before memory is limited

    _limit_memory()
    for line in sys.stdin.buffer:
        request = json.loads(line)
        _limit_time(request["seconds"])
        data: bytes | memoryview = b""
        try:
            if datasets is None:
                datasets = OpenDatasets(open_hdf5(Path(path)))
            reply, data = _answer(datasets, request)
        except HostileFile as error:
            reply = {"error": "hostile", "message": _line(error)}
        except (MemoryError, RecursionError) as error:
            reply = {"error": "hostile", "message": f"HDF5 needs too much for it ({_line(error)})"}
        except Exception as error:  # h5py has many words for damage
            reply = {"error": "damaged", "message": _line(error)}
        _limit_time(0)
        text = json.dumps(reply).encode()
        answers.write(FRAME.pack(len(text), len(data)) + text)
        answers.write(data)
        answers.flush()
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


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:500] or type(error).__name__


def _limit_memory() -> None:
    """Let HDF5 take no more than `MEMORY`, where the system can hold it to that."""
    most = address_space_bytes() + MEMORY
    with suppress(ImportError, OSError, ValueError):
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_AS, (most, most))


def _limit_time(seconds: float) -> None:
    """Have the kernel end this process when it has computed so long; 0 for no limit."""
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_PROF, seconds)
