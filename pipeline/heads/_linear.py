"""Heads with one weight for each code and class, fitted by scikit-learn."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from pipeline.common.choices import ClassWeight, HeadKind
from pipeline.common.errors import HeadError
from pipeline.common.listener import Progress
from pipeline.common.steps import Step, dense
from pipeline.heads._calibration import HeldOut, calibrate
from pipeline.heads._choice import class_weights, next_places, own_class
from pipeline.heads._codes import Rows
from pipeline.heads._fits import (
    F64,
    FitsInMemory,
    FitsInPasses,
    Fitted,
    Recipe,
    Trials,
    Tried,
    both,
)
from pipeline.heads._folds import FOLDS
from pipeline.heads._head import Head
from pipeline.heads._scaler import ParetoScaler

# Beyond these all weights are 0, or the loss is all there is.
_C_RANGE = (1e-12, 1e12)
# The score of a class that an earlier version had no training images of: still a finite number.
NEVER = -float(np.finfo(np.float32).max)
_STEPS = 1000


class LinearHead(Head):
    """
    What the linear heads share: scaling, the choice of C, and one matrix product to predict.

    ``estimator_`` is a pipeline of a `ParetoScaler` and scikit-learn's classifier.

    Parameters
    ----------
    C : float or "auto"
        Inverse strength of the regularisation, as in scikit-learn. ``"auto"`` takes the best of
        `C_GRID` on the validation rows, without these by cross-validation: the one with the
        smallest loss, where loss is what the kind itself minimises. (On 100 to 150 images accuracy
        jumps by chance, and its best C was up to 8 points worse on others. Over 14 tasks, eight
        splits of each, choosing by accuracy or by one standard error of either got 0.04 points
        more of the test images right at the best, and 0.5 points less at the worst.) The loss has
        one valley: the search starts in the middle of the grid and goes on while it falls.
        Whenever validation rows are given, the head is in the end fitted on training and
        validation rows together.
    class_weight : dict, "balanced" or None
        What an image counts, by its class; as in scikit-learn.
    seed : int
        Seed of the folds and of the classifier.
    refit : bool
        Whether to fit on training and validation rows together in the end, where these are given.
    folds : int
        Of the cross-validation without validation rows.
    widths : tuple of int, optional
        See `ParetoScaler`.
    room : int
        Bytes for shuffling codes that are not in memory.
    jobs : int, optional
        Fits of an svm at the same time; by default one for each processor.
    """

    C_GRID: ClassVar[tuple[float, ...]]
    C_DEFAULT: ClassVar[float]
    _learned = "coef_"
    _loss_name: ClassVar[str]
    _sgd: ClassVar[str | None] = None  # the loss that SGDClassifier minimises instead
    _centred: ClassVar[bool] = False
    _double: ClassVar[bool] = False

    def __init__(
        self,
        *,
        C: float | str = "auto",
        class_weight: Mapping[Any, float] | str | None = None,
        seed: int = 0,
        refit: bool = True,
        folds: int = FOLDS,
        widths: Sequence[int] | None = None,
        room: int = 1 << 29,
        jobs: int | None = None,
    ) -> None:
        self.C = C
        self.class_weight = class_weight
        self.seed = seed
        self.refit = refit
        self.folds = folds
        self.widths = widths
        self.room = room
        self.jobs = jobs

    def check_parameters(self) -> None:
        """Raise HeadError unless C is "auto" or a positive number, and folds are two or more."""
        super().check_parameters()
        if isinstance(self.C, str) and self.C == "auto":
            return
        if isinstance(self.C, bool | str) or not _C_RANGE[0] <= self.C <= _C_RANGE[1]:
            low, high = _C_RANGE
            raise HeadError(
                f"expected --C auto or a number from {low:g} to {high:g}, found {self.C!r}"
            )

    @property
    def parameters(self) -> dict[str, Any]:
        """C as asked for, and once fitted the C used, the curve it was chosen from, and notes."""
        weight = "none" if self.class_weight is None else self.class_weight
        asked = {"C": self.C, "class_weight": weight, "seed": self.seed}
        return {**asked, **self.chosen_} if hasattr(self, "chosen_") else asked

    def arrays(self) -> dict[str, NDArray[Any]]:
        """
        Return what was learned.

        Returns
        -------
        dict of str to array
            ``coef`` (k, d), ``bias`` (k,) and ``scale`` (d,): scores are
            ``codes / scale @ coef.T + bias``; of a centred kind also ``mean`` (d,) and
            ``intercept`` (k,), with which they are ``(codes - mean) / scale @ coef.T + intercept``.
        """
        named = {"coef": self.coef_, "bias": self.bias_, "scale": self.scale_}
        if self.mean_ is not None:
            named |= {"mean": self.mean_, "intercept": self.intercept_}
        return named

    @classmethod
    def from_arrays(cls, parameters: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Self:
        """Rebuild a fitted head from `parameters` and `arrays`."""
        weight = ClassWeight(parameters.get("class_weight", ClassWeight.none))
        head = cls(
            C=parameters["C"],
            class_weight=None if weight is ClassWeight.none else weight.value,
            seed=parameters["seed"],
        )
        head.check_parameters()
        asked = head.parameters
        head.chosen_ = {k: v for k, v in parameters.items() if k not in asked}
        coef, bias, scale = (arrays[name] for name in ("coef", "bias", "scale"))
        mean, intercept = arrays.get("mean"), arrays.get("intercept")
        if coef.ndim != 2 or bias.shape != coef.shape[:1] or scale.shape != coef.shape[1:]:
            raise HeadError(
                f"expected coef (k, d), bias (k,) and scale (d,), "
                f"found {coef.shape}, {bias.shape} and {scale.shape}"
            )
        if mean is not None and (
            intercept is None or mean.shape != scale.shape or intercept.shape != bias.shape
        ):
            raise HeadError("expected mean (d,) and intercept (k,)")
        head.classes_ = np.arange(len(coef))
        head._keep(coef, bias if intercept is None else intercept, scale, mean)
        head.bias_ = bias
        return head

    def _fit(self, train: Rows, val: Rows | None, progress: Progress) -> None:
        trials = self._trials(train, val)
        rows = train if val is None else train.plus(val)
        streamed = not rows.codes.in_memory
        if streamed and self._sgd is None:
            raise HeadError(
                f"expected the codes of a {self.kind.value} head in memory, found that they do not "
                "fit; allow more with --memory, or use --kind svm or softmax"
            )
        fits = (FitsInPasses if streamed else FitsInMemory)(
            self._recipe(rows.y), rows, trials, self.n_classes_
        )
        chosen, steps = self._choose(fits, progress)
        both_sets = val is not None and self.refit
        fitted = fits.final(rows if both_sets else train, chosen["C_used"])
        self.chosen_ = {
            **chosen,
            "fitted_on": "train and val" if both_sets else "train",
            "fitted_by": type(fitted.classifier).__name__,
            "converged": fitted.converged,
        }
        self._take(fitted)
        progress(steps, steps)

    def _choose(
        self, fits: FitsInMemory | FitsInPasses, progress: Progress
    ) -> tuple[dict[str, Any], int]:
        """Choose C; return what to remember of the choice, and the steps taken in all."""
        grid = self.C_GRID if isinstance(self.C, str) else (float(self.C),)
        if fits.trials is None:
            if len(grid) == 1:
                return {"C_used": grid[0]}, 1
            note = "too few images to choose C; this is the default"
            return {"C_used": self.C_DEFAULT, "note": note}, 1
        tried: dict[int, Tried] = {}
        middle = (len(grid) - 1) // 2
        wanted = [middle, middle + 1] if len(grid) > 1 else [0]
        while wanted:
            progress(len(tried), len(grid) + 1)
            tried |= zip(wanted, fits.attempt([grid[i] for i in wanted]), strict=True)
            # The first of equals: the smallest C, that is the strongest regularisation.
            best = min(sorted(tried), key=lambda place: tried[place].loss)
            # The scores of all others may take gigabytes.
            tried |= {i: tried[i]._replace(scores=None) for i in tried if i != best}
            wanted = next_places(best, tried, len(grid), two=fits.two_at_once)
        self._judge(tried[best], fits.trials, fits.rows)
        if len(grid) == 1:
            return {"C_used": grid[0]}, 2
        images = len(fits.trials.rows)
        return {
            "C_used": grid[best],
            "C_curve": [[grid[i], tried[i].right / images] for i in sorted(tried)],
            "C_losses": [[grid[i], tried[i].loss / images] for i in sorted(tried)],
            "C_chosen_by": f"{self._loss_name} on {fits.trials.how}",
        }, len(grid) + 1

    def _judge(self, tried: Tried, trials: Trials, rows: Rows) -> None:
        """Note what the rows that were held out say about the head."""
        count = len(trials.rows)
        assert tried.scores is not None  # noqa: S101 - the best keeps them
        kept = trials.rows[np.arange(len(tried.scores)) * count // len(tried.scores)]
        self._note(tried.right, count, calibrate(tried.scores, rows.y[kept], how=trials.how))
        if len(kept) == count:
            self.held_out_ = HeldOut(kept, tried.scores)

    def _recipe(self, y: NDArray[np.int64]) -> Recipe:
        from joblib import cpu_count

        weights = class_weights(self.class_weight, y, self.classes_)
        return Recipe(
            classifier=partial(self._classifier, weights=weights),
            loss=self._loss,
            sgd=self._sgd,
            centred=self._centred,
            double=self._double,
            weights=weights,
            widths=self.widths,
            seed=self.seed,
            room=self.room,
            # Solvers made of matrix products have threads of their own.
            jobs=(self.jobs or cpu_count()) if self._double else 1,
        )

    @abstractmethod
    def _classifier(self, C: float, *, weights: dict[int, float] | None) -> Any:
        """Make scikit-learn's classifier."""

    @staticmethod
    @abstractmethod
    def _loss(scores: F64, y: NDArray[np.int64]) -> F64:
        """Return the loss of each row: scores (m, k) and labels (m,) to (m,)."""

    def _take(self, fitted: Fitted) -> None:
        """Keep what scikit-learn has found."""
        coef = np.atleast_2d(fitted.classifier.coef_)
        intercept = np.atleast_1d(fitted.classifier.intercept_)
        if len(coef) == 1:  # of two classes, seen from one side
            coef = both(coef[0], logits=self.gives_logits).T
            intercept = both(intercept, logits=self.gives_logits)[0]
        mean = fitted.scaler.mean_ if self._centred else None
        self._keep(coef, intercept, fitted.scaler.scale_, mean)

    def _keep(
        self, coef: NDArray[Any], intercept: NDArray[Any], scale: F64, mean: F64 | None
    ) -> None:
        # Products of another layout in memory have other last bits than when read back.
        self.coef_ = np.ascontiguousarray(coef)
        self.intercept_, self.scale_, self.mean_ = intercept, scale, mean
        self._weights = (self.coef_.astype(np.float64) / scale).T
        self.bias_ = intercept.astype(np.float64)
        if mean is not None:
            self.bias_ = self.bias_ - mean @ self._weights
        self.n_features_in_ = coef.shape[1]

    @property
    def estimator_(self) -> Any:
        """Scikit-learn's pipeline of scaler and classifier, fitted."""
        self.check_fitted()
        return _fitted_pipeline(self)

    def _folded(self, slope: float) -> tuple[Step, ...]:
        bias = np.maximum(slope * self.bias_, NEVER / 2)  # which no step can make infinite
        return (dense(slope * self._weights, bias),)

    def _decision(self, codes: NDArray[np.float32]) -> F64:
        return np.asarray(codes.astype(np.float64) @ self._weights + self.bias_)


class SvmHead(LinearHead):
    """A linear support vector machine with the squared hinge loss; see `LinearHead`."""

    kind = HeadKind.svm
    gives_logits = False
    C_GRID = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)
    C_DEFAULT = 1e-2
    _loss_name = "squared hinge loss"
    _sgd = "hinge"  # steps of the squared one know no bound: on wide columns it found nothing
    _double = True

    def _classifier(self, C: float, *, weights: dict[int, float] | None) -> Any:
        from sklearn.svm import LinearSVC

        # With codes divided by their deviations test accuracy was the same from 1e-4 to 1e-1.
        return LinearSVC(
            C=C, class_weight=weights, dual=True, tol=0.1, max_iter=_STEPS, random_state=self.seed
        )

    @staticmethod
    def _loss(scores: F64, y: NDArray[np.int64]) -> F64:
        short = np.maximum(1 - np.where(own_class(scores, y), scores, -scores), 0)
        return np.asarray((short**2).sum(axis=1))


class SoftmaxHead(LinearHead):
    """Softmax regression; see `LinearHead`. Centred codes take a third of the steps."""

    kind = HeadKind.softmax
    gives_logits = True
    C_GRID = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)
    C_DEFAULT = 1e-1
    _loss_name = "log loss"
    _sgd = "log_loss"
    _centred = True

    def _classifier(self, C: float, *, weights: dict[int, float] | None) -> Any:
        from sklearn.linear_model import LogisticRegression

        # The gradient of a mean loss: what is small depends on the scale of the codes. With centred
        # columns of variance 1, test loss and accuracy were those of 1e-3, in half the steps.
        return LogisticRegression(C=C, class_weight=weights, tol=1e-2, max_iter=_STEPS)

    @staticmethod
    def _loss(scores: F64, y: NDArray[np.int64]) -> F64:
        own = np.take_along_axis(scores, y[:, None], axis=1)[:, 0]
        return np.asarray(np.logaddexp.reduce(scores, axis=1) - own)


class RidgeHead(LinearHead):
    """Ridge regression on targets of 1 for the own class, else -1; see `LinearHead`."""

    kind = HeadKind.ridge
    gives_logits = False
    C_GRID = tuple(10.0 ** (exponent / 2) for exponent in range(-14, 1))
    C_DEFAULT = 1e-3
    _loss_name = "squared error"

    def _classifier(self, C: float, *, weights: dict[int, float] | None) -> Any:
        from sklearn.linear_model import RidgeClassifier

        return RidgeClassifier(alpha=1 / C, class_weight=weights)

    @staticmethod
    def _loss(scores: F64, y: NDArray[np.int64]) -> F64:
        return np.asarray(((scores - np.where(own_class(scores, y), 1.0, -1.0)) ** 2).sum(axis=1))


def _fitted_pipeline(head: LinearHead) -> Any:
    """Return scikit-learn's estimators with what a head has learned."""
    from sklearn.linear_model import RidgeClassifier, SGDClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import LabelBinarizer

    scaler = ParetoScaler(with_mean=head.mean_ is not None, widths=head.widths)
    scaler.scale_, scaler.mean_ = head.scale_, head.mean_
    C = float(head.chosen_.get("C_used", head.C_DEFAULT))
    if head.chosen_.get("fitted_by") == SGDClassifier.__name__:
        classifier = SGDClassifier(loss=head._sgd, average=True)
    else:
        classifier = head._classifier(C, weights=None)
    coef, intercept = head.coef_, head.intercept_
    if len(coef) == 2:  # scikit-learn keeps one side
        coef, intercept = coef[1:], intercept[1:]
        if head.gives_logits:
            coef, intercept = 2 * coef, 2 * intercept
    # In memory as the classifiers leave them: products of another layout have other last bits.
    classifier.coef_ = np.asfortranarray(coef)
    classifier.intercept_, classifier.classes_ = intercept, head.classes_
    if isinstance(classifier, RidgeClassifier):
        classifier.coef_ = classifier.coef_[0] if len(coef) == 1 else classifier.coef_
        classifier._label_binarizer = LabelBinarizer(pos_label=1, neg_label=-1).fit(head.classes_)
    scaler.n_features_in_ = classifier.n_features_in_ = head.n_features_in_
    return make_pipeline(scaler, classifier)
