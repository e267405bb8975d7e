"""What fine-tuning gains on stores of several tasks (`python -m benchmarks.gains STORE ...`)."""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import mean
from typing import NamedTuple

SPARE = {"pools": ["avg"], "kinds": ["svm", "softmax", "ridge", "knn", "centroid"]}
HEADER = """| store | side | test accuracy | s | what |
|---|---|---|---|---|"""


class Score(NamedTuple):
    """An accuracy on the test images, and how it came about."""

    accuracy: float
    seconds: float
    what: str


def main() -> None:
    """Print a table for each store, a row as soon as it is measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "stores", type=Path, nargs="+", help="with codes of boundaries and of LAYER"
    )
    parser.add_argument("--layer", default="avg", help="what the heads to be tuned are on")
    parser.add_argument("--rates", type=float, nargs="*", default=[1e-4, 3e-4, 1e-3, 3e-3])
    parser.add_argument("--from", dest="starts", nargs="*", help="boundaries of the grid by hand")
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2])
    arguments = parser.parse_args()
    print(HEADER, flush=True)
    for store in arguments.stores:
        with tempfile.TemporaryDirectory() as folder:
            measure(store, Path(folder), arguments)
    print(f"\n{os.cpu_count()} processors, load {os.getloadavg()[0]:.1f} at the end")


def measure(store: Path, folder: Path, arguments: argparse.Namespace) -> None:
    """Measure the best head, fine-tuning by default, and a grid by hand."""
    import pipeline

    layer, heads = arguments.layer, folder / "head"
    pipeline.fit_head(store, kind="softmax", layer=layer, out=heads)

    def tuned(**options: object) -> Score:
        began = time.monotonic()
        done = pipeline.fine_tune(heads, store_path=store, out=folder / "t", **options)  # type: ignore[arg-type]
        seconds = time.monotonic() - began
        found = pipeline.evaluate(done.head, store, out=folder / "r").report.accuracy
        return Score(found, seconds, f"{done.start} at {done.learning_rate:g}")

    def best_head() -> Score:
        found = pipeline.compare(store, out=folder / "b", report_out=folder / "r", **SPARE)
        assert found.evaluation is not None
        best = found.candidates[0]
        accuracy = found.evaluation.report.accuracy
        return Score(accuracy, found.seconds, f"{best.kind} on {best.layer}")

    show(store, "best head by compare", [best_head])
    show(store, "fine-tune", [lambda seed=seed: tuned(seed=seed) for seed in arguments.seeds])
    for start in arguments.starts or []:
        for rate in arguments.rates:
            show(store, "by hand", [lambda s=start, r=rate: tuned(start=s, learning_rate=r)])


def show(store: Path, side: str, runs: Sequence[Callable[[], Score]]) -> None:
    """Print the mean of some runs, each one's accuracy beside it."""
    scores = [run() for run in runs]
    each = "; ".join(f"{score.accuracy:.4f} ({score.what})" for score in scores)
    seconds = mean(score.seconds for score in scores)
    accuracy = mean(score.accuracy for score in scores)
    print(f"| {store.name} | {side} | {accuracy:.4f} | {seconds:.0f} | {each} |", flush=True)


if __name__ == "__main__":
    main()
