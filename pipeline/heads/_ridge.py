"""The ridge head: least squares, in closed form where one factorisation serves every C."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from pipeline.choices import HeadKind
from pipeline.heads import _solver
from pipeline.heads._linear import LinearHead
from pipeline.heads._solver import F32, F64, Models, Task

# One factorisation takes time with the cube of this, 4096 some 20 seconds on two cores; beyond it
# descent is quicker.
LARGEST = 4096


class _SquaredError:
    """The loss of scikit-learn's RidgeClassifier: targets of 1 and -1."""

    joint = False

    def penalty(self, n_classes: int) -> float:
        return 2.0  # alpha is not halved there

    def __call__(self, scores: F32, y: NDArray[np.int64], weights: F32) -> tuple[F32, F32]:
        own = (y[:, None] == np.arange(len(weights)))[:, None]
        error = scores - np.where(own, np.float32(1), np.float32(-1))
        slopes = error * (2 * weights[y])[:, None, None]
        return np.multiply(error, slopes / 2, out=error), slopes


class RidgeHead(LinearHead):
    """
    Ridge regression on targets of 1 for the own class and -1 for the others; see `LinearHead`.

    The solution of scikit-learn's ``RidgeClassifier(alpha=1 / C)``. With more codes than images
    the matrix of inner products of the images is factorised instead of that of the codes (the
    dual form: Hastie, Tibshirani and Friedman, The Elements of Statistical Learning, section
    18.3.5); where both are large, `solve` does it in passes.
    """

    kind = HeadKind.ridge
    gives_logits = False
    C_GRID = tuple(10.0 ** (exponent / 2) for exponent in range(-14, 1))
    C_DEFAULT = 1e-3
    _loss = _SquaredError()
    _loss_name = "squared error"

    def _solve(
        self,
        task: Task,
        models: Models,
        *,
        accuracy: float,
        progress: Callable[[int], None] = lambda done: None,
    ) -> Models:
        codes = task.rows.codes
        wide = codes.width > len(codes)
        if min(codes.width, len(codes)) > LARGEST or (wide and not codes.in_memory):
            return super()._solve(task, models, accuracy=accuracy, progress=progress)
        solved = models.copy()
        form = _Wide(task) if wide else _Tall(task)
        for trial in np.unique(models.trial):
            of_trial = np.flatnonzero(models.trial == trial)
            solved.weights[:, of_trial] = form.weights(int(trial), models.C[of_trial])
        return _solver.scored(task, solved)


class _Tall:
    """More images than codes: everything from sums over images, in one pass for all trials."""

    def __init__(self, task: Task) -> None:
        held_out, k = task.held_out, len(task.class_weights)
        self._held_out = np.full(len(task.rows), -1) if held_out is None else held_out
        parts, d = int(self._held_out.max()) + 2, task.rows.codes.width
        # The last part has the rows that are never held out.
        self._gram = np.zeros((parts, d + 1, d + 1))
        self._right = np.zeros((parts, d + 1, k))
        scale, mean = task.moments.scale, task.moments.mean / task.moments.scale
        for positions, block in task.rows.codes.blocks():
            y = task.rows.y[positions]
            centred = np.ones((len(y), d + 1))
            np.subtract(block / scale, mean, out=centred[:, :-1])
            weights = task.class_weights[y][:, None]
            targets = np.where(y[:, None] == np.arange(k), 1.0, -1.0)
            for part in np.unique(self._held_out[positions]):
                own = self._held_out[positions] == part
                self._gram[part] += centred[own].T @ (weights[own] * centred[own])
                self._right[part] += centred[own].T @ (weights[own] * targets[own])

    def weights(self, trial: int, grid: F64) -> F64:
        """Solve for each C: (d + 1, p, k)."""
        parts = [part for part in range(-1, len(self._gram) - 1) if part != trial]
        everything = len(self._gram) == 1
        gram = self._gram[-1] if everything else self._gram[parts].sum(axis=0)
        right = self._right[-1] if everything else self._right[parts].sum(axis=0)
        # Without the bias, which is not regularised: centred on the rows of this trial.
        count, mean, middle = gram[-1, -1], gram[-1, :-1] / gram[-1, -1], right[-1] / gram[-1, -1]
        values, vectors = np.linalg.eigh(gram[:-1, :-1] - count * np.outer(mean, mean))
        turned = vectors.T @ (right[:-1] - count * np.outer(mean, middle))
        solved = np.empty((len(gram), len(grid), right.shape[1]))
        for i, C in enumerate(grid):
            coef = vectors @ (turned / (np.maximum(values, 0.0) + 1.0 / C)[:, None])
            solved[:-1, i], solved[-1, i] = coef, middle - mean @ coef
        return solved


class _Wide:
    """More codes than images: everything from the inner products of the images."""

    def __init__(self, task: Task) -> None:
        self._task = task
        blocks = list(task.rows.codes.blocks())
        self._gram = np.empty((len(task.rows), len(task.rows)))
        for rows, block in blocks:
            scaled = self._scaled(block)
            for others, other in blocks:
                self._gram[np.ix_(rows, others)] = scaled @ self._scaled(other).T

    def _scaled(self, block: F32) -> F64:
        moments = self._task.moments
        return np.asarray((block - moments.mean) / moments.scale)

    def weights(self, trial: int, grid: F64) -> F64:
        """Solve for each C: (d + 1, p, k)."""
        task, k = self._task, len(self._task.class_weights)
        held_out = task.held_out
        rows = np.arange(len(task.rows)) if held_out is None else np.flatnonzero(held_out != trial)
        y = task.rows.y[rows]
        # With weights of the images, rows and targets are multiplied by their roots.
        root = np.sqrt(task.class_weights[y])
        share = task.class_weights[y] / task.class_weights[y].sum()
        targets = np.where(y[:, None] == np.arange(k), 1.0, -1.0)
        middle = share @ targets
        gram = self._gram[np.ix_(rows, rows)]
        to_mean = gram @ share
        gram = gram - to_mean[:, None] - to_mean + share @ to_mean
        values, vectors = np.linalg.eigh(root[:, None] * gram * root)
        turned = vectors.T @ (root[:, None] * (targets - middle))
        duals = np.zeros((len(task.rows), len(grid), k))
        for i, C in enumerate(grid):
            solved = vectors @ (turned / (np.maximum(values, 0.0) + 1.0 / C)[:, None])
            solved *= root[:, None]
            duals[rows, i] = solved - share[:, None] * solved.sum(axis=0)
        flat = np.zeros((task.rows.codes.width, len(grid) * k))
        mean = np.zeros(task.rows.codes.width)
        weight = np.zeros(len(task.rows))
        weight[rows] = share
        for positions, block in task.rows.codes.blocks():
            scaled = self._scaled(block)
            flat += scaled.T @ duals[positions].reshape(len(positions), -1)
            mean += scaled.T @ weight[positions]
        coef = flat.reshape(len(flat), len(grid), k)
        bias = middle - np.einsum("d,dpk->pk", mean, coef)
        return np.concatenate([coef, bias[None]])
