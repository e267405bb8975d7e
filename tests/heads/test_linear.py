"""The linear heads against scikit-learn, and the choice of C."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.metrics import log_loss
from sklearn.svm import LinearSVC

from pipeline.choices import ClassWeight, HeadKind
from pipeline.errors import HeadError
from pipeline.heads import InMemory, build
from tests.heads.helpers import streamed

LINEAR = [HeadKind.svm, HeadKind.softmax]


@pytest.fixture(autouse=True)
def exact(monkeypatch):
    """Go on until the solution can be compared with scikit-learn's digit by digit."""
    monkeypatch.setattr("pipeline.heads._linear._ACCURACY", 1e-3)


def pareto(X):
    deviation = X.std(axis=0, dtype=np.float64)
    return np.where(deviation > 0, np.sqrt(deviation * deviation.mean()), 1)


def svc(C):
    """Scikit-learn's estimator with a bias that is next to not regularised, as ours is."""
    return LinearSVC(C=C, intercept_scaling=100, tol=1e-8, max_iter=100_000, dual=False)


@pytest.mark.parametrize("C", [1e-4, 1e-2, 1.0])
def test_svm_equals_linear_svc_on_scaled_codes(C, three_classes):
    codes, scale = three_classes, pareto(three_classes.X)
    head = build(HeadKind.svm, C=C, seed=3).fit(codes.X, codes.y, n_classes=3)
    expected = svc(C).fit(codes.X / scale, codes.y).decision_function(codes.X_test / scale)
    assert_allclose(head.decision(codes.X_test), expected, rtol=2e-3, atol=5e-3)


@pytest.mark.parametrize("C", [1e-4, 1e-2, 1.0])
def test_softmax_equals_logistic_regression_on_scaled_codes(C, three_classes):
    codes, scale = three_classes, pareto(three_classes.X)
    head = build(HeadKind.softmax, C=C).fit(codes.X, codes.y, n_classes=3)
    exact = LogisticRegression(C=C, max_iter=10_000, tol=1e-8).fit(codes.X / scale, codes.y)
    expected = exact.predict_proba(codes.X_test / scale)
    plain = head.probabilities(head.decision(codes.X_test), calibrated=False)
    assert_allclose(plain, expected, atol=2e-3)


@pytest.mark.parametrize("kind", [HeadKind.svm, HeadKind.softmax])
def test_two_classes_equal_scikit_learn(kind, two_classes):
    codes, scale = two_classes, pareto(two_classes.X)
    head = build(kind, C=0.01).fit(codes.X, codes.y, n_classes=2)
    logistic = LogisticRegression(C=0.01, max_iter=10_000, tol=1e-8)
    theirs = {HeadKind.svm: svc(0.01), HeadKind.softmax: logistic}[kind]
    expected = theirs.fit(codes.X / scale, codes.y).decision_function(codes.X_test / scale)
    ours = head.decision(codes.X_test)
    # Of two classes scikit-learn has one score: the margin, or how far the logits lie apart.
    one = ours[:, 1] if kind is HeadKind.svm else ours[:, 1] - ours[:, 0]
    assert_allclose(one, expected, rtol=2e-3, atol=5e-3)


@pytest.mark.parametrize("kind", [HeadKind.svm, HeadKind.softmax, HeadKind.ridge])
def test_balanced_weights_are_those_of_scikit_learn(kind, three_classes):
    rare = np.concatenate([np.flatnonzero(three_classes.y != 2), [2, 5, 8, 11]])
    X, y = three_classes.X[rare], three_classes.y[rare]
    scale = pareto(X)
    head = build(kind, C=0.01, class_weight=ClassWeight.balanced).fit(X, y, n_classes=3)
    theirs = {
        HeadKind.svm: svc(0.01),
        HeadKind.softmax: LogisticRegression(C=0.01, max_iter=10_000, tol=1e-8),
        HeadKind.ridge: RidgeClassifier(alpha=100.0),
    }[kind].set_params(class_weight="balanced")
    expected = theirs.fit(X / scale, y).decision_function(three_classes.X_test / scale)
    ours = head.decision(three_classes.X_test)
    if kind is HeadKind.softmax:  # logits are known up to what all classes have in common
        ours, expected = (z - z.mean(axis=1, keepdims=True) for z in (ours, expected))
    assert_allclose(ours, expected, rtol=2e-3, atol=5e-3)


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
        # Where L-BFGS ends depends on where it began, and in float32 on the processor: margins of
        # up to 9 were 0.022 apart on one with AVX-512.
        assert_allclose(head.decision(c.X_test), both.decision(c.X_test), rtol=1e-2, atol=5e-2)

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
        with pytest.raises(HeadError, match="expected --C auto or a number from 1e-12 to 1e"):
            build(kind, C=C)


def test_log_loss_is_that_of_scikit_learn(three_classes):
    c = three_classes
    head = build(HeadKind.softmax).fit(c.X, c.y, X_val=c.X_val, y_val=c.y_val, n_classes=3)
    C, loss = head.parameters["C_losses"][3]
    scale = pareto(np.concatenate([c.X, c.X_val]))
    exact = LogisticRegression(C=C, max_iter=10_000, tol=1e-8).fit(c.X / scale, c.y)
    assert loss == pytest.approx(log_loss(c.y_val, exact.predict_proba(c.X_val / scale)), rel=1e-2)


def test_squared_hinge_loss_by_hand(three_classes):
    c = three_classes
    head = build(HeadKind.svm).fit(c.X, c.y, X_val=c.X_val, y_val=c.y_val, n_classes=3)
    C, loss = head.parameters["C_losses"][3]
    scale = pareto(np.concatenate([c.X, c.X_val]))
    margins = svc(C).fit(c.X / scale, c.y).decision_function(c.X_val / scale)
    expected = 0.0
    for row, label in zip(margins, c.y_val, strict=True):
        for column, margin in enumerate(row):
            expected += max(0, 1 - margin if column == label else 1 + margin) ** 2
    assert loss == pytest.approx(expected / 60, rel=1e-2)


@pytest.mark.parametrize("kind", [HeadKind.svm, HeadKind.softmax, HeadKind.ridge])
def test_codes_that_are_read_in_pieces_give_the_same_head(kind, three_classes):
    c = three_classes
    fit = {"n_classes": 3, "y_val": c.y_val}
    whole = build(kind).fit(c.X, c.y, X_val=c.X_val, **fit)
    pieces = build(kind).fit(streamed(c.X), c.y, X_val=streamed(c.X_val), **fit)
    assert pieces.parameters["C_used"] == whole.parameters["C_used"]
    assert_allclose(pieces.decision(c.X_test), whole.decision(c.X_test), rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("kind", LINEAR)
def test_little_room_means_one_value_of_c_after_the_other(kind, three_classes):
    c = three_classes
    fit = {"n_classes": 3, "X_val": c.X_val, "y_val": c.y_val}
    at_once, one_by_one = (build(kind, room=r).fit(c.X, c.y, **fit) for r in (1 << 29, 1))
    assert one_by_one.parameters["C_used"] == at_once.parameters["C_used"]
    for (_, mine), (_, theirs) in zip(
        one_by_one.parameters["C_losses"], at_once.parameters["C_losses"], strict=True
    ):
        assert mine == pytest.approx(theirs, rel=1e-2)


def test_no_convergence_is_recorded(three_classes, monkeypatch):
    monkeypatch.setattr("pipeline.heads._solver._PASSES", 1)
    head = build(HeadKind.softmax, C=10.0).fit(three_classes.X, three_classes.y, n_classes=3)
    assert head.parameters["converged"] is False


@pytest.mark.parametrize("C", [1e-12, 1e-9])
def test_where_regularisation_is_all_the_bias_still_converges(C, three_classes):
    few = np.concatenate([np.flatnonzero(three_classes.y == 0), [1, 2, 4, 5]])
    X, y = three_classes.X[few], three_classes.y[few]
    head = build(HeadKind.softmax, C=C).fit(X, y, n_classes=3)
    assert head.parameters["converged"]
    shares = np.bincount(y) / len(y)  # nothing else is known
    plain = head.probabilities(head.decision(three_classes.X_test), calibrated=False)
    assert_allclose(plain, np.broadcast_to(shares, plain.shape), atol=1e-2)


@pytest.mark.parametrize("size", [1e-38, 1e35])
def test_codes_beyond_32_bits_are_named(size, three_classes):
    X = (three_classes.X.astype(np.float64) * size).astype(np.float32)
    with pytest.raises(HeadError, match="codes of ordinary size"):
        build(HeadKind.svm).fit(X, three_classes.y, n_classes=3)


@pytest.mark.parametrize("kind", [HeadKind.svm, HeadKind.ridge, HeadKind.knn])
def test_a_row_that_is_no_number_is_named_wherever_it_comes_from(kind, three_classes):
    X = three_classes.X.copy()
    X[17, 3] = np.nan
    with pytest.raises(HeadError, match="NaN or infinity in row 17"):
        build(kind).fit(InMemory(X), three_classes.y, n_classes=3)


@pytest.mark.parametrize("kind", LINEAR)
def test_a_c_that_is_given_up_is_named_and_not_chosen(kind, monkeypatch):
    rng = np.random.default_rng(0)
    y = np.arange(200) % 2
    # One column in sixty tells the classes apart: large values of C learn noise, and take long.
    X = rng.normal(size=(200, 60)).astype(np.float32)
    X[:, 0] += 1.5 * y
    monkeypatch.setattr("pipeline.heads._solver._TRIED", 5)
    monkeypatch.setattr("pipeline.heads._solver._CLOSER", 0.9)
    head = build(kind).fit(X[:100], y[:100], X_val=X[100:], y_val=y[100:], n_classes=2)
    given_up = head.parameters["C_given_up"]
    assert given_up
    assert head.parameters["C_used"] < min(given_up)
    monkeypatch.undo()
    patient = build(kind).fit(X[:100], y[:100], X_val=X[100:], y_val=y[100:], n_classes=2)
    assert patient.parameters["C_used"] == head.parameters["C_used"]
