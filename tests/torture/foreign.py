"""Mutate HDF5 files of other programs, and heads with right checksums, and offer them to commands.

Run by `make torture`. Each must end by itself within ten seconds, with a documented code and one
line.
"""

from __future__ import annotations

import copy
import hashlib
import json
import random
import shutil
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from pipeline.common.files import canonical_json
from tests.torture import harness

SECONDS = 10.0
KEPT = Path(__file__).parents[1] / "data" / "format-1"
ODD: list[Any] = [
    *(None, True, -1, 0, 1, 1.5, 1e308, 10**9, 10**30, 2**63, "", "x", "auto", "input", "flat"),
    *([], [1], [[]], {}, {"a": 1}, ["a"], "../../etc/passwd", "avg"),
]


def bases(folder: Path) -> list[Path]:
    """Write what other programs write, in several layouts."""
    rng = np.random.default_rng(0)
    X, y = rng.random((90, 12)), np.arange(90) % 3
    names = np.array(["cat", "dog", "eel"])[y]
    with h5py.File(folder / "plain.h5", "w") as file:
        file["codes/fc"], file["labels"] = X, y
    with h5py.File(folder / "zipped.h5", "w") as file:
        file.create_dataset("codes/fc", data=X, chunks=(16, 12), compression="gzip", shuffle=True)
        file.create_dataset("labels", data=names.astype(object), dtype=h5py.string_dtype())
        file.create_dataset("splits", data=np.array(["train", "val", "test"], "S5")[y])
        file.attrs["note"] = "made elsewhere"
    with h5py.File(folder / "latest.h5", "w", libver="latest") as file:
        growing = {"chunks": (8, 12), "maxshape": (None, 12)}
        file.create_dataset("codes/fc", data=X, fletcher32=True, **growing)
        file.create_dataset("labels", data=y, chunks=(8,), maxshape=(None,))
        file["paths"] = np.array([f"{i}.jpg" for i in range(90)], "S")
    shutil.copy(KEPT / "packed.h5", folder / "earlier.h5")
    return [folder / name for name in ("plain.h5", "zipped.h5", "latest.h5", "earlier.h5")]


def mutated(data: bytes, rng: random.Random) -> bytes:
    """Change bytes as accidents and enemies do."""
    new = bytearray(data)
    how = rng.randrange(6)
    if how == 0:
        return bytes(new[: rng.randrange(len(new))])
    if how == 1:
        start = rng.randrange(len(new))
        new[start : start + rng.choice((8, 64, 512))] = bytes(8)
        return bytes(new)
    if how == 2:
        at = rng.randrange(len(new) - 8)
        new[at : at + 8] = rng.choice((b"\xff" * 8, (2**40).to_bytes(8, "little"), bytes(8)))
        return bytes(new)
    for _ in range(rng.choice((1, 1, 2, 4, 16, 64))):
        new[rng.randrange(min(len(new), rng.choice((512, 4096, len(new)))))] ^= 1 << rng.randrange(
            8
        )
    return bytes(new)


def paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """List the places of all values in JSON."""
    inner = value.items() if isinstance(value, dict) else []
    inner = enumerate(value) if isinstance(value, list) else inner
    return [path, *(place for key, item in inner for place in paths(item, (*path, key)))]


def crafted(plain: dict[str, Any], rng: random.Random) -> dict[str, Any]:
    """Change values of a head.json, and let its hashes be right."""
    plain = copy.deepcopy(plain)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        *above, last = rng.choice([path for path in paths(plain) if path])
        place: Any = plain
        for key in above:
            place = place[key]
        if rng.random() < 0.15:
            del place[last]
        else:
            place[last] = copy.deepcopy(rng.choice(ODD))
    plain.pop("checksum", None)
    if isinstance(plain.get("space"), dict) and rng.random() < 0.7:
        plain["space_id"] = hashlib.sha256(canonical_json(plain["space"])).hexdigest()
    return plain | {"checksum": hashlib.sha256(canonical_json(plain)).hexdigest()}


def offer(commands: list[tuple[object, ...]], what: str, codes: Counter[str]) -> int:
    """Run some commands; return how many ended badly."""
    bad = 0
    for command in commands:
        ended = harness.run(*command, seconds=2 * SECONDS)
        codes[f"{command[0]} -> {ended.code}"] += 1
        if not ended.clean or ended.seconds > SECONDS or ended.err.count("error:") > 11:
            bad += 1
            print(f"{what}: {command[0]}: {ended}", flush=True)
    return bad


def main(files: int = 500, heads: int = 300, seed: int = 0) -> None:
    """Try so many files and heads."""
    rng, codes, bad = random.Random(seed), Counter[str](), 0
    harness.prepare()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        originals = bases(folder)
        for number in range(files):
            base = rng.choice(originals)
            path = folder / "mutant.h5"
            path.write_bytes(mutated(base.read_bytes(), rng))
            layer = "block2b_add:avg" if base.name == "earlier.h5" else "fc"
            fit = ("fit-head", path, "--kind", "ridge", "--layer", layer, "--out", folder / "head")
            commands = rng.choice([[("verify", path), fit], [("info", path), fit]])
            bad += offer(commands, f"file {number}, {base.name}", codes)
        print(f"{files} files: {dict(sorted(codes.items()))}", flush=True)
        harness.told("mutated files of other programs", files, bad)
        codes.clear()
        bad_files, bad = bad, 0
        kinds = sorted((KEPT / "heads").iterdir())
        for kind in ("svm", "knn", "mlp"):
            new = folder / "new" / kind
            options = ("--hidden", "8", "--epochs", "1") if kind == "mlp" else ()
            fit = ("fit-head", KEPT / "store", "--kind", kind, "--layer", "block2b_add:avg")
            harness.run(*fit, "--out", new, *options, seconds=120)
            kinds.append(new)
        for number in range(heads):
            base, head = rng.choice(kinds), folder / "mutant"
            shutil.rmtree(head, ignore_errors=True)
            shutil.copytree(base, head)
            payload = next(head.glob("weights-*"))
            plain = json.loads((head / "head.json").read_text())
            if rng.random() < 0.3:  # the payload, which vouches for itself
                data = mutated(payload.read_bytes(), rng)
                payload.write_bytes(data)
                plain["payload_sha256"] = hashlib.sha256(data).hexdigest()
                del plain["checksum"]
                plain["checksum"] = hashlib.sha256(canonical_json(plain)).hexdigest()
            else:
                plain = crafted(plain, rng)
            (head / "head.json").write_text(json.dumps(plain))
            score = ("evaluate", head, KEPT / "store", "--out", folder / "report")
            bad += offer([("info", head), score], f"head {number}, {base.name}", codes)
        print(f"{heads} heads: {dict(sorted(codes.items()))}")
        harness.told("mutated heads", heads, bad)
    if bad or bad_files:
        raise SystemExit(1)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
