"""The scores of a head on rows of a store, and whether it is the head for them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline import backbones, heads, report, store
from pipeline.common.errors import SpaceMismatch, counted
from pipeline.flows import tuned_heads

_MOST_SCORES = 1 << 20  # numbers at a time


class Decided(NamedTuple):
    """
    What a head says of some rows.

    Attributes
    ----------
    positions : int64 array of shape (m,)
        Places in the rows.
    decision : float64 array of shape (m * views, k)
        As `Head.decision` gives it.
    distances : float64 array of shape (m * views,), or None
        From the training images, where these are known.
    """

    positions: NDArray[np.int64]
    decision: NDArray[np.float64]
    distances: NDArray[np.float64] | None


def check_space(saved: heads.SavedHead, opened: store.Store) -> None:
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


def align(
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


def decisions_of(
    saved: heads.SavedHead,
    opened: store.Store,
    rows: NDArray[np.int64],
    kept: NDArray[np.float64] | None,
    *,
    views: bool,
) -> Iterator[Decided]:
    """Yield what the head says of all views of the rows, kept or new, block by block."""
    if kept is not None:
        for part in _parts(len(kept), views=1, head=saved.head):
            yield Decided(np.arange(len(kept))[part], kept[part], None)
        return
    novelty = saved.card.novelty
    for positions, codes in tuned_heads.blocks(saved.card, opened, rows, views=views):
        for part in _parts(len(positions), views=opened.views if views else 1, head=saved.head):
            vectors = saved.vectors(codes[part].reshape(-1, *saved.card.taken))
            distances = None if novelty is None else novelty.distance(vectors)
            yield Decided(positions[part], saved.head.decision(vectors), distances)


def score(
    saved: heads.SavedHead,
    decided: Iterable[Decided],
    truth: NDArray[np.int64],
    *,
    classes: Sequence[str],
) -> tuple[report.Report, report.ScoredRows]:
    """Score block by block, also as before calibration; classes unknown to the head never win."""
    head, novelty = saved.head, saved.card.novelty
    tally = report.Tally(classes, score_kind=head.score_kind)
    rows = report.ScoredRows.empty(truth, head.n_classes_)
    typical = np.full(len(truth), np.nan)
    for positions, decision, distances in decided:
        scores = tuned_heads.mean_of_views(head.as_scores(decision), len(positions))
        before = None
        if head.calibration_ is not None:
            plain = head.as_scores(decision, calibrated=False)
            before = tuned_heads.mean_of_views(plain, len(positions))
        tally.add(truth[positions], scores.argmax(axis=1), scores=scores, uncalibrated=before)
        rows.put(positions, scores)
        if novelty is not None and distances is not None:
            far = tuned_heads.mean_of_views(distances, len(positions))
            typical[positions] = novelty.typical(scores.max(axis=1), far)
    known = not np.isnan(typical).any()
    return tally.report(), replace(rows, typical=typical if known else None)


def _parts(count: int, *, views: int, head: heads.Head) -> Iterator[slice]:
    """Cut rows so that the scores of all classes stay small."""
    step = max(1, _MOST_SCORES // (views * head.n_classes_))
    return (slice(start, start + step) for start in range(0, count, step))
