"""Kill `pipeline extract` at random moments and compare what it ends in with an untroubled run.

Run by `make torture`. One round is also a test of the suite.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

import pipeline
from tests.torture.harness import told

# Maps of 200 KB an image fill a shard of 16 MB with some 80 images: several shards a second.
OPTIONS = ("--layer", "block1a_project_bn", "--layer", "avg", "--size", "112")


def make_images(folder: Path, count: int) -> None:
    """Write small images of two classes."""
    numbers = np.random.default_rng(0)
    for i in range(count):
        path = folder / f"class_{i % 2}" / f"{i:05d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(numbers.integers(0, 255, (24, 24, 3), np.uint8)).save(path)


def start(photos: Path, store: Path, engine: str = "auto") -> subprocess.Popen[str]:
    """Start an extraction in a process of its own."""
    command = ["extract", str(photos), "--out", str(store), "--json", *OPTIONS, "--engine", engine]
    return subprocess.Popen(
        [sys.executable, "-m", "pipeline", *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def shards(store: Path) -> int:
    """Count the committed shards."""
    return len(list(store.glob("shards/[0-9]*.h5")))


def kill_after_shards(process: subprocess.Popen[str], store: Path, count: int) -> bool:
    """Kill -9 as soon as so many shards are committed; False if the run ended before."""
    while process.poll() is None:
        if shards(store) >= count:
            process.send_signal(signal.SIGKILL)
            break
        time.sleep(0.005)
    process.communicate()
    return process.returncode == -signal.SIGKILL


def finish(photos: Path, store: Path, engine: str = "auto") -> dict[str, int]:
    """Run to the end; return what the command says."""
    process = start(photos, store, engine)
    out, err = process.communicate()
    if process.returncode:
        raise SystemExit(f"extract failed with {process.returncode}: {err}")
    result: dict[str, int] = json.loads(out)
    return result


def pack(store: Path, file: Path) -> bytes:
    """Return the bytes of the packed store."""
    file.unlink(missing_ok=True)
    pipeline.pack(store, file)
    return file.read_bytes()


def main(engine: str = "auto", rounds: int = 20, count: int = 3000) -> None:
    """Kill at random times, again and again; resume; compare the packed files."""
    total = 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_images(folder / "photos", count)
        # The first exports the network: that is not timed.
        finish(folder / "photos", folder / "first", engine)
        whole = finish(folder / "photos", folder / "whole", engine)
        expected = pack(folder / "whole", folder / "whole.h5")
        for number in range(rounds):
            store = folder / f"killed-{number}"
            kills = 0
            while kills < 20:
                process = start(folder / "photos", store, engine)
                try:
                    process.communicate(timeout=random.uniform(0.1, whole["seconds"] * 1.2))
                    break
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.communicate()
                    kills += 1
            computed = finish(folder / "photos", store, engine)["computed"]
            same = pack(store, folder / "killed.h5") == expected
            print(
                f"{engine}, round {number}: {kills} kills, {computed} left to compute, "
                f"same bytes: {same}",
                flush=True,
            )
            total += kills
            if not same:
                raise SystemExit(1)
    told(f"kill -9 while extracting, {engine}", total, 0)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--engine", default="auto")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--count", type=int, default=3000)
    main(**vars(parser.parse_args()))
