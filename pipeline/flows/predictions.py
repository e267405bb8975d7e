"""What a head says of each row of a store, as a table for other programs."""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline import report, store
from pipeline.common.files import csv_text, replacing

CSV, PARQUET = "predictions.csv", "predictions.parquet"


def write_predictions(
    folder: Path,
    opened: store.Store,
    rows: NDArray[np.int64],
    scored: report.ScoredRows,
    classes: Sequence[str],
) -> None:
    """
    Write a line for each row: path, true and predicted class, and the scores.

    The same is written as Parquet where polars or pyarrow is installed, unless the scores of all
    classes would be too many (`pipeline.report.ScoredRows.whole`).

    Parameters
    ----------
    folder : Path
    opened : Store
    rows : int64 array of shape (n,)
    scored : ScoredRows
        Of these rows.
    classes : sequence of str
    """

    def paths(places: NDArray[np.int64]) -> list[str]:
        return [os.fsdecode(path) for path in opened.paths(rows[places])]

    with replacing(folder / CSV) as file:
        file.write(_bytes([scored.columns(classes)]))
        for lines in scored.lines(paths, classes):
            file.write(_bytes(lines))
    (folder / PARQUET).unlink(missing_ok=True)
    if scored.whole:
        _write_parquet(folder / PARQUET, paths(np.arange(len(rows))), scored, classes)


def _bytes(lines: Sequence[Sequence[object]]) -> bytes:
    return csv_text(lines).encode("utf-8", "surrogateescape")


def _write_parquet(
    path: Path, paths: Sequence[str], scored: report.ScoredRows, classes: Sequence[str]
) -> None:
    """Write the table where a library that can is installed."""
    columns: dict[str, object] = {
        "path": [each.encode("utf-8", "replace").decode() for each in paths],
        "true": [classes[label] for label in scored.true],
        "predicted": [classes[label] for label in scored.predicted],
        "right": scored.right,
        "score": scored.best,
    }
    columns |= dict(zip(scored.columns(classes)[len(columns) :], scored.scores.T, strict=True))
    if find_spec("polars"):
        import polars

        with replacing(path) as file:
            polars.DataFrame(columns).write_parquet(file)
    elif find_spec("pyarrow"):
        import pyarrow
        import pyarrow.parquet

        with replacing(path) as file:
            pyarrow.parquet.write_table(pyarrow.table(columns), file)
