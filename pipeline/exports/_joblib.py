"""A scikit-learn pipeline on codes, for notebooks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.common.errors import ExportError
from pipeline.common.steps import Classifier, Dense, Neighbours, Step, Unit
from pipeline.exports._content import ExportContent
from pipeline.exports._format import Run
from pipeline.exports._labels import plain
from pipeline.exports._sklearn import calibrated

USAGE = """\
import joblib
import pipeline

model = joblib.load("{path}")  # this line and predict need scikit-learn alone
codes = pipeline.load_codes("{store}", layer={layer}, pool={pool}{joined_with}, split="test")
print(model.predict(codes.X), model.predict_proba(codes.X))
"""
NOTES = """\
It takes codes, not photos: vectors of the layer and pooling above. It is a pickle: load it only
from a source that you trust, with the version of scikit-learn that wrote it. Scaling and
calibration are part of the coefficients."""


def write(content: ExportContent, path: Path) -> None:
    """Build the pipeline and dump it."""
    import joblib

    joblib.dump(build(content.steps, content.classes), path, compress=3)


def load(path: Path) -> Run:
    """Load it again."""
    import joblib

    return joblib.load(path).predict_proba  # type: ignore[no-any-return]


def build(steps: Sequence[Step], classes: Sequence[str]) -> Any:
    """
    Say a head's steps in scikit-learn's estimators.

    Parameters
    ----------
    steps : sequence of Step
    classes : sequence of str

    Returns
    -------
    sklearn classifier
        Fitted; nothing in it belongs to this package.

    Raises
    ------
    ExportError
        If scikit-learn has no equivalent.
    """
    from sklearn.pipeline import Pipeline

    *before, last = steps
    if isinstance(last, Classifier):
        return calibrated(last, [plain(name) for name in classes])
    stages = [stage for step in before for stage in _transform(step)]
    names = np.array(list(map(plain, classes)))
    stages.append(
        _neighbours(last, names) if isinstance(last, Neighbours) else _logits(last, names)
    )
    return Pipeline([(f"{number}_{name}", stage) for number, (name, stage) in enumerate(stages, 1)])


def _transform(step: Step) -> Iterator[tuple[str, Any]]:
    """Turn a step that is not the last into transformers."""
    from sklearn.preprocessing import FunctionTransformer, Normalizer

    if isinstance(step, Unit):
        yield "scale", _scaler(scale=step.scale.astype(np.float64))
        yield "unit", Normalizer()
    elif isinstance(step, Dense):
        # Functions of NumPy and SciPy, which a pickle keeps by name.
        yield "kernel", FunctionTransformer(np.dot, kw_args={"b": step.kernel.astype(np.float64)})
        yield "bias", _scaler(shift=step.bias.astype(np.float64))
        if (function := _activation(step.activation)) is not None:
            yield step.activation, function
    else:
        raise ExportError(f"expected a step to go on from, found {type(step).__name__}")


def _scaler(*, scale: Any = None, shift: Any = None) -> Any:
    """Make a fitted StandardScaler that divides by `scale`, or adds `shift`."""
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler(with_mean=shift is not None, with_std=scale is not None)
    known = scale if scale is not None else shift
    scaler.mean_ = -shift if shift is not None else np.zeros_like(known)
    scaler.scale_, scaler.var_ = scale, None if scale is None else scale**2
    scaler.n_features_in_, scaler.n_samples_seen_ = len(known), 1
    return scaler


def _activation(name: str) -> Any:
    from scipy import special
    from sklearn.preprocessing import FunctionTransformer

    functions: dict[str, tuple[Any, dict[str, Any] | None]] = {
        "relu": (np.clip, {"a_min": 0, "a_max": None}),
        "tanh": (np.tanh, None),
        "sigmoid": (special.expit, None),
        "log_sigmoid": (special.log_expit, None),
    }
    if name == "linear":
        return None
    if name not in functions:
        raise ExportError(
            f"expected an activation that NumPy or SciPy has ({', '.join(functions)}), found "
            f"{name}; choose another --format, such as keras"
        )
    function, arguments = functions[name]
    return FunctionTransformer(function, kw_args=arguments)


def _logits(step: Step, names: Any) -> tuple[str, Any]:
    """Turn the last linear step into logistic regression, whose probabilities are its softmax."""
    from sklearn.linear_model import LogisticRegression

    if not isinstance(step, Dense):
        raise ExportError(f"expected a linear last step, found {type(step).__name__}")
    model = LogisticRegression()
    kernel, bias = step.kernel.T.astype(np.float64), step.bias.astype(np.float64)
    if len(names) == 2:  # of two classes it keeps the difference
        kernel, bias = kernel[1:] - kernel[:1], bias[1:] - bias[:1]
    model.coef_, model.intercept_, model.classes_ = kernel, bias, names
    model.n_features_in_, model.n_iter_ = kernel.shape[1], np.zeros(1, np.int32)
    return "logistic", model


def _neighbours(step: Neighbours, names: Any) -> tuple[str, Any]:
    """
    Make nearest neighbours that vote with exp(cosine / temperature).

    scikit-learn hands 1 - cosine to a function that turns it into votes; the density of the
    exponential distribution, which a pickle keeps by name, is this function up to a factor.
    """
    from scipy import stats
    from sklearn.neighbors import KNeighborsClassifier

    votes = partial(stats.expon.pdf, scale=step.temperature)
    model = KNeighborsClassifier(step.k, metric="cosine", algorithm="brute", weights=votes)
    model.fit(step.codes.astype(np.float64), step.labels)
    model.classes_ = names[model.classes_]
    return "neighbours", model
