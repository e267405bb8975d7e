"""Regularised linear models, many regularisations at once, in passes over codes of any size."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, fields, replace
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from pipeline.heads._codes import BLOCK_ROWS, Block, Moments, Rows

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
T = TypeVar("T")

# Pairs of steps that the curvature is estimated from; what one weight of a model takes: weights,
# gradients, directions and their copies in 64 bits (14 at the peak, measured), and the pairs in 32.
_PAIRS = 8
BYTES_PER_WEIGHT = 14 * 8 + 2 * 4 * _PAIRS
# What one score of a block takes on its way to a loss and a slope; and what all scores of a block
# may take where models need not be solved side by side.
BYTES_PER_SCORE = 24
SCORED_AT_ONCE = 256 << 20
_PASSES = 500
# Passes after which a C that is behind one that has converged is given up, unless it has come
# closer by this share in the last passes.
_TRIED = 40
_LATELY, _CLOSER = 10, 0.1
# A change of the objective that drowns in rounding to 32 bits.
_ROUNDING = 1e-6
# Sufficient decrease, and the bounds of a step cut by interpolation: J. Nocedal and S. J. Wright,
# Numerical Optimization, 2006, section 3.1 and 3.5.
_SUFFICIENT = 1e-4
_CUT = (0.1, 0.5)
# Curvature of a model that has nothing left to learn, whose reciprocal would overflow.
_VANISHED = 1e-100


class Loss(Protocol):
    """
    What is minimised over images, beside the sum of squares of the weights.

    Attributes
    ----------
    joint : bool
        Whether the classes are one problem together, as for softmax, or one for each.
    """

    joint: bool

    def penalty(self, n_classes: int) -> float:
        """Return what half the sum of squares is multiplied by at C = 1."""

    def __call__(self, scores: F32, y: NDArray[np.int64], weights: F32) -> tuple[F32, F32]:
        """
        Compare scores with labels; the scores may be overwritten.

        Parameters
        ----------
        scores : float32 array of shape (m, p, k)
            Of m images, by p models, for k classes.
        y : int64 array of shape (m,)
        weights : float32 array of shape (k,)
            What an image of a class counts.

        Returns
        -------
        losses : float32 array of shape (m, p, k), or (m, p, 1) of a joint loss
        slopes : float32 array of shape (m, p, k)
            Their derivatives by the scores.
        """


@dataclass(frozen=True, kw_only=True)
class Models:
    """
    Linear models of k classes, p of them.

    Attributes
    ----------
    C : float64 array of shape (p,)
    trial : int64 array of shape (p,)
        A model learns from all rows but those that are held out of its trial.
    weights : float64 array of shape (d + 1, p, k)
        For codes divided by their scale and centred; the last row is the bias.
    converged : bool array of shape (p,)
    loss, right : float64 arrays of shape (p,)
        Over the rows held out: the summed loss, and how many come out right.
    """

    C: F64
    trial: NDArray[np.int64]
    weights: F64
    converged: NDArray[np.bool_]
    loss: F64
    right: F64

    @classmethod
    def zero(cls, grid: Sequence[float], *, trials: int, width: int, classes: int) -> Models:
        """Return models of each C in each trial, those of a C together, that know nothing yet."""
        count = len(grid) * trials
        return cls(
            C=np.repeat(np.asarray(grid, np.float64), trials),
            trial=np.tile(np.arange(trials), len(grid)),
            weights=np.zeros((width + 1, count, classes)),
            converged=np.zeros(count, bool),
            loss=np.zeros(count),
            right=np.zeros(count),
        )

    def __len__(self) -> int:
        return len(self.C)

    def copy(self) -> Models:
        """Return them all anew."""
        return self.take(np.arange(len(self)))

    def take(self, models: NDArray[np.int64]) -> Models:
        """Return some of them."""
        cut = {f.name: getattr(self, f.name)[models] for f in fields(self) if f.name != "weights"}
        return replace(self, weights=self.weights[:, models], **cut)

    def put(self, models: NDArray[np.int64], others: Models) -> None:
        """Replace some of them."""
        for field in fields(self):
            if field.name != "weights":
                getattr(self, field.name)[models] = getattr(others, field.name)
        self.weights[:, models] = others.weights


@dataclass(frozen=True, kw_only=True)
class Task:
    """
    What models learn from.

    Attributes
    ----------
    rows : Rows
    loss : Loss
        Minimised is C times its sum plus half the sum of squares of the weights, as in
        scikit-learn; the bias is not regularised.
    moments : Moments
        Of the codes, which are scaled and centred by them without being copied.
    class_weights : float64 array of shape (k,)
        What an image of a class counts.
    held_out : int64 array of shape (n,), optional
        The trial that a row is held out of, -1 for a row that is learned in each.
    """

    rows: Rows
    loss: Loss
    moments: Moments
    class_weights: F64
    held_out: NDArray[np.int64] | None = None


def solve(
    task: Task,
    models: Models,
    *,
    accuracy: float,
    room: int = 1 << 62,
    progress: Callable[[int], None] = lambda done: None,
) -> Models:
    """
    Fit models, all in the same passes over the codes.

    L-BFGS (D. C. Liu and J. Nocedal, On the limited memory BFGS method for large scale
    optimization, 1989) that evaluates every model once in a pass: one matrix product with the
    weights of all models and one back take hardly longer than those of a single model. Models go
    their own ways: one that must cut its step does so in the pass in which others take their next.
    Products are computed in 32 bits, sums in 64.

    Parameters
    ----------
    task : Task
        What to learn from.
    models : Models
        Where to begin.
    accuracy : float
        A model has converged when its gradient is this much shorter than the gradient of the
        regularisation, which is what the loss's has to cancel out.
    room : int
        Bytes that models in the making may take; beyond that they are fitted one after the other.
    progress : callable, optional
        Called after each pass with how many models are done.

    Returns
    -------
    Models
        The same models, fitted. Where rows are held out, values of C that have not converged and
        are behind one that has are left as they are.
    """
    from threadpoolctl import threadpool_limits

    size = models.weights[:, 0].size * BYTES_PER_WEIGHT
    trials = len(np.unique(models.trial))  # of one C: they are compared with other values together
    at_once, done = max(1, room // size // trials) * trials, 0
    fitted, best = models.copy(), np.inf
    with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(threads()) as pool:
        for start in range(0, len(models), at_once):
            part = np.arange(start, min(start + at_once, len(models)))
            objective = _Objective(task, pool)
            descent = _Descent(objective, models.take(part), accuracy=accuracy, best=best)
            for finished in descent.passes():
                progress(done + finished)
            fitted.put(part, descent.models)
            best = descent.best
            done += len(part)
            progress(done)
    return fitted


def scored(task: Task, models: Models) -> Models:
    """Return models that were solved otherwise, with their scores on the rows held out."""
    from threadpoolctl import threadpool_limits

    one = threads() * BYTES_PER_SCORE * BLOCK_ROWS * models.weights.shape[2]
    parts = -(-len(models) * one // SCORED_AT_ONCE)
    loss, right = [], []
    with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(threads()) as pool:
        for part in np.array_split(np.arange(len(models)), min(len(models), parts)):
            value = _Objective(task, pool)(models.take(part))
            loss.append(value.loss)
            right.append(value.right)
    return replace(
        models,
        loss=np.concatenate(loss),
        right=np.concatenate(right),
        converged=np.ones(len(models), bool),
    )


@dataclass(frozen=True)
class _Value:
    """What a pass finds out about p models with u problems each: k, or 1 of a joint loss."""

    objective: F64  # (p, u)
    slope: F64  # (d + 1, p, k)
    pull: F64  # (p, u): squared length of the gradient of the regularisation
    loss: F64  # (p,)
    right: F64  # (p,)


class _Objective:
    """The objective of models and its gradient, in one pass over the codes."""

    def __init__(self, task: Task, pool: ThreadPoolExecutor) -> None:
        self.task, self._pool = task, pool
        self._scale, self._mean = task.moments.scale, task.moments.mean / task.moments.scale
        self._weights = task.class_weights.astype(np.float32)
        self._learned = _learned(task)

    def __call__(self, models: Models) -> _Value:
        count, classes = models.weights.shape[1:]
        flat = models.weights.reshape(len(models.weights), -1)
        inner = (flat[:-1] / self._scale[:, None]).astype(np.float32)
        offset = (flat[-1] - self._mean @ flat[:-1]).astype(np.float32)
        value = np.zeros((count, 1 if self.task.loss.joint else classes))
        loss, right = np.zeros(count), np.zeros(count)
        slope = np.zeros_like(flat)

        def work(block: Block) -> tuple[F64, F64, F64, F32, F64]:
            return self._block(block, inner, offset, models.trial)

        blocks = self.task.rows.codes.blocks()
        for losses, held, correct, outer, rest in _in_order(self._pool, work, blocks):
            value += losses
            loss += held
            right += correct
            slope[:-1] += outer
            slope[-1] += rest
        slope[:-1] /= self._scale[:, None]
        slope[:-1] -= self._mean[:, None] * slope[-1]
        n, ridge = len(self.task.rows), self.ridge(models)
        slope /= n
        slope[:-1] += flat[:-1] * np.repeat(ridge, classes)
        squares = _dot(models.weights[:-1], models.weights[:-1], joint=self.task.loss.joint)
        return _Value(
            value / n + ridge[:, None] / 2 * squares,
            slope.reshape(models.weights.shape),
            ridge[:, None] ** 2 * squares,
            loss,
            right,
        )

    def ridge(self, models: Models) -> F64:
        """Return what half the sum of squares is multiplied by, where losses are averaged: (p,)."""
        penalty = self.task.loss.penalty(models.weights.shape[2])
        return np.asarray(penalty / (models.C * len(self.task.rows)))

    def _block(
        self, block: Block, inner: F32, offset: F32, trial: NDArray[np.int64]
    ) -> tuple[F64, F64, F64, F32, F64]:
        """Return what some rows add: loss learned, loss and hits held out, gradient, bias's."""
        positions, codes = block
        y, held_out = self.task.rows.y[positions], self.task.held_out
        scores = codes @ inner
        scores += offset
        scores = scores.reshape(len(y), len(trial), -1)
        hits = held = np.zeros(len(trial))
        if held_out is not None:
            out = held_out[positions, None] == trial
            hits = ((scores.argmax(axis=2) == y[:, None]) & out).sum(axis=0).astype(np.float64)
        losses, slopes = self.task.loss(scores, y, self._weights)
        if held_out is not None:
            # An image of a class that a trial never sees is lost whatever C is.
            counts = out & self._learned[trial][:, y].T
            held = (losses.sum(axis=2) * counts).sum(axis=0, dtype=np.float64)
            losses *= ~out[:, :, None]
            slopes *= ~out[:, :, None]
        flat = slopes.reshape(len(y), -1)
        sums = losses.sum(axis=0, dtype=np.float64)
        return sums, held, hits, codes.T @ flat, flat.sum(axis=0, dtype=np.float64)


@dataclass(frozen=True)
class _Pair:
    """A step that was taken, how the gradient changed over it, and one over their product."""

    step: F32  # (d + 1, p, k)
    change: F32
    rho: F64  # (p, u); 0 where a model took no step

    def take(self, models: NDArray[np.bool_]) -> _Pair:
        return _Pair(self.step[:, models], self.change[:, models], self.rho[models])


class _Descent:
    """L-BFGS of many models side by side."""

    def __init__(
        self, objective: _Objective, models: Models, *, accuracy: float, best: float
    ) -> None:
        self.models = models.copy()
        self._objective, self._accuracy = objective, accuracy
        self._joint = objective.task.loss.joint
        self._choosing = objective.task.held_out is not None
        # Smallest held-out loss of a C that has converged, here or before.
        self.best = best
        # Of the models that are not done:
        self._which = np.arange(len(models))
        self._now = objective(self.models)
        self._weights = self.models.weights.copy()
        self._pairs: list[_Pair] = []
        self._losses: deque[F64] = deque(maxlen=_LATELY)
        self._given_up = np.zeros(len(models), bool)
        # Where C is small the weights are stiff and the bias is not.
        self._metric = np.ones((len(models.weights), len(models), 1))
        self._metric[:-1] = 1 / (1 + objective.ridge(models))[:, None]
        self._gamma = np.ones_like(self._now.objective)
        self._move = -self._metric * self._now.slope
        # Where the objective would be 0 if it went on falling as it does here, but not further
        # than is right for columns of variance 1.
        steepness = np.maximum(-self._dot(self._move, self._now.slope), np.finfo(np.float64).tiny)
        self._step = np.minimum(2 * self._now.objective / steepness, 1.0)

    def passes(self) -> Iterator[int]:
        """Go on until every model is done; yield after each pass how many are."""
        for number in range(_PASSES):
            if self._choosing:
                self._compare(late=number >= _TRIED)
            self._settle()
            yield len(self.models) - len(self._which)
            if not len(self._which):
                return
            self._advance()

    def _dot(self, a: NDArray[np.floating], b: NDArray[np.floating]) -> F64:
        return _dot(a, b, joint=self._joint)

    def _settle(self) -> None:
        """Write down where the models are, and go on with those that have not converged."""
        now = self._now
        promise = -self._dot(self._move, now.slope) * self._step
        open_ = self._dot(now.slope, now.slope) > self._accuracy**2 * now.pull
        open_ &= promise > self._accuracy * _ROUNDING * now.objective
        self.models.weights[:, self._which] = self._weights
        going = np.asarray(open_.any(axis=1))
        self.models.converged[self._which[~going]] = True
        keep: NDArray[np.bool_] = going & ~self._given_up[self._which]
        if keep.all():
            return
        self._which, self._weights = self._which[keep], self._weights[:, keep]
        self._now = _Value(
            now.objective[keep], now.slope[:, keep], now.pull[keep], now.loss[keep], now.right[keep]
        )
        self._pairs = [pair.take(keep) for pair in self._pairs]
        self._gamma, self._step = self._gamma[keep], self._step[keep]
        self._move, self._metric = self._move[:, keep], self._metric[:, keep]

    def _compare(self, *, late: bool) -> None:
        """Give up each C that is behind one that has converged and does not catch up."""
        models, now = self.models, self._now
        models.loss[self._which], models.right[self._which] = now.loss, now.right
        of_model = np.unique(models.C, return_inverse=True)[1]
        losses = np.bincount(of_model, weights=models.loss).astype(np.float64)
        done = np.bincount(of_model, weights=~models.converged) == 0
        self.best = min(self.best, losses[done].min(initial=np.inf))
        self._losses.append(losses)
        if late and np.isfinite(self.best):
            behind, was = losses - self.best, self._losses[0] - self.best
            lost = ~done & (behind > 0) & (behind > (1 - _CLOSER) * was)
            self._given_up |= lost[of_model]

    def _advance(self) -> None:
        """Try the next step of every model: take it, or cut it."""
        now, step = self._now, self._step
        tried = self._weights + step * self._move
        then = self._objective(replace(self.models.take(self._which), weights=tried))
        slope = self._dot(self._move, now.slope) * step
        rise = then.objective - now.objective
        good = rise <= _SUFFICIENT * slope + _ROUNDING * now.objective
        self._remember(step * self._move, then.slope - now.slope, good)
        best = -slope / (2 * np.maximum(rise - slope, np.finfo(np.float64).tiny))
        whole = good.all(axis=1)
        self._now = _Value(
            np.where(good, then.objective, now.objective),
            np.where(good, then.slope, now.slope),
            np.where(good, then.pull, now.pull),
            np.where(whole, then.loss, now.loss),
            np.where(whole, then.right, now.right),
        )
        self._weights = np.where(good, tried, self._weights)
        self._move = np.where(good, self._direction(), self._move)
        self._step = np.where(good, 1.0, step * np.clip(best, *_CUT))

    def _remember(self, step: F64, change: F64, good: NDArray[np.bool_]) -> None:
        """Keep a pair where a step was taken along which the objective is convex."""
        product = self._dot(step, change)
        square = self._dot(change, self._metric * change)
        usable = good & (product > np.finfo(np.float32).eps * square) & (product > _VANISHED)
        rho = np.where(usable, 1 / np.where(usable, product, 1), 0.0)
        self._gamma = np.where(usable, product / np.where(usable, square, 1), self._gamma)
        pair = _Pair(step.astype(np.float32), change.astype(np.float32), rho)
        self._pairs = [*self._pairs[1 - _PAIRS :], pair]

    def _direction(self) -> F64:
        """Multiply the gradient by the estimated inverse of the curvature: the two loops."""
        q = self._now.slope.copy()
        alphas = []
        for pair in reversed(self._pairs):
            alphas.append(pair.rho * self._dot(pair.step, q))
            q -= alphas[-1] * pair.change
        q *= self._gamma * self._metric
        for pair, alpha in zip(self._pairs, reversed(alphas), strict=True):
            q += (alpha - pair.rho * self._dot(pair.change, q)) * pair.step
        return -q


def _dot(a: NDArray[np.floating], b: NDArray[np.floating], *, joint: bool) -> F64:
    """Multiply arrays of shape (d, p, k) along d, and along k too if the loss is joint: (p, u)."""
    product: F64 = np.einsum("dpk,dpk->pk", a, b, dtype=np.float64)
    return product.sum(axis=1, keepdims=True) if joint else product


def _learned(task: Task) -> NDArray[np.bool_]:
    """Return which classes have rows that a trial learns from: (trials, k)."""
    y, held_out, k = task.rows.y, task.held_out, len(task.class_weights)
    if held_out is None:
        return np.ones((1, k), bool)
    trials = range(int(held_out.max()) + 1)
    return np.array([np.bincount(y[held_out != trial], minlength=k) > 0 for trial in trials])


def threads() -> int:
    """Return how many blocks are worked on at the same time."""
    return min(32, os.cpu_count() or 1)


def _in_order(
    pool: ThreadPoolExecutor, work: Callable[[Block], T], blocks: Iterable[Block]
) -> Iterator[T]:
    """Work on a few blocks at the same time; sums in one order are the same in every run."""
    waiting: deque[Future[T]] = deque()
    try:
        for block in blocks:
            waiting.append(pool.submit(work, block))
            if len(waiting) > threads():
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()
