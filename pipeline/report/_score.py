"""True and predicted labels become numbers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pipeline.report._certainty import BINS, accuracy_by_share, gaps
from pipeline.report._display import LARGEST_MATRIX, ConfusionMatrix, Display, Table, Tabled

TOP = 5
# A matrix of more classes than this is neither drawn nor written into report.json.
MOST_CLASSES = 100
MOST_PAIRS = 20
_CONFIDENCE = 0.95
_SHARES = (0.5, 0.8, 0.9, 0.95, 0.98, 0.99, 1.0)


@dataclass(frozen=True, kw_only=True)
class ClassScore:
    """How well one class is told from the others; `support` is its number of images."""

    name: str
    precision: float
    recall: float
    f1: float
    support: int


@dataclass(frozen=True, kw_only=True)
class Report(Tabled):
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
    pairs : tuple of (int, int, int)
        True class, predicted class, images; only those that occur, sorted.
    answered : tuple of (float, float)
        Shares of the images, those with the highest best scores, and the accuracy on them: what
        refusing the others would give. Empty without scores.
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
    pairs: tuple[tuple[int, int, int], ...]
    answered: tuple[tuple[float, float], ...] = ()

    @property
    def confusion(self) -> ConfusionMatrix:
        """The confusion matrix: rows are true classes, columns are predicted ones."""
        return ConfusionMatrix((tuple(row.tolist()) for row in self.confusion_rows()), self.names)

    def confusion_rows(self) -> Iterator[NDArray[np.int64]]:
        """Yield the rows of the confusion matrix, one true class after the other."""
        pairs = np.array(self.pairs, np.int64).reshape(-1, 3)
        k = len(self.classes)
        starts = np.searchsorted(pairs[:, 0], np.arange(k + 1))
        for start, stop in pairwise(starts):
            row = np.zeros(k, np.int64)
            row[pairs[start:stop, 1]] = pairs[start:stop, 2]
            yield row

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the classes."""
        return tuple(each.name for each in self.classes)

    def display(self) -> Display:
        """Say what a notebook shows: the classes are the table, those found least often first."""
        low, high = self.accuracy_interval
        few = len(self.classes) <= LARGEST_MATRIX
        each = sorted(self.classes, key=lambda score: (score.recall, score.name))
        return Display(
            title=f"{self.accuracy:.1%} of {self.images:,} images right",
            facts={
                "95 % interval": f"{low:.1%} to {high:.1%}",
                "always the largest class": self.baseline,
                "mean recall of the classes": self.balanced_accuracy,
                "mean F1": self.macro_f1,
                "right among the best five": self.top5_accuracy,
                "calibration error": self.calibration_error,
            },
            matrix=self.confusion if few else None,
            errors=() if few else most_confused(self, MOST_PAIRS),
            table=Table.of(each, "name", "precision", "recall", "f1", "support"),
        )

    def to_json(self) -> dict[str, Any]:
        """
        Return the report as plain JSON values.

        ``confusion`` is None for more than `MOST_CLASSES` classes; ``most_confused`` names up to
        `MOST_PAIRS` pairs of classes.
        """
        plain = asdict(self)
        del plain["pairs"]
        plain["accuracy_interval"] = list(self.accuracy_interval)
        plain["answered"] = [
            {"share": share, "accuracy": accuracy} for share, accuracy in self.answered
        ]
        plain["classes"] = [asdict(each) for each in self.classes]
        plain["most_confused"] = [
            {"true": true, "predicted": predicted, "images": images}
            for true, predicted, images in most_confused(self, MOST_PAIRS)
        ]
        many = len(self.classes) > MOST_CLASSES
        plain["confusion"] = None if many else [list(row) for row in self.confusion]
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
    if scores is not None and np.shape(scores) != (np.size(y_true), len(classes)):
        found = np.shape(scores)
        raise ValueError(
            f"expected scores of shape {(np.size(y_true), len(classes))}, found {found}"
        )
    tally = Tally(classes, score_kind=score_kind)
    tally.add(y_true, y_pred, scores=scores, uncalibrated=uncalibrated)
    return tally.report()


class Tally:
    """
    Counts what a report needs, block by block: memory does not grow with the classes.

    Parameters
    ----------
    classes : sequence of str
        The k names.
    score_kind : str, optional
        What the scores are.
    """

    def __init__(self, classes: Sequence[str], *, score_kind: str | None = None) -> None:
        self._classes, self._kind = tuple(classes), score_kind
        self._true: list[NDArray[np.int64]] = []
        self._pred: list[NDArray[np.int64]] = []
        self._best: list[NDArray[np.float32]] = []
        self._top = 0
        self._scored = False
        self._gaps = np.zeros(BINS)
        self._gaps_before: NDArray[np.float64] | None = None

    def add(
        self,
        y_true: ArrayLike,
        y_pred: ArrayLike,
        *,
        scores: ArrayLike | None = None,
        uncalibrated: ArrayLike | None = None,
    ) -> None:
        """
        Count some more images.

        Parameters
        ----------
        y_true, y_pred : array-like of int, shape (n,)
            Labels from 0 to k - 1.
        scores : array-like of shape (n, c), optional
            Of the first c classes, from 2 to k: a head knows nothing of classes that it never saw.
        uncalibrated : array-like of shape (n, c), optional
            Probabilities as they were before calibration.

        Raises
        ------
        ValueError
            If shapes or labels do not fit each other, or there is no image.
        """
        true, pred = np.asarray(y_true), np.asarray(y_pred)
        _check(true, pred, len(self._classes))
        self._true.append(true.astype(np.int64))
        self._pred.append(pred.astype(np.int64))
        if scores is not None:
            self._scored = True
            table = np.asarray(scores)
            self._best.append(table.max(axis=1).astype(np.float32))
            if len(self._classes) > TOP:
                self._top += int((_rank(true, table) < TOP).sum())
            if self._kind == "probability":
                self._gaps += gaps(true, table)
        if uncalibrated is not None:
            before = gaps(true, np.asarray(uncalibrated))
            self._gaps_before = before + (0 if self._gaps_before is None else self._gaps_before)

    def report(self) -> Report:
        """Return what all images together say."""
        true, pred = (
            np.concatenate(parts) if parts else np.empty(0, np.int64)
            for parts in (self._true, self._pred)
        )
        _check(true, pred, len(self._classes))
        n, k = len(true), len(self._classes)
        cells, counts = np.unique(true * k + pred, return_counts=True)
        pairs = np.stack([*np.divmod(cells, k), counts], axis=1)
        per_class = _per_class(true, pred, self._classes)
        right, support = int((true == pred).sum()), np.bincount(true, minlength=k)
        seen = (support > 0) | (np.bincount(pred, minlength=k) > 0)
        probable = self._scored and self._kind == "probability"
        before = self._gaps_before
        return Report(
            images=n,
            accuracy=right / n,
            accuracy_interval=_wilson(right, n),
            balanced_accuracy=float(np.mean([c.recall for c in per_class if c.support])),
            macro_f1=float(np.mean([c.f1 for c, s in zip(per_class, seen, strict=True) if s])),
            baseline=float(support.max() / n),
            top5_accuracy=self._top / n if self._scored and k > TOP else None,
            score_kind=self._kind,
            calibration_error=float(np.abs(self._gaps).sum() / n) if probable else None,
            uncalibrated_error=None if before is None else float(np.abs(before).sum() / n),
            classes=per_class,
            pairs=tuple((int(i), int(j), int(images)) for i, j, images in pairs),
            answered=_answered(true == pred, self._best),
        )


def _answered(
    right: NDArray[np.bool_], best: Sequence[NDArray[np.float32]]
) -> tuple[tuple[float, float], ...]:
    if not best:
        return ()
    shares, accuracies = accuracy_by_share(right, np.concatenate(best))
    places = [round(share * len(right)) - 1 for share in _SHARES]
    return tuple((float(shares[at]), float(accuracies[at])) for at in places if at >= 0)


def _rank(true: NDArray[Any], scores: NDArray[Any]) -> NDArray[np.int64]:
    """Return the place of the true class among all scores; of equal ones the first counts more."""
    known = true < scores.shape[1]
    own = scores[np.arange(len(true)), np.where(known, true, 0)][:, None]
    earlier = np.arange(scores.shape[1]) < true[:, None]
    before = (scores > own) | ((scores == own) & earlier)
    return np.asarray(np.where(known, before.sum(axis=1), scores.shape[1]))


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
    pairs = [(names[i], names[j], images) for i, j, images in report.pairs if i != j]
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
