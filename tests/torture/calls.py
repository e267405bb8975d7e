"""Fail, or kill at, the k-th system call while a store is made, extended, resumed or repaired.

Run by `make torture`; the number of faults is the argument. After each fault everything that was
there must still be there, set aside or in its place, as many images must have their codes, and the
same command must end in the bytes of an untroubled run.
"""

from __future__ import annotations

import ctypes
import errno
import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from contextlib import suppress
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
JOBS = ("create", "extend", "resume", "repair", "repair", "repair")
DAMAGE = ("shard", "table", "header", "probe", "lost header", "lost shard", "others", "alien")


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


def files(store: Path) -> set[str]:
    """Return the hashes of all that must not be lost: what is damaged, too."""
    kept = ("shards/[0-9]*.h5", "set-aside/*", "store.json", "probe.h5")
    paths = [path for pattern in kept for path in store.glob(pattern)]
    return {hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def with_codes(store: Path) -> int:
    """Count the images that have codes; none where the store cannot tell."""
    ended = harness.run("info", store, "--json")
    return int(json.loads(ended.out)["ok"]) if ended.code == 0 else 0


def packed(store: Path, file: Path) -> bytes:
    """Return the bytes of the packed store."""
    file.unlink(missing_ok=True)
    ended = harness.run("pack", store, file)
    if ended.code:
        raise SystemExit(f"pack failed: {ended}")
    return file.read_bytes()


def flip(path: Path, rng: random.Random) -> None:
    """Change one bit."""
    data = bytearray(path.read_bytes())
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    path.write_bytes(data)


def damage(store: Path, other: Path, how: str, rng: random.Random) -> None:
    """Do one kind of harm to a store."""
    some = rng.choice(sorted(store.glob("shards/[0-9]*.h5")))
    if how == "shard":
        flip(some, rng)
    elif how == "lost shard":
        some.unlink()
    elif how in ("table", "header", "probe"):
        name = {"table": "table.h5", "header": "store.json", "probe": "probe.h5"}[how]
        flip(store / name, rng)
    elif how == "lost header":
        (store / "store.json").unlink()
    elif how == "others":
        for name in ("store.json", "probe.h5"):
            shutil.copy(other / name, store / name)
    else:
        alien = min(other.glob("shards/[0-9]*.h5"))
        shutil.copy(alien, store / "shards" / ("9" + alien.name[1:]))


class Torture:
    """Stores to begin with, and what an untroubled run makes of them."""

    def __init__(self, folder: Path, rng: random.Random) -> None:
        self.folder, self.rng, self.store = folder, rng, folder / "store"
        photos = harness.make_photos(folder / "photos", 48)
        shutil.copytree(photos, folder / "half-photos")
        for path in sorted((folder / "half-photos").rglob("*.png"))[::2]:
            path.unlink()
        self.extract = ("extract", photos, *harness.LAYERS, "--out")
        half = ("extract", folder / "half-photos", *harness.LAYERS, "--out", folder / "half")
        harness.run(*half)
        killed, other = folder / "killed", folder / "other"
        harness.run(*self.extract, killed, before=partial(arm, killed, "rename", 5, "kill"))
        harness.run(*self.extract, other, "--resize", "squash")
        self.expected = {}
        for job in ("create", "extend", "resume"):
            self.begin(job)
            harness.run(*self.extract, self.store)
            self.expected[job] = packed(self.store, folder / "packed.h5")
            if job == "create":
                shutil.copytree(self.store, folder / "whole")
        self.expected["repair"] = self.expected["create"]
        if self.expected["resume"] != self.expected["create"]:
            raise SystemExit("a resumed store has other bytes than one that was not killed")

    def begin(self, job: str) -> str:
        """Bring a store to where a job starts; return what was done to it."""
        shutil.rmtree(self.store, ignore_errors=True)
        source = {"extend": "half", "resume": "killed", "repair": "whole"}.get(job)
        if source is not None:
            shutil.copytree(self.folder / source, self.store)
        if job != "repair":
            return ""
        done = self.rng.sample(DAMAGE, self.rng.choice([1, 1, 2]))
        for how in done:
            with suppress(FileNotFoundError):
                damage(self.store, self.folder / "other", how, self.rng)
        return "+".join(done)

    def once(self) -> tuple[bool, str, str]:
        """Try one fault; return whether all was well, what to count, and a line about it."""
        rng, store = self.rng, self.store
        job, kind = rng.choice(JOBS), rng.choice(list(KINDS))
        fault, at = rng.choice(list(FAULTS)), int(rng.expovariate(1 / 12))
        what = self.begin(job)
        command = ("repair", store) if job == "repair" else (*self.extract, store)
        there, codes = files(store), with_codes(store)
        ended = harness.run(*command, before=partial(arm, store, kind, at, fault))
        lost = len(there - files(store)) or (0 if what else max(0, codes - with_codes(store)))
        again = harness.run(*command)
        if job == "repair" and again.code == 0:
            lost += len(there - files(store))
            again = harness.run(*self.extract, store)
        same = again.code == 0 and packed(store, self.folder / "packed.h5") == self.expected[job]
        clean = ended.clean or (fault == "kill" and ended.code == -9)
        line = f"{job} {what} {kind} {at} {fault}: {ended}; lost {lost}; again {again}"
        return (not lost and same and clean), f"{job} {fault} -> {ended.code}", line


def main(count: int = 500, seed: int = 0) -> None:
    """Try so many faults."""
    with tempfile.TemporaryDirectory() as name:
        preload(Path(name))
        harness.prepare()
        torture = Torture(Path(name), random.Random(seed))
        codes, bad = Counter[str](), 0
        for number in range(count):
            well, code, line = torture.once()
            codes[code] += 1
            if not well:
                bad += 1
                print(f"{number}: {line}")
        print(f"{count} faults, {bad} with something lost or said wrongly")
        print("ended with", dict(sorted(codes.items())))
        harness.told("system calls that fail or kill", count, bad)
        if bad:
            raise SystemExit(1)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
