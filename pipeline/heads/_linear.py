"""Heads with one weight for each code and class; of these a linear SVM and softmax regression."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from pipeline.choices import ClassWeight, HeadKind
from pipeline.errors import HeadError
from pipeline.heads import _solver
from pipeline.heads._calibration import HeldOut, Kept, calibrate
from pipeline.heads._codes import Moments, Rows, moments
from pipeline.heads._folded import Step, dense
from pipeline.heads._head import Head, Progress
from pipeline.heads._solver import F32, Loss, Models, Task

# The score of a class without training images: never the highest, and still a finite number.
NEVER = -float(np.finfo(np.float32).max)
FOLDS = 3
# Beyond these all weights are 0, or the loss is all there is.
_C_RANGE = (1e-12, 1e12)
_LARGE = 1e30
# How far gradients are brought down, see `solve`. On 20,000 x 4,096 generated codes a tenth of it
# took up to twice as long, and test accuracy was the same to the last image but one.
_ACCURACY = 1e-2


class LinearHead(Head):
    """
    What the linear heads share: scaling, the choice of C, and one matrix product to predict.

    Each column of codes is divided by a scale, see `Moments.scale`.

    Parameters
    ----------
    C : float or "auto"
        Inverse strength of the regularisation: C times the summed loss plus half the sum of
        squares of the weights is minimised, as in scikit-learn; the bias is not regularised.
        ``"auto"`` takes the best of `C_GRID` on the validation rows, without these by
        cross-validation: the one with the smallest loss, where loss is what the kind itself
        minimises. (On 100 to 150 images accuracy jumps by chance, and its best C was up to 8
        points worse on others.) Whenever validation rows are given, the head is in the end
        fitted on training and validation rows together.
    class_weight : ClassWeight
        What an image counts, by its class.
    seed : int
        Seed of the folds.
    refit : bool
        Whether to fit on training and validation rows together in the end, where these are given.
    room : int
        Bytes that may be used beside the codes; with less, values of C are tried one after the
        other instead of at the same time.
    """

    C_GRID: ClassVar[tuple[float, ...]]
    C_DEFAULT: ClassVar[float]
    _learned = "coef_"
    _loss: ClassVar[Loss]
    _loss_name: ClassVar[str]

    def __init__(
        self,
        *,
        C: float | str = "auto",
        class_weight: ClassWeight = ClassWeight.none,
        seed: int = 0,
        refit: bool = True,
        room: int = 1 << 29,
    ) -> None:
        self.refit = refit
        self.C = C
        self.class_weight = class_weight
        self.seed = seed
        self.room = room

    def check_parameters(self) -> None:
        """Raise HeadError unless C is "auto" or a positive number."""
        if self.C == "auto":
            return
        if isinstance(self.C, bool | str) or not _C_RANGE[0] <= self.C <= _C_RANGE[1]:
            low, high = _C_RANGE
            raise HeadError(
                f"expected --C auto or a number from {low:g} to {high:g}, found {self.C!r}"
            )

    @property
    def parameters(self) -> dict[str, Any]:
        """C as asked for, and once fitted the C used, the curve it was chosen from, and notes."""
        asked = {"C": self.C, "class_weight": self.class_weight.value, "seed": self.seed}
        return {**asked, **self.chosen_} if hasattr(self, "chosen_") else asked

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return ``coef`` (k, d), ``bias`` (k,) and ``scale`` (d,), all float64."""
        return {"coef": self.coef_, "bias": self.bias_, "scale": self.scale_}

    @classmethod
    def from_arrays(cls, parameters: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Self:
        """Rebuild a fitted head from `parameters` and `arrays`."""
        weight = ClassWeight(parameters.get("class_weight", ClassWeight.none))
        head = cls(C=parameters["C"], class_weight=weight, seed=parameters["seed"])
        head.check_parameters()
        asked = head.parameters
        head.chosen_ = {k: v for k, v in parameters.items() if k not in asked}
        coef, bias, scale = (arrays[name] for name in ("coef", "bias", "scale"))
        if coef.ndim != 2 or bias.shape != coef.shape[:1] or scale.shape != coef.shape[1:]:
            raise HeadError(
                f"expected coef (k, d), bias (k,) and scale (d,), "
                f"found {coef.shape}, {bias.shape} and {scale.shape}"
            )
        head._keep(coef, bias, scale)
        return head

    def _fit(self, train: Rows, val: Rows | None, progress: Progress) -> None:
        everything = train if val is None else train.plus(val)
        self._labels, y = np.unique(everything.y, return_inverse=True)
        rows = Rows(codes=everything.codes, y=y)
        own = Rows(codes=train.codes, y=y[: len(train)])
        self._moments = moments(rows.codes)
        _check_sizes(self._moments)
        held_out, how = _held_out(train, val, self.seed)
        trials = 0 if held_out is None else int(held_out.max()) + 1
        steps = trials * len(self._grid) + 1
        start, chosen = self._begin(
            rows, held_out, how, lambda done: progress(min(done, steps - 1), steps)
        )
        both = val is not None and self.refit
        final = self._solve(self._task(rows if both else own), start, accuracy=_ACCURACY)
        progress(steps, steps)
        self.chosen_ = {
            "C_used": float(start.C[0]),
            **chosen,
            "fitted_on": "train and val" if both else "train",
            "converged": bool(final.converged.all()),
        }
        self._keep(*self._unfolded(final.weights[:, 0]), self._moments.scale)

    @property
    def _grid(self) -> tuple[float, ...]:
        return self.C_GRID if self.C == "auto" else (float(self.C),)

    def _begin(
        self,
        rows: Rows,
        held_out: NDArray[np.int64] | None,
        how: str,
        progress: Callable[[int], None],
    ) -> tuple[Models, dict[str, Any]]:
        """Choose C; return a model with it to go on from, and what to remember of the choice."""
        grid, size = self._grid, {"width": rows.codes.width, "classes": len(self._labels)}
        if held_out is None:
            note = {"note": "too few images to choose C; this is the default"}
            C = self.C_DEFAULT if self.C == "auto" else grid[0]
            return Models.zero([C], trials=1, **size), note if self.C == "auto" else {}
        task = self._task(rows, held_out)
        zero = Models.zero(grid, trials=int(held_out.max()) + 1, **size)
        tried = self._solve(task, zero, accuracy=_ACCURACY, progress=progress)
        right, losses = (
            np.array([values[tried.C == C].sum() for C in grid])
            for values in (tried.right, tried.loss)
        )
        images = int((held_out >= 0).sum())
        # argmin takes the first of equals: the smallest C, that is the strongest regularisation.
        best = int(losses.argmin())
        chosen = tried.take(np.flatnonzero(np.equal(tried.C, grid[best])))
        self.validation_ = {"accuracy": float(right[best] / images), "images": images, "how": how}
        self._calibrate(task, chosen, how)
        if len(grid) == 1:
            return chosen.take(np.arange(1)), {}
        return chosen.take(np.arange(1)), {
            "C_curve": [[C, float(v)] for C, v in zip(grid, right / images, strict=True)],
            "C_losses": [[C, float(v)] for C, v in zip(grid, losses / images, strict=True)],
            # Behind a C that had converged, when these had not: their losses are of the moment.
            "C_given_up": [C for C in grid if not tried.converged[tried.C == C].all()],
            "C_chosen_by": f"{self._loss_name} on {how}",
        }

    def _task(self, rows: Rows, held_out: NDArray[np.int64] | None = None) -> Task:
        return Task(
            rows=rows,
            loss=self._loss,
            moments=self._moments,
            class_weights=class_weights(rows.y, self.class_weight, classes=len(self._labels)),
            held_out=held_out,
        )

    def _solve(
        self,
        task: Task,
        models: Models,
        *,
        accuracy: float,
        progress: Callable[[int], None] = lambda done: None,
    ) -> Models:
        """Fit models; ridge has a shorter way."""
        return _solver.solve(task, models, accuracy=accuracy, room=self.room, progress=progress)

    def _calibrate(self, task: Task, models: Models, how: str) -> None:
        """Learn from the scores of held-out rows what they say about being right."""
        held_out, scale = task.held_out, self._moments.scale
        assert held_out is not None  # noqa: S101 - rows are held out wherever C is tried
        out = np.flatnonzero(held_out >= 0)
        kept = Kept(out, total=len(held_out), classes=len(self._labels))
        folded = [self._unfolded(models.weights[:, trial]) for trial in range(len(models))]
        for positions, codes in task.rows.codes.blocks():
            for trial, (coef, bias) in enumerate(folded):
                wanted = (held_out[positions] == trial) & kept.has(positions)
                own = coef[self._labels] / scale
                kept.put(positions[wanted], codes[wanted] @ own.T + bias[self._labels])
        self.calibration_ = calibrate(kept.scores, task.rows.y[kept.rows], how=how)
        if len(kept.rows) == len(out):
            scores = np.full((len(out), self.n_classes_), NEVER)
            scores[:, self._labels] = kept.scores
            self.held_out_ = HeldOut(kept.rows, scores)

    def _unfolded(
        self, weights: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Turn weights for centred codes of the classes present into coef (k, d) and bias (k,)."""
        if weights.shape[1] == 2:  # one problem, seen from both sides
            weights = (weights - weights[:, ::-1]) / 2
        mean = self._moments.mean / self._moments.scale
        coef = np.zeros((self.n_classes_, self.n_features_))
        bias = np.full(self.n_classes_, NEVER)
        coef[self._labels] = weights[:-1].T
        bias[self._labels] = weights[-1] - mean @ weights[:-1]
        return coef, bias

    def _keep(
        self, coef: NDArray[np.float64], bias: NDArray[np.float64], scale: NDArray[np.float64]
    ) -> None:
        self.coef_, self.bias_, self.scale_ = coef, bias, scale
        self._weights = (coef / scale).T
        self.n_classes_, self.n_features_ = coef.shape

    def _folded(self, slope: float) -> tuple[Step, ...]:
        bias = np.maximum(slope * self.bias_, NEVER / 2)  # which no step can make infinite
        return (dense(slope * self._weights, bias),)

    def _decision(self, codes: NDArray[np.float32]) -> NDArray[np.float64]:
        return np.asarray(codes.astype(np.float64) @ self._weights + self.bias_)


class _SquaredHinge:
    """The loss of scikit-learn's LinearSVC: each class against the rest."""

    joint = False

    def penalty(self, n_classes: int) -> float:
        return 1.0

    def __call__(self, scores: F32, y: NDArray[np.int64], weights: F32) -> tuple[F32, F32]:
        own = (y[:, None] == np.arange(len(weights)))[:, None]
        sign = np.where(own, np.float32(1), np.float32(-1))
        short = sign * scores
        np.subtract(1, short, out=short)
        np.maximum(short, 0, out=short)
        # As in LinearSVC, only the images of a class itself count by its weight.
        slopes = short * (-2 * sign * np.where(own, weights, np.float32(1)))
        return np.multiply(slopes, short * (-sign / 2), out=short), slopes


class _LogLoss:
    """The loss of scikit-learn's LogisticRegression: multinomial, for two classes one sigmoid."""

    joint = True

    def penalty(self, n_classes: int) -> float:
        # Of two classes scikit-learn penalises w and not (-w / 2, w / 2), half of whose square it
        # is.
        return 2.0 if n_classes == 2 else 1.0

    def __call__(self, scores: F32, y: NDArray[np.int64], weights: F32) -> tuple[F32, F32]:
        rows = np.arange(len(y))
        truth = scores[rows, :, y].copy()
        highest = scores.max(axis=2, keepdims=True)
        powers = np.exp(np.subtract(scores, highest, out=scores), out=scores)
        total = powers.sum(axis=2, keepdims=True)
        losses = np.log(total) + highest - truth[:, :, None]
        slopes = np.divide(powers, total, out=powers)
        slopes[rows, :, y] -= 1
        of_row = weights[y][:, None, None]
        return losses * of_row, slopes * of_row


class SvmHead(LinearHead):
    """A linear support vector machine with the squared hinge loss; see `LinearHead`."""

    kind = HeadKind.svm
    gives_logits = False
    C_GRID = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)
    C_DEFAULT = 1e-2
    _loss = _SquaredHinge()
    _loss_name = "squared hinge loss"


class SoftmaxHead(LinearHead):
    """Softmax regression; see `LinearHead`."""

    kind = HeadKind.softmax
    gives_logits = True
    C_GRID = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)
    C_DEFAULT = 1e-1
    _loss = _LogLoss()
    _loss_name = "log loss"


def class_weights(y: NDArray[np.int64], which: ClassWeight, *, classes: int) -> NDArray[np.float64]:
    """
    Return what an image of each class counts.

    ``balanced`` is scikit-learn's: images / (classes x images of the class).
    """
    if which is ClassWeight.none:
        return np.ones(classes)
    counts = np.bincount(y, minlength=classes)
    return len(y) / (np.count_nonzero(counts) * np.maximum(counts, 1.0))


def _check_sizes(measured: Moments) -> None:
    """Refuse codes that products of 32 bits cannot hold, or whose differences vanish in them."""
    sizes = np.abs(measured.mean).max(), measured.deviation.max()
    if max(sizes) > _LARGE or 0 < sizes[1] < 1 / _LARGE:
        raise HeadError(
            f"expected codes of ordinary size, found deviations up to {sizes[1]:.3g} and means up "
            f"to {sizes[0]:.3g}; scale them first"
        )


def _held_out(train: Rows, val: Rows | None, seed: int) -> tuple[NDArray[np.int64] | None, str]:
    """Number the trial that each row is held out of: the validation rows, or else folds."""
    if val is not None:
        return np.repeat([-1, 0], [len(train), len(val)]), "validation images"
    from sklearn.model_selection import StratifiedKFold

    smallest = int(np.bincount(train.y)[np.unique(train.y)].min())
    if smallest < 2:
        return None, ""
    count = min(FOLDS, smallest)
    folds = StratifiedKFold(count, shuffle=True, random_state=seed)
    held_out = np.empty(len(train), np.int64)
    for fold, (_, rows) in enumerate(folds.split(np.zeros((len(train), 1)), train.y)):
        held_out[rows] = fold
    return held_out, f"{count}-fold cross-validation"
