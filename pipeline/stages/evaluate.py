"""Stage three: head + store -> report, without photos and without the backbone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pipeline import report
from pipeline.common.choices import Split, choose
from pipeline.common.files import make_folder, replacing, write_durably, write_json
from pipeline.common.listener import SILENT, Listener
from pipeline.flows import places, tuned_heads
from pipeline.flows.evaluation import Scoring, scoring_of
from pipeline.flows.layers import open_stores
from pipeline.flows.page_content import page_of
from pipeline.flows.predictions import write_predictions
from pipeline.report import Display


@dataclass(frozen=True, kw_only=True)
class Evaluation(report.Tabled):
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

    def display(self) -> Display:
        """Say what a notebook shows."""
        scores = self.report.display()
        facts = {"head": self.head, "store": self.store, "split": self.split, **scores.facts}
        return replace(scores, facts={**facts, "page": self.page}, notes=self.warnings)


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
    found = scoring_of(saved, opened, split, views=views)
    for sentence in found.notes:
        listener.tell(sentence)
    suffix = ("" if split is Split.test else f"-{split.value}") + ("-views" if views else "")
    folder = Path(out) if out is not None else places.report_of(found.saved.directory, suffix)
    about: dict[str, Any] = {
        "head": str(head),
        "store": str(store_path),
        "split": split.value,
        "views": found.views,
        "with": [str(each.location) for each in opened.stores[1:]],
        "held_out": found.held_out,
    }
    _write(folder, found, about=about)
    written = folder / "report.html"
    if page:
        content = page_of(found, options=_options(found))
        write_durably(written, content.html().encode())
    else:
        written.unlink(missing_ok=True)  # it would be of other scores
    return Evaluation(
        head=str(head),
        store=str(store_path),
        out=str(folder),
        split=split.value,
        views=found.views,
        report=found.report,
        warnings=found.notes,
        page=str(written) if page else None,
    )


def _options(found: Scoring) -> list[str]:
    """Return what was typed behind head and store."""
    joined_with = found.opened.stores[1:]
    options = [word for each in joined_with for word in ("--with", str(each.location))]
    options += [] if found.split is Split.test else ["--split", found.split.value]
    return options + ["--views"] * (found.views > 1)


def _write(folder: Path, found: Scoring, *, about: Mapping[str, Any]) -> None:
    """Write the report's files."""
    picture = report.confusion_png(found.report, title=found.title, notes=found.notes)
    make_folder(folder)
    plain = {**about, **found.report.to_json(), "warnings": found.notes}
    write_json(folder / "report.json", plain)
    with replacing(folder / "confusion.csv") as file:
        for line in report.confusion_csv_lines(found.report):
            file.write(line.encode("utf-8", "surrogateescape"))
    write_durably(folder / "confusion.png", picture)
    write_predictions(folder, found.opened, found.rows, found.scored, found.report.names)
