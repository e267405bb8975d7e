"""The ridge head: least squares in closed form, every regularisation from one factorisation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pipeline.choices import HeadKind
from pipeline.errors import HeadError
from pipeline.heads._head import Progress, Rows
from pipeline.heads._linear import NEVER, LinearHead, Solution, column_scale

# One factorisation takes time with the cube of this: 4096 some 20 seconds on two cores.
_LARGEST = 8192
_BLOCK_ROWS = 1024


class RidgeHead(LinearHead):
    """
    Ridge regression on targets of 1 for the own class and -1 for the others; see `LinearHead`.

    The solution of scikit-learn's ``RidgeClassifier(alpha=1 / C)``. Codes are centred, which
    costs nothing here. With more codes than images the matrix of inner products of the images is
    factorised instead of that of the codes (the dual form: Hastie, Tibshirani and Friedman, The
    Elements of Statistical Learning, section 18.3.5).
    """

    kind = HeadKind.ridge
    score_kind = "margin"
    C_GRID = tuple(10.0 ** (exponent / 2) for exponent in range(-14, 1))
    C_DEFAULT = 1e-3
    _loss_name = "squared error"

    def predict_proba(self, X: ArrayLike) -> NDArray[np.float64]:
        """Raise HeadError: least squares gives margins only."""
        raise HeadError(
            "a ridge head has margins, no probabilities; fit one with --kind softmax for these"
        )

    def _fit(self, train: Rows, val: Rows | None, progress: Progress) -> None:
        rows = len(train) + (0 if val is None else len(val))
        if min(rows, self.n_features_) > _LARGEST:
            raise HeadError(
                f"expected up to {_LARGEST} codes or images for a ridge head, found "
                f"{self.n_features_} and {rows}; use --pool avg or --kind svm"
            )
        super()._fit(train, val, progress)

    def _solutions(self, rows: Rows, grid: Sequence[float]) -> Iterator[Solution]:
        """Solve for each C in turn, from one factorisation."""
        scale = column_scale(rows.X)
        mean = rows.X.mean(axis=0, dtype=np.float64) / scale
        own = rows.y[:, None] == np.arange(self.n_classes_)
        targets = np.where(own, 1.0, -1.0)
        middle = targets.mean(axis=0)
        wide = rows.X.shape[1] > len(rows)
        centred = _Centred(rows.X, scale, mean)
        gram = centred.outer() if wide else centred.inner()
        values, vectors = np.linalg.eigh(gram)
        right = targets - middle if wide else centred.times(targets - middle)
        turned = vectors.T @ right
        for C in grid:
            solved = vectors @ (turned / (np.maximum(values, 0.0) + 1.0 / C)[:, None])
            coef = (centred.times(solved) if wide else solved).T
            bias = middle - coef @ mean
            coef[~own.any(axis=0)], bias[~own.any(axis=0)] = 0.0, NEVER
            yield coef, bias, scale, True

    @staticmethod
    def _loss(scores: NDArray[np.float64], y: NDArray[np.int64]) -> float:
        signs = np.where(np.arange(scores.shape[1]) == y[:, None], 1, -1)
        learned = scores.max(axis=0) > NEVER
        return float(((scores - signs)[:, learned] ** 2).sum())


class _Centred:
    """Codes divided by their scale, less their mean, a block of rows at a time in float64."""

    def __init__(
        self, X: NDArray[np.float32], scale: NDArray[np.float64], mean: NDArray[np.float64]
    ) -> None:
        self._X, self._scale, self._mean = X, scale, mean

    def _blocks(self) -> Iterator[tuple[slice, NDArray[np.float64]]]:
        for start in range(0, len(self._X), _BLOCK_ROWS):
            rows = slice(start, start + _BLOCK_ROWS)
            yield rows, self._X[rows] / self._scale - self._mean

    def inner(self) -> NDArray[np.float64]:
        """Return the product of the transpose with itself: (d, d)."""
        gram = np.zeros((self._X.shape[1], self._X.shape[1]))
        for _, block in self._blocks():
            gram += block.T @ block
        return gram

    def outer(self) -> NDArray[np.float64]:
        """Return the product with its transpose: (n, n)."""
        gram = np.empty((len(self._X), len(self._X)))
        for rows, block in self._blocks():
            for others, other in self._blocks():
                gram[rows, others] = block @ other.T
        return gram

    def times(self, right: NDArray[Any]) -> NDArray[np.float64]:
        """Return the product of the transpose with an array of shape (n, k): (d, k)."""
        product = np.zeros((self._X.shape[1], right.shape[1]))
        for rows, block in self._blocks():
            product += block.T @ right[rows]
        return product
