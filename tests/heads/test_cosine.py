"""Heads that compare directions, against scikit-learn and sums by hand."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.neighbors import KNeighborsClassifier, NearestCentroid
from sklearn.preprocessing import normalize

from pipeline.choices import HeadKind
from pipeline.errors import HeadError
from pipeline.heads import build
from pipeline.heads._codes import InMemory, moments


@pytest.mark.parametrize("k", [1, 5, 20])
def test_neighbours_vote_as_those_of_scikit_learn(k, three_classes):
    c = three_classes
    theirs = KNeighborsClassifier(
        k, metric="cosine", algorithm="brute", weights=lambda d: np.exp(-d / 0.07)
    ).fit(c.X / moments(InMemory(c.X)).scale, c.y)
    head = build(HeadKind.knn, k=k).fit(c.X, c.y, n_classes=3)
    expected = theirs.predict_proba(c.X_test / moments(InMemory(c.X)).scale)
    assert_allclose(head.predict_proba(c.X_test), expected, rtol=1e-4, atol=1e-12)


def test_k_is_the_best_on_validation_the_larger_of_equals(three_classes):
    c = three_classes
    head = build(HeadKind.knn).fit(c.X, c.y, X_val=c.X_val, y_val=c.y_val, n_classes=3)
    curve = dict(map(tuple, head.parameters["k_curve"]))
    assert list(curve) == [1, 3, 5, 10, 20]
    for k, accuracy in curve.items():
        alone = build(HeadKind.knn, k=k).fit(c.X, c.y, n_classes=3)
        assert accuracy == (alone.predict(c.X_val) == c.y_val).mean()
    best = max(curve.values())
    assert head.parameters["k_used"] == max(k for k, value in curve.items() if value == best)


def test_more_neighbours_than_images_are_all_of_them():
    X, y = np.eye(3, dtype=np.float32), np.array([0, 1, 1])
    head = build(HeadKind.knn, k=50).fit(X, y, n_classes=2)
    assert head.parameters["k_used"] == 3


def test_searching_in_pieces_finds_the_same(three_classes, monkeypatch, heads):
    monkeypatch.setattr("pipeline.heads._cosine._AT_ONCE", 1)
    again = heads[HeadKind.knn].decision(three_classes.X_test)
    monkeypatch.undo()
    np.testing.assert_array_equal(again, heads[HeadKind.knn].decision(three_classes.X_test))


@pytest.mark.parametrize("k", [0, -1, 1.5, True, "many"])
def test_impossible_k(k):
    with pytest.raises(HeadError, match="--k auto or a number of 1 or more"):
        build(HeadKind.knn, k=k)


def test_centres_are_mean_directions(three_classes):
    c = three_classes
    head = build(HeadKind.centroid).fit(c.X, c.y, n_classes=3)
    scale = moments(InMemory(c.X)).scale
    centres = NearestCentroid().fit(normalize(c.X / scale), c.y).centroids_
    expected = normalize(c.X_test / scale) @ normalize(centres).T
    assert_allclose(head.decision(c.X_test), expected, rtol=1e-5, atol=1e-6)


def test_size_does_not_matter_only_direction(heads, three_classes):
    for kind in (HeadKind.knn, HeadKind.centroid):
        once = heads[kind].decision(three_classes.X_test)
        assert_allclose(heads[kind].decision(three_classes.X_test * 1000), once, atol=1e-5)
