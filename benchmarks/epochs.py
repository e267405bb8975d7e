"""Time the epochs of an MLP, on codes in memory or read from a packed file; prints JSON."""

from __future__ import annotations

import json
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from statistics import median

import pipeline

EPOCHS = 10


def main(path: str, *memory: str) -> None:
    """Fit, and note when each epoch ends; the first has TensorFlow's start in it."""
    ends: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        head = Path(folder) / "head"
        fit = pipeline.fit_head(
            path,
            kind="mlp",
            epochs=EPOCHS,
            early_stopping=0,
            memory=memory[0] if memory else None,
            out=head,
            listener=pipeline.Listener(progress=lambda done, total: ends.append(time.monotonic())),
        )
        report = pipeline.evaluate(head, path, out=Path(folder) / "report").report
    seconds = median(after - before for before, after in pairwise(ends))
    found = {"seconds": seconds, "accuracy": report.accuracy, "in_memory": fit.in_memory}
    print(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
