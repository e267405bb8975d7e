"""Stage three: head + store -> report, without photos and without the backbone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline import backbones, heads, report, store
from pipeline.common.choices import Split, choose
from pipeline.common.errors import HeadError, SpaceMismatch, counted
from pipeline.common.files import make_folder, replacing, write_durably, write_json
from pipeline.common.listener import SILENT, Listener
from pipeline.flows import places, tuned_heads
from pipeline.flows.influence import group_warning, held_out_note, these, warnings_of
from pipeline.flows.layers import left_out_of, open_stores

_MOST_SCORES = 1 << 20  # numbers at a time


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
    """

    head: str
    store: str
    out: str
    split: str
    views: int
    report: report.Report
    warnings: tuple[str, ...] = ()


def evaluate(
    head: str | Path,
    store_path: str | Path,
    *,
    joined_with: str | Path | Sequence[str | Path] = (),
    split: Split | str = Split.test,
    views: bool = False,
    out: str | Path | None = None,
    listener: Listener = SILENT,
) -> Evaluation:
    """
    Score a head on a split of a store.

    Writes ``report.json``, ``confusion.csv`` and ``confusion.png``.

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
    """
    split = choose(Split, split, what="split")
    saved = tuned_heads.load(head)
    opened = open_stores(store_path, joined_with)
    _check_space(saved, opened)
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
    classes, truth, unknown = _align(saved.card.classes, opened, rows)
    said += unknown
    for sentence in said:
        listener.tell(sentence)
    decisions = _decisions(saved, opened, rows, kept, views=views)
    result = _score(saved.head, decisions, truth, classes=classes)
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
    return Evaluation(
        head=str(head),
        store=str(store_path),
        out=str(folder),
        split=split.value,
        views=count,
        report=result,
        warnings=tuple(said),
    )


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


def _check_space(saved: heads.SavedHead, opened: store.Store) -> None:
    """Refuse codes that the head was not made for, naming the field that differs."""
    stores = opened.stores
    wanted = 1 + len(saved.card.further)
    if len(stores) != wanted:
        names = " ".join(f"--with {name}" for name in saved.card.trained_on.get("with", ()))
        raise SpaceMismatch(
            f"expected {counted(wanted, 'store')} for head {saved.directory}, found {len(stores)}; "
            + (f"it was fitted {names}" if names else "it was fitted on one: leave --with out")
        )
    for part in saved.card.inputs:
        _check_part(saved, part, stores[part.source])


def _check_part(saved: heads.SavedHead, part: heads.Part, opened: store.Store) -> None:
    card, layer = saved.card, part.own
    if card.space is None or opened.header is None:
        shape = opened.layers.get(layer)
        if shape != part.shape:
            raise SpaceMismatch(
                f"expected codes of shape {part.shape} in layer '{layer}' for head "
                f"{saved.directory}, found {shape}; fit a head on {opened.location}"
            )
        return
    if layer != backbones.INPUT and layer not in opened.layers:
        options = " ".join(f"--layer {each.own}" for each in card.of_source(part.source))
        raise SpaceMismatch(
            f"expected a store with the layer {layer} for head {saved.directory}, found "
            f"{', '.join(opened.layers)} in {opened.location}; extract with {options} "
            "into another store"
        )
    space = card.origins[part.source].space.of_layer(layer)
    differences = space.differences(opened.header.space.of_layer(layer))
    if differences:
        raise SpaceMismatch(
            f"expected codes of the space that head {saved.directory} was fitted in, found another "
            f"in {opened.location} ({'; '.join(differences)}); fit a head on this store"
        )


def _align(
    known: tuple[str, ...],
    opened: store.Store,
    rows: NDArray[np.int64],
) -> tuple[tuple[str, ...], NDArray[np.int64], list[str]]:
    """Number the labels as the head does; classes it never saw come last and count as errors."""
    labels = opened.labels[rows]
    present = [opened.classes[label] for label in np.unique(labels)]
    unknown = [name for name in present if name not in known]
    said = [
        f"warning: the head was not trained on {', '.join(unknown)}: their images count as errors"
    ] * bool(unknown)
    classes = (*known, *unknown)
    places = {name: place for place, name in enumerate(classes)}
    numbers = np.array([places.get(name, -1) for name in opened.classes])
    return classes, numbers[labels], said


def _decisions(
    saved: heads.SavedHead,
    opened: store.Store,
    rows: NDArray[np.int64],
    kept: NDArray[np.float64] | None,
    *,
    views: bool,
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float64]]]:
    """Yield places in the rows and the head's scores of all their views: kept ones, or new ones."""
    if kept is not None:
        for part in _parts(len(kept), views=1, head=saved.head):
            yield np.arange(len(kept))[part], kept[part]
        return
    for positions, codes in tuned_heads.blocks(saved.card, opened, rows, views=views):
        for part in _parts(len(positions), views=opened.views if views else 1, head=saved.head):
            yield positions[part], saved.decision(codes[part].reshape(-1, *saved.card.taken))


def _score(
    head: heads.Head,
    decisions: Iterable[tuple[NDArray[np.int64], NDArray[np.float64]]],
    truth: NDArray[np.int64],
    *,
    classes: Sequence[str],
) -> report.Report:
    """Score block by block, also as before calibration; classes unknown to the head never win."""
    tally = report.Tally(classes, score_kind=head.score_kind)
    for positions, decision in decisions:
        scores = _mean_of_views(head.as_scores(decision), len(positions))
        before = None
        if head.calibration_ is not None:
            plain = head.as_scores(decision, calibrated=False)
            before = _mean_of_views(plain, len(positions))
        tally.add(truth[positions], scores.argmax(axis=1), scores=scores, uncalibrated=before)
    return tally.report()


def _parts(count: int, *, views: int, head: heads.Head) -> Iterator[slice]:
    """Cut rows so that the scores of all classes stay small."""
    step = max(1, _MOST_SCORES // (views * head.n_classes_))
    return (slice(start, start + step) for start in range(0, count, step))


def _mean_of_views(scores: NDArray[np.float64], images: int) -> NDArray[np.float64]:
    return np.asarray(scores.reshape(images, -1, scores.shape[1]).mean(axis=1))
