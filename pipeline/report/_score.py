"""True and predicted labels become numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

TOP = 5
_CONFIDENCE = 0.95
_BINS = 15


@dataclass(frozen=True, kw_only=True)
class ClassScore:
    """How well one class is told from the others; `support` is its number of images."""

    name: str
    precision: float
    recall: float
    f1: float
    support: int


@dataclass(frozen=True, kw_only=True)
class Report:
    """
    What a head got right.

    Attributes
    ----------
    images : int
        How many images were scored.
    accuracy : float
        Share of them with the right class.
    accuracy_interval : tuple of float
        Wilson's 95 % interval of the accuracy.
    balanced_accuracy : float
        Mean recall of the classes that have images.
    macro_f1 : float
        Mean F1 of the classes that have images or predictions.
    baseline : float
        Accuracy of always answering with the largest class.
    top5_accuracy : float or None
        Share of images whose class is among the five with the highest scores; None without
        scores and for five classes or fewer.
    score_kind : str or None
        What the scores were: ``"probability"`` or ``"margin"``.
    calibration_error, uncalibrated_error : float or None
        How far the best probability of an image is, on average, from the share of images of such
        a probability that are right (see `calibration_error`); of the scores as they are, and
        as they were before calibration. None without probabilities.
    classes : tuple of ClassScore
        Each class.
    confusion : tuple of tuple of int
        Rows are true classes, columns are predicted ones.
    """

    images: int
    accuracy: float
    accuracy_interval: tuple[float, float]
    balanced_accuracy: float
    macro_f1: float
    baseline: float
    top5_accuracy: float | None
    score_kind: str | None
    calibration_error: float | None
    uncalibrated_error: float | None
    classes: tuple[ClassScore, ...]
    confusion: tuple[tuple[int, ...], ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the classes."""
        return tuple(score.name for score in self.classes)

    def to_json(self) -> dict[str, Any]:
        """Return the report as plain JSON values."""
        plain = asdict(self)
        plain["accuracy_interval"] = list(self.accuracy_interval)
        plain["classes"] = [asdict(score) for score in self.classes]
        plain["confusion"] = [list(row) for row in self.confusion]
        return plain


def score(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    *,
    classes: Sequence[str],
    scores: ArrayLike | None = None,
    score_kind: str | None = None,
    uncalibrated: ArrayLike | None = None,
) -> Report:
    """
    Compare predicted labels with true ones.

    Parameters
    ----------
    y_true, y_pred : array-like of int, shape (n,)
        Labels from 0 to k - 1; n must not be 0.
    classes : sequence of str
        The k names.
    scores : array-like of shape (n, k), optional
        What the predictions come from.
    score_kind : str, optional
        What these scores are.
    uncalibrated : array-like of shape (n, k), optional
        Probabilities as they were before calibration.

    Returns
    -------
    Report

    Raises
    ------
    ValueError
        If shapes or labels do not fit each other, or there is no image.
    """
    true, pred = np.asarray(y_true), np.asarray(y_pred)
    _check(true, pred, len(classes))
    confusion = np.zeros((len(classes), len(classes)), dtype=np.int64)
    np.add.at(confusion, (true, pred), 1)
    per_class = _per_class(true, pred, classes)
    probable = np.asarray(scores) if score_kind == "probability" else None
    right, support = int(np.trace(confusion)), confusion.sum(axis=1)
    seen = (support > 0) | (confusion.sum(axis=0) > 0)
    return Report(
        images=len(true),
        accuracy=right / len(true),
        accuracy_interval=_wilson(right, len(true)),
        balanced_accuracy=float(np.mean([c.recall for c in per_class if c.support])),
        macro_f1=float(np.mean([c.f1 for c, s in zip(per_class, seen, strict=True) if s])),
        baseline=float(support.max() / len(true)),
        top5_accuracy=None if scores is None else _top(true, np.asarray(scores), len(classes)),
        score_kind=score_kind,
        calibration_error=None if probable is None else calibration_error(true, probable),
        uncalibrated_error=None if uncalibrated is None else calibration_error(true, uncalibrated),
        classes=per_class,
        confusion=tuple(tuple(row) for row in confusion.tolist()),
    )


def calibration_error(y_true: ArrayLike, probabilities: ArrayLike) -> float:
    """
    Return the expected calibration error.

    Images are sorted into 15 bins of equal width by their highest probability; in each, that
    probability and the accuracy are averaged, and their distances are averaged over all images
    (M. P. Naeini, G. F. Cooper and M. Hauskrecht, Obtaining Well Calibrated Probabilities Using
    Bayesian Binning, 2015; 15 bins as in C. Guo et al., On Calibration of Modern Neural Networks,
    2017).

    Parameters
    ----------
    y_true : array-like of int, shape (n,)
    probabilities : array-like of shape (n, k)

    Returns
    -------
    float
        From 0 to 1. Of few images it is above 0 by chance alone.
    """
    p = np.asarray(probabilities)
    sure, right = p.max(axis=1), p.argmax(axis=1) == np.asarray(y_true)
    bins = np.minimum((sure * _BINS).astype(int), _BINS - 1)
    gaps = np.bincount(bins, weights=right - sure, minlength=_BINS)
    return float(np.abs(gaps).sum() / len(p))


def most_confused(report: Report, count: int = 5) -> list[tuple[str, str, int]]:
    """
    Name the pairs of classes that are taken for each other most often.

    Parameters
    ----------
    report : Report
    count : int, default 5
        How many pairs at the most.

    Returns
    -------
    list of (true class, predicted class, images)
        The most frequent first, equals in the order of the classes; pairs that never happen are
        left out.
    """
    names = report.names
    pairs = [
        (names[i], names[j], images)
        for i, row in enumerate(report.confusion)
        for j, images in enumerate(row)
        if i != j and images
    ]
    return sorted(pairs, key=lambda pair: -pair[2])[:count]


def _check(true: NDArray[Any], pred: NDArray[Any], n_classes: int) -> None:
    if true.ndim != 1 or true.shape != pred.shape or not len(true):
        raise ValueError(
            f"expected a true and a predicted label for each of at least one image, "
            f"found shapes {true.shape} and {pred.shape}"
        )
    for labels in (true, pred):
        if labels.dtype.kind not in "iu" or labels.min() < 0 or labels.max() >= n_classes:
            raise ValueError(f"expected whole numbers from 0 to {n_classes - 1} as labels")


def _per_class(
    true: NDArray[Any], pred: NDArray[Any], classes: Sequence[str]
) -> tuple[ClassScore, ...]:
    from sklearn.metrics import precision_recall_fscore_support

    columns = precision_recall_fscore_support(
        true, pred, labels=np.arange(len(classes)), zero_division=0
    )
    return tuple(
        ClassScore(
            name=name, precision=float(p), recall=float(r), f1=float(f), support=int(support)
        )
        for name, p, r, f, support in zip(classes, *columns, strict=True)
    )


def _wilson(right: int, images: int) -> tuple[float, float]:
    """Return Wilson's interval (E. B. Wilson, JASA 22, 1927), exact enough for few images."""
    from scipy.stats import binomtest

    interval = binomtest(right, images).proportion_ci(_CONFIDENCE, method="wilson")
    return float(interval.low), float(interval.high)


def _top(true: NDArray[Any], scores: NDArray[Any], n_classes: int) -> float | None:
    """Return the share of images whose class has one of the `TOP` highest scores."""
    if scores.shape != (len(true), n_classes):
        raise ValueError(f"expected scores of shape {(len(true), n_classes)}, found {scores.shape}")
    if n_classes <= TOP:
        return None
    best = np.argsort(-scores, axis=1, kind="stable")[:, :TOP]
    return float((best == true[:, None]).any(axis=1).mean())
