"""Heads that compare directions, against scikit-learn and sums by hand."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.metrics.pairwise import euclidean_distances
from sklearn.neighbors import KNeighborsClassifier, NearestCentroid
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer

from pipeline.common.choices import HeadKind
from pipeline.common.errors import HeadError
from pipeline.heads import ParetoScaler, build


@pytest.mark.parametrize("k", [1, 5, 20])
def test_neighbours_vote_as_those_of_scikit_learn(k, three_classes):
    c = three_classes
    theirs = KNeighborsClassifier(
        k, metric="cosine", algorithm="brute", weights=lambda d: np.exp(-d / 0.07)
    ).fit(c.X / ParetoScaler().fit(c.X).scale_, c.y)
    head = build(HeadKind.knn, k=k).fit(c.X, c.y)
    expected = theirs.predict_proba(c.X_test / ParetoScaler().fit(c.X).scale_)
    assert_allclose(head.predict_proba(c.X_test), expected, rtol=1e-4, atol=1e-12)


def test_k_is_the_best_on_validation_the_larger_of_equals(three_classes):
    c = three_classes
    head = build(HeadKind.knn).fit(c.X, c.y, X_val=c.X_val, y_val=c.y_val)
    curve = dict(map(tuple, head.parameters["k_curve"]))
    assert list(curve) == [1, 3, 5, 10, 20]
    for k, accuracy in curve.items():
        alone = build(HeadKind.knn, k=k).fit(c.X, c.y)
        assert accuracy == (alone.predict(c.X_val) == c.y_val).mean()
    best = max(curve.values())
    assert head.parameters["k_used"] == max(k for k, value in curve.items() if value == best)


def test_more_neighbours_than_images_are_all_of_them():
    X, y = np.eye(3, dtype=np.float32), np.array([0, 1, 1])
    head = build(HeadKind.knn, k=50).fit(X, y)
    assert head.parameters["k_used"] == 3


def test_knn_equals_the_same_pipeline_fitted_by_hand(three_classes):
    c = three_classes
    head = build(HeadKind.knn, k=3).fit(c.X, c.y)
    classifier = KNeighborsClassifier(3, algorithm="brute", weights=head.estimator_[-1].weights)
    theirs = make_pipeline(ParetoScaler(), Normalizer(), classifier).fit(c.X, c.y)
    X = c.X_test.astype(np.float64)
    assert np.array_equal(head.estimator_.predict_proba(X), theirs.predict_proba(X))
    assert_allclose(head.predict_proba(X), theirs.predict_proba(X), atol=1e-5)


@pytest.mark.parametrize("k", [0, -1, 1.5, True, "many"])
def test_impossible_k(k):
    with pytest.raises(HeadError, match="--k auto or a number of 1 or more"):
        build(HeadKind.knn, k=k)


def test_centroid_equals_the_same_pipeline_fitted_by_hand(three_classes):
    c = three_classes
    head = build(HeadKind.centroid).fit(c.X, c.y)
    theirs = make_pipeline(ParetoScaler(), Normalizer(), NearestCentroid()).fit(c.X, c.y)
    assert np.array_equal(head.estimator_[-1].centroids_, theirs[-1].centroids_)
    assert np.array_equal(head.predict(c.X_test), theirs.predict(c.X_test))
    assert np.array_equal(head.estimator_.predict(c.X_test), theirs.predict(c.X_test))


def test_centroid_scores_are_half_the_squared_distance_from_below(three_classes):
    c = three_classes
    head = build(HeadKind.centroid).fit(c.X, c.y)
    X = head.estimator_[:-1].transform(c.X_test.astype(np.float64))
    distances = euclidean_distances(X, head.estimator_[-1].centroids_)
    assert_allclose(head.decision(c.X_test), (1 - distances**2) / 2, atol=1e-6)


def test_centroid_without_validation_images_is_calibrated_by_folds(three_classes):
    c = three_classes
    head = build(HeadKind.centroid).fit(c.X, c.y)
    assert head.validation_["how"] == "3-fold cross-validation"
    assert head.calibration_["images"] == 120


def test_size_does_not_matter_only_direction(heads, three_classes):
    for kind in (HeadKind.knn, HeadKind.centroid):
        once = heads[kind].decision(three_classes.X_test)
        assert_allclose(heads[kind].decision(three_classes.X_test * 1000), once, atol=1e-5)
