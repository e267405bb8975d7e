"""The confusion matrix as rows of text and as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence

from pipeline.report._score import Report

# Spreadsheets run a cell that starts with one of these as a formula (OWASP, "CSV Injection").
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def confusion_table_rows(report: Report) -> list[list[str]]:
    """
    Lay out the confusion matrix for a terminal.

    Parameters
    ----------
    report : Report

    Returns
    -------
    list of list of str
        A header of predicted classes, then for each true class its name and its counts; zeros
        are left empty, so that the errors stand out.
    """
    header = ["", *report.names]
    rows = [
        [name, *(str(images) if images else "" for images in row)]
        for name, row in zip(report.names, report.confusion, strict=True)
    ]
    return [header, *rows]


def confusion_csv(report: Report) -> str:
    """
    Write the confusion matrix as CSV.

    Parameters
    ----------
    report : Report

    Returns
    -------
    str
        A header of predicted classes; the first column is the true class; lines end in CR LF as
        RFC 4180 wants. A name that a
        spreadsheet would run as a formula gets a single quote in front. Bytes of a name that
        are no text are kept as surrogate escapes: encode with ``errors="surrogateescape"``.
    """
    return "".join(confusion_csv_lines(report))


def confusion_csv_lines(report: Report) -> Iterator[str]:
    """Yield the lines of `confusion_csv`, so that a large matrix is never in memory as a whole."""
    names = [harmless(name) for name in report.names]
    yield _line(["true class", *names])
    for name, row in zip(names, report.confusion_rows(), strict=True):
        yield _line([name, *row.tolist()])


def _line(cells: Sequence[object]) -> str:
    text = io.StringIO()
    csv.writer(text).writerow(cells)
    return text.getvalue()


def harmless(cell: str) -> str:
    """Put a single quote before text that a spreadsheet would run as a formula."""
    return "'" + cell if cell.startswith(_FORMULA) else cell
