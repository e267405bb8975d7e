"""Fits of scikit-learn's linear classifiers, on codes in memory and on codes that are read."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.common.errors import HeadError
from pipeline.heads._batches import pool_for, shuffled
from pipeline.heads._calibration import HeldOutScores
from pipeline.heads._codes import Rows, block_rows
from pipeline.heads._scaler import ParetoScaler

F64 = NDArray[np.float64]
# Loss of rows: scores (m, k) and labels (m,) to (m,).
Loss = Callable[[F64, NDArray[np.int64]], F64]

# Codes below which the threads of BLAS wait for each other longer than they work.
_FEW = 1 << 23
# Passes of averaged SGD and the rows that it sees at least: on 28,000 x 8,192 codes accuracy was
# the same after three passes as after eight.
_PASSES, _ROWS_SEEN = 3, 10_000
_LARGE = 1e30


@dataclass(frozen=True)
class Trials:
    """
    Which rows are held out to choose and to calibrate.

    Attributes
    ----------
    held_out : int64 array of shape (n,)
        For each row the number of the trial that it is held out of; -1 if none.
    how : str
        In words.
    """

    held_out: NDArray[np.int64]
    how: str

    @property
    def count(self) -> int:
        """How many trials there are."""
        return int(self.held_out.max()) + 1

    @property
    def rows(self) -> NDArray[np.int64]:
        """The rows that are held out of one."""
        return np.flatnonzero(self.held_out >= 0)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """
    How a kind of head is fitted.

    Attributes
    ----------
    classifier : callable
        Makes scikit-learn's classifier for a value of C.
    loss : callable
        Of rows, by their scores and labels.
    sgd : str or None
        The loss that `SGDClassifier` minimises instead; None where it finds nothing.
    centred : bool
        Whether columns are centred.
    double : bool
        Whether the classifier would make its own copy in 64 bits.
    weights : dict of int to float, or None
        What a row counts, by its class.
    widths, seed, room, jobs
        See `LinearHead`.
    """

    classifier: Callable[[float], Any]
    loss: Loss
    sgd: str | None
    centred: bool
    double: bool
    weights: dict[int, float] | None
    widths: Sequence[int] | None
    seed: int
    room: int
    jobs: int


class Tried(NamedTuple):
    """What a value of C led to on the rows held out."""

    loss: float
    right: int
    scores: F64 | None  # (m, k), of the rows that `HeldOutScores` keeps


class Fitted(NamedTuple):
    """A scaler and a classifier, fitted."""

    scaler: ParetoScaler
    classifier: Any
    converged: bool


class Fits(ABC):
    """
    Fits of one kind on the same rows.

    Parameters
    ----------
    recipe : Recipe
    rows : Rows
        Those to learn from and those held out.
    trials : Trials or None
    n_classes : int
    """

    # Whether two values of C at a time take as long as one: not a matter of processors, so that
    # all machines choose the same.
    two_at_once: ClassVar[bool] = False
    _scaler: ParetoScaler

    def __init__(self, recipe: Recipe, rows: Rows, trials: Trials | None, n_classes: int) -> None:
        self.recipe, self.rows, self.trials, self.n_classes = recipe, rows, trials, n_classes

    def attempt(self, values: Sequence[float]) -> list[Tried]:
        """Fit each value of C in each trial, and score the rows held out."""
        assert self.trials is not None  # noqa: S101 - nothing is tried without
        models = self._fit_trials(values)
        held_out, rows = self.trials.held_out, self.rows
        loss, right = np.zeros(len(values)), np.zeros(len(values), np.int64)
        kept = [
            HeldOutScores(self.trials.rows, total=len(held_out), classes=self.n_classes)
            for _ in values
        ]
        for positions, codes in rows.codes.blocks():
            of_block = held_out[positions]
            if (of_block < 0).all():
                continue
            scaled = self._scaler.transform(codes.astype(np.float64))
            for place in range(len(values)):
                for trial in np.unique(of_block[of_block >= 0]):
                    own = np.flatnonzero(of_block == trial)
                    scores = class_scores(models[place, trial], scaled[own], self.recipe)
                    y = rows.y[positions[own]]
                    counts = self.recipe.loss(scores, y) * self._weight(y)
                    loss[place] += counts.sum()
                    right[place] += (scores.argmax(axis=1) == y).sum()
                    kept[place].put(positions[own], scores)
        return [Tried(float(loss[i]), int(right[i]), kept[i].scores) for i in range(len(values))]

    @abstractmethod
    def final(self, rows: Rows, C: float) -> Fitted:
        """Fit on all of some rows."""

    @abstractmethod
    def _fit_trials(self, values: Sequence[float]) -> dict[tuple[int, int], Any]:
        """Return classifiers by the place of C and the trial; set `_scaler`."""

    def _measured(self, rows: Rows) -> ParetoScaler:
        scaler = ParetoScaler(with_mean=self.recipe.centred, widths=self.recipe.widths)
        scaler.fit_codes(rows.codes)
        sizes = np.abs(scaler.mean_).max(), np.sqrt(scaler.var_).max()
        if max(sizes) > _LARGE or 0 < sizes[1] < 1 / _LARGE:
            raise HeadError(
                f"expected codes of ordinary size, found deviations up to {sizes[1]:.3g} and means "
                f"up to {sizes[0]:.3g}; scale them first"
            )
        return scaler

    def _learned(self) -> Rows:
        """Return the rows that a trial learns from, or holds out to learn from in the others."""
        assert self.trials is not None  # noqa: S101
        held_out = self.trials.held_out
        if (held_out < 0).any():  # validation rows, which are learned from in no trial
            return self.rows.take(np.flatnonzero(held_out < 0))
        return self.rows

    def _weight(self, y: NDArray[np.int64]) -> F64 | float:
        weights = self.recipe.weights
        return 1.0 if weights is None else np.array([weights[label] for label in y.tolist()])


class FitsInMemory(Fits):
    """Fits of scikit-learn's own solver for each kind, on codes in memory."""

    _X: NDArray[Any] | None = None
    _room: NDArray[Any] | None = None

    def _fit_trials(self, values: Sequence[float]) -> dict[tuple[int, int], Any]:
        from joblib import Parallel, delayed

        assert self.trials is not None  # noqa: S101
        if self._X is None:
            learned = self._learned()
            self._scaler = self._measured(learned)
            self._X, self._y = self._scaled(learned, self._scaler), learned.y
        asked = [(i, t) for i in range(len(values)) for t in range(self.trials.count)]
        with _quiet(self._X):
            # In processes: liblinear has one generator of random numbers for all threads, which
            # would make two fits at a time depend on each other.
            jobs = self.recipe.jobs if self._X.size >= _FEW else 1
            with Parallel(n_jobs=jobs) as parallel:
                fits = parallel(
                    delayed(_fit)(self.recipe.classifier(values[i]), self._X, self._y, self._own(t))
                    for i, t in asked
                )
        return dict(zip(asked, fits, strict=True))

    def final(self, rows: Rows, C: float) -> Fitted:
        """Fit on all of some rows."""
        scaler = self._measured(rows)
        X = self._scaled(rows, scaler)
        with _quiet(X):
            classifier = self.recipe.classifier(C).fit(X, rows.y)
        return Fitted(scaler, classifier, converged(classifier))

    def _own(self, trial: int) -> NDArray[np.bool_] | None:
        """Return which rows a trial learns from; None for all."""
        assert self.trials is not None  # noqa: S101
        held_out = self.trials.held_out
        return held_out != trial if len(self.trials.rows) == len(held_out) else None

    def _scaled(self, rows: Rows, scaler: ParetoScaler) -> NDArray[Any]:
        """Scale codes, in 64 bits where the classifier would make a copy in these itself."""
        if self._room is None:  # the only copy, written over when the last fit comes
            dtype = np.float64 if self.recipe.double else np.float32
            self._room = np.empty((len(self.rows), rows.codes.width), dtype)
        X = self._room[: len(rows)]
        for positions, codes in rows.codes.blocks():
            X[positions] = scaler.transform(codes)
        return X


def _fit(
    classifier: Any, X: NDArray[Any], y: NDArray[np.int64], own: NDArray[np.bool_] | None
) -> Any:
    """Fit on some rows, which may be in a process of its own."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return classifier.fit(X, y) if own is None else classifier.fit(X[own], y[own])


class FitsInPasses(Fits):
    """Averaged stochastic gradient descent on codes that are read in every pass."""

    two_at_once = True

    def _fit_trials(self, values: Sequence[float]) -> dict[tuple[int, int], Any]:
        assert self.trials is not None  # noqa: S101
        learned = self._learned()
        if not hasattr(self, "_scaler"):
            self._scaler = self._measured(learned)
        trials = self.trials.count
        folds = self.trials.held_out if trials > 1 else np.full(len(learned), -1)
        asked = [(i, t) for i in range(len(values)) for t in range(trials)]
        models = {at: self._classifier(values[at[0]], len(learned)) for at in asked}
        self._descend(learned, self._scaler, {m: folds != at[1] for at, m in models.items()})
        return models

    def final(self, rows: Rows, C: float) -> Fitted:
        """Fit on all of some rows."""
        scaler = self._measured(rows)
        classifier = self._classifier(C, len(rows))
        self._descend(rows, scaler, {classifier: np.ones(len(rows), bool)})
        return Fitted(scaler, classifier, converged=True)

    def _classifier(self, C: float, count: int) -> Any:
        from sklearn.linear_model import SGDClassifier

        return SGDClassifier(
            loss=self.recipe.sgd,
            alpha=1 / (C * count),  # its loss is a mean, that of the others a sum
            average=count,  # from the second pass on
            class_weight=self.recipe.weights,
            random_state=self.recipe.seed,
        )

    def _descend(
        self, rows: Rows, scaler: ParetoScaler, models: dict[Any, NDArray[np.bool_]]
    ) -> None:
        """Show the models the rows that each learns from, in random order, pass after pass."""
        rng = np.random.default_rng(self.recipe.seed)
        pool = pool_for(rows, room=self.recipe.room)
        numbered = Rows(codes=rows.codes, y=np.arange(len(rows)))
        classes, batch = np.arange(self.n_classes), block_rows(rows.codes.width)

        def learn(model: Any, X: NDArray[Any], of_rows: NDArray[np.int64]) -> None:
            own = models[model][of_rows]
            if own.any():
                model.partial_fit(X[own], rows.y[of_rows[own]], classes=classes)

        # A thread for each model: those of SGDClassifier are for the classes of one block, which
        # is done before they have started.
        with ThreadPoolExecutor(min(len(models), self.recipe.jobs)) as threads:
            for _ in range(max(_PASSES, -(-_ROWS_SEEN // len(rows)))):
                for parts, places in shuffled(numbered, batch_size=batch, pool=pool, rng=rng):
                    for codes, of_rows in zip(parts, places, strict=True):
                        X = scaler.transform(codes)
                        list(threads.map(partial(learn, X=X, of_rows=of_rows), models))


def class_scores(classifier: Any, X: F64, recipe: Recipe) -> F64:
    """Return a classifier's scores of scaled codes (m, d) for each class: (m, k)."""
    return both(np.asarray(classifier.decision_function(X), np.float64), logits=recipe.centred)


def both(scores: F64, *, logits: bool) -> F64:
    """Turn the one score of two classes (m,) into one for each; of more they are as they are."""
    if scores.ndim == 2:
        return scores
    scores = scores / 2 if logits else scores
    return np.stack([-scores, scores], axis=1)


def converged(classifier: Any) -> bool:
    """Whether a solver came to its end."""
    steps = getattr(classifier, "n_iter_", None)
    return steps is None or int(np.max(steps)) < classifier.max_iter


@contextmanager
def _quiet(X: NDArray[Any]) -> Iterator[None]:
    """Keep threads of BLAS out of small fits; what did not converge is noted, not printed."""
    from threadpoolctl import threadpool_limits

    with (
        threadpool_limits(1 if X.size < _FEW else None, user_api="blas"),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        yield
