"""Fail, or kill at, the k-th system call while a store is created, extended or resumed.

Run by `make torture`; the number of faults is the argument. After each fault every shard that was
there must still be there, and the same command must end in the bytes of an untroubled run.
"""

from __future__ import annotations

import ctypes
import errno
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from functools import partial
from pathlib import Path

from tests.torture import harness

KINDS = {
    "write": 1,
    "fsync": 2,
    "rename": 4,
    "open": 8,
    "unlink": 16,
    "mkdir": 32,
    "open to read": 64,
    "read": 128,
}
FAULTS = {"EIO": errno.EIO, "ENOSPC": errno.ENOSPC, "kill": None}
JOBS = ("create", "extend", "resume")


def preload(folder: Path) -> None:
    """Start this program again with the shim before libc, unless it is there already."""
    if os.environ.get("TORTURE_SHIM"):
        return
    if shutil.which("cc") is None:
        raise SystemExit("no C compiler here: nothing was tried")
    library = folder / "shim.so"
    source = Path(__file__).with_name("shim.c")
    subprocess.run(["cc", "-shared", "-fPIC", "-w", "-o", library, source, "-ldl"], check=True)
    environment = os.environ | {"LD_PRELOAD": str(library), "TORTURE_SHIM": str(library)}
    command = [sys.executable, "-m", "tests.torture.calls", *sys.argv[1:]]
    raise SystemExit(subprocess.run(command, env=environment).returncode)


def arm(folder: Path, kind: str, at: int, fault: str) -> None:
    """Let the k-th call of a kind below a folder fail, in this process."""
    shim = ctypes.CDLL(os.environ["TORTURE_SHIM"])
    (ctypes.c_char * 1024).in_dll(shim, "fault_folder").value = os.fsencode(folder)
    number = FAULTS[fault]
    for name, value in {
        "kinds": KINDS[kind],
        "at": at,
        "errno": number or 0,
        "kill": number is None,
        "count": 0,
    }.items():
        ctypes.c_int.in_dll(shim, f"fault_{name}").value = int(value)


def shards(store: Path) -> dict[str, bytes]:
    """Return the committed shards with their bytes."""
    return {path.name: path.read_bytes() for path in store.glob("shards/[0-9]*.h5")}


def packed(store: Path, file: Path) -> bytes:
    """Return the bytes of the packed store."""
    file.unlink(missing_ok=True)
    ended = harness.run("pack", store, file)
    if ended.code:
        raise SystemExit(f"pack failed: {ended}")
    return file.read_bytes()


def begin(job: str, folder: Path, store: Path) -> None:
    """Bring a store to where a job starts."""
    shutil.rmtree(store, ignore_errors=True)
    if job == "extend":
        shutil.copytree(folder / "half", store)
    if job == "resume":
        shutil.copytree(folder / "killed", store)


def main(count: int = 500, seed: int = 0) -> None:
    """Try so many faults."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        preload(folder)
        harness.prepare()
        photos = harness.make_photos(folder / "photos", 48)
        shutil.copytree(photos, folder / "half-photos")
        for path in sorted((folder / "half-photos").rglob("*.png"))[::2]:
            path.unlink()
        command = ("extract", photos, *harness.LAYERS, "--out")
        harness.run("extract", folder / "half-photos", *harness.LAYERS, "--out", folder / "half")
        killed = folder / "killed"
        harness.run(*command, killed, before=partial(arm, killed, "rename", 5, "kill"))
        expected = {}
        for job in JOBS:
            begin(job, folder, folder / "whole")
            harness.run(*command, folder / "whole")
            expected[job] = packed(folder / "whole", folder / "packed.h5")
        if expected["resume"] != expected["create"]:
            raise SystemExit("a resumed store has other bytes than one that was not killed")
        rng, codes, bad = random.Random(seed), Counter[str](), 0
        for number in range(count):
            job, kind = rng.choice(JOBS), rng.choice(list(KINDS))
            fault, at = rng.choice(list(FAULTS)), int(rng.expovariate(1 / 12))
            store = folder / "store"
            begin(job, folder, store)
            there = shards(store)
            ended = harness.run(*command, store, before=partial(arm, store, kind, at, fault))
            after = shards(store)
            lost = [name for name, data in there.items() if after.get(name) != data]
            again = harness.run(*command, store)
            kept = all(shards(store).get(name) == data for name, data in after.items())
            same = again.code == 0 and packed(store, folder / "packed.h5") == expected[job]
            clean = ended.clean or (fault == "kill" and ended.code == -9)
            if lost or not kept or not same or not clean:
                bad += 1
                print(f"{number}: {job} {kind} {at} {fault}: {ended} lost {lost}; again {again}")
            codes[f"{fault} -> {ended.code}"] += 1
        print(f"{count} faults, {bad} with something lost or said wrongly")
        print("ended with", dict(sorted(codes.items())))
        if bad:
            raise SystemExit(1)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
