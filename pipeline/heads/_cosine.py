"""Heads that compare directions: nearest neighbours and nearest class centre."""

from __future__ import annotations

import warnings
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from pipeline.common.choices import HeadKind
from pipeline.common.errors import HeadError
from pipeline.common.listener import Progress
from pipeline.common.steps import Neighbours, Step, Unit, dense
from pipeline.heads._calibration import HeldOut, calibrate
from pipeline.heads._codes import CodeRows, Rows
from pipeline.heads._folds import FOLDS
from pipeline.heads._head import Head
from pipeline.heads._scaler import ParetoScaler

_K_GRID = (1, 3, 5, 10, 20)
_TEMPERATURE = 0.07


class CosineHead(Head):
    """
    What the two share: codes count by their direction, and nothing is learned by descent.

    ``estimator_`` is a pipeline of a `ParetoScaler`, scikit-learn's ``Normalizer`` and its
    classifier. Columns are scaled first, or those of large numbers would decide alone; on clothing
    photos that is worth 0.1 to 0.4 points.
    """

    scale_: NDArray[np.float64]

    @property
    def parameters(self) -> dict[str, Any]:
        """What was asked for, and once fitted what was chosen."""
        asked = {"seed": self.seed, **self._asked()}
        return {**asked, **self.chosen_} if hasattr(self, "chosen_") else asked

    @property
    def estimator_(self) -> Any:
        """Scikit-learn's pipeline of scaler, normalizer and classifier, fitted."""
        from sklearn.pipeline import Pipeline

        self.check_fitted()
        return Pipeline([*self._before().steps, ("classifier", self._classifier())])

    def _before(self) -> Any:
        """Return the fitted steps before the classifier."""
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import Normalizer

        scaler, normalizer = ParetoScaler(widths=self.widths), Normalizer()
        scaler.scale_, scaler.mean_ = self.scale_, None
        scaler.n_features_in_ = normalizer.n_features_in_ = self.n_features_in_
        return make_pipeline(scaler, normalizer)

    def _unit(self, codes: CodeRows) -> NDArray[np.float32]:
        """Return the directions of scaled codes (n, d)."""
        before, unit = self._before(), np.empty((len(codes), codes.width), np.float32)
        for positions, block in codes.blocks():
            unit[positions] = before.transform(block)
        return unit

    @abstractmethod
    def _classifier(self) -> Any:
        """Return scikit-learn's classifier of directions, fitted."""

    @abstractmethod
    def _asked(self) -> dict[str, Any]:
        """Return the parameters of the constructor that are remembered, but the seed."""


class CentroidHead(CosineHead):
    """
    Nearest class centre: the class whose mean direction is nearest.

    Nothing to tune, quick, and hard to beat with one to five images of a class (J. Snell, K.
    Swersky and R. Zemel, Prototypical Networks for Few-shot Learning, 2017, section 3). Scores are
    x @ centre - centre @ centre / 2, half the squared distance from below.

    Parameters
    ----------
    seed : int
        Seed of the folds.
    folds : int
        Of the cross-validation that calibrates where there are no validation rows.
    widths : tuple of int, optional
        See `ParetoScaler`.
    """

    kind = HeadKind.centroid
    gives_logits = False
    _learned = "centres_"

    def __init__(
        self, *, seed: int = 0, folds: int = FOLDS, widths: Sequence[int] | None = None
    ) -> None:
        self.seed = seed
        self.folds = folds
        self.widths = widths

    def _asked(self) -> dict[str, Any]:
        return {}

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return ``scale`` (d,) and ``centres`` (k, d)."""
        return {"scale": self.scale_, "centres": self.centres_}

    @classmethod
    def from_arrays(cls, parameters: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Self:
        """Rebuild a fitted head from `parameters` and `arrays`."""
        shapes = {name: array.shape for name, array in arrays.items()}
        if set(shapes) != {"scale", "centres"} or shapes["centres"][1:] != shapes["scale"]:
            raise HeadError(f"expected scale (d,) and centres (k, d), found {shapes}")
        head = cls(seed=parameters["seed"])
        head.chosen_ = {name: value for name, value in parameters.items() if name != "seed"}
        head.scale_ = arrays["scale"]
        head._keep(arrays["centres"].astype(np.float64))
        head.classes_, head.n_features_in_ = np.arange(len(head.centres_)), len(head.scale_)
        return head

    def _fit(self, train: Rows, val: Rows | None, progress: Progress) -> None:
        self.scale_ = ParetoScaler(widths=self.widths).fit_codes(train.codes).scale_
        if val is None:
            self._calibrate_by_folds(train)
        self._keep(self._means(train, np.ones(len(train), bool)))
        self.chosen_ = {"fitted_on": "train"}
        self._measure(val, "validation images")
        progress(1, 1)

    def _calibrate_by_folds(self, train: Rows) -> None:
        """Score each row by the means of the folds without it."""
        trials = self._trials(train, None)
        if trials is None:
            return
        scores = np.empty((len(train), self.n_classes_))
        for trial in range(trials.count):
            self._keep(self._means(train, trials.held_out != trial))
            own = train.take(np.flatnonzero(trials.held_out == trial))
            places = np.flatnonzero(trials.held_out == trial)
            for positions, codes in own.codes.blocks():
                scores[places[positions]] = self._decision(codes)
        right = int((scores.argmax(axis=1) == train.y).sum())
        self._note(right, len(train), calibrate(scores, train.y, how=trials.how))
        self.held_out_ = HeldOut(np.arange(len(train)), scores)

    def _means(self, train: Rows, learns: NDArray[np.bool_]) -> NDArray[np.float64]:
        """Return the mean direction of each class over some rows: (k, d)."""
        from sklearn.neighbors import NearestCentroid

        own = train.take(np.flatnonzero(learns))
        # scikit-learn's refuses directions that are all the same.
        with suppress(ValueError), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of columns that never change, which codes have
            if own.codes.in_memory:
                return np.asarray(NearestCentroid().fit(self._unit(own.codes), own.y).centroids_)
        before, sums = self._before(), np.zeros((self.n_classes_, self.n_features_in_))
        for positions, codes in own.codes.blocks():
            np.add.at(sums, own.y[positions], before.transform(codes).astype(np.float64))
        return np.asarray(sums / np.bincount(own.y, minlength=self.n_classes_)[:, None])

    def _keep(self, centres: NDArray[np.float64]) -> None:
        self.centres_ = centres
        self._bias = -np.einsum("kd,kd->k", centres, centres) / 2

    def _classifier(self) -> Any:
        from sklearn.neighbors import NearestCentroid

        model = NearestCentroid()
        model.centroids_, model.classes_ = self.centres_, self.classes_
        model.class_prior_ = np.full(self.n_classes_, 1 / self.n_classes_)
        model.within_class_std_dev_ = np.ones(self.n_features_in_)
        model.n_features_in_ = self.n_features_in_
        return model

    def _folded(self, slope: float) -> tuple[Step, ...]:
        unit = Unit(scale=self.scale_.astype(np.float32))
        return unit, dense(slope * self.centres_.T, slope * self._bias)

    def _decision(self, codes: NDArray[np.float32]) -> NDArray[np.float64]:
        unit = self._before().transform(codes.astype(np.float64))
        return np.asarray(unit @ self.centres_.T + self._bias)


class KnnHead(CosineHead):
    """
    Nearest neighbours by direction.

    Each of the k nearest training images votes for its class with exp(cosine / 0.07); the shares
    of the votes are the probabilities (Z. Wu, Y. Xiong, S. Yu and D. Lin, Unsupervised Feature
    Learning via Non-Parametric Instance Discrimination, 2018, section 3.4). It keeps all training
    codes.

    Parameters
    ----------
    k : int or "auto"
        How many neighbours; ``"auto"`` takes what gets most validation rows right of 1, 3, 5, 10
        and 20, the larger of equals, and 5 without these.
    seed : int
        Not used: nothing here is random.
    widths : tuple of int, optional
        See `ParetoScaler`.
    """

    kind = HeadKind.knn
    gives_logits = True
    # Shares of votes are probabilities, and a class without votes has a logarithm that no slope can
    # mend: on clothing photos calibration took the error from 0.05 to 0.16.
    _calibrates = False
    _learned = "codes_"
    _DEFAULT = 5

    def __init__(
        self, *, k: int | str = "auto", seed: int = 0, widths: Sequence[int] | None = None
    ) -> None:
        self.k = k
        self.seed = seed
        self.widths = widths

    def _asked(self) -> dict[str, Any]:
        return {"k": self.k}

    def check_parameters(self) -> None:
        """Raise HeadError unless k is "auto" or a number of at least 1."""
        if isinstance(self.k, str) and self.k == "auto":
            return
        if isinstance(self.k, bool) or not isinstance(self.k, int) or self.k < 1:
            raise HeadError(f"expected --k auto or a number of 1 or more, found {self.k!r}")

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return ``scale`` (d,), ``codes`` (n, d), rows of length 1, and ``labels`` (n,)."""
        labels = self.labels_.astype(np.float64)
        return {"scale": self.scale_, "codes": self.codes_, "labels": labels}

    @classmethod
    def from_arrays(cls, parameters: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Self:
        """Rebuild a fitted head from `parameters` and `arrays`."""
        shapes = {name: array.shape for name, array in arrays.items()}
        fits = set(shapes) == {"scale", "codes", "labels"}
        if not fits or shapes["codes"] != (*shapes["labels"], *shapes["scale"]):
            raise HeadError(f"expected scale (d,), codes (n, d) and labels (n,), found {shapes}")
        head = cls(k=parameters["k"], seed=parameters["seed"])
        head.check_parameters()
        head.chosen_ = {k: v for k, v in parameters.items() if k not in ("k", "seed")}
        head.scale_, head.codes_ = arrays["scale"], arrays["codes"].astype(np.float32)
        head.labels_ = arrays["labels"].astype(np.int64)
        head.classes_ = np.arange(int(parameters["n_classes"]))
        head.n_features_in_, head._k = shapes["codes"][-1], int(parameters["k_used"])
        labels = head.labels_
        if not (len(labels) and 0 <= labels.min() <= labels.max() < head.n_classes_):
            raise HeadError(f"expected labels below {head.n_classes_}")
        if not 1 <= head._k <= len(labels):
            raise HeadError(f"expected 1 to {len(labels)} neighbours, found {head._k}")
        return head

    def _fit(self, train: Rows, val: Rows | None, progress: Progress) -> None:
        self.scale_ = ParetoScaler(widths=self.widths).fit_codes(train.codes).scale_
        self.codes_, self.labels_ = self._unit(train.codes), train.y
        auto = isinstance(self.k, str)
        grid = sorted({min(k, len(train)) for k in (_K_GRID if auto else (int(self.k),))})
        self._k = grid[-1]
        self._search = self._classifier()
        right = self._right(val, grid) if val is not None and len(grid) > 1 else []
        if right:
            self._k = max(zip(right, grid, strict=True))[1]
        elif auto:
            self._k = min(self._DEFAULT, len(train))
        self._search.n_neighbors = self._k
        self.chosen_ = {"n_classes": self.n_classes_, "k_used": self._k, "fitted_on": "train"}
        if right:
            self.chosen_["k_curve"] = [list(point) for point in zip(grid, right, strict=True)]
        self._measure(val, "validation images")
        progress(1, 1)

    def _right(self, val: Rows, grid: list[int]) -> list[float]:
        """Return the share of validation rows that each k gets right, from one search."""
        right = np.zeros(len(grid))
        for positions, codes in val.codes.blocks():
            distances, rows = self._nearest(codes, grid[-1])
            for i, k in enumerate(grid):
                best = self._log_votes(distances[:, :k], rows[:, :k]).argmax(axis=1)
                right[i] += (best == val.y[positions]).sum()
        return [float(count / len(val)) for count in right]

    def _classifier(self) -> Any:
        from sklearn.neighbors import KNeighborsClassifier

        model = KNeighborsClassifier(self._k, algorithm="brute", weights=votes)
        model.fit(self.codes_, self.labels_)
        model.classes_ = self.classes_[model.classes_]
        return model

    def _folded(self, slope: float) -> tuple[Step, ...]:
        votes = Neighbours(
            codes=self.codes_,
            labels=self.labels_,
            k=self._k,
            n_classes=self.n_classes_,
            temperature=_TEMPERATURE,
        )
        return Unit(scale=self.scale_.astype(np.float32)), votes

    def _decision(self, codes: NDArray[np.float32]) -> NDArray[np.float64]:
        """Score by the logarithm of the summed votes, whose softmax is the share of each class."""
        return self._log_votes(*self._nearest(codes, self._k))

    def _nearest(
        self, codes: NDArray[np.float32], k: int
    ) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Return distances and rows of the k nearest training rows: (n, k)."""
        if not hasattr(self, "_search"):
            self._search = self._classifier()
        unit = self._before().transform(codes.astype(np.float64)).astype(np.float32)
        rows = self._search.kneighbors(unit, k, return_distance=False)
        # Again in 64 bits: of products of 32 bits the distance of two rows that are equal is none.
        near = self.codes_[rows].astype(np.float64)
        return np.linalg.norm(near - unit[:, None].astype(np.float64), axis=2), rows

    def _log_votes(
        self, distances: NDArray[np.float64], rows: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        shares, weights = np.zeros((len(rows), self.n_classes_)), votes(distances)
        for column, labels in enumerate(self.labels_[rows].T):
            shares[np.arange(len(rows)), labels] += weights[:, column]
        return np.log(np.maximum(shares, np.finfo(np.float64).tiny))


def votes(distances: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return what neighbours count: exp((cosine - 1) / 0.07) of directions so far apart."""
    return np.exp(-(distances**2) / (2 * _TEMPERATURE))
