"""The user's own photos: images -> backbone -> head, by the very path of extract."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Unpack

from pipeline import backbones, heads, images, report
from pipeline.common.choices import Scores, check_known, choose
from pipeline.common.errors import HeadError, Interrupted, OutputError
from pipeline.common.files import write_durably
from pipeline.common.listener import SILENT, Listener
from pipeline.flows import samples, tuned_heads
from pipeline.flows.answers import (
    Prediction,
    answers,
    check_file,
    doubtful_of,
    write_csv,
)
from pipeline.flows.classifier import recognise
from pipeline.flows.influence import first_bytes, these, warnings_of
from pipeline.flows.novelty import UNKNOWN, refusal_of
from pipeline.flows.sorting import Sorted, Sorter, SortingOptions


@dataclass(frozen=True, kw_only=True)
class Predictions(report.Tabled):
    """
    What `predict` did.

    Attributes
    ----------
    head : str
    score_kind : str
        ``"probability"`` or ``"margin"``.
    ok, rejected : int
        Images that could be used, and that could not.
    unknown : int
        Of the `ok` ones those without an answer, because of `reject`.
    doubtful : int
        Answers with scores below which most held-out images were wrong.
    predictions : tuple of Prediction
        In the order of the paths.
    csv : str or None
        Where the table was written.
    sheet : str or None
        Where the photos were drawn.
    warnings : tuple of str
        How many of the images had a part in the head, if any.
    sorting : Sorted or None
        Where the photos were sorted into.
    """

    head: str
    score_kind: str
    ok: int
    rejected: int
    predictions: tuple[Prediction, ...]
    csv: str | None
    sheet: str | None
    unknown: int = 0
    doubtful: int = 0
    warnings: tuple[str, ...] = ()
    sorting: Sorted | None = None

    def display(self) -> report.Display:
        """Say what a notebook shows."""
        return report.Display(
            title=f"{self.ok} images answered, {self.rejected} rejected",
            facts={"head": self.head, "score": self.score_kind, "table": self.csv},
            notes=self.warnings,
            table=report.Table.of(self.predictions, "path", "label", "score", "reason", "seen"),
        )


def predict(
    head: str | Path,
    paths: str | Path | Sequence[str | Path],
    *,
    top: int = 3,
    csv: str | Path | None = None,
    scores: Scores | str = Scores.top,
    sheet: str | Path | None = None,
    reject: str | float | None = None,
    listener: Listener = SILENT,
    **options: Unpack[SortingOptions],
) -> Predictions:
    """
    Classify photos.

    Parameters
    ----------
    head : str or Path
        A head made by `fit_head`.
    paths : str or Path, or a sequence of them
        Image files, folders that are searched for images, CSV files with a column ``path``, and
        text files with a path on each line.
    top : int, default 3
        How many classes to name for each image.
    csv : str or Path, optional
        Where to write a table: path, label, score, the further classes, the reason why there is
        no answer, and whether the image had a part in the head.
    scores : Scores or str, default "top"
        ``"all"`` gives the table a column for each class, in place of the further classes.
    sheet : str or Path, optional
        Where to draw the first photos with their answers, a PNG file.
    reject : str or float, optional
        Answer ``"unknown"`` for photos unlike those that the head knows: of such photos as it was
        fitted on, so large a share is refused, such as ``"5%"``.
    listener : Listener, optional
        Hears each `Prediction`, and how many images are done.
    **options
        ``weights``, ``views`` and ``follow_links``, ``sort_into`` and ``link``, see
        `SortingOptions`.

    Returns
    -------
    Predictions

    Raises
    ------
    HeadError
        If the head cannot be used on images.
    SourceError
        If there are no images.
    OutputError
        If a file or a folder cannot be written.
    ResourceError
        If the disk is full; what was sorted stays.
    SpaceMismatch
        If the backbone is not the one that the head was fitted on.
    """
    check_known(options, SortingOptions)
    saved = tuned_heads.load(head)
    if isinstance(paths, str | Path):
        paths = [paths]
    if csv is not None:
        check_file(Path(csv), what="table", suffix=".csv")
    if sheet is not None:
        check_file(Path(sheet), what="sheet", suffix=".png")
    refusal = refusal_of(saved, reject)
    top = min(top, len(saved.card.classes))
    if top < 1:
        raise HeadError(f"expected --top of 1 or more, found {top}")
    every = choose(Scores, scores, what="scores") is Scores.all
    copies = tuned_heads.all_views(saved) if options.get("views", False) else images.ONE_VIEW
    found: images.Source = images.files(paths, follow_links=options.get("follow_links", False))
    sorter, found = _sorter(saved, options, found)
    of_pixels = saved.card.layer == backbones.INPUT
    network = None if of_pixels else recognise(saved, options.get("weights"))
    predictions: list[Prediction] = []
    digests: list[bytes] = []
    try:
        for prediction in answers(
            saved,
            network,
            found,
            top=top,
            views=copies,
            every_score=every,
            digests=digests,
            refusal=refusal,
        ):
            predictions.append(prediction)
            if sorter is not None:
                sorter.add(prediction)
            listener.show(prediction)
            listener.progress(len(predictions), len(found))
    except KeyboardInterrupt:
        stays = "" if sorter is None else "; what was sorted stays, run the same command again"
        raise Interrupted(f"interrupted: no table was written{stays}") from None
    if csv is not None:
        names = saved.card.classes if every else None
        refused = refusal is not None
        write_csv(Path(csv), predictions, top=top, classes=names, refused=refused)
    if sheet is not None:
        drawn = samples.of_predictions(found, predictions)
        write_durably(Path(sheet), report.sheet_png(drawn.rows, title=drawn.title))
    ok = sum(prediction.label is not None for prediction in predictions)
    return Predictions(
        head=str(head),
        score_kind=saved.head.score_kind,
        ok=ok,
        rejected=len(predictions) - ok,
        predictions=tuple(predictions),
        csv=str(csv) if csv is not None else None,
        sheet=str(sheet) if sheet is not None else None,
        unknown=sum(prediction.unknown is not None for prediction in predictions),
        doubtful=doubtful_of(saved, predictions),
        warnings=tuple(warnings_of(saved.card, first_bytes(digests), of=these(len(predictions)))),
        sorting=None if sorter is None else sorter.result(),
    )


def _sorter(
    saved: heads.SavedHead, options: SortingOptions, found: images.Source
) -> tuple[Sorter | None, images.Source]:
    """Make the folder that photos are sorted into, if there shall be one, and leave it out."""
    folder, link = options.get("sort_into"), options.get("link", False)
    if folder is not None:
        sorter = Sorter(Path(folder), (*saved.card.classes, UNKNOWN), link=link)
        return sorter, sorter.outside(found)
    if link:
        raise OutputError("expected a folder for the links, found none; add --sort-into FOLDER")
    return None, found
