"""The ridge head against scikit-learn's, which solves for one alpha at a time."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.linear_model import RidgeClassifier

from pipeline.choices import HeadKind
from pipeline.heads import build
from pipeline.heads._codes import InMemory, moments


def _theirs(X, y, C, X_test):
    """Scikit-learn's margins on codes scaled as ours are."""
    scale = moments(InMemory(X)).scale
    model = RidgeClassifier(alpha=1 / C, solver="cholesky").fit(X / scale, y)
    return model.decision_function(X_test / scale)


@pytest.mark.parametrize("C", [1e-4, 1e-2, 1.0])
def test_margins_are_those_of_scikit_learn(C, three_classes):
    c = three_classes
    head = build(HeadKind.ridge, C=C).fit(c.X, c.y, n_classes=3)
    assert_allclose(head.decision(c.X_test), _theirs(c.X, c.y, C, c.X_test), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("C", [1e-3, 1.0])
def test_with_more_codes_than_images_too(C):
    random = np.random.default_rng(0)
    X = np.maximum(random.normal(size=(40, 300)), 0).astype(np.float32)
    y, X_test = np.arange(40) % 4, random.normal(size=(7, 300)).astype(np.float32)
    head = build(HeadKind.ridge, C=C).fit(X, y, n_classes=4)
    assert_allclose(head.decision(X_test), _theirs(X, y, C, X_test), rtol=1e-6, atol=1e-8)


def test_one_factorisation_serves_every_c(three_classes, monkeypatch):
    calls, real = [], np.linalg.eigh
    monkeypatch.setattr(np.linalg, "eigh", lambda a: calls.append(a.shape) or real(a))
    c = three_classes
    head = build(HeadKind.ridge).fit(c.X, c.y, X_val=c.X_val, y_val=c.y_val, n_classes=3)
    assert len(calls) == 2  # to choose C on train, and to fit on train and val
    assert len(head.parameters["C_curve"]) == len(head.C_GRID)


@pytest.mark.parametrize("width", [24, 300])
def test_without_a_factorisation_the_solution_is_the_same(width, monkeypatch):
    random = np.random.default_rng(0)
    X = np.maximum(random.normal(size=(60, width)), 0).astype(np.float32)
    y = np.arange(60) % 4
    closed = build(HeadKind.ridge, C=1e-2).fit(X, y, n_classes=4)
    monkeypatch.setattr("pipeline.heads._ridge.LARGEST", 10)
    monkeypatch.setattr("pipeline.heads._linear._ACCURACY", 1e-4)
    descended = build(HeadKind.ridge, C=1e-2).fit(X, y, n_classes=4)
    assert_allclose(descended.decision(X), closed.decision(X), rtol=2e-3, atol=2e-3)


def test_c_has_the_smallest_squared_error_on_validation(three_classes):
    c = three_classes
    head = build(HeadKind.ridge).fit(c.X, c.y, X_val=c.X_val, y_val=c.y_val, n_classes=3)
    signs = np.where(np.arange(3) == c.y_val[:, None], 1, -1)
    scale = moments(InMemory(np.concatenate([c.X, c.X_val]))).scale
    for C, loss in head.parameters["C_losses"]:
        theirs = RidgeClassifier(alpha=1 / C, solver="cholesky").fit(c.X / scale, c.y)
        expected = ((theirs.decision_function(c.X_val / scale) - signs) ** 2).sum() / len(c.y_val)
        assert_allclose(loss, expected, rtol=1e-3)
    losses = dict(map(tuple, head.parameters["C_losses"]))
    assert losses[head.parameters["C_used"]] == min(losses.values())
