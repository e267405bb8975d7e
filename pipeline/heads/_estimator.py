"""Any classifier of scikit-learn's as a head, kept by skops instead of a pickle."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from importlib import import_module
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, clone, is_classifier

from pipeline.common.choices import OtherKind
from pipeline.common.errors import HeadError
from pipeline.common.listener import Progress
from pipeline.common.steps import Classifier, Step
from pipeline.heads._calibration import HeldOut, calibrate
from pipeline.heads._codes import CodeRows, Rows
from pipeline.heads._fits import both
from pipeline.heads._folds import FOLDS
from pipeline.heads._head import Head

_PACKAGES = ("sklearn", "numpy", "scipy")
_LEAST = float(np.finfo(np.float64).tiny)
# Codes of which a head that is read back must say what it said when it was saved.
_CHECKED = 4
_CLOSE = 1e-6


class HeadOfAnotherVersion(HeadError):
    """A head that says something else with the libraries of today."""


class EstimatorHead(Head):
    """
    A classifier of scikit-learn's.

    Probabilities are its own where it has ``predict_proba``; the scores of its
    ``decision_function`` are calibrated on validation rows, without these by cross-validation. It
    is fitted on training rows alone.

    Parameters
    ----------
    estimator : classifier
        Not fitted; a pipeline if codes are to be scaled.
    seed : int
        For each ``random_state`` that is None.
    folds : int
        Of the cross-validation without validation rows.
    """

    kind = OtherKind.sklearn
    _learned = "estimator_"
    _data: bytes | None = None

    def __init__(self, estimator: Any = None, *, seed: int = 0, folds: int = FOLDS) -> None:
        self.estimator = estimator
        self.seed = seed
        self.folds = folds

    @property
    def gives_logits(self) -> bool:  # type: ignore[override]
        """Whether it has probabilities of its own."""
        return hasattr(getattr(self, "estimator_", self.estimator), "predict_proba")

    @property
    def _calibrates(self) -> bool:  # type: ignore[override]
        return not self.gives_logits

    @property
    def parameters(self) -> dict[str, Any]:
        """Which classifier, in words; once fitted also who fitted it."""
        asked = {"estimator": " ".join(repr(self.estimator).split()), "seed": self.seed}
        return {**asked, **self.chosen_} if hasattr(self, "chosen_") else asked

    def check_parameters(self) -> None:
        """Raise HeadError unless it is a classifier, and folds are two or more."""
        super().check_parameters()
        if not isinstance(self.estimator, BaseEstimator) or not is_classifier(self.estimator):
            raise HeadError(
                "expected a classifier of scikit-learn's, not fitted, found "
                f"{type(self.estimator).__name__}"
            )

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return ``skops``, the bytes of skops, and ``said``, what it said of some codes."""
        if self._data is None:  # skops writes other bytes each time
            self._data = _skops().dumps(self.estimator_)
        return {"skops": np.frombuffer(self._data, np.uint8), "said": self._said()}

    @classmethod
    def from_arrays(cls, parameters: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Self:
        """Rebuild a fitted head from `parameters` and `arrays`."""
        if set(arrays) != {"skops", "said"} or arrays["said"].shape[:1] != (_CHECKED,):
            raise HeadError(f"expected skops and said, found {', '.join(arrays)}")
        head = cls(_Text(str(parameters["estimator"])), seed=int(parameters["seed"]))
        head.chosen_ = {k: v for k, v in parameters.items() if k not in ("estimator", "seed")}
        head._data = arrays["skops"].tobytes()
        head.estimator_ = _loaded(head._data)
        head.classes_ = np.arange(int(parameters["n_classes"]))
        head.n_features_in_ = int(parameters["n_features"])
        head.check_says(arrays["said"])
        return head

    def check_says(self, said: NDArray[np.float64]) -> None:
        """Raise HeadOfAnotherVersion unless it says what it said when it was saved."""
        from sklearn import __version__

        found = self._said()
        if found.shape != said.shape or not np.allclose(found, said, rtol=_CLOSE, atol=_CLOSE):
            raise HeadOfAnotherVersion(
                f"expected scikit-learn {self.chosen_.get('fitted_with')}, with which this head "
                f"was fitted, found {__version__}, with which it says something else; install the "
                "first or fit again"
            )

    def _said(self) -> NDArray[np.float64]:
        codes = np.random.default_rng(0).random((_CHECKED, self.n_features_in_))
        return self._decision(codes.astype(np.float32))

    def _fit(self, train: Rows, val: Rows | None, progress: Progress) -> None:
        from sklearn import __version__

        if not train.codes.in_memory:
            raise HeadError(
                "expected the codes of a classifier of scikit-learn's in memory, found that they "
                "do not fit; allow more with --memory, or use --kind svm or softmax"
            )
        X, self._data = _array(train.codes), None
        steps = 1
        if val is None:
            steps += self._judge_by_folds(X, train, progress)
        self.estimator_ = self._fitted(X, train.y)
        self.chosen_ = {
            "n_classes": self.n_classes_,
            "n_features": self.n_features_in_,
            "fitted_on": "train",
            "fitted_with": __version__,
        }
        self._measure(val, "validation images")
        progress(steps, steps)

    def _judge_by_folds(self, X: NDArray[np.float32], train: Rows, progress: Progress) -> int:
        """Score each row by a classifier that was fitted without it; return how many these were."""
        trials = self._trials(train, None)
        if trials is None:
            return 0
        scores = np.empty((len(train), self.n_classes_))
        for trial in range(trials.count):
            progress(trial, trials.count + 1)
            out = trials.held_out == trial
            self.estimator_ = self._fitted(X[~out], train.y[~out])
            scores[out] = self._decision(X[out])
        right = int((scores.argmax(axis=1) == train.y).sum())
        self._note(right, len(train), calibrate(scores, train.y, how=trials.how))
        self.held_out_ = HeldOut(np.arange(len(train)), scores)
        return trials.count

    def _fitted(self, X: NDArray[np.float32], y: NDArray[np.int64]) -> Any:
        model = clone(self.estimator)
        own = [(name, name.rpartition("__")[2]) for name in model.get_params()]
        asked = model.get_params()
        unset = {n: self.seed for n, last in own if last == "random_state" and asked[n] is None}
        try:
            model.set_params(**unset).fit(X, y)
        except (ValueError, TypeError) as error:
            said = " ".join(str(error).split())
            raise HeadError(f"{_named(model)} could not be fitted: {said}") from error
        # Threads add up scores in another order each time, and their last bits differ.
        model.set_params(**{n: None for n, last in own if last == "n_jobs"})
        if not (hasattr(model, "predict_proba") or hasattr(model, "decision_function")):
            raise HeadError(
                "expected a classifier with predict_proba or decision_function, found "
                f"{_named(model)}, which has neither; choose another"
            )
        return model

    def _decision(self, codes: NDArray[np.float32]) -> NDArray[np.float64]:
        model = self.estimator_
        if not len(codes):
            return np.empty((0, self.n_classes_))
        if self.gives_logits:
            shares = np.asarray(model.predict_proba(codes), np.float64)
            return np.log(np.maximum(shares, _LEAST))
        scores = both(np.asarray(model.decision_function(codes), np.float64), logits=False)
        if scores.shape[1] != self.n_classes_:
            raise HeadError(
                f"expected a score for each of {self.n_classes_} classes of {_named(model)}, found "
                f"{scores.shape[1]}; choose decision_function_shape='ovr'"
            )
        return scores

    def _folded(self, slope: float) -> tuple[Step, ...]:
        own = None if self.gives_logits else slope
        return (Classifier(estimator=self.estimator_, slope=own, n_features=self.n_features_in_),)


class _Text(BaseEstimator):  # type: ignore[misc]
    """What a classifier was asked for as, of a head that was read: its words alone are kept."""

    def __init__(self, text: str = "") -> None:
        self.text = text

    def __repr__(self, N_CHAR_MAX: int = 700) -> str:
        return self.text


def _named(model: Any) -> str:
    """Name the classifier, which may be the last step of a pipeline."""
    return type(model[-1] if hasattr(model, "steps") else model).__name__


def _array(codes: CodeRows) -> NDArray[np.float32]:
    X = np.empty((len(codes), codes.width), np.float32)
    for positions, block in codes.blocks():
        X[positions] = block
    return X


def _loaded(data: bytes) -> Any:
    """
    Read what skops wrote, if it holds types of scikit-learn, NumPy and SciPy alone.

    Raises
    ------
    HeadError
        If it holds others, or more than its own bytes.
    """
    skops = _skops()
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
            raise HeadError("expected a skops file that is not compressed")
    foreign = skops.get_untrusted_types(data=data)
    strange = sorted(name for name in foreign if not _is_trusted(name))
    if strange:
        raise HeadError(
            f"expected types of scikit-learn, NumPy and SciPy alone in the head, found {strange[0]}"
        )
    return skops.loads(data, trusted=foreign)


def _is_trusted(name: str) -> bool:
    """Whether a name is that of a class (no function) of one of the packages."""
    module, _, attribute = name.rpartition(".")
    if module.partition(".")[0] not in _PACKAGES:
        return False
    try:
        return isinstance(getattr(import_module(module), attribute), type)
    except (ImportError, AttributeError):
        return False


def _skops() -> Any:
    try:
        return import_module("skops.io")
    except ImportError:
        raise HeadError(
            "expected the package skops, which keeps classifiers of scikit-learn's, found none; "
            "run: pip install 'bottleneck-pipeline[sklearn]'"
        ) from None
