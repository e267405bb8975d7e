"""Heads with one weight for each code and class; of these a linear SVM and softmax regression."""

from __future__ import annotations

import math
import warnings
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pipeline.choices import HeadKind
from pipeline.errors import HeadError
from pipeline.heads._head import Head, Progress, Rows, softmax

# coef (k, d), bias (k,), scale (d,), and whether the solver came to its end.
Solution = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], bool]

# The score of a class without training images: never the highest, and still a finite number.
NEVER = -float(np.finfo(np.float32).max)
# liblinear counts the non-zero codes in 32 bits (struct `problem` and train.c of liblinear).
_LIBLINEAR_LIMIT = 2**31 - 1
_FOLDS = 3
# Up to so many codes the matrix products of one lbfgs step take less time than waiting for a
# second thread: with another program on one of two processors, 600 x 1280 took 36 s instead of 0.8.
_SMALL = 1 << 24


class LinearHead(Head):
    """
    What the linear heads share: scaling, the choice of C, and one matrix product to predict.

    Each column of codes is divided by a scale (see `column_scale`) and not centred, for centring
    would destroy the sparsity that ReLU leaves in them.

    Parameters
    ----------
    C : float or "auto"
        Inverse strength of the regularisation. ``"auto"`` takes the best of `C_GRID` on the
        validation rows, without these by cross-validation: the one with the smallest loss, where
        loss is what the kind itself minimises. (On 100 to 150 images accuracy jumps by chance,
        and its best C was up to 8 points worse on others.) Whenever validation rows are given,
        the head is in the end fitted on training and validation rows together.
    seed : int
        Seed of the solver and of the folds.
    """

    C_GRID: ClassVar[tuple[float, ...]]
    C_DEFAULT: ClassVar[float]
    _learned = "coef_"
    _loss_name: ClassVar[str]

    def __init__(self, *, C: float | str = "auto", seed: int = 0) -> None:
        self.C = C
        self.seed = seed

    def check_parameters(self) -> None:
        """Raise HeadError unless C is "auto" or a positive number."""
        if self.C == "auto":
            return
        if isinstance(self.C, bool | str) or not (math.isfinite(self.C) and self.C > 0):
            raise HeadError(f"expected --C auto or a number above 0, found {self.C!r}")

    @property
    def parameters(self) -> dict[str, Any]:
        """C as asked for, and once fitted the C used, the curve it was chosen from, and notes."""
        asked = {"C": self.C, "seed": self.seed}
        return {**asked, **self.chosen_} if hasattr(self, "chosen_") else asked

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return ``coef`` (k, d), ``bias`` (k,) and ``scale`` (d,), all float64."""
        return {"coef": self.coef_, "bias": self.bias_, "scale": self.scale_}

    @classmethod
    def from_arrays(cls, parameters: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Self:
        """Rebuild a fitted head from `parameters` and `arrays`."""
        head = cls(C=parameters["C"], seed=parameters["seed"])
        head.check_parameters()
        head.chosen_ = {k: v for k, v in parameters.items() if k not in ("C", "seed")}
        coef, bias, scale = (arrays[name] for name in ("coef", "bias", "scale"))
        if coef.ndim != 2 or bias.shape != coef.shape[:1] or scale.shape != coef.shape[1:]:
            raise HeadError(
                f"expected coef (k, d), bias (k,) and scale (d,), "
                f"found {coef.shape}, {bias.shape} and {scale.shape}"
            )
        head._keep(coef, bias, scale)
        return head

    def _fit(self, train: Rows, val: Rows | None, progress: Progress) -> None:
        C, chosen = self._choose(train, val, progress)
        everything = train if val is None else train.plus(val)
        coef, bias, scale, converged = next(self._solutions(everything, [C]))
        self.chosen_ = {
            "C_used": C,
            **chosen,
            "fitted_on": "train" if val is None else "train and val",
            "converged": converged,
        }
        self._keep(coef, bias, scale)

    def _choose(
        self, train: Rows, val: Rows | None, progress: Progress
    ) -> tuple[float, dict[str, Any]]:
        """Return C, and what is to be remembered about its choice."""
        grid = self.C_GRID if self.C == "auto" else (float(self.C),)
        if val is not None:
            how, trials = "validation images", [(train, val)]
        elif len(grid) == 1:
            return grid[0], {}
        elif folds := _folds(train, self.seed):
            how, trials = f"{len(folds)}-fold cross-validation", folds
        else:
            note = "too few images to choose C; this is the default"
            return self.C_DEFAULT, {"note": note}
        images = sum(len(held_out) for _, held_out in trials)
        results = np.zeros((len(grid), 2))
        for number, (rows, held_out) in enumerate(trials):
            for i, solution in enumerate(self._solutions(rows, grid)):
                results[i] += self._tried(solution, held_out)
                progress(number * len(grid) + i + 1, len(trials) * len(grid))
        results /= images
        curve, losses = (
            [[C, float(value)] for C, value in zip(grid, column, strict=True)]
            for column in results.T
        )
        # min() keeps the first of equals: the smallest C, that is the strongest regularisation.
        best = min(range(len(grid)), key=lambda i: losses[i][1])
        self.validation_ = {"accuracy": curve[best][1], "images": images, "how": how}
        if len(grid) == 1:
            return grid[0], {}
        chosen = {
            "C_curve": curve,
            "C_losses": losses,
            "C_chosen_by": f"{self._loss_name} on {how}",
        }
        return grid[best], chosen

    def _tried(self, solution: Solution, held_out: Rows) -> tuple[float, float]:
        """Return how many held-out rows a solution gets right, and its summed loss."""
        coef, bias, scale, _ = solution
        scores = held_out.X @ (coef / scale).astype(np.float32).T + bias
        right = float((scores.argmax(axis=1) == held_out.y).sum())
        # Images of a class without training images are lost whatever C is.
        known = bias[held_out.y] > NEVER
        return right, self._loss(scores[known], held_out.y[known])

    def _keep(
        self, coef: NDArray[np.float64], bias: NDArray[np.float64], scale: NDArray[np.float64]
    ) -> None:
        self.coef_, self.bias_, self.scale_ = coef, bias, scale
        self._folded = (coef / scale).T
        self.n_classes_, self.n_features_ = coef.shape

    def _decision(self, codes: NDArray[np.float32]) -> NDArray[np.float64]:
        return np.asarray(codes.astype(np.float64) @ self._folded + self.bias_)

    @abstractmethod
    def _solutions(self, rows: Rows, grid: Sequence[float]) -> Iterator[Solution]:
        """Solve for each C of a grid in turn."""

    @staticmethod
    @abstractmethod
    def _loss(scores: NDArray[np.float64], y: NDArray[np.int64]) -> float:
        """Return the loss that the kind minimises, summed over rows."""


class SolverHead(LinearHead):
    """What svm and softmax share: an estimator of scikit-learn solves for each C anew."""

    _centred: ClassVar[bool]

    def _solutions(self, rows: Rows, grid: Sequence[float]) -> Iterator[Solution]:
        """Fit scikit-learn's estimator for each C."""
        from sklearn.exceptions import ConvergenceWarning
        from threadpoolctl import threadpool_limits

        scale = column_scale(rows.X)
        X = np.divide(rows.X, scale, dtype=np.float32)
        mean = X.mean(axis=0) if self._centred else np.zeros(X.shape[1], dtype=np.float32)
        X -= mean
        threads = 1 if X.size <= _SMALL else None
        for C in grid:
            estimator = self._estimator(C)
            with threadpool_limits(threads, user_api="blas"), warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)
                estimator.fit(X, rows.y)
            converged = bool(np.max(estimator.n_iter_) < estimator.max_iter)
            coef = estimator.coef_.astype(np.float64)
            coef, bias = self._columns(coef, estimator.intercept_ - coef @ mean)
            all_coef = np.zeros((self.n_classes_, self.n_features_))
            all_bias = np.full(self.n_classes_, NEVER)
            all_coef[estimator.classes_], all_bias[estimator.classes_] = coef, bias
            yield all_coef, all_bias, scale, converged

    @abstractmethod
    def _estimator(self, C: float) -> Any:
        """Return scikit-learn's estimator."""

    @staticmethod
    @abstractmethod
    def _columns(
        coef: NDArray[np.float64], bias: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return one row for each class, also for two classes, where scikit-learn has one."""


class SvmHead(SolverHead):
    """A linear support vector machine (scikit-learn's LinearSVC); see `LinearHead`."""

    kind = HeadKind.svm
    score_kind = "margin"
    C_GRID = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)
    C_DEFAULT = 1e-2
    _centred = False
    _loss_name = "squared hinge loss"

    def predict_proba(self, X: ArrayLike) -> NDArray[np.float64]:
        """Raise HeadError: an svm has margins only."""
        raise HeadError(
            "an svm has margins, no probabilities; fit a head with --kind softmax for these"
        )

    def _fit(self, train: Rows, val: Rows | None, progress: Progress) -> None:
        numbers = np.count_nonzero(train.X) + (0 if val is None else np.count_nonzero(val.X))
        if numbers > _LIBLINEAR_LIMIT:
            raise HeadError(
                f"an svm takes up to {_LIBLINEAR_LIMIT} non-zero codes, found {numbers}; "
                "use --pool avg or --kind mlp"
            )
        super()._fit(train, val, progress)

    def _estimator(self, C: float) -> Any:
        from sklearn.svm import LinearSVC

        return LinearSVC(C=C, random_state=self.seed)

    @staticmethod
    def _columns(
        coef: NDArray[np.float64], bias: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        if len(coef) == 1:
            return np.concatenate([-coef, coef]), np.concatenate([-bias, bias])
        return coef, bias

    @staticmethod
    def _loss(scores: NDArray[np.float64], y: NDArray[np.int64]) -> float:
        signs = np.where(np.arange(scores.shape[1]) == y[:, None], 1, -1)
        return float((np.maximum(0, 1 - signs * scores) ** 2).sum())


class SoftmaxHead(SolverHead):
    """Softmax regression (scikit-learn's LogisticRegression, lbfgs); see `LinearHead`."""

    kind = HeadKind.softmax
    score_kind = "probability"
    C_GRID = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)
    C_DEFAULT = 1e-1
    # While fitting only: its intercept is not penalised, so that centring leaves the solution as
    # it is; lbfgs gets there in a tenth of the steps.
    _centred = True
    _loss_name = "log loss"

    def predict_proba(self, X: ArrayLike) -> NDArray[np.float64]:
        """Return the softmax of the logits: (n, n_classes)."""
        return softmax(self.decision(X))

    def _estimator(self, C: float) -> Any:
        from sklearn.linear_model import LogisticRegression

        return LogisticRegression(C=C, max_iter=1000, random_state=self.seed)

    @staticmethod
    def _columns(
        coef: NDArray[np.float64], bias: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        # The sigmoid of z is the softmax of (-z / 2, z / 2).
        if len(coef) == 1:
            return np.concatenate([-coef, coef]) / 2, np.concatenate([-bias, bias]) / 2
        return coef, bias

    @staticmethod
    def _loss(scores: NDArray[np.float64], y: NDArray[np.int64]) -> float:
        of_truth = scores[np.arange(len(y)), y]
        return float((np.logaddexp.reduce(scores, axis=1) - of_truth).sum())


def column_scale(X: NDArray[np.float32]) -> NDArray[np.float64]:
    """
    Return what each column is divided by: (d,), 1 for columns that never change.

    This is Pareto scaling (R. A. van den Berg et al., BMC Genomics 7:142, 2006): by the root of
    the standard deviation, here times the mean one, so that the variance is 1 on average. Half
    of the differences between columns stay. On MobileNet and EfficientNet-Lite0 codes of clothing
    photos this is half a point to two points better than the standard deviation itself, which
    makes much of codes that are nearly always 0, and as good as one scale for all columns, which
    would be lost where the sizes of columns differ by far.
    """
    deviation = X.std(axis=0, dtype=np.float64)
    return np.where(deviation > 0, np.sqrt(deviation * deviation.mean()), 1.0)


def _folds(rows: Rows, seed: int) -> list[tuple[Rows, Rows]]:
    """Split rows into stratified folds; none where a class has a single image."""
    from sklearn.model_selection import StratifiedKFold

    smallest = int(np.bincount(rows.y)[np.unique(rows.y)].min())
    if smallest < 2:
        return []
    folds = StratifiedKFold(min(_FOLDS, smallest), shuffle=True, random_state=seed)
    return [(rows.take(a), rows.take(b)) for a, b in folds.split(rows.X, rows.y)]
