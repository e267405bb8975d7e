"""The linear heads against scikit-learn, and the choice of C."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.special import softmax
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.metrics import log_loss
from sklearn.pipeline import make_pipeline
from sklearn.svm import LinearSVC
from threadpoolctl import threadpool_limits

from pipeline.common.choices import HeadKind
from pipeline.common.errors import HeadError
from pipeline.heads import InMemory, ParetoScaler, build
from tests.heads.helpers import streamed

LINEAR = [HeadKind.svm, HeadKind.softmax, HeadKind.ridge]


def by_hand(kind, C, **others):
    """The pipeline that a head of a kind is, put together by a user of scikit-learn."""
    classifier = {
        HeadKind.svm: LinearSVC(C=C, tol=0.1, random_state=0, dual=True),
        HeadKind.softmax: LogisticRegression(C=C, tol=1e-2, max_iter=1000),
        HeadKind.ridge: RidgeClassifier(alpha=1 / C),
    }[kind].set_params(**others)
    return make_pipeline(ParetoScaler(with_mean=kind is HeadKind.softmax), classifier)


def both(c):
    return np.concatenate([c.X, c.X_val]), np.concatenate([c.y, c.y_val])


@pytest.mark.parametrize("kind", LINEAR)
@pytest.mark.parametrize("C", [1e-4, 1e-2, 1.0])
@pytest.mark.parametrize("classes", ["two_classes", "three_classes"])
class TestEstimator:
    def test_equals_the_same_pipeline_fitted_by_hand(self, kind, C, classes, request):
        c = request.getfixturevalue(classes)
        head = build(kind, C=C).fit(c.X, c.y)
        with threadpool_limits(1):
            theirs = by_hand(kind, C).fit(c.X, c.y)
        own = head.estimator_
        assert np.array_equal(own[-1].coef_, theirs[-1].coef_)
        assert np.array_equal(own[-1].intercept_, theirs[-1].intercept_)
        assert np.array_equal(own[0].scale_, theirs[0].scale_)
        assert np.array_equal(own.decision_function(c.X_test), theirs.decision_function(c.X_test))
        again = type(head).from_arrays(head.parameters, head.arrays()).estimator_
        assert np.array_equal(again[-1].coef_, theirs[-1].coef_)
        assert np.array_equal(again[-1].intercept_, theirs[-1].intercept_)

    def test_decides_as_it(self, kind, C, classes, request):
        c = request.getfixturevalue(classes)
        head = build(kind, C=C).fit(c.X, c.y)
        X = c.X_test.astype(np.float64)
        expected = head.estimator_.decision_function(X)
        assert_allclose(head.decision_function(X), expected, rtol=1e-6, atol=1e-6)
        assert np.array_equal(head.predict(X), head.estimator_.predict(X))
        if kind is HeadKind.softmax:
            plain = head.as_scores(head.decision(X), calibrated=False)
            assert_allclose(plain, head.estimator_.predict_proba(X), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", LINEAR)
def test_balanced_weights_are_those_of_scikit_learn(kind, three_classes):
    rare = np.concatenate([np.flatnonzero(three_classes.y != 2), [2, 5, 8, 11]])
    X, y = three_classes.X[rare], three_classes.y[rare]
    head = build(kind, C=0.01, class_weight="balanced").fit(X, y)
    with threadpool_limits(1):
        theirs = by_hand(kind, 0.01, class_weight="balanced").fit(X, y)
    expected = theirs.decision_function(three_classes.X_test)
    assert_allclose(head.decision(three_classes.X_test), expected, rtol=1e-4, atol=1e-4)


def test_pareto_scaling_by_hand():
    X = np.random.default_rng(0).random((5000, 6)).astype(np.float32) * [1, 10, 100, 0, 1, 1]
    X[:, 4] = 7
    deviation = X.std(axis=0, dtype=np.float64)
    expected = np.where(deviation > 1e-9, np.sqrt(deviation * deviation.mean()), 1)
    assert_allclose(ParetoScaler().fit(X).scale_, expected, rtol=1e-6)
    scale = ParetoScaler(widths=(2, 4)).fit(X).scale_
    assert_allclose(scale[:2], np.sqrt(deviation[:2] * deviation[:2].mean()), rtol=1e-6)
    assert_allclose(scale[2], np.sqrt(deviation[2] * deviation[2:].mean()), rtol=1e-6)


def test_scaling_and_tolerance_go_together():
    # Codes of unit length have tiny gradients: without a scaler the same tolerance ends at once.
    rng = np.random.default_rng(0)
    y = np.arange(600) % 10
    X = np.maximum(rng.normal(size=(10, 1280))[y] * 0.3 + rng.normal(size=(600, 1280)), 0)
    X = (X / np.linalg.norm(X, axis=1, keepdims=True)).astype(np.float32)
    bare = LogisticRegression(C=0.1, tol=1e-2).fit(X[:400], y[:400])
    assert bare.score(X[400:], y[400:]) < 0.5
    head = build(HeadKind.softmax, C=0.1).fit(X[:400], y[:400])
    assert head.score(X[400:], y[400:]) > 0.9


@pytest.mark.parametrize("kind", LINEAR)
class TestChoiceOfC:
    def test_the_smallest_validation_loss_wins_and_all_rows_are_learned(self, kind, three_classes):
        c = three_classes
        head = build(kind).fit(c.X, c.y, X_val=c.X_val, y_val=c.y_val)
        parameters = head.parameters
        assert parameters["C"] == "auto"
        assert parameters["C_used"] == min(parameters["C_losses"], key=lambda p: p[1])[0]
        assert [C for C, _ in parameters["C_curve"]] == sorted(C for C, _ in parameters["C_curve"])
        assert dict(parameters["C_curve"])[parameters["C_used"]] == head.validation_["accuracy"]
        assert parameters["fitted_on"] == "train and val"
        with threadpool_limits(1):
            theirs = by_hand(kind, parameters["C_used"]).fit(*both(c))
        expected = theirs.decision_function(c.X_test)
        assert np.array_equal(head.estimator_.decision_function(c.X_test), expected)

    def test_both_neighbours_of_the_best_were_tried(self, kind, three_classes):
        c = three_classes
        head = build(kind).fit(c.X, c.y, X_val=c.X_val, y_val=c.y_val)
        tried = [C for C, _ in head.parameters["C_losses"]]
        place = head.C_GRID.index(head.parameters["C_used"])
        assert set(head.C_GRID[max(0, place - 1) : place + 2]) <= set(tried)
        assert len(tried) < len(head.C_GRID) or kind is not HeadKind.ridge

    def test_losses_are_those_of_scikit_learn(self, kind, three_classes):
        c = three_classes
        head = build(kind).fit(c.X, c.y, X_val=c.X_val, y_val=c.y_val)
        for C, loss in head.parameters["C_losses"]:
            margins = by_hand(kind, C).fit(c.X, c.y).decision_function(c.X_val.astype(np.float64))
            own = np.where(c.y_val[:, None] == np.arange(3), 1, -1)
            expected = {
                HeadKind.svm: (np.maximum(1 - own * margins, 0) ** 2).sum(axis=1).mean(),
                HeadKind.softmax: log_loss(c.y_val, softmax(margins, axis=1)),
                HeadKind.ridge: ((margins - own) ** 2).sum(axis=1).mean(),
            }[kind]
            assert loss == pytest.approx(expected, rel=0.1, abs=0.02)

    def test_cross_validation_without_validation_images(self, kind, three_classes):
        head = build(kind).fit(three_classes.X, three_classes.y)
        assert head.validation_["how"] == "3-fold cross-validation"
        assert head.validation_["images"] == 120
        assert head.parameters["fitted_on"] == "train"

    def test_fewer_folds_for_a_small_class(self, kind, three_classes):
        rows = np.concatenate([np.flatnonzero(three_classes.y != 2), [2, 5]])
        head = build(kind).fit(three_classes.X[rows], three_classes.y[rows])
        assert head.validation_["how"] == "2-fold cross-validation"

    def test_a_default_where_a_class_has_a_single_image(self, kind, three_classes):
        rows = np.concatenate([np.flatnonzero(three_classes.y != 2), [2]])
        head = build(kind).fit(three_classes.X[rows], three_classes.y[rows])
        assert head.validation_ is None
        assert "too few images" in head.parameters["note"]
        assert head.parameters["C_used"] > 0

    def test_jobs_change_nothing(self, kind, three_classes):
        c = three_classes
        one, two = (
            build(kind, jobs=jobs).fit(c.X, c.y, X_val=c.X_val, y_val=c.y_val) for jobs in (1, 2)
        )
        assert one.parameters == two.parameters
        assert np.array_equal(one.decision(c.X_test), two.decision(c.X_test))

    @pytest.mark.parametrize("C", [0, -1, float("nan"), float("inf"), "big", True])
    def test_bad_values(self, kind, C):
        with pytest.raises(HeadError, match="expected --C auto or a number from 1e-12 to 1e"):
            build(kind, C=C)


@pytest.mark.parametrize("kind", [HeadKind.svm, HeadKind.softmax])
@pytest.mark.parametrize("validation", [True, False])
def test_codes_that_are_read_in_pieces_are_learned_by_averaged_descent(
    kind, validation, three_classes, monkeypatch
):
    monkeypatch.setattr("pipeline.heads._fits._ROWS_SEEN", 4000)
    c = three_classes
    own = {"X_val": c.X_val, "y_val": c.y_val} if validation else {}
    whole = build(kind).fit(c.X, c.y, **own)
    pieces = build(kind).fit(
        streamed(c.X), c.y, **(own | {"X_val": streamed(c.X_val)} if validation else {})
    )
    assert whole.parameters["fitted_by"] != pieces.parameters["fitted_by"] == "SGDClassifier"
    assert pieces.validation_["images"] == whole.validation_["images"]
    assert pieces.score(c.X_test, c.y_test) >= whole.score(c.X_test, c.y_test) - 0.05
    again = type(pieces).from_arrays(pieces.parameters, pieces.arrays())
    assert type(again.estimator_[-1]).__name__ == "SGDClassifier"
    assert np.array_equal(again.estimator_.predict(c.X_test), pieces.predict(c.X_test))


def test_ridge_needs_its_codes_in_memory(three_classes):
    with pytest.raises(HeadError, match="allow more with --memory, or use --kind svm"):
        build(HeadKind.ridge).fit(streamed(three_classes.X), three_classes.y)


def test_no_convergence_is_recorded(three_classes, monkeypatch):
    monkeypatch.setattr("pipeline.heads._linear._STEPS", 1)
    head = build(HeadKind.softmax, C=10.0).fit(three_classes.X, three_classes.y)
    assert head.parameters["converged"] is False


@pytest.mark.parametrize("size", [1e-38, 1e35])
def test_codes_beyond_32_bits_are_named(size, three_classes):
    X = (three_classes.X.astype(np.float64) * size).astype(np.float32)
    with pytest.raises(HeadError, match="codes of ordinary size"):
        build(HeadKind.svm).fit(X, three_classes.y)


@pytest.mark.parametrize("kind", [HeadKind.svm, HeadKind.ridge, HeadKind.knn])
def test_a_row_that_is_no_number_is_named_wherever_it_comes_from(kind, three_classes):
    X = three_classes.X.copy()
    X[17, 3] = np.nan
    with pytest.raises(HeadError, match="NaN or infinity in row 17"):
        build(kind).fit(InMemory(X), three_classes.y)
