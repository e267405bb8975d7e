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
# Training rows and width of the files; a tenth more for validation and two for test.
SIZES = ((600, 1280), (5000, 1280), (20_000, 4096))
LARGE = (40_000, 8192)
# Rows above which LinearSVC by hand is left out: 20,000 x 4,096 were not done in six minutes.
SVM_BY_HAND = 5000
KEYS = ("seconds", "accuracy", "peak_mb")
LITTLE, LITTLE_FOR_MLP = "600MB", "1.3GB"
TEXT = """# Performance of heads

Generated codes as a convnet's ReLU gives them, ten classes, a seventh as many rows for validation.
Made by `make bench-heads` on {processors} processors (rounds: {rounds}, load {load} at the end);
medians, ratios taken round by round. *seconds* are of the whole job after the imports: reading,
scaling, the choice of C, calibration, the last fit. By hand is `GridSearchCV` over three C with
`StandardScaler` and the defaults of `LinearSVC` and `LogisticRegression`, on all processors; its
peak is that of one process. It is left out where it takes more than six minutes.

| codes | kind | seconds | by hand | times as fast | accuracy | by hand | peak MB | by hand |
|---|---|---|---|---|---|---|---|---|
{fits}

{large_rows} x {large_width} codes ({large_bytes:.1f} GB), sorted by class, `--kind svm`, one round;
the last is in memory where the machine has room. `LinearSVC` by hand, with `StandardScaler` and the
default tolerance, was not done in ten minutes:

| what | seconds | accuracy on test | peak MB | planned MB |
|---|---|---|---|---|
{large}

Epochs of `--kind mlp` on 20,000 x 4,096:

| codes | seconds an epoch | rate against memory | accuracy on test |
|---|---|---|---|
{epochs}
"""


def all_rows(train: int) -> int:
    """Return how many rows a file has of which so many are for training."""
    return round(train / 0.7)


def fit(path: Path, head: Path, *options: object) -> Result:
    """Fit with the command, then score."""
    found = run("pipeline", "fit-head", path, "--out", head, "--json", *options)
    scored = run("pipeline", "evaluate", head, path, "--out", head.parent / "report", "--json")
    return found | {"accuracy": scored["accuracy"]}


def fits(folder: Path, rounds: int) -> Iterator[str]:
    """Compare whole fits with GridSearchCV."""
    for rows, width in SIZES:
        path = codes.write(folder / "fc.h5", rows=all_rows(rows), width=width)
        for kind in ("svm", "softmax"):
            by_hand_too = kind != "svm" or rows <= SVM_BY_HAND
            own, hand = [], []
            for _ in range(rounds):
                own.append(fit(path, folder / "head", "--kind", kind))
                hand += [by_hand(path, kind)] if by_hand_too else []
            yield f"| {rows:,} x {width:,} | {kind} | {_cells(own, hand)} |"


def _cells(own: list[Result], hand: list[Result]) -> str:
    """Return the figures of whole fits, each beside that of the same by hand."""
    cells = []
    for key, form in zip(KEYS, (".2f", ".4f", ".0f"), strict=True):
        of_hand = format(median(each[key] for each in hand), form) if hand else ""
        cells += [format(median(each[key] for each in own), form), of_hand]
    ratios = [b["seconds"] / a["seconds"] for a, b in zip(own, hand, strict=False)]
    cells.insert(2, f"{median(ratios):.1f}" if ratios else "")
    return " | ".join(cells)


def by_hand(path: Path, kind: str) -> Result:
    """Do the same with scikit-learn alone."""
    return run("benchmarks.grid", path, kind)


def large(folder: Path, _: int) -> Iterator[str]:
    """Fit on codes that do not fit in memory."""
    rows, width = LARGE
    path = codes.write(folder / "large.h5", rows=all_rows(rows), width=width, ordered=True)
    for options in (
        ("--C", "0.01", "--memory", LITTLE),
        ("--C", "auto", "--memory", LITTLE),
        ("--C", "0.01"),
    ):
        found = fit(path, folder / "head", "--kind", "svm", *options)
        name = f"`{' '.join(options)}`, {found['parameters']['fitted_by']}"
        yield _large_row(name, found)
    path.unlink()


def _large_row(name: str, found: Result) -> str:
    planned = found.get("memory_bytes", 0) / 1e6
    return (
        f"| {name} | {found['seconds']:.0f} | {found['accuracy']:.4f} | {found['peak_mb']:.0f} "
        f"| {f'{planned:.0f}' if planned else ''} |"
    )


def epochs(folder: Path, rounds: int) -> Iterator[str]:
    """Compare epochs on codes that are read with epochs on codes in memory."""
    rows, width = SIZES[-1]
    mixed = folder / "fc.h5"
    ordered = codes.write(folder / "sorted.h5", rows=all_rows(rows), width=width, ordered=True)
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


def told(rows: Iterator[str]) -> list[str]:
    """Print each row when it is measured."""
    found = []
    for row in rows:
        print(row, flush=True)
        found.append(row)
    return found


def main(rounds: int = 3) -> None:
    """Measure everything and write it to docs/performance-heads.md."""
    with tempfile.TemporaryDirectory() as name:
        tables = [told(table(Path(name), rounds)) for table in (fits, large, epochs)]
    text = TEXT.format(
        processors=os.cpu_count(),
        rounds=rounds,
        load=f"{os.getloadavg()[0]:.1f}",
        fits="\n".join(tables[0]),
        large_rows=f"{LARGE[0]:,}",
        large_width=f"{LARGE[1]:,}",
        large_bytes=4 * LARGE[0] * LARGE[1] / 1e9,
        large="\n".join(tables[1]),
        epochs="\n".join(tables[2]),
    )
    PAGE.write_text(text)
    print(text)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
