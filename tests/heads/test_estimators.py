"""Every head against scikit-learn's own checks of estimators, and in scikit-learn's tools."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, cross_val_predict
from sklearn.utils.estimator_checks import check_estimator

from pipeline.common.choices import HeadKind
from pipeline.heads import MlpConfig, build

QUICK = [kind for kind in HeadKind if kind is not HeadKind.mlp]


# No check is excluded, here and below.
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", QUICK)
def test_scikit_learns_checks(kind):
    check_estimator(build(kind))


# Slow: Keras traces a network anew in each of the many fits. The checks want 83 % of 300 points in
# three groups right, and small batches make enough steps of few epochs.
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_scikit_learns_checks_of_an_mlp():
    config = MlpConfig(hidden=(16,), dropout=(0,), epochs=5, batch_size=4, learning_rate=0.05)
    check_estimator(build(HeadKind.mlp, config=config))


@pytest.mark.parametrize("kind", QUICK)
def test_scikit_learns_tools_take_a_head(kind, three_classes):
    c = three_classes
    names = np.array(["a", "b", "c"])[c.y]
    head = build(kind, seed=3)
    assert clone(head).get_params() == head.get_params()
    assert head.fit(c.X, names).score(c.X_test, np.array(["a", "b", "c"])[c.y_test]) > 0.9
    assert (cross_val_predict(head, c.X, names) == names).mean() > 0.9
    if kind is HeadKind.svm:
        search = GridSearchCV(head, {"C": [1e-4, 1e-2]}, cv=3).fit(c.X, names)
        assert search.best_params_["C"] in (1e-4, 1e-2)
