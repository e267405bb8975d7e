"""The linear heads against scikit-learn, and the choice of C."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.svm import LinearSVC

from pipeline.choices import HeadKind
from pipeline.errors import HeadError
from pipeline.heads import build

LINEAR = [HeadKind.svm, HeadKind.softmax]


def pareto(X):
    deviation = X.std(axis=0, dtype=np.float64)
    return np.where(deviation > 0, np.sqrt(deviation * deviation.mean()), 1)


def test_svm_equals_linear_svc_on_scaled_codes(three_classes):
    codes, scale = three_classes, pareto(three_classes.X)
    head = build(HeadKind.svm, C=0.01, seed=3).fit(codes.X, codes.y, n_classes=3)
    svc = LinearSVC(C=0.01, random_state=3).fit((codes.X / scale).astype(np.float32), codes.y)
    expected = svc.decision_function(codes.X_test / scale)
    assert_allclose(head.decision(codes.X_test), expected, rtol=1e-5, atol=1e-5)


def test_softmax_equals_logistic_regression_on_scaled_codes(three_classes):
    codes, scale = three_classes, pareto(three_classes.X)
    head = build(HeadKind.softmax, C=0.1).fit(codes.X, codes.y, n_classes=3)
    exact = LogisticRegression(C=0.1, max_iter=10_000, tol=1e-8).fit(codes.X / scale, codes.y)
    expected = exact.predict_proba(codes.X_test / scale)
    assert_allclose(head.predict_proba(codes.X_test), expected, atol=2e-3)


def test_two_classes_equal_scikit_learn(two_classes):
    codes, scale = two_classes, pareto(two_classes.X)
    svc = LinearSVC(C=0.01, random_state=0).fit((codes.X / scale).astype(np.float32), codes.y)
    margins = build(HeadKind.svm, C=0.01).fit(codes.X, codes.y, n_classes=2).decision(codes.X_test)
    expected = svc.decision_function(codes.X_test / scale)
    assert_allclose(margins[:, 1], expected, rtol=1e-5, atol=1e-5)

    exact = LogisticRegression(C=0.1, max_iter=10_000, tol=1e-8).fit(codes.X / scale, codes.y)
    head = build(HeadKind.softmax, C=0.1).fit(codes.X, codes.y, n_classes=2)
    probabilities = exact.predict_proba(codes.X_test / scale)
    assert_allclose(head.predict_proba(codes.X_test), probabilities, atol=2e-3)


@pytest.mark.parametrize("kind", LINEAR)
class TestChoiceOfC:
    def test_the_smallest_validation_loss_wins_and_all_rows_are_learned(self, kind, three_classes):
        c = three_classes
        head = build(kind).fit(c.X, c.y, X_val=c.X_val, y_val=c.y_val, n_classes=3)
        parameters = head.parameters
        assert parameters["C"] == "auto"
        assert parameters["C_used"] == min(parameters["C_losses"], key=lambda p: p[1])[0]
        assert [C for C, _ in parameters["C_curve"]] == sorted(C for C, _ in parameters["C_curve"])
        assert dict(parameters["C_curve"])[parameters["C_used"]] == head.validation_["accuracy"]
        assert parameters["fitted_on"] == "train and val"

        both = build(kind, C=parameters["C_used"]).fit(
            np.concatenate([c.X, c.X_val]), np.concatenate([c.y, c.y_val]), n_classes=3
        )
        assert np.array_equal(head.decision(c.X_test), both.decision(c.X_test))

    def test_cross_validation_without_validation_images(self, kind, three_classes):
        head = build(kind).fit(three_classes.X, three_classes.y, n_classes=3)
        assert head.validation_["how"] == "3-fold cross-validation"
        assert head.validation_["images"] == 120
        assert head.parameters["fitted_on"] == "train"

    def test_fewer_folds_for_a_small_class(self, kind, three_classes):
        rows = np.concatenate([np.flatnonzero(three_classes.y != 2), [2, 5]])
        head = build(kind).fit(three_classes.X[rows], three_classes.y[rows], n_classes=3)
        assert head.validation_["how"] == "2-fold cross-validation"

    def test_a_default_where_a_class_has_a_single_image(self, kind, three_classes):
        rows = np.concatenate([np.flatnonzero(three_classes.y != 2), [2]])
        head = build(kind).fit(three_classes.X[rows], three_classes.y[rows], n_classes=3)
        assert head.validation_ is None
        assert "too few images" in head.parameters["note"]
        assert head.parameters["C_used"] > 0

    def test_validation_images_of_a_class_without_training_images(self, kind, three_classes):
        c = three_classes
        seen = c.y != 2
        head = build(kind).fit(c.X[seen], c.y[seen], X_val=c.X_val, y_val=c.y_val, n_classes=3)
        assert head.validation_["accuracy"] <= 2 / 3
        assert np.isfinite([loss for _, loss in head.parameters["C_losses"]]).all()
        # In the end the head has seen all images, those of the third class too.
        assert (head.predict(c.X_test) == c.y_test).mean() > 0.9

    @pytest.mark.parametrize("C", [0, -1, float("nan"), float("inf"), "big", True])
    def test_bad_values(self, kind, C):
        with pytest.raises(HeadError, match="expected --C auto or a number above 0"):
            build(kind, C=C)


def test_log_loss_is_that_of_scikit_learn(three_classes):
    c = three_classes
    head = build(HeadKind.softmax).fit(c.X, c.y, X_val=c.X_val, y_val=c.y_val, n_classes=3)
    C, loss = head.parameters["C_losses"][3]
    alone = build(HeadKind.softmax, C=C).fit(c.X, c.y, n_classes=3)
    assert loss == pytest.approx(log_loss(c.y_val, alone.predict_proba(c.X_val)), rel=1e-4)


def test_squared_hinge_loss_by_hand(three_classes):
    c = three_classes
    head = build(HeadKind.svm).fit(c.X, c.y, X_val=c.X_val, y_val=c.y_val, n_classes=3)
    C, loss = head.parameters["C_losses"][3]
    margins = build(HeadKind.svm, C=C).fit(c.X, c.y, n_classes=3).decision(c.X_val)
    expected = 0.0
    for row, label in zip(margins, c.y_val, strict=True):
        for column, margin in enumerate(row):
            expected += max(0, 1 - margin if column == label else 1 + margin) ** 2
    assert loss == pytest.approx(expected / 60, rel=1e-4)


def test_no_convergence_is_recorded_and_not_a_warning(three_classes, monkeypatch):
    monkeypatch.setattr(
        "sklearn.linear_model.LogisticRegression.__init__",
        _with_one_iteration(LogisticRegression.__init__),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        head = build(HeadKind.softmax, C=10.0).fit(three_classes.X, three_classes.y, n_classes=3)
    assert head.parameters["converged"] is False


def _with_one_iteration(init):
    def patched(self, **parameters):
        init(self, **{**parameters, "max_iter": 1})

    return patched


def test_codes_too_many_for_liblinear_are_refused(three_classes, monkeypatch):
    monkeypatch.setattr("numpy.count_nonzero", lambda array: 2**31)
    with pytest.raises(HeadError, match="use --pool avg or --kind mlp"):
        build(HeadKind.svm, C=1.0).fit(three_classes.X, three_classes.y, n_classes=3)
