"""What every head has in common: checked codes in, one score for each class out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.exceptions import NotFittedError
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import column_or_1d, validate_data

from pipeline.common.choices import HeadKind, OtherKind
from pipeline.common.errors import HeadError, counted
from pipeline.common.listener import SILENT, Progress
from pipeline.common.steps import Step
from pipeline.heads._calibration import HeldOut, HeldOutScores, calibrate
from pipeline.heads._codes import CodeRows, InMemory, Rows, check_finite
from pipeline.heads._fits import Trials
from pipeline.heads._folds import FOLDS, held_out_rows

_BLOCK_ROWS = 2048


class HeadNotFitted(HeadError, NotFittedError):  # type: ignore[misc]
    """A head that has learned nothing yet was asked for answers."""


class Head(ClassifierMixin, BaseEstimator, ABC):  # type: ignore[misc]
    """
    A classifier on codes, and an estimator of scikit-learn's.

    Attributes
    ----------
    kind : HeadKind
        Which of the kinds it is.
    gives_logits : bool
        Whether the softmax of `decision` are probabilities even without calibration.
    seed : int
        Decides everything random in `fit`.
    classes_ : array of shape (k,)
        The labels of the training rows, sorted.
    n_features_in_ : int
        How many numbers an image's codes have.
    estimator_ : sklearn classifier
        What scores codes: a fitted pipeline of scikit-learn's, of an MLP the head itself.
    history_ : dict of str to list of float, or None
        For each epoch ``accuracy``, ``loss``, ``val_accuracy``, ``val_loss``, where a head has
        epochs.
    validation_ : dict or None
        ``accuracy``, ``log_loss`` (once calibrated), ``images`` and ``how``: what the head reached
        on images that it had not been trained on when this was measured. Asking the fitted head
        about the validation rows says less, for it may have learned them since.
    held_out_ : HeldOut or None
        The scores that this was measured by, of kinds that learn these rows in the end. They are
        not in `arrays`.
    """

    kind: ClassVar[HeadKind | OtherKind]
    gives_logits: bool
    _calibrates: bool = True
    _learned: ClassVar[str]  # an attribute that only a fitted head has
    seed: int
    _groups: NDArray[Any] | None
    classes_: NDArray[Any]
    n_features_in_: int
    estimator_: Any
    history_: dict[str, list[float]] | None = None
    validation_: dict[str, Any] | None = None
    calibration_: dict[str, Any] | None = None
    held_out_: HeldOut | None = None

    def fit(
        self,
        X: ArrayLike | CodeRows,
        y: ArrayLike,
        *,
        X_val: ArrayLike | CodeRows | None = None,
        y_val: ArrayLike | None = None,
        groups: ArrayLike | None = None,
        progress: Progress | None = None,
    ) -> Self:
        """
        Learn from codes and their labels.

        Parameters
        ----------
        X : array-like of shape (n, d), or CodeRows
            Codes of the training images; `CodeRows` need not be in memory.
        y : array-like of shape (n,)
            Their labels.
        X_val, y_val : array-like (or CodeRows), optional
            Codes and labels of the validation images, used to choose (C, or when to stop).
        groups : array-like of shape (n,), optional
            Of the training images, such as the patient: where folds judge, those of one group are
            in one fold.
        progress : callable, optional
            Called with the steps done and the steps there are.

        Returns
        -------
        Head
            Itself.

        Raises
        ------
        HeadError
            If shapes do not fit, a code is NaN or infinite, fewer than two classes have training
            images, or a validation image is of another class.
        """
        self.check_parameters()
        self.history_ = self.validation_ = self.calibration_ = self.held_out_ = None
        train = self._training_rows(X, y)
        val = None
        if X_val is not None and y_val is not None and len(np.asarray(y_val)):
            val = self._validation_rows(X_val, y_val)
        self._groups = None if groups is None else np.asarray(groups)
        self._fit(train, val, progress or SILENT.progress)
        del self._groups
        return self

    def _trials(self, train: Rows, val: Rows | None) -> Trials | None:
        """Return which rows are held out to choose and to calibrate."""
        folds = getattr(self, "folds", FOLDS)
        return held_out_rows(train, val, seed=self.seed, folds=folds, groups=self._groups)

    @property
    def n_classes_(self) -> int:
        """How many classes there are."""
        return len(self.classes_)

    def decision(self, X: ArrayLike) -> NDArray[np.float64]:
        """
        Score codes for each class; the highest score wins.

        Parameters
        ----------
        X : array-like of shape (n, d)

        Returns
        -------
        array of shape (n, k)
            In the order of `classes_`. Margins of an svm (for two classes -m and m), logits of the
            other kinds.

        Raises
        ------
        HeadError
            If the head is not fitted, the codes have another size, or one is NaN or infinite.
        """
        self.check_fitted()
        codes = self._given(X)
        scores = np.empty((len(codes), self.n_classes_))
        for rows in _blocks(len(codes)):
            scores[rows] = self._decision(codes[rows])
        return scores

    def decision_function(self, X: ArrayLike) -> NDArray[np.float64]:
        """
        Score codes as classifiers of scikit-learn do.

        Parameters
        ----------
        X : array-like of shape (n, d)

        Returns
        -------
        array of shape (n, k), or (n,) for two classes
            `decision`; for two classes one number, as scikit-learn's classifier of the same kind
            gives it.
        """
        scores = self.decision(X)
        if scores.shape[1] > 2:
            return scores
        ahead = scores[:, 1] - scores[:, 0]
        return ahead if self.gives_logits else ahead / 2

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """Return the label with the highest score for each row of codes (n, d)."""
        best = self.decision(X).argmax(axis=1)
        return np.asarray(self.classes_[best])

    def predict_proba(self, X: ArrayLike) -> NDArray[np.float64]:
        """
        Return the probability of each class.

        Parameters
        ----------
        X : array-like of shape (n, d)

        Returns
        -------
        array of shape (n, k)
            Each row sums to 1; the class with the highest score has the highest probability.

        Raises
        ------
        HeadError
            As `decision`, and for margins that nothing could be learned about.
        """
        self.check_fitted()
        if self.score_kind == "margin":
            raise self._no_probabilities()
        return self.as_scores(self.decision(X))

    @property
    def score_kind(self) -> str:
        """What `as_scores` gives: ``"probability"``, or ``"margin"`` of what is not calibrated."""
        known = self.gives_logits or self.calibration_ is not None
        return "probability" if known else "margin"

    def as_scores(
        self, decision: NDArray[np.float64], *, calibrated: bool = True
    ) -> NDArray[np.float64]:
        """
        Turn what `decision` gave into probabilities where the head knows them.

        Parameters
        ----------
        decision : float64 array of shape (n, k)
        calibrated : bool, default True
            Without it, the softmax of what was not calibrated yet.

        Returns
        -------
        array of shape (n, k)
            Margins stay as they are.
        """
        if calibrated and self.score_kind == "margin":
            return decision
        slope = self.calibration_["slope"] if calibrated and self.calibration_ is not None else 1.0
        return softmax(slope * self._logits(decision))

    def folded(self) -> tuple[Step, ...]:
        """
        Return the head as steps whose result's softmax is what `predict_proba` gives.

        Returns
        -------
        tuple of Unit, Dense or Neighbours
            In order; the last gives one number for each class.

        Raises
        ------
        HeadError
            If the head is not fitted, or has no probabilities.
        """
        self.check_fitted()
        if self.score_kind == "margin":
            raise self._no_probabilities()
        return self._folded(self.calibration_["slope"] if self.calibration_ is not None else 1.0)

    @property
    @abstractmethod
    def parameters(self) -> dict[str, Any]:
        """What was asked for and what was chosen, as JSON values."""

    @abstractmethod
    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return all that was learned, by name."""

    @classmethod
    @abstractmethod
    def from_arrays(cls, parameters: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Self:
        """
        Rebuild a fitted head from `parameters` and `arrays`.

        Raises
        ------
        HeadError
            If they do not belong together.
        """

    def check_fitted(self) -> None:
        """Raise HeadNotFitted where `fit` has not been called."""
        if not hasattr(self, self._learned):
            raise HeadNotFitted(
                f"this {self.kind.value} head has learned nothing yet; call fit first"
            )

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, self._learned)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        return tags

    def check_parameters(self) -> None:
        """Raise HeadError where a parameter of the constructor cannot be used."""
        folds = getattr(self, "folds", FOLDS)
        if isinstance(folds, bool) or folds < 2:
            raise HeadError(f"expected --folds of 2 or more, found {folds}")

    def _no_probabilities(self) -> HeadError:
        return HeadError(
            f"expected a head of kind {self.kind.value} that was calibrated on held-out images, "
            "found one that had none; extract with --val 0.2, or use --kind softmax for "
            "probabilities"
        )

    @abstractmethod
    def _folded(self, slope: float) -> tuple[Step, ...]:
        """Return the steps of a fitted head; what comes out of them is multiplied by `slope`."""

    def _training_rows(self, X: ArrayLike | CodeRows, y: ArrayLike) -> Rows:
        """Check training rows; note their classes and their width."""
        labels = self._labels(y)
        codes = self._codes_of(X, "training", reset=True)
        _check_lengths(labels, codes, "training")
        check_classification_targets(labels)
        self.classes_, numbers = np.unique(labels, return_inverse=True)
        if self.n_classes_ < 2:
            raise HeadError(
                "a head needs training images of at least two classes, found "
                f"{counted(self.n_classes_, 'class')}; add images of another class and extract "
                "again"
            )
        return Rows(codes=codes, y=numbers.astype(np.int64))

    def _validation_rows(self, X: ArrayLike | CodeRows, y: ArrayLike) -> Rows:
        """Check validation rows against what is known of the training rows."""
        labels = self._labels(y)
        codes = self._codes_of(X, "validation", reset=False)
        _check_lengths(labels, codes, "validation")
        numbers = np.searchsorted(self.classes_, labels).clip(max=self.n_classes_ - 1)
        strange = self.classes_[numbers] != labels
        if strange.any():
            raise HeadError(
                "expected validation images of classes that have training images, found label "
                f"{labels[strange.argmax()]!r}; leave these images out"
            )
        return Rows(codes=codes, y=numbers.astype(np.int64))

    def _labels(self, y: ArrayLike) -> NDArray[Any]:
        if y is None:
            raise HeadError("this head requires y to be passed, but the target y is None")
        return np.asarray(column_or_1d(y, warn=True))

    def _codes_of(self, X: ArrayLike | CodeRows, what: str, *, reset: bool) -> CodeRows:
        """Return checked codes; what is not in memory is checked as it is read."""
        if isinstance(X, CodeRows):
            if reset:
                self.n_features_in_ = X.width
            if isinstance(X, InMemory):
                _check_finite(X, what)
            self._check_width(X.width)
            return X
        codes = InMemory(self._array(X, what, reset=reset))
        _check_finite(codes, what)
        return codes

    def _given(self, X: ArrayLike) -> NDArray[np.float32]:
        """Return codes to be scored, checked."""
        codes = self._array(X, "given", reset=False)
        _check_finite(InMemory(codes), "given")
        return codes

    def _array(self, X: ArrayLike, what: str, *, reset: bool) -> NDArray[np.float32]:
        """Return an array of codes as float32."""
        if isinstance(X, np.ndarray) and X.ndim > 2:
            raise HeadError(
                f"expected {what} codes of shape (n, d), found {X.shape}; pool maps of codes first"
            )
        try:
            codes = validate_data(
                self,
                X,
                reset=reset,
                dtype=np.float32,
                ensure_all_finite=False,
                ensure_min_samples=0,
            )
        except ValueError as error:
            raise HeadError(str(error)) from error
        return np.asarray(codes)

    def _check_width(self, found: int) -> None:
        if found != self.n_features_in_:
            raise HeadError(
                f"expected codes of {self.n_features_in_} numbers per image, found {found}; "
                "use the layer and pooling that the head was trained on"
            )

    @abstractmethod
    def _fit(self, train: Rows, val: Rows | None, progress: Progress) -> None:
        """Learn from checked rows."""

    def _measure(self, val: Rows | None, how: str) -> None:
        """Note how many held-out rows come out right, and what their scores are worth."""
        if val is None:
            return
        kept = HeldOutScores(np.arange(len(val)), total=len(val), classes=self.n_classes_)
        right = 0
        for positions, codes in val.codes.blocks():
            scores = self._decision(codes)
            right += int((scores.argmax(axis=1) == val.y[positions]).sum())
            kept.put(positions, scores)
        found = calibrate(self._logits(kept.scores), val.y[kept.rows], how=how)
        self._note(right, len(val), found)

    def _note(self, right: int, images: int, found: dict[str, Any]) -> None:
        """Keep how many held-out rows come out right, and what `calibrate` found by them."""
        self.validation_ = {
            "accuracy": right / images,
            "images": images,
            "how": found["how"],
            "log_loss": found["loss"],
        }
        if self._calibrates:
            self.calibration_ = found

    def _logits(self, decision: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return what the softmax is taken of; only independent sigmoids differ."""
        return decision

    @abstractmethod
    def _decision(self, codes: NDArray[np.float32]) -> NDArray[np.float64]:
        """Score a block of checked codes."""


def softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Turn logits (n, k) into probabilities; the highest is subtracted, so nothing overflows."""
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def _blocks(rows: int) -> Iterator[slice]:
    """Cut rows into pieces, so that no second copy of all codes is ever needed."""
    return (slice(start, start + _BLOCK_ROWS) for start in range(0, rows, _BLOCK_ROWS))


def _check_finite(codes: InMemory, what: str) -> None:
    for positions, block in codes.blocks():
        check_finite(block, positions, what=f"{what} codes")


def _check_lengths(labels: NDArray[Any], codes: CodeRows, what: str) -> None:
    if len(labels) != len(codes):
        raise HeadError(
            f"expected one label for each of the {len(codes)} {what} codes, found {len(labels)} "
            "labels"
        )
