"""Flip one bit in a file of a store, or of a packed file, and see that no other answer is given.

Run by `make torture`. At least half of the flips hit HDF5's own metadata, which fletcher32 does not
cover. Every flip must be an error of the documented kind, or change nothing that anybody reads.
"""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import h5py

import pipeline
from tests.torture import harness

FLIPS = {"table.h5": 1500, "packed.h5": 1500, "store.json": 500, "shard": 1000, "probe.h5": 500}


def metadata(path: Path) -> list[int]:
    """Return the places of bytes that are not data of a chunk or of a contiguous dataset."""
    held = set()

    def visit(_: str, item: object) -> None:
        if isinstance(item, h5py.Dataset):
            if item.chunks:
                for number in range(item.id.get_num_chunks()):
                    chunk = item.id.get_chunk_info(number)
                    held.update(range(chunk.byte_offset, chunk.byte_offset + chunk.size))
            elif item.id.get_offset() is not None:
                start = item.id.get_offset()
                held.update(range(start, start + item.id.get_storage_size()))

    with h5py.File(path) as file:
        file.visititems(visit)
    return [place for place in range(path.stat().st_size) if place not in held]


def answers(place: Path) -> list[object]:
    """Return all that a reader of a store is given."""
    found: list[object] = []
    for split in ("train", "val", "test"):
        for layer in ("a", "b"):
            codes = pipeline.load_codes(place, split=split, layer=layer)
            found += [codes.X.tobytes(), codes.y.tolist(), codes.classes, codes.paths]
    plain = pipeline.info(place)
    return [*found, {name: value for name, value in plain.items() if name != "path"}]


def ended(store: Path) -> int:
    """Return how a process of its own ends: HDF5 can crash while the interpreter does."""
    command = [sys.executable, "-m", "pipeline", "verify", str(store)]
    return subprocess.run(command, capture_output=True).returncode


def flip(path: Path, store: Path, look: Callable[[], bool], rng: random.Random, *, n: int) -> int:
    """Flip bits of one file, one at a time; return how many had a bad end."""
    whole = path.read_bytes()
    inner = metadata(path) if path.suffix == ".h5" else list(range(len(whole)))
    ends, bad, told = Counter[str](), 0, 0
    for number in range(n):
        byte = rng.choice(inner) if number % 2 else rng.randrange(len(whole))
        data = bytearray(whole)
        data[byte] ^= 1 << rng.randrange(8)
        path.write_bytes(bytes(data))
        how, text = harness.call(look)
        verified, said = harness.call(lambda: not pipeline.verify(store).damage)
        ends[how] += 1
        told += verified != "same"
        if how in ("other", "crash", "hang", "bug") or verified in ("crash", "hang", "bug"):
            bad += 1
            print(f"{path.name} byte {byte}: read: {how} {text}; verify: {verified} {said}")
        if number % 20 == 0 and (code := ended(store)) not in (0, 5):
            bad += 1
            print(f"{path.name} byte {byte}: a process of its own ended with {code}")
    path.write_bytes(whole)
    print(f"{path.name}: {dict(ends)}, told by verify {told}")
    harness.told(
        f"flipped bits, {path.name if path.parent.name != 'shards' else 'a shard'}", n, bad
    )
    return bad


def main(share: float = 1.0, seed: int = 0) -> None:
    """Try all files; `share` is the part of the usual number of flips."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        harness.prepare()
        photos = harness.make_photos(folder / "photos", 48)
        store, packed = folder / "store", folder / "packed.h5"
        harness.run("extract", photos, *harness.LAYERS, "--out", store)
        harness.run("pack", store, packed)
        expected = {place: answers(place) for place in (store, packed)}
        files = {
            "table.h5": (store / "table.h5", store),
            "packed.h5": (packed, packed),
            "store.json": (store / "store.json", store),
            "shard": (sorted((store / "shards").glob("*.h5"))[2], store),
            "probe.h5": (store / "probe.h5", store),
        }
        rng, bad = random.Random(seed), 0
        for kind, (path, place) in files.items():
            count = round(FLIPS[kind] * share)
            bad += flip(path, place, lambda p=place: answers(p) == expected[p], rng, n=count)
        shutil.rmtree(store)
        if bad:
            raise SystemExit(1)


if __name__ == "__main__":
    main(*map(float, sys.argv[1:2]), *map(int, sys.argv[2:]))
