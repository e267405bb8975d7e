"""Stage three: head + store -> report, without photos and without the backbone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline import report, store
from pipeline.common.choices import Split, choose
from pipeline.common.errors import HeadError
from pipeline.common.files import make_folder, replacing, write_durably, write_json
from pipeline.common.listener import SILENT, Listener
from pipeline.flows import places, tuned_heads
from pipeline.flows.influence import group_warning, held_out_note, these, warnings_of
from pipeline.flows.layers import left_out_of, open_stores
from pipeline.flows.page_content import page_of
from pipeline.flows.predictions import write_predictions
from pipeline.flows.scoring import align, check_space, decisions_of, score


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """
    What `evaluate` found.

    Attributes
    ----------
    head, store, out : str
        What was scored, on what, and where the report is.
    split : str
    views : int
        Over how many views of each image the scores were averaged.
    report : Report
        The scores.
    warnings : tuple of str
        Why they are no test, if they are none; also in ``report.json`` and on the picture.
    page : str or None
        Where ``report.html`` is.
    """

    head: str
    store: str
    out: str
    split: str
    views: int
    report: report.Report
    warnings: tuple[str, ...] = ()
    page: str | None = None


def evaluate(
    head: str | Path,
    store_path: str | Path,
    *,
    joined_with: str | Path | Sequence[str | Path] = (),
    split: Split | str = Split.test,
    views: bool = False,
    out: str | Path | None = None,
    page: bool = True,
    listener: Listener = SILENT,
) -> Evaluation:
    """
    Score a head on a split of a store.

    Writes ``report.json``, ``confusion.csv`` and ``confusion.png``, ``predictions.csv`` with a line
    for each image, and ``report.html``, a page with the photos behind the numbers.

    Parameters
    ----------
    head : str or Path
        A head made by `fit_head`.
    store_path : str or Path
        A store or packed file of the head's space.
    joined_with : str, Path, or sequence of these, optional
        Further stores of the same images, where the head was fitted on several: in that order.
    split : Split or str, default Split.test
        Which rows.
    views : bool, default False
        Whether to average the scores over all views of each image that the store has.
    out : str or Path, optional
        The report's folder; by default ``artifacts/reports/<head>``, with the split behind it
        unless that is the test split.
    page : bool, default True
        Whether to write ``report.html``.
    listener : Listener, optional
        Hears sentences for the user.

    Returns
    -------
    Evaluation

    Raises
    ------
    HeadError, StoreError
        If either cannot be read.
    SpaceMismatch
        If the head was trained on codes of another space.

    Examples
    --------
    >>> import pipeline
    >>> found = pipeline.evaluate("artifacts/heads/photos-svm", "artifacts/features/photos")
    >>> found.report.accuracy
    1.0
    >>> found.report.confusion
    ((2, 0, 0), (0, 5, 0), (0, 0, 5))
    """
    split = choose(Split, split, what="split")
    saved = tuned_heads.load(head)
    opened = open_stores(store_path, joined_with)
    check_space(saved, opened)
    if views and opened.views == 1:
        raise HeadError(
            f"expected a store with several views of each image, found one view in "
            f"{opened.location}; drop --views, or extract with --views 4 into another store"
        )
    count = opened.views if views else 1
    rows = _rows(opened, split)
    hashes = opened.hashes(rows)
    kept = None if hashes is None or views else saved.card.scores_of(hashes)
    if kept is None:
        said = warnings_of(saved.card, hashes, of=these(len(rows)))
    else:
        said = [held_out_note(saved.card, len(rows))]
    grouped = group_warning(
        saved.card, opened, rows, of=these(len(rows)), held_out=kept is not None
    )
    if grouped is not None:
        said.append(grouped)
    said += left_out_of(opened)
    classes, truth, unknown = align(saved.card.classes, opened, rows)
    said += unknown
    for sentence in said:
        listener.tell(sentence)
    decisions = decisions_of(saved, opened, rows, kept, views=views)
    result, scored = score(saved.head, decisions, truth, classes=classes)
    suffix = ("" if split is Split.test else f"-{split.value}") + ("-views" if views else "")
    folder = Path(out) if out is not None else places.report_of(saved.directory, suffix)
    title = f"{saved.directory.name} on {split.value} of {opened.location.name}"
    picture = report.confusion_png(result, title=title, notes=said)
    about: dict[str, Any] = {
        "head": str(head),
        "store": str(store_path),
        "split": split.value,
        "views": count,
        "with": [str(each.location) for each in opened.stores[1:]],
        "held_out": kept is not None,
    }
    _write(folder, result, picture, about=about, warnings=said)
    write_predictions(folder, opened, rows, scored, classes)
    written = None
    if page:
        options = _options(split, views=views, joined_with=opened.stores[1:])
        content = page_of(
            saved, opened, rows, scored, result, title=title, notes=said, options=options
        )
        written = folder / "report.html"
        write_durably(written, content.html().encode("utf-8", "replace"))
    return Evaluation(
        head=str(head),
        store=str(store_path),
        out=str(folder),
        split=split.value,
        views=count,
        report=result,
        warnings=tuple(said),
        page=None if written is None else str(written),
    )


def _options(split: Split, *, views: bool, joined_with: Sequence[store.Store]) -> list[str]:
    """Return what was typed behind head and store."""
    options = [word for each in joined_with for word in ("--with", str(each.location))]
    options += [] if split is Split.test else ["--split", split.value]
    return options + ["--views"] * views


def _rows(opened: store.Store, split: Split) -> NDArray[np.int64]:
    """Return which rows are scored."""
    rows = store.rows_of(opened, split)
    if not len(rows):
        counts = {other.value: len(store.rows_of(opened, other)) for other in Split}
        there = ", ".join(f"{name} {count}" for name, count in counts.items() if count)
        raise HeadError(
            f"expected labelled images in split '{split.value}' of {opened.location}, found "
            f"{there or 'none at all'}; choose one of these with --split, or extract with "
            f"--{split.value} 0.2 (where the source has splits of its own: with images in that one)"
        )
    return rows


def _write(
    folder: Path,
    result: report.Report,
    picture: bytes,
    *,
    about: Mapping[str, Any],
    warnings: Sequence[str],
) -> None:
    """Write the report's files."""
    make_folder(folder)
    write_json(folder / "report.json", {**about, **result.to_json(), "warnings": warnings})
    with replacing(folder / "confusion.csv") as file:
        for line in report.confusion_csv_lines(result):
            file.write(line.encode("utf-8", "surrogateescape"))
    write_durably(folder / "confusion.png", picture)
