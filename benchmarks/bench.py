"""Stage one against the articles' loop, on the same JPEGs, in alternating pairs (`make bench`).

Rates are images per second, start-up apart; medians over the rounds. Weights are random where
Keras would have to download them: the work is the same.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

HERE = Path(__file__).parent
BACKBONES = ("mobilenetv2", "efficientnet-lite0", "resnet50", "vgg16")
CASES = (("500x375", (500, 375), 512), ("4000x3000", (4000, 3000), 96))
ENGINES = (("bfloat16", "openvino"), ("float32", "openvino"), ("float32", "tensorflow"))


def make_photos(folder: Path, size: tuple[int, int], count: int) -> None:
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


def run(command: list[str]) -> dict[str, float]:
    """Run a command that prints JSON; add its peak of memory where it does not say."""
    watched = [
        sys.executable,
        "-c",
        "import json, resource, subprocess, sys\n"
        "out = subprocess.run(sys.argv[1:], stdout=subprocess.PIPE, text=True, check=True).stdout\n"
        "peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024\n"
        "print(json.dumps({**json.loads(out), 'peak_mb': peak}))",
    ]
    done = subprocess.run(
        [*watched, *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        check=True,
    )
    result: dict[str, float] = json.loads(done.stdout)
    return result


def ours(backbone: str, photos: Path, store: Path, precision: str, engine: str) -> dict[str, float]:
    """Run `pipeline extract` into a new store."""
    weights = "imagenet" if backbone == "efficientnet-lite0" else "random"
    options = ["--backbone", backbone, "--weights", weights, "--layer", "avg", "--json"]
    options += ["--precision", precision, "--engine", engine, "--out", str(store)]
    return run([sys.executable, "-m", "pipeline", "extract", str(photos), *options])


def compare(
    backbone: str, photos: Path, folder: Path, rounds: int
) -> dict[str, list[dict[str, float]]]:
    """Alternate between the articles' loop and each engine."""
    results: dict[str, list[dict[str, float]]] = {}
    for number in range(rounds):
        loop = [sys.executable, str(HERE / "articles_loop.py"), backbone, str(photos)]
        results.setdefault("articles' loop", []).append(run([*loop, str(folder / "codes.npy")]))
        for precision, engine in ENGINES:
            store = folder / f"{backbone}-{precision}-{engine}-{photos.name}-{number}"
            name = f"{engine} {precision}"
            results.setdefault(name, []).append(ours(backbone, photos, store, precision, engine))
    return results


def rows(case: str, backbone: str, results: dict[str, list[dict[str, float]]]) -> list[str]:
    """Format medians, and ratios pair by pair."""
    loop = [result["images_per_second"] for result in results["articles' loop"]]
    lines = []
    for name, found in results.items():
        rates = [result["images_per_second"] for result in found]
        ratio = statistics.median(ours / theirs for ours, theirs in zip(rates, loop, strict=True))
        peak = statistics.median(result["peak_mb"] for result in found)
        lines.append(
            f"| {case} | {backbone} | {name} | {statistics.median(rates):.0f} | {ratio:.1f} "
            f"| {peak:.0f} |"
        )
    return lines


def main(rounds: int = 3) -> None:
    """Measure everything, print the table and write it to docs/performance.md."""
    lines = [
        "| photos | backbone | what | images/s | ratio | peak MB |",
        "|---|---|---|---|---|---|",
    ]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for case, size, count in CASES:
            make_photos(folder / case, size, count)
            for backbone in BACKBONES:
                lines += rows(case, backbone, compare(backbone, folder / case, folder, rounds))
                print(*lines[-4:], sep="\n", flush=True)
    machine = f"{platform.processor() or platform.machine()}, {os.cpu_count()} processors"
    page = (
        "# Performance\n\nImages per second of stage one, start-up apart, and the peak of memory, "
        "against the loop of the\nsource articles (load all, `model.predict`, `np.save`) on the "
        f"same JPEGs, in alternating pairs;\nmedians; rounds: {rounds}. Made by `make bench` on "
        f"{machine} (load {os.getloadavg()[0]:.1f} at the end).\n\n"
    )
    (HERE.parent / "docs" / "performance.md").write_text(page + "\n".join(lines) + "\n")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
