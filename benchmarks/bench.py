"""Stage one against the articles' loop, on the same JPEGs, in alternating pairs (`make bench`)."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import NamedTuple

import numpy as np
from PIL import Image

from benchmarks.networks import BACKBONES, BUNDLED

PAGE = Path(__file__).parent.parent / "docs" / "performance.md"
ENGINES = ("openvino bfloat16", "openvino float32", "tensorflow float32")
LOOP = "articles' loop"
# Enough for some seconds of work, and 2,000 where memory is looked at.
COUNTS = {"mobilenetv2": 2000, "efficientnet-lite0": 2000, "resnet50": 1000, "vgg16": 400}
LARGE = 96

HEAD = (
    "| photos | backbone | what | images/s | ratio | alone | of bound | seconds | ratio | MB |",
    "|---|---|---|---|---|---|---|---|---|---|",
)
TEXT = """# Performance

Stage one against the loop of the source articles (load all, `model.predict`, `np.save`), on the
same JPEGs with the same weights, one after the other in each round. Medians; ratios are taken round
by round. Made by `make bench` on {machine} (rounds: {rounds}, load {load}).

- *images/s*: from the first photo to the last code, start-up apart; *ratio* to the articles' loop.
- *alone*: images/s of the network by itself. *of bound*: images/s as a share of
  1 / (1 / alone + 1 / decode), where decode is that of all cores by themselves, in the same round:
  what can be reached where decoder and network share the cores.
- *seconds*: the whole command from start to end, with its *ratio*. The exported network is in the
  cache, as in every run but the first.
- *MB*: peak of memory.

"""

Result = dict[str, float]


class Case(NamedTuple):
    """One backbone on photos of one size."""

    photos: Path
    backbone: str
    weights: str

    @property
    def count(self) -> int:
        return sum(1 for _ in self.photos.rglob("*.jpg"))


def make_photos(folder: Path, size: tuple[int, int], count: int) -> Path:
    """Write JPEGs made of scikit-learn's two photos, each turned and lit in its own way."""
    from sklearn.datasets import load_sample_images

    random = np.random.default_rng(0)
    photos = [Image.fromarray(image).resize(size) for image in load_sample_images().images]
    for number in range(count):
        pixels = np.roll(np.asarray(photos[number % 2]), random.integers(0, 500, 2), (0, 1))
        lit = np.clip(pixels * random.uniform(0.7, 1.2), 0, 255).astype(np.uint8)
        path = folder / f"class_{number % 2}" / f"{number:05d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(lit).save(path, quality=88)
    return folder


def run(module: str, *arguments: object) -> Result:
    """Run a module that prints JSON; add its time as a whole and its peak of memory."""
    watch = (
        "import json, resource, subprocess, sys\n"
        "out = subprocess.run(sys.argv[1:], stdout=subprocess.PIPE, text=True, check=True).stdout\n"
        "peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024\n"
        "print(json.dumps({**json.loads(out), 'peak_mb': peak}))"
    )
    command = [sys.executable, "-m", module, *map(str, arguments)]
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", watch, *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        check=True,
    )
    return {**json.loads(done.stdout), "whole": time.monotonic() - started}


def extract(case: Case, name: str, store: Path, *more: object) -> Result:
    """Run `pipeline extract` into a new store."""
    engine, precision = name.split()
    options = ["--backbone", case.backbone, "--weights", case.weights, "--layer", "avg", "--json"]
    options += ["--precision", precision, "--engine", engine, "--out", str(store)]
    return run("pipeline", "extract", case.photos, *options, *more)


def round_of(case: Case, folder: Path) -> dict[str, Result]:
    """Measure everything once, one after the other."""
    alone = run("benchmarks.alone", case.backbone, case.weights, case.photos, *ENGINES)
    codes = folder / "codes.npy"
    loop = ("benchmarks.articles_loop", case.backbone, case.weights, case.photos, codes)
    results = {LOOP: run(*loop)}
    for name in ENGINES:
        with tempfile.TemporaryDirectory(dir=folder) as store:
            results[name] = extract(case, name, Path(store) / "store")
        results[name]["alone"] = alone[name]
        results[name]["bound"] = 1 / (1 / alone[name] + 1 / alone["decode"])
    if find_spec("timm") and find_spec("torch"):
        for precision in ("bfloat16", "float32"):
            peer = ("benchmarks.timm_loop", case.backbone, precision, case.photos, codes)
            results[f"torch + timm {precision}"] = run(*peer)
    return results


def rows(case: Case, rounds: list[dict[str, Result]]) -> Iterator[str]:
    """Format medians; ratios are taken round by round."""
    for name in rounds[0]:
        pairs = [(found[name], found[LOOP]) for found in rounds]
        rate = median(own["images_per_second"] for own, _ in pairs)
        ratio = median(own["images_per_second"] / loop["images_per_second"] for own, loop in pairs)
        whole = median(own["whole"] for own, _ in pairs)
        times = median(loop["whole"] / own["whole"] for own, loop in pairs)
        peak = median(own["peak_mb"] for own, _ in pairs)
        alone, share = "", ""
        if "bound" in rounds[0][name]:
            alone = f"{median(own['alone'] for own, _ in pairs):.0f}"
            share = f"{median(own['images_per_second'] / own['bound'] for own, _ in pairs):.0%}"
        yield (
            f"| {case.count} of {case.photos.name} | {case.backbone} | {name} | {rate:.0f} "
            f"| {ratio:.1f} | {alone} | {share} | {whole:.1f} | {times:.1f} | {peak:.0f} |"
        )


def cases(folder: Path) -> Iterator[Case]:
    """Make the photos and weights; warm the cache of exported networks."""
    subprocess.run([sys.executable, "-m", "benchmarks.networks", folder], check=True)
    most = max(COUNTS.values())
    large = make_photos(folder / "4000x3000", (4000, 3000), LARGE)
    every = make_photos(folder / str(most) / "500x375", (500, 375), most)
    for backbone in BACKBONES:
        weights = "imagenet" if backbone == BUNDLED else str(folder / f"{backbone}.weights.h5")
        some = folder / str(count := COUNTS[backbone]) / "500x375"
        if not some.exists():
            for path in sorted(every.rglob("*.jpg"), key=lambda path: path.name)[:count]:
                (some / path.parent.name).mkdir(parents=True, exist_ok=True)
                (some / path.parent.name / path.name).hardlink_to(path)
        for photos in (some, large):
            yield Case(photos, backbone, weights)


def main(rounds: int = 3) -> None:
    """Measure everything, print the table and write it to docs/performance.md."""
    lines = list(HEAD)
    print(*lines, sep="\n", flush=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["PIPELINE_CACHE"] = str(folder / "cache")
        for case in cases(folder):
            for engine in ENGINES[:2]:
                with tempfile.TemporaryDirectory(dir=folder) as store:
                    extract(case, engine, Path(store) / "store", "--limit", 8)
            found = list(rows(case, [round_of(case, folder) for _ in range(rounds)]))
            print(*found, sep="\n", flush=True)
            lines += found
    machine = f"{platform.processor() or platform.machine()}, {os.cpu_count()} processors"
    load = f"{os.getloadavg()[0]:.1f} at the end"
    PAGE.write_text(
        TEXT.format(rounds=rounds, machine=machine, load=load) + "\n".join(lines) + "\n"
    )


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
