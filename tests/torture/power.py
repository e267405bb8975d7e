"""Cut the power at any moment of an extraction, and see that what was committed is there.

Run by `make torture`. The log of what a run tells the system is replayed up to a moment. What was
synced by then is on the disk: the bytes of a file by its own fsync, its name by that of its folder.
Of the rest any may be missing: of names in a folder the last ones, of bytes any sectors. On each
such disk every shard that was committed must be whole, and the same command must end in the bytes
of an untroubled run.
"""

from __future__ import annotations

import os
import pickle
import random
import shutil
import sys
import tempfile
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from tests.torture import harness

SECTOR = 512


class Told(NamedTuple):
    """
    What the system was told.

    Attributes
    ----------
    what : str
        ``"data"``, bytes that were synced; ``"rest"``, bytes that a file had when it was renamed
        though they were not synced; ``"folder"``, synced; ``"rename"``, ``"unlink"``.
    path : str
    other : str
        The new name.
    data : bytes
    """

    what: str
    path: str
    other: str = ""
    data: bytes = b""


def listen(log: Path, store: Path) -> None:
    """Have this process write down what it tells the system about files below a folder."""
    real_sync, real_replace, real_rename, real_unlink = os.fsync, os.replace, os.rename, os.unlink
    synced: dict[str, bytes] = {}
    out = log.open("wb")

    def note(told: Told) -> None:
        pickle.dump(tuple(told), out)
        out.flush()

    def below(path: Any) -> str | None:
        name = os.path.abspath(os.fsdecode(path))
        return name if name.startswith(f"{store}{os.sep}") or name == str(store) else None

    def fsync(descriptor: int) -> None:
        path = below(os.readlink(f"/proc/self/fd/{descriptor}"))
        real_sync(descriptor)
        if path is None:
            return
        if os.path.isdir(path):
            note(Told("folder", path))
        else:
            synced[path] = Path(path).read_bytes()
            note(Told("data", path, data=synced[path]))

    def renamed(real: Any, source: Any, target: Any) -> None:
        path, data = below(source), b""
        if path is not None and os.path.isfile(path):
            data = Path(path).read_bytes()
        real(source, target)
        if path is not None:
            if data != synced.pop(path, None):
                note(Told("rest", path, data=data))
            note(Told("rename", path, below(target) or ""))

    def unlink(path: Any, **rest: Any) -> None:
        real_unlink(path, **rest)
        if (name := below(path)) is not None and "dir_fd" not in rest:
            note(Told("unlink", name))

    os.fsync, os.unlink = fsync, unlink  # type: ignore[assignment]
    os.replace = partial(renamed, real_replace)  # type: ignore[assignment]
    os.rename = partial(renamed, real_rename)  # type: ignore[assignment]


def read_log(log: Path) -> list[Told]:
    """Return all that was told."""
    found = []
    with log.open("rb") as file:
        while True:
            try:
                found.append(Told(*pickle.load(file)))
            except EOFError:
                return found


def _names(told: list[Told], synced: dict[str, int], rng: random.Random) -> list[Told]:
    """Leave out the last names of each folder that were not synced."""
    kept: dict[str, int] = {}
    for folder in {os.path.dirname(each.path) for each in told}:
        kept[folder] = rng.randint(synced.get(folder, 0), len(told))
    return [each for place, each in enumerate(told) if place < kept[os.path.dirname(each.path)]]


def disk(told: list[Told], folder: Path, store: Path, rng: random.Random) -> set[str]:
    """
    Make what may be on the disk; return the names of the shards that must be there.

    Parameters
    ----------
    told : list of Told
        Up to the moment.
    folder : Path
        Gets the files.
    store : Path
        Where they were.
    rng : random.Random
    """
    synced = {each.path: place + 1 for place, each in enumerate(told) if each.what == "folder"}
    committed, files = set[str](), dict[str, bytes]()
    for place, each in enumerate(told):
        durable = place < synced.get(os.path.dirname(each.path), 0)
        if each.what == "rename" and durable and "/shards/" in each.other:
            committed.add(os.path.basename(each.other))
    for each in _names(told, synced, rng):
        if each.what == "data":
            files[each.path] = each.data
        elif each.what == "rest":
            files[each.path] = torn(each.data, rng)
        elif each.what == "rename" and each.path in files:
            files[each.other] = files.pop(each.path)
        elif each.what == "unlink":
            files.pop(each.path, None)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for path, data in files.items():
        target = folder / os.path.relpath(path, store)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
    return committed


def torn(data: bytes, rng: random.Random) -> bytes:
    """Return bytes of which some sectors never came to the disk."""
    cut = data[: rng.randint(0, len(data))]
    starts = range(0, len(cut), SECTOR)
    return b"".join(
        cut[start : start + SECTOR]
        if rng.random() < 0.5
        else bytes(len(cut[start : start + SECTOR]))
        for start in starts
    )


def main(count: int = 1000, seed: int = 0) -> None:
    """Try so many moments."""
    rng, ends, bad = random.Random(seed), Counter[str](), 0
    harness.prepare()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        photos, store, log = folder / "photos", folder / "store", folder / "log"
        harness.make_photos(photos, 48)
        command = ("extract", photos, *harness.LAYERS, "--out")
        ended = harness.run(*command, store, before=partial(listen, log, store))
        told = read_log(log)
        harness.run("pack", store, folder / "whole.h5")
        whole = (folder / "whole.h5").read_bytes()
        if ended.code or not any(each.what == "rename" for each in told):
            raise SystemExit(f"nothing was recorded: {ended}")
        for number in range(count):
            moment, again = rng.randint(0, len(told)), folder / "again"
            committed = disk(told[:moment], again, store, rng)
            lost = [
                shard
                for shard in committed
                if not (again / "shards" / shard).is_file()
                or (again / "shards" / shard).read_bytes()
                != (store / "shards" / shard).read_bytes()
            ]
            done = harness.run(*command, again)
            if done.code == 5:  # as it says: repair, and the same command again
                ends["repaired"] += 1
                harness.run("repair", again)
                done = harness.run(*command, again)
            there = {path.name for path in (again / "shards").glob("[0-9]*.h5")}
            (folder / "packed.h5").unlink(missing_ok=True)
            packed = harness.run("pack", again, folder / "packed.h5")
            same = packed.code == 0 and (folder / "packed.h5").read_bytes() == whole
            ends[f"exit {done.code}"] += 1
            if lost or committed - there or done.code or not done.clean or not same:
                bad += 1
                print(f"{number}: after {moment} of {len(told)}: lost {lost}; {done}; same {same}")
        print(f"{count} moments of {len(told)}, {dict(ends)}")
        harness.told("power cut while extracting", count, bad)
    if bad:
        raise SystemExit(1)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
