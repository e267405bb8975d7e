"""Classifiers of scikit-learn's with the calibration and the classes of their head."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from typing import Any

import numpy as np

from pipeline.common.steps import Classifier


def calibrated(step: Classifier, classes: Sequence[str] | int) -> Any:
    """
    Return a classifier that has the probabilities of its head.

    Parameters
    ----------
    step : Classifier
    classes : sequence of str, or int
        Their names, or how many there are, where they stay numbers.

    Returns
    -------
    sklearn classifier
        Fitted. Margins go through a `StackingClassifier` whose last step is their softmax.
    """
    labels = np.arange(classes) if isinstance(classes, int) else np.array(classes)
    if step.slope is None:
        return _named(step.estimator, labels)
    return _stacked(step.estimator, step.slope, labels)


def _named(model: Any, labels: Any) -> Any:
    """Give a classifier its classes; one that answers from elsewhere keeps its numbers."""
    model = deepcopy(model)
    last = model[-1] if hasattr(model, "steps") else model
    try:
        last.classes_ = labels
    except AttributeError:  # computed from something else
        return model
    return model


def _stacked(model: Any, slope: float, labels: Any) -> Any:
    from sklearn.ensemble import StackingClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import LabelEncoder

    k = len(labels)
    last = LogisticRegression()
    # Of two classes there is one margin m, and the head's softmax is that of (-m, m).
    last.coef_ = np.array([[2 * slope]]) if k == 2 else slope * np.eye(k)
    last.intercept_ = np.zeros(len(last.coef_))
    last.classes_, last.n_features_in_ = np.arange(k), last.coef_.shape[1]
    last.n_iter_ = np.zeros(1, np.int32)
    encoder = LabelEncoder()
    encoder.classes_ = labels
    stack = StackingClassifier(
        [("head", model)], last, cv="prefit", stack_method="decision_function"
    )
    stack.estimators_, stack.final_estimator_ = [model], last
    stack.stack_method_, stack._label_encoder = ["decision_function"], encoder
    stack.classes_ = labels
    return stack
