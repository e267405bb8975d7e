"""The scaler in front of every head."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.preprocessing import StandardScaler

from pipeline.heads._codes import CodeRows, block_rows


class ParetoScaler(StandardScaler):  # type: ignore[misc]
    """
    Divide each column by the root of its standard deviation times the mean one.

    This is Pareto scaling (R. A. van den Berg et al., BMC Genomics 7:142, 2006), times a number
    that makes the variance 1 on average. Half of the differences between columns stay. In ten
    folds of 925 clothing photos (EfficientNet-Lite0, last layer) it is 0.3 to 0.5 points better
    than the standard deviation itself with an svm and 0.2 to 0.8 points with softmax; in the layers
    in the middle there is no difference.

    Parameters
    ----------
    with_mean : bool, default False
        Whether columns are centred first.
    widths : sequence of int, optional
        How many columns each layer has, where codes of several stand side by side: the mean is
        taken over the columns of the own layer.

    Attributes
    ----------
    scale_ : float64 array of shape (d,)
        What each column is divided by; 1 for columns that never change.
    mean_, var_ : float64 arrays of shape (d,)
    """

    scale_: NDArray[np.float64]

    def __init__(
        self, *, with_mean: bool = False, widths: Sequence[int] | None = None, copy: bool = True
    ) -> None:
        super().__init__(with_mean=with_mean, with_std=True, copy=copy)
        self.widths = widths

    def fit(self, X: ArrayLike, y: Any = None, sample_weight: Any = None) -> Self:
        """Measure the columns of X (n, d), a block at a time, so that there is no copy of it."""
        self._reset()
        X = np.asarray(X)
        step = block_rows(X.shape[-1])
        for start in range(0, len(X), step):
            self.partial_fit(X[start : start + step])
        return self

    def fit_codes(self, codes: CodeRows) -> Self:
        """Measure codes that need not be in memory."""
        self._reset()
        for block in _rows(codes, block_rows(codes.width)):
            self.partial_fit(block)
        return self

    def partial_fit(self, X: ArrayLike, y: Any = None, sample_weight: Any = None) -> Self:
        """Measure some more rows (n, d)."""
        super().partial_fit(X)
        deviation = np.sqrt(self.var_)
        # scikit-learn's scale is 1 where nothing but rounding changes.
        changes = (deviation > 0) & (self.scale_ == deviation)
        ends = np.cumsum([0, *(self.widths or [len(deviation)])])
        means = [deviation[a:b].mean() for a, b in pairwise(ends)]
        typical = np.repeat(means, np.diff(ends))
        self.scale_ = np.where(changes, np.sqrt(deviation * typical), 1.0)
        return self


def _rows(codes: CodeRows, step: int) -> Iterator[NDArray[np.float32]]:
    """Yield so many rows at a time, wherever blocks end: other sums have other last bits."""
    left = np.empty((0, codes.width), np.float32)
    for _, block in codes.blocks():
        block = np.concatenate([left, block]) if len(left) else block
        whole = len(block) // step * step
        for start in range(0, whole, step):
            yield block[start : start + step]
        left = block[whole:]
    if len(left):
        yield left
