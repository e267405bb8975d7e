"""What holds for every kind of head."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from pipeline.common.choices import HeadKind
from pipeline.common.errors import HeadError
from pipeline.heads import MlpConfig, build
from tests.heads.conftest import PARAMETERS
from tests.heads.helpers import streamed

KINDS = list(HeadKind)
LINEAR = [HeadKind.svm, HeadKind.softmax, HeadKind.ridge]
WITH_PROBABILITIES = [HeadKind.softmax, HeadKind.mlp, HeadKind.knn]
WITHOUT = [HeadKind.svm, HeadKind.ridge, HeadKind.centroid]


def quick(kind):
    """A head that has learned nothing yet and would learn fast."""
    if kind is HeadKind.mlp:
        return build(kind, config=MlpConfig(hidden=(4,), epochs=2))
    return build(kind, **({"C": 0.1} if kind in LINEAR else {}))


@pytest.mark.parametrize("kind", [*LINEAR, HeadKind.centroid])
@pytest.mark.parametrize("folds", [1, True])
def test_one_fold_judges_nothing(kind, folds, two_classes):
    head = build(kind).set_params(folds=folds)
    with pytest.raises(HeadError, match="expected --folds of 2 or more, found"):
        head.fit(two_classes.X, two_classes.y)


@pytest.mark.parametrize("kind", KINDS)
class TestEveryKind:
    def test_constructor_only_remembers(self, kind):
        head = build(kind, seed=7)
        assert head.seed == 7
        assert head.kind is kind
        assert not [name for name in vars(head) if name.endswith("_")]

    def test_fit_returns_itself_and_learns(self, kind, heads, three_classes):
        head = heads[kind]
        assert head.n_classes_ == 3
        assert head.n_features_in_ == 24
        assert (head.predict(three_classes.X_test) == three_classes.y_test).mean() > 0.9

    def test_fit_returns_self(self, kind, two_classes):
        head = quick(kind)
        assert head.fit(two_classes.X, two_classes.y) is head

    def test_one_column_per_class_and_the_highest_wins(self, kind, heads, three_classes):
        decision = heads[kind].decision(three_classes.X_test)
        assert decision.shape == (60, 3)
        assert np.array_equal(decision.argmax(axis=1), heads[kind].predict(three_classes.X_test))
        assert np.array_equal(
            heads[kind].as_scores(decision).argmax(axis=1), decision.argmax(axis=1)
        )

    def test_two_classes_have_two_columns(self, kind, fit, two_classes):
        head = fit(kind, two_classes)
        decision = head.decision(two_classes.X_test)
        assert decision.shape == (60, 2)
        assert (decision.argmax(axis=1) == two_classes.y_test).mean() > 0.9
        if kind in LINEAR:
            assert_allclose(decision[:, 0], -decision[:, 1], rtol=1e-6)

    def test_same_seed_same_head(self, kind, fit, heads, three_classes):
        again = fit(kind, three_classes)
        for name, array in heads[kind].arrays().items():
            assert np.array_equal(array, again.arrays()[name]), name

    def test_one_image_at_a_time_gives_the_same_scores(self, kind, heads, three_classes):
        X = three_classes.X_test[:5]
        single = np.concatenate([heads[kind].decision(X[i : i + 1]) for i in range(5)])
        assert_allclose(single, heads[kind].decision(X), rtol=1e-9, atol=1e-12)

    def test_no_images_give_no_scores(self, kind, heads):
        assert heads[kind].decision(np.zeros((0, 24))).shape == (0, 3)

    def test_parameters_are_json(self, kind, heads):
        parameters = heads[kind].parameters
        assert json.loads(json.dumps(parameters, allow_nan=False)) == parameters

    def test_rebuilt_from_its_arrays_it_decides_alike(self, kind, heads, three_classes):
        head = heads[kind]
        again = type(head).from_arrays(head.parameters, head.arrays())
        assert np.array_equal(
            again.decision(three_classes.X_test), head.decision(three_classes.X_test)
        )
        assert again.parameters == head.parameters

    def test_arrays_that_do_not_belong_together_are_refused(self, kind, heads):
        head = heads[kind]
        arrays = {**head.arrays(), "scale": np.ones(23)}
        with pytest.raises(HeadError, match="expected"):
            type(head).from_arrays(head.parameters, arrays)

    def test_labels_are_what_y_has(self, kind, two_classes):
        names = np.array(["cat", "dog"])[two_classes.y]
        head = quick(kind).fit(two_classes.X, names)
        assert head.classes_.tolist() == ["cat", "dog"]
        assert set(head.predict(two_classes.X_test)) <= {"cat", "dog"}
        one = head.decision_function(two_classes.X_test)
        assert np.array_equal(np.where(one > 0, "dog", "cat"), head.predict(two_classes.X_test))

    def test_validation_images_of_a_class_without_training_images(self, kind, three_classes):
        c = three_classes
        seen = c.y != 2
        with pytest.raises(HeadError, match=r"found label .*2.*; leave these images out"):
            quick(kind).fit(c.X[seen], c.y[seen], X_val=c.X_val, y_val=c.y_val)

    def test_validation_is_measured(self, kind, three_classes):
        codes = three_classes
        head = quick(kind).fit(codes.X, codes.y, X_val=codes.X_val, y_val=codes.y_val)
        assert head.validation_["images"] == 60
        assert 0 <= head.validation_["accuracy"] <= 1
        assert head.validation_["how"] == "validation images"

    def test_progress_ends_at_its_total(self, kind, three_classes):
        steps = []
        head = build(kind) if kind in LINEAR else quick(kind)
        codes = three_classes
        head.fit(codes.X, codes.y, progress=lambda *step: steps.append(step))
        assert steps[-1][0] == steps[-1][1]
        assert [done for done, _ in steps] == sorted(done for done, _ in steps)

    def test_codes_of_one_constant_column_and_dead_columns(self, kind):
        X = np.zeros((20, 6), dtype=np.float32)
        X[:, 1], X[10:, 2] = 5, 1
        y = np.repeat([0, 1], 10)
        head = quick(kind).fit(X, y)
        assert np.isfinite(head.decision(X + 100)).all()
        if kind in LINEAR:
            assert (head.predict(X) == y).all()


@pytest.mark.parametrize("kind", KINDS)
class TestBadInput:
    def test_before_fit(self, kind):
        with pytest.raises(HeadError, match="call fit first"):
            build(kind).decision(np.zeros((1, 3)))

    def test_one_class(self, kind, three_classes):
        y = np.zeros(120, dtype=int)
        with pytest.raises(HeadError, match="at least two classes, found 1"):
            quick(kind).fit(three_classes.X, y)

    def test_no_images(self, kind):
        with pytest.raises(HeadError, match="at least two classes, found 0"):
            quick(kind).fit(np.zeros((0, 3)), np.zeros(0, dtype=int))

    @pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
    def test_the_first_row_that_is_no_number_is_named(self, kind, value, heads, three_classes):
        X = three_classes.X.copy()
        X[[17, 30], 3] = value
        with pytest.raises(HeadError, match="row 17 of the training codes"):
            quick(kind).fit(X, three_classes.y)
        with pytest.raises(HeadError, match="row 17 of the given codes"):
            heads[kind].predict(X)

    def test_another_width(self, kind, heads):
        with pytest.raises(HeadError, match="24"):
            heads[kind].decision(np.zeros((1, 23)))

    def test_maps(self, kind, three_classes):
        with pytest.raises(HeadError, match="pool maps of codes first"):
            quick(kind).fit(np.zeros((120, 2, 2, 6)), three_classes.y)

    @pytest.mark.parametrize(
        ("y", "message"),
        [
            (np.zeros(119, dtype=int), "one label for each of the 120"),
            (np.arange(120) + 0.5, "Unknown label type: continuous"),
            (None, "requires y to be passed"),
        ],
    )
    def test_labels(self, kind, y, message, three_classes):
        with pytest.raises(ValueError, match=message):
            quick(kind).fit(three_classes.X, y)

    def test_unknown_parameter(self, kind):
        with pytest.raises(HeadError, match="found 'gamma'"):
            build(kind, gamma=1)


@pytest.mark.parametrize("kind", WITH_PROBABILITIES)
@given(size=st.floats(0, 2.0**100, width=32))
@settings(max_examples=25, deadline=None)
def test_probabilities_sum_to_one_however_large_the_codes(kind, size, heads):
    X = np.random.default_rng(0).random((5, 24)).astype(np.float32) * np.float32(size)
    probabilities = heads[kind].predict_proba(X)
    assert (probabilities >= 0).all()
    assert_allclose(probabilities.sum(axis=1), 1)


@pytest.mark.parametrize("kind", KINDS)
def test_scores_of_held_out_images_become_probabilities(kind, three_classes):
    c = three_classes
    head = quick(kind).fit(c.X, c.y, X_val=c.X_val, y_val=c.y_val)
    assert head.score_kind == "probability"
    if kind is HeadKind.knn:  # votes are shares already
        assert head.calibration_ is None
    else:
        assert head.calibration_["slope"] > 0
        assert head.calibration_["images"] == 60
        assert head.calibration_["how"] == "validation images"
    probabilities = head.predict_proba(c.X_test)
    assert_allclose(probabilities.sum(axis=1), 1)
    assert np.array_equal(probabilities.argmax(axis=1), head.predict(c.X_test))


@pytest.mark.parametrize("kind", WITHOUT)
def test_margins_that_nothing_is_known_about_stay_margins(kind, three_classes):
    lonely = [0, 1, 2]  # one image of each class: none can be held out
    head = quick(kind).fit(three_classes.X[lonely], three_classes.y[lonely])
    assert head.score_kind == "margin"
    with pytest.raises(HeadError, match="--kind softmax"):
        head.predict_proba(three_classes.X)
    decision = head.decision(three_classes.X)
    assert np.array_equal(head.as_scores(decision), decision)


@pytest.mark.parametrize("kind", KINDS)
def test_codes_need_not_be_in_memory(kind, three_classes):
    c = three_classes
    head = (
        quick(kind) if kind is not HeadKind.mlp else build(kind, config=PARAMETERS[kind]["config"])
    )
    if kind is HeadKind.ridge:
        pytest.skip("ridge takes codes in memory alone")
    head.fit(streamed(c.X), c.y, X_val=streamed(c.X_val), y_val=c.y_val)
    assert (head.predict(c.X_test) == c.y_test).mean() > 0.9
    broken = c.X.copy()
    broken[17, 3] = np.nan
    with pytest.raises(HeadError, match="NaN or infinity in row 17"):
        quick(kind).fit(streamed(broken), c.y)
