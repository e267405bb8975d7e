"""What every head has in common: checked codes in, one score for each class out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pipeline.choices import HeadKind
from pipeline.errors import HeadError
from pipeline.heads._calibration import HeldOut, Kept, calibrate
from pipeline.heads._codes import Codes, InMemory, Rows, check_finite
from pipeline.heads._folded import Step

Progress = Callable[[int, int], None]

_BLOCK_ROWS = 2048


class Head(ABC):
    """
    A classifier on codes.

    Follows scikit-learn's estimator contract (https://scikit-learn.org/stable/developers):
    no logic in the constructor, `fit` returns the head itself, learned state ends in ``_``.

    Attributes
    ----------
    kind : HeadKind
        Which of the kinds it is.
    gives_logits : bool
        Whether the softmax of `decision` are probabilities even without calibration.
    seed : int
        Decides everything random in `fit`.
    n_features_, n_classes_ : int
        How many numbers an image's codes have, and how many classes there are.
    history_ : dict of str to list of float, or None
        For each epoch ``accuracy``, ``loss``, ``val_accuracy``, ``val_loss``, where a head has
        epochs.
    validation_ : dict or None
        ``accuracy``, ``images`` and ``how``: what the head reached on images that it had not
        been trained on when this was measured. Asking the fitted head about the validation rows
        says less, for it may have learned them since.
    held_out_ : HeldOut or None
        The scores that this was measured by, of kinds that learn these rows in the end. They are
        not in `arrays`.
    """

    kind: ClassVar[HeadKind]
    gives_logits: ClassVar[bool]
    _calibrates: ClassVar[bool] = True
    _learned: ClassVar[str]  # an attribute that only a fitted head has
    seed: int
    n_features_: int
    n_classes_: int
    history_: dict[str, list[float]] | None = None
    validation_: dict[str, Any] | None = None
    calibration_: dict[str, Any] | None = None
    held_out_: HeldOut | None = None

    def fit(
        self,
        X: ArrayLike | Codes,
        y: ArrayLike,
        *,
        X_val: ArrayLike | Codes | None = None,
        y_val: ArrayLike | None = None,
        n_classes: int,
        progress: Progress | None = None,
    ) -> Self:
        """
        Learn from codes and their labels.

        Parameters
        ----------
        X : array-like of shape (n, d), or Codes
            Codes of the training images; `Codes` need not be in memory.
        y : array-like of shape (n,)
            Their labels, integers from 0 to `n_classes` - 1.
        X_val, y_val : array-like (or Codes), optional
            Codes and labels of the validation images, used to choose (C, or when to stop).
        n_classes : int
            How many classes there are; some may have no training image.
        progress : callable, optional
            Called with the steps done and the steps there are.

        Returns
        -------
        Head
            Itself.

        Raises
        ------
        HeadError
            If shapes do not fit, a code is NaN or infinite, or fewer than two classes have
            training images.
        """
        self.check_parameters()
        train = _checked_rows(X, y, n_classes, "training")
        present = int(np.unique(train.y).size)
        if present < 2:
            raise HeadError(
                f"a head needs training images of at least two classes, found {present}; "
                "add images of another class and extract again"
            )
        val = None
        if X_val is not None and y_val is not None and len(np.asarray(y_val)):
            val = _checked_rows(X_val, y_val, n_classes, "validation")
            _check_width(val.codes.width, train.codes.width)
        self.n_features_, self.n_classes_ = train.codes.width, n_classes
        self._fit(train, val, progress or _silent)
        return self

    def decision(self, X: ArrayLike) -> NDArray[np.float64]:
        """
        Score codes for each class; the highest score wins.

        Parameters
        ----------
        X : array-like of shape (n, d)

        Returns
        -------
        array of shape (n, n_classes)
            Margins of an svm (for two classes -m and m), logits of the other kinds.

        Raises
        ------
        HeadError
            If the head is not fitted, the codes have another size, or one is NaN or infinite.
        """
        self.check_fitted()
        codes = _as_codes(X, "given")
        _check_finite(InMemory(codes), "given")
        _check_width(codes.shape[1], self.n_features_)
        scores = np.empty((len(codes), self.n_classes_))
        for rows in _blocks(len(codes)):
            scores[rows] = self._decision(codes[rows])
        return scores

    def predict(self, X: ArrayLike) -> NDArray[np.int64]:
        """Return the label with the highest score for each row of codes (n, d)."""
        return np.asarray(self.decision(X).argmax(axis=1))

    def predict_proba(self, X: ArrayLike) -> NDArray[np.float64]:
        """
        Return the probability of each class.

        Parameters
        ----------
        X : array-like of shape (n, d)

        Returns
        -------
        array of shape (n, n_classes)
            Each row sums to 1; the class with the highest score has the highest probability.

        Raises
        ------
        HeadError
            As `decision`, and for margins that nothing could be learned about.
        """
        if self.score_kind == "margin":
            self.check_fitted()
            raise self._no_probabilities()
        return self.scores(X)

    def probabilities(
        self, decision: NDArray[np.float64], *, calibrated: bool
    ) -> NDArray[np.float64]:
        """Return the softmax of scores (n, n_classes), before or after calibration."""
        slope = self.calibration_["slope"] if calibrated and self.calibration_ is not None else 1.0
        return softmax(slope * self._logits(decision))

    @property
    def score_kind(self) -> str:
        """What `scores` gives: ``"probability"``, or ``"margin"`` of an uncalibrated svm."""
        known = self.gives_logits or self.calibration_ is not None
        return "probability" if known else "margin"

    def scores(self, X: ArrayLike) -> NDArray[np.float64]:
        """Return probabilities where the head has them, else margins: (n, n_classes)."""
        return self.as_scores(self.decision(X))

    def as_scores(self, decision: NDArray[np.float64]) -> NDArray[np.float64]:
        """Turn what `decision` gave into what `scores` gives."""
        if self.score_kind == "margin":
            return decision
        return self.probabilities(decision, calibrated=True)

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
        """Raise HeadError where `fit` has not been called."""
        if not hasattr(self, self._learned):
            raise HeadError(f"this {self.kind.value} head has learned nothing yet; call fit first")

    @abstractmethod
    def check_parameters(self) -> None:
        """Raise HeadError where a parameter of the constructor cannot be used."""

    def _no_probabilities(self) -> HeadError:
        return HeadError(
            f"expected a head of kind {self.kind.value} that was calibrated on held-out images, "
            "found one that had none; extract with --val 0.2, or use --kind softmax for "
            "probabilities"
        )

    @abstractmethod
    def _folded(self, slope: float) -> tuple[Step, ...]:
        """Return the steps of a fitted head; what comes out of them is multiplied by `slope`."""

    @abstractmethod
    def _fit(self, train: Rows, val: Rows | None, progress: Progress) -> None:
        """Learn from checked rows."""

    def _measure(self, val: Rows | None, how: str) -> None:
        """Note how many held-out rows come out right, and what their scores are worth."""
        if val is None:
            return
        kept = Kept(np.arange(len(val)), total=len(val), classes=self.n_classes_)
        right = 0
        for positions, codes in val.codes.blocks():
            scores = self._decision(codes)
            right += int((scores.argmax(axis=1) == val.y[positions]).sum())
            kept.put(positions, scores)
        self.validation_ = {"accuracy": right / len(val), "images": len(val), "how": how}
        if self._calibrates:
            self.calibration_ = calibrate(self._logits(kept.scores), val.y[kept.rows], how=how)

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


def _silent(done: int, total: int) -> None:
    """Show nothing."""


def _blocks(rows: int) -> Iterator[slice]:
    """Cut rows into pieces, so that no second copy of all codes is ever needed."""
    return (slice(start, start + _BLOCK_ROWS) for start in range(0, rows, _BLOCK_ROWS))


def _checked_rows(X: ArrayLike | Codes, y: ArrayLike, n_classes: int, what: str) -> Rows:
    codes = X if isinstance(X, Codes) else InMemory(_as_codes(X, what))
    if isinstance(codes, InMemory):  # what is read is checked as it comes
        _check_finite(codes, what)
    labels = np.asarray(y)
    if labels.shape != (len(codes),):
        raise HeadError(
            f"expected one label for each of the {len(codes)} {what} codes, "
            f"found labels of shape {labels.shape}"
        )
    if not np.issubdtype(labels.dtype, np.integer):
        raise HeadError(f"expected integers as {what} labels, found {labels.dtype}")
    if len(labels) and not 0 <= labels.min() <= labels.max() < n_classes:
        raise HeadError(
            f"expected {what} labels from 0 to {n_classes - 1}, "
            f"found {labels.min()} to {labels.max()}"
        )
    return Rows(codes=codes, y=labels.astype(np.int64))


def _as_codes(X: ArrayLike, what: str) -> NDArray[np.float32]:
    codes = np.asarray(X, dtype=np.float32)
    if codes.ndim != 2:
        raise HeadError(
            f"expected {what} codes of shape (n, d), found {codes.shape}; pool maps of codes first"
        )
    return codes


def _check_finite(codes: InMemory, what: str) -> None:
    for positions, block in codes.blocks():
        check_finite(block, positions, what=f"{what} codes")


def _check_width(found: int, width: int) -> None:
    if found != width:
        raise HeadError(
            f"expected codes of {width} numbers per image, found {found}; "
            "use the layer and pooling that the head was trained on"
        )
