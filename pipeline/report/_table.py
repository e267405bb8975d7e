"""The confusion matrix as rows of text and as CSV."""

from __future__ import annotations

from collections.abc import Iterator

from pipeline.common.files import csv_text
from pipeline.report._score import Report


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
    yield csv_text([["true class", *report.names]], ends="\r\n")
    for name, row in zip(report.names, report.confusion_rows(), strict=True):
        yield csv_text([[name, *row.tolist()]], ends="\r\n")
