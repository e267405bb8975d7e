"""Stage two against scikit-learn and against itself, in alternating rounds (`make bench-heads`)."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from benchmarks import codes
from benchmarks.bench import Result, run

PAGE = Path(__file__).parent.parent / "docs" / "performance-heads.md"
C = 1e-4
# Too little for the codes of either file; TensorFlow alone takes half a gigabyte.
LITTLE, LITTLE_FOR_MLP = "450MB", "1.1GB"
TEXT = """# Performance of heads

Generated codes as a convnet's ReLU gives them: 28,600 x 4,096, of which 20,000 for training, ten
classes. Made by `make bench-heads` on {processors} processors (rounds: {rounds}, load {load} at the
end); medians, ratios taken round by round. *seconds* of the first table are of fitting alone for
LinearSVC, and with reading and scaling for `pipeline fit-head`, which fits on parts too, to choose
C and to calibrate.

| what | seconds | of LinearSVC | accuracy on test | peak MB | planned MB |
|---|---|---|---|---|---|
{fits}

Epochs of `--kind mlp`:

| codes | seconds an epoch | rate against memory | accuracy on test |
|---|---|---|---|
{epochs}
"""


def fit(path: Path, head: Path, *options: object) -> Result:
    """Fit with the command, then score."""
    found = run("pipeline", "fit-head", path, "--out", head, "--json", *options)
    scored = run("pipeline", "evaluate", head, path, "--out", head.parent / "report", "--json")
    return found | {"accuracy": scored["accuracy"]}


def fits(folder: Path, rounds: int) -> Iterator[str]:
    """Compare fits with LinearSVC."""
    path = codes.write(folder / "fc.h5", rows=28_600, width=4096)
    cases = {
        f"`--kind svm --C {C}`": ("--kind", "svm", "--C", C),
        "`--kind svm`, seven values of C": ("--kind", "svm"),
        f"the same, `--memory {LITTLE}`": ("--kind", "svm", "--memory", LITTLE),
        "`--kind softmax`, seven values of C": ("--kind", "softmax"),
        "`--kind ridge`, fifteen values of C": ("--kind", "ridge"),
    }
    peer = f"LinearSVC, C = {C}"
    found: list[dict[str, Result]] = []
    for _ in range(rounds):
        one = {peer: run("benchmarks.svc", path, C)}
        one |= {name: fit(path, folder / "head", *options) for name, options in cases.items()}
        found.append(one)
    for name in found[0]:
        seconds, accuracy, peak = (
            median(each[name][key] for each in found) for key in ("seconds", "accuracy", "peak_mb")
        )
        ratio = median(each[name]["seconds"] / each[peer]["seconds"] for each in found)
        planned = found[0][name].get("memory_bytes", 0) / 1e6
        yield (
            f"| {name} | {seconds:.1f} | {ratio:.2f} | {accuracy:.4f} | {peak:.0f} "
            f"| {f'{planned:.0f}' if planned else ''} |"
        )


def epochs(folder: Path, rounds: int) -> Iterator[str]:
    """Compare epochs on codes that are read with epochs on codes in memory."""
    mixed = folder / "fc.h5"
    ordered = codes.write(folder / "sorted.h5", rows=28_600, width=4096, ordered=True)
    cases = {
        "in memory": (mixed,),
        "read from the store": (mixed, LITTLE_FOR_MLP),
        "read, rows sorted by class": (ordered, LITTLE_FOR_MLP),
        "in memory, rows sorted by class": (ordered,),
    }
    found = [
        {name: run("benchmarks.epochs", *case) for name, case in cases.items()}
        for _ in range(rounds)
    ]
    for name in cases:
        seconds, accuracy = (
            median(each[name][key] for each in found) for key in ("seconds", "accuracy")
        )
        rate = median(each["in memory"]["seconds"] / each[name]["seconds"] for each in found)
        yield f"| {name} | {seconds:.2f} | {rate:.2f} | {accuracy:.4f} |"


def main(rounds: int = 3) -> None:
    """Measure everything and write it to docs/performance-heads.md."""
    with tempfile.TemporaryDirectory() as name:
        tables = [list(table(Path(name), rounds)) for table in (fits, epochs)]
    text = TEXT.format(
        processors=os.cpu_count(),
        rounds=rounds,
        load=f"{os.getloadavg()[0]:.1f}",
        fits="\n".join(tables[0]),
        epochs="\n".join(tables[1]),
    )
    PAGE.write_text(text)
    print(text)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
