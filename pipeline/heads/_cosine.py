"""Heads that compare directions: nearest neighbours and nearest class centre by cosine."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from pipeline.choices import HeadKind
from pipeline.errors import HeadError
from pipeline.heads._codes import Rows, moments
from pipeline.heads._folded import Neighbours, Step, Unit, dense
from pipeline.heads._head import Head, Progress

# Similarities computed at once: 64 MB of float32.
_AT_ONCE = 1 << 24
_K_GRID = (1, 3, 5, 10, 20)


def directions(X: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scale rows to length 1; a row of zeros, which has no direction, stays as it is."""
    # Divided by the largest first, so that squares neither overflow nor vanish.
    largest = np.abs(X).max(axis=1, keepdims=True, initial=0)
    scaled = X / np.where(largest > 0, largest, 1)
    length = np.sqrt(np.einsum("ij,ij->i", scaled, scaled))[:, None]
    return np.asarray(scaled / np.where(length > 0, length, 1), np.float32)


class CosineHead(Head):
    """
    What the two share: codes count by their direction, and nothing is learned by descent.

    Columns are scaled first (see `Moments.scale`), or those of large numbers would decide alone; on
    clothing photos that is worth 0.1 to 0.4 points.
    """

    scale_: NDArray[np.float64]

    @property
    def parameters(self) -> dict[str, Any]:
        """What was asked for, and once fitted what was chosen."""
        asked = {"seed": self.seed, **self._asked()}
        return {**asked, **self.chosen_} if hasattr(self, "chosen_") else asked

    def _unit(self, X: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the directions of scaled codes."""
        return directions(np.asarray(X / self.scale_, np.float32))

    @abstractmethod
    def _asked(self) -> dict[str, Any]:
        """Return the parameters of the constructor but the seed."""


class CentroidHead(CosineHead):
    """
    Nearest class centre: the class whose mean direction has the largest cosine.

    Nothing to tune, quick, and hard to beat with one to five images of a class (J. Snell, K.
    Swersky and R. Zemel, Prototypical Networks for Few-shot Learning, 2017, section 3; cosine
    instead of distance).
    """

    kind = HeadKind.centroid
    gives_logits = False
    _learned = "centres_"
    _ABSENT = -2.0  # the score of a class without training images, below any cosine

    def __init__(self, *, seed: int = 0) -> None:
        self.seed = seed

    def _asked(self) -> dict[str, Any]:
        return {}

    def check_parameters(self) -> None:
        """There are none."""

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return ``scale`` (d,), ``centres`` (k, d): of length 1, 0 for classes without images."""
        return {"scale": self.scale_, "centres": self.centres_}

    @classmethod
    def from_arrays(cls, parameters: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Self:
        """Rebuild a fitted head from `parameters` and `arrays`."""
        shapes = {name: array.shape for name, array in arrays.items()}
        if set(shapes) != {"scale", "centres"} or shapes["centres"][1:] != shapes["scale"]:
            raise HeadError(f"expected scale (d,) and centres (k, d), found {shapes}")
        head = cls(seed=parameters["seed"])
        head.chosen_ = {name: value for name, value in parameters.items() if name != "seed"}
        head.scale_, head.centres_ = arrays["scale"], arrays["centres"].astype(np.float32)
        head.n_classes_, head.n_features_ = head.centres_.shape
        return head

    def _fit(self, train: Rows, val: Rows | None, progress: Progress) -> None:
        self.scale_ = moments(train.codes).scale
        sums = np.zeros((self.n_classes_, self.n_features_))
        for positions, codes in train.codes.blocks():
            unit, y = self._unit(codes), train.y[positions]
            for label in np.unique(y):
                sums[label] += unit[y == label].sum(axis=0, dtype=np.float64)
        self.centres_ = directions(sums.astype(np.float32))
        self.chosen_ = {"fitted_on": "train"}
        self._measure(val, "validation images")
        progress(1, 1)

    def _folded(self, slope: float) -> tuple[Step, ...]:
        absent = np.where(self.centres_.any(axis=1), 0.0, self._ABSENT)
        unit = Unit(scale=self.scale_.astype(np.float32))
        return unit, dense(slope * self.centres_.T, slope * absent)

    def _decision(self, codes: NDArray[np.float32]) -> NDArray[np.float64]:
        cosines = self._unit(codes).astype(np.float64) @ self.centres_.T.astype(np.float64)
        cosines[:, ~self.centres_.any(axis=1)] = self._ABSENT
        return cosines


class KnnHead(CosineHead):
    """
    Nearest neighbours by cosine.

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
    """

    kind = HeadKind.knn
    gives_logits = True
    # Shares of votes are probabilities, and a class without votes has a logarithm that no slope can
    # mend: on clothing photos calibration took the error from 0.05 to 0.16.
    _calibrates = False
    _learned = "codes_"
    _TEMPERATURE = 0.07
    _DEFAULT = 5

    def __init__(self, *, k: int | str = "auto", seed: int = 0) -> None:
        self.k = k
        self.seed = seed

    def _asked(self) -> dict[str, Any]:
        return {"k": self.k}

    def check_parameters(self) -> None:
        """Raise HeadError unless k is "auto" or a number of at least 1."""
        if self.k == "auto":
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
        head.n_classes_, head.n_features_ = int(parameters["n_classes"]), shapes["codes"][-1]
        head._k = int(parameters["k_used"])
        labels = head.labels_
        if not (len(labels) and 0 <= labels.min() <= labels.max() < head.n_classes_):
            raise HeadError(f"expected labels below {head.n_classes_}")
        if not 1 <= head._k <= len(labels):
            raise HeadError(f"expected 1 to {len(labels)} neighbours, found {head._k}")
        return head

    def _fit(self, train: Rows, val: Rows | None, progress: Progress) -> None:
        self.scale_ = moments(train.codes).scale
        self.codes_ = np.empty((len(train), self.n_features_), np.float32)
        for positions, codes in train.codes.blocks():
            self.codes_[positions] = self._unit(codes)
        self.labels_ = train.y
        asked = _K_GRID if self.k == "auto" else (int(self.k),)
        grid = sorted({min(k, len(train)) for k in asked})
        right = self._right(val, grid) if val is not None and len(grid) > 1 else []
        if right:
            self._k = max(zip(right, grid, strict=True))[1]
        else:
            self._k = min(self._DEFAULT, len(train)) if self.k == "auto" else grid[0]
        self.chosen_ = {"n_classes": self.n_classes_, "k_used": self._k, "fitted_on": "train"}
        if right:
            self.chosen_["k_curve"] = [list(point) for point in zip(grid, right, strict=True)]
        self._measure(val, "validation images")
        progress(1, 1)

    def _right(self, val: Rows, grid: list[int]) -> list[float]:
        """Return the share of validation rows that each k gets right, from one search."""
        right = np.zeros(len(grid))
        for positions, codes in val.codes.blocks():
            labels, cosines = self._nearest(codes, grid[-1])
            for i, k in enumerate(grid):
                votes = self._votes(labels[:, :k], cosines[:, :k])
                right[i] += (votes.argmax(axis=1) == val.y[positions]).sum()
        return [float(count / len(val)) for count in right]

    def _folded(self, slope: float) -> tuple[Step, ...]:
        votes = Neighbours(
            codes=self.codes_,
            labels=self.labels_,
            k=self._k,
            n_classes=self.n_classes_,
            temperature=self._TEMPERATURE,
        )
        return Unit(scale=self.scale_.astype(np.float32)), votes

    def _decision(self, codes: NDArray[np.float32]) -> NDArray[np.float64]:
        """Score by the logarithm of the summed votes, whose softmax is the share of each class."""
        return self._votes(*self._nearest(codes, self._k))

    def _nearest(
        self, X: NDArray[np.float32], k: int
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return labels and cosines of the k nearest training rows, nearest first: (n, k)."""
        labels, cosines = np.empty((len(X), k), np.int64), np.empty((len(X), k))
        step = max(1, _AT_ONCE // max(len(self.codes_), k * X.shape[1]))
        for start in range(0, len(X), step):
            rows = slice(start, start + step)
            unit = self._unit(X[rows])
            best = np.argpartition(-(unit @ self.codes_.T), k - 1, axis=1)[:, :k]
            # Again in float64: a matrix product in float32 depends on how many rows it has.
            near = self.codes_[best].astype(np.float64)
            exact = np.einsum("nd,nkd->nk", unit.astype(np.float64), near)
            order = np.argsort(-exact, axis=1, kind="stable")
            labels[rows] = self.labels_[np.take_along_axis(best, order, axis=1)]
            cosines[rows] = np.take_along_axis(exact, order, axis=1)
        return labels, cosines

    def _votes(
        self, labels: NDArray[np.int64], cosines: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        votes = np.zeros((len(labels), self.n_classes_))
        weights = np.exp((cosines - 1) / self._TEMPERATURE)
        for column in range(labels.shape[1]):
            votes[np.arange(len(labels)), labels[:, column]] += weights[:, column]
        return np.log(np.maximum(votes, np.finfo(np.float64).tiny))
