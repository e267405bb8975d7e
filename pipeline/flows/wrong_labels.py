"""Labels that a head contradicts which has not seen the image: confident learning."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline import heads
from pipeline.common.choices import HeadKind
from pipeline.common.errors import counted
from pipeline.common.listener import Progress
from pipeline.flows.audited import Audited
from pipeline.flows.duplicates import Neighbours
from pipeline.flows.examples import group_numbers
from pipeline.flows.findings import Finding, Kind

_FOLDS, _FEWER_FOLDS, _MANY = 10, 5, 5000  # of more rows than the last, fewer folds
_LEAST = 5  # images of a class
_MOST_SCORES = 1 << 22  # rows by classes: what a head keeps of held-out rows
_MOST_WORK = 1e9  # rows by classes by numbers of a code: a minute or two of two cores
# Of 40 wrong labels planted among 925 photos of clothing, three times drawn, 55 in all had a
# probability below this, and no other photo had; below 0.01 it was 71 and 9, below 0.02 87 and 14.
STRICT = 0.005
_DOUBT = 0.5  # a given label is likely wrong with less than this share of the best probability
_ALIKE, _ALIKE_IMAGES = 0.1, 5  # share and number of the images of two classes


@dataclass(frozen=True, kw_only=True, eq=False)
class Judged:
    """
    What heads say of rows that were held out.

    Attributes
    ----------
    places : int64 array of shape (m,)
        Of the audited rows.
    y : int64 array of shape (m,)
        Their labels, places in `classes`.
    classes : tuple of str
    probabilities : float64 array of shape (m, k)
    notes : tuple of str
        What was not judged.
    """

    places: NDArray[np.int64]
    y: NDArray[np.int64]
    classes: tuple[str, ...]
    probabilities: NDArray[np.float64]
    notes: tuple[str, ...] = ()


def judge(
    audited: Audited, near: Neighbours, *, seed: int, progress: Progress
) -> Judged | tuple[str, ...]:
    """
    Fit softmax heads on folds of all labelled rows; near duplicates and groups stay together.

    Returns
    -------
    Judged, or tuple of str
        Why no label could be judged.
    """
    labels = audited.labels
    counts = np.bincount(labels[labels >= 0], minlength=len(audited.opened.classes))
    kept = np.flatnonzero(counts >= _LEAST)
    if not counts.any():
        return ("labels were not judged: there are none",)
    if len(kept) < 2:
        return (
            f"labels were not judged: that needs two classes with {_LEAST} images each, there "
            f"{'is' if len(kept) == 1 else 'are'} {len(kept)}",
        )
    places = np.flatnonzero(np.isin(labels, kept))
    notes = _left_out(len(kept), int((counts > 0).sum()))
    most = int(min(_MOST_SCORES // len(kept), _MOST_WORK // (len(kept) * audited.units.shape[1])))
    if len(places) > most:
        notes += (f"labels of {most} of {counted(len(places), 'image')} were judged",)
        places = np.random.default_rng(seed).choice(places, most, replace=False)
        places.sort()
    y = np.searchsorted(kept, labels[places])
    head = heads.build(
        HeadKind.softmax,
        seed=seed,
        widths=audited.widths,
        folds=_FOLDS if len(places) <= _MANY else _FEWER_FOLDS,
        refit=False,
    )
    head.fit(
        heads.InMemory(audited.units, places),
        y,
        groups=_together(audited, near, places),
        progress=progress,
    )
    held = head.held_out_
    if held is None:
        return (*notes, "labels were not judged: too few images or groups for folds")
    if _guesses(held.scores.argmax(axis=1) == y[held.rows], y):
        return (
            *notes,
            "labels were not judged: the codes tell the classes no better than guessing",
        )
    return Judged(
        places=places[held.rows],
        y=y[held.rows],
        classes=tuple(audited.opened.classes[label] for label in kept),
        probabilities=head.as_scores(held.scores),
        notes=notes,
    )


def _guesses(right: NDArray[np.bool_], y: NDArray[np.int64]) -> bool:
    """Whether answers are right no more often than the largest class, but for chance."""
    share = float(np.bincount(y).max() / len(y))
    return bool(right.mean() <= share + 2 * np.sqrt(share * (1 - share) / len(right)))


def _left_out(kept: int, there: int) -> tuple[str, ...]:
    if kept == there:
        return ()
    left = counted(there - kept, "class")
    return (f"labels of {left} with fewer than {_LEAST} images were not judged",)


def _together(
    audited: Audited, near: Neighbours, places: NDArray[np.int64]
) -> NDArray[np.int64] | None:
    """Number what must be in one fold: near duplicates, or the groups of the source."""
    groups = group_numbers(audited.opened.groups(audited.rows[places]), places)
    if groups is not None:
        return groups
    numbers = near.together()[places]
    return None if len(np.unique(numbers)) == len(numbers) else numbers


def wrong_labels(audited: Audited, judged: Judged) -> list[Finding]:
    """
    Find labels that are likely wrong.

    How many there are follows from confident learning: rows whose probability of another class is
    at least what that class's own images have on average. Which these are, from the probability
    of the given label, the smallest first (C. Northcutt, L. Jiang and I. Chuang, Confident
    Learning: Estimating Uncertainty in Dataset Labels, 2021: "prune by class" with
    self-confidence). Of the planted errors among photos of clothing, ranking by it found more than
    ranking by margin, or by the excess over the class's mean.

    Returns
    -------
    list of Finding
        Numbers are probabilities of the given label.
    """
    p, y = judged.probabilities, judged.y
    own = p[np.arange(len(y)), y]
    answer = p.argmax(axis=1)
    wrong = np.flatnonzero(own < _DOUBT * p.max(axis=1))
    order = wrong[np.argsort(own[wrong], kind="stable")][: confident_errors(p, y)]
    return [
        Finding(
            kind=Kind.label,
            rows=(int(audited.rows[judged.places[place]]),),
            number=float(own[place]),
            reason=(
                f"labelled {judged.classes[y[place]]} ({own[place]:.3f}), looks like "
                f"{judged.classes[answer[place]]} ({p[place, answer[place]]:.3f})"
            ),
            strict=bool(own[place] < STRICT),
        )
        for place in order.tolist()
    ]


def confident_errors(p: NDArray[np.float64], y: NDArray[np.int64]) -> int:
    """
    Count the rows outside the diagonal of the confident joint.

    Parameters
    ----------
    p : float64 array of shape (n, k)
        Out-of-fold probabilities.
    y : int64 array of shape (n,)
        Given labels, each of the k at least once.
    """
    own = p[np.arange(len(y)), y]
    usual = np.bincount(y, own, p.shape[1]) / np.bincount(y, minlength=p.shape[1])
    confident = np.where(p >= usual, p, -1)
    found = confident.argmax(axis=1)
    return int(((found != y) & (confident.max(axis=1) >= 0)).sum())


def classes_alike(judged: Judged) -> list[Finding]:
    """Find pairs of classes whose held-out images are taken for each other."""
    k, y = len(judged.classes), judged.y
    counts = np.bincount(y, minlength=k)
    answers = judged.probabilities.argmax(axis=1)
    wrong = answers != y
    pairs = np.sort(np.stack([y[wrong], answers[wrong]], axis=1), axis=1)
    unique, numbers = np.unique(pairs, axis=0, return_counts=True)
    found = [
        Finding(
            kind=Kind.alike,
            number=number / (counts[a] + counts[b]),
            reason=(
                f"{judged.classes[a]} and {judged.classes[b]}: {number} of "
                f"{counts[a] + counts[b]} images are taken for the other"
            ),
        )
        for (a, b), number in zip(unique.tolist(), numbers.tolist(), strict=True)
        if number >= _ALIKE_IMAGES and number >= _ALIKE * (counts[a] + counts[b])
    ]
    return sorted(found, key=lambda each: -each.number)
