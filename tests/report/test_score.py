"""Metrics against scikit-learn and by hand."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

from pipeline.report import (
    Tally,
    accuracy_by_share,
    calibration_error,
    confusion_csv_lines,
    most_confused,
    score,
)

CLASSES = ("cat", "dog", "eel")
TRUE = [0, 0, 0, 1, 1, 2]
PRED = [0, 0, 1, 1, 0, 1]


def test_by_hand():
    report = score(TRUE, PRED, classes=CLASSES)
    assert report.images == 6
    assert report.accuracy == 0.5
    assert report.confusion == ((2, 1, 0), (1, 1, 0), (0, 1, 0))
    assert report.baseline == 0.5
    assert report.balanced_accuracy == pytest.approx((2 / 3 + 1 / 2 + 0) / 3)
    cat, dog, eel = report.classes
    assert (cat.precision, cat.recall, cat.support) == (
        pytest.approx(2 / 3),
        pytest.approx(2 / 3),
        3,
    )
    assert (dog.precision, dog.recall, dog.support) == (pytest.approx(1 / 3), 0.5, 2)
    assert (eel.precision, eel.recall, eel.f1, eel.support) == (0, 0, 0, 1)
    # Wilson's interval for 3 of 6: (p + z²/2n ± z √(p(1-p)/n + z²/4n²)) / (1 + z²/n), z = 1.96
    assert report.accuracy_interval == pytest.approx((0.1876, 0.8124), abs=1e-4)
    assert report.top5_accuracy is None


@given(st.integers(2, 8), st.integers(1, 60), st.integers(0, 2**32 - 1))
@settings(max_examples=50, deadline=None)
def test_equals_scikit_learn(k, n, seed):
    rng = np.random.default_rng(seed)
    true, scores = rng.integers(0, k, n), rng.random((n, k))
    pred = scores.argmax(axis=1)
    report = score(true, pred, classes=[f"class {i}" for i in range(k)], scores=scores)
    labels = np.arange(k)
    assert np.array_equal(report.confusion, metrics.confusion_matrix(true, pred, labels=labels))
    assert report.accuracy == pytest.approx(metrics.accuracy_score(true, pred))
    expected = metrics.precision_recall_fscore_support(true, pred, labels=labels, zero_division=0)
    found = [(c.precision, c.recall, c.f1, c.support) for c in report.classes]
    assert np.allclose(np.transpose(expected), found)
    # scikit-learn, without `labels`, averages the classes that occur.
    macro_f1 = metrics.f1_score(true, pred, average="macro", zero_division=0)
    assert report.macro_f1 == pytest.approx(macro_f1)
    recalls = metrics.recall_score(
        true, pred, labels=np.unique(true), average=None, zero_division=0
    )
    assert report.balanced_accuracy == pytest.approx(recalls.mean())
    if k > 5:
        top = metrics.top_k_accuracy_score(true, scores, k=5, labels=labels)
        assert report.top5_accuracy == pytest.approx(top)
    else:
        assert report.top5_accuracy is None


def test_classes_without_images_do_not_drag_the_means_down():
    report = score([0, 1], [0, 1], classes=("a", "b", "c"))
    assert report.balanced_accuracy == report.macro_f1 == 1


def test_is_json():
    report = score(TRUE, PRED, classes=("cat", "caf\udce9", "=eel"), score_kind="margin")
    plain = report.to_json()
    assert json.loads(json.dumps(plain, allow_nan=False)) == plain
    assert plain["classes"][0]["name"] == "cat"
    assert plain["score_kind"] == "margin"


def test_calibration_error_by_hand():
    # Two images are 0.9 sure and one of them is right; two are 0.6 sure and both are.
    sure = [[0.9, 0.1], [0.9, 0.1], [0.4, 0.6], [0.4, 0.6]]
    error = calibration_error([0, 1, 1, 1], sure)
    assert error == pytest.approx((2 * abs(0.5 - 0.9) + 2 * abs(1.0 - 0.6)) / 4)
    report = score(
        [0, 1, 1, 1],
        [0, 0, 1, 1],
        classes=("a", "b"),
        scores=sure,
        score_kind="probability",
        uncalibrated=np.eye(2)[[0, 0, 1, 1]],
    )
    assert report.calibration_error == error
    assert report.uncalibrated_error == 0.25
    # 15 bins: 0.93 is in the last but one, 1.0 in the last, and each gap counts by itself.
    assert calibration_error([0, 1], [[0.93, 0.07], [1.0, 0.0]]) == pytest.approx((0.07 + 1) / 2)
    assert calibration_error([0, 1], [[0.94, 0.06], [1.0, 0.0]]) == pytest.approx(0.94 / 2)
    # 13/15 to 14/15 is one bin, in which what one lacks is what the other has too much.
    assert calibration_error([0, 1], [[0.87, 0.13], [0.93, 0.07]]) == pytest.approx(0.4)


def test_margins_have_no_calibration_error():
    margins = np.array([[-0.5, -2.0], [-3.0, -1.5]])
    report = score([0, 1], [0, 1], classes=("a", "b"), scores=margins, score_kind="margin")
    assert report.calibration_error is None


def test_most_confused():
    report = score([0, 0, 1, 1, 1, 2], [1, 1, 0, 0, 2, 2], classes=CLASSES)
    assert most_confused(report, 2) == [("cat", "dog", 2), ("dog", "cat", 2)]
    assert most_confused(report, 9)[2:] == [("dog", "eel", 1)]
    assert most_confused(score([0, 1], [0, 1], classes=CLASSES)) == []


@pytest.mark.parametrize(
    ("true", "pred", "message"),
    [
        ([], [], "at least one image"),
        ([0, 1], [0], "found shapes"),
        ([0], [3], "from 0 to 2"),
        ([-1], [0], "from 0 to 2"),
        ([0.0], [0.0], "whole numbers"),
    ],
)
def test_labels_that_do_not_fit(true, pred, message):
    with pytest.raises(ValueError, match=message):
        score(true, pred, classes=CLASSES)


def test_scores_that_do_not_fit():
    with pytest.raises(ValueError, match=r"expected scores of shape \(6, 3\), found \(6, 2\)"):
        score(TRUE, PRED, classes=CLASSES, scores=np.zeros((6, 2)))


@given(st.integers(2, 9), st.integers(1, 50), st.integers(1, 7), st.integers(0, 2**32 - 1))
@settings(max_examples=50, deadline=None)
def test_counting_block_by_block_gives_the_same(k, n, step, seed):
    rng = np.random.default_rng(seed)
    true, scores = rng.integers(0, k, n), rng.dirichlet(np.ones(k), n)
    names = [f"class {i}" for i in range(k)]
    more = {"classes": names, "score_kind": "probability"}
    whole = score(true, scores.argmax(axis=1), scores=scores, uncalibrated=scores**2, **more)
    tally = Tally(names, score_kind="probability")
    for start in range(0, n, step):
        part, own = scores[start : start + step], true[start : start + step]
        tally.add(own, part.argmax(axis=1), scores=part, uncalibrated=part**2)
    found, expected = tally.report().to_json(), whole.to_json()
    for name in ("calibration_error", "uncalibrated_error"):
        assert found.pop(name) == pytest.approx(expected.pop(name))
    assert found == expected


@pytest.mark.parametrize(("k", "shown"), [(100, True), (101, False)])
def test_a_matrix_of_up_to_a_hundred_classes_is_in_the_report(k, shown):
    true = np.arange(k)
    report = score(true, (true + 1) % k, classes=[f"c{i}" for i in range(k)])
    plain = report.to_json()
    assert (plain["confusion"] is not None) is shown
    assert len(plain["most_confused"]) == 20
    assert len(most_confused(report)) == 5


def test_of_many_classes_the_report_names_pairs_and_leaves_the_matrix_out():
    k = 3000
    true = np.arange(2 * k) % k
    pred = np.where(true < 5, 7, true)
    report = score(true, pred, classes=[f"c{i}" for i in range(k)])
    plain = report.to_json()
    assert plain["confusion"] is None
    assert plain["most_confused"][0] == {"true": "c0", "predicted": "c7", "images": 2}
    assert len(json.dumps(plain)) < 1_000_000
    lines = confusion_csv_lines(report)
    assert next(lines).startswith("true class,c0,c1,")
    assert next(lines).split(",")[:9] == ["c0", *"00000002"]
    assert sum(1 for _ in lines) == k - 1


def test_accuracy_where_the_least_certain_are_refused() -> None:
    right = np.array([True, False, True, True, False])
    shares, accuracies = accuracy_by_share(right, np.array([0.9, 0.8, 0.7, 0.6, 0.5]))
    assert shares.tolist() == [0.2, 0.4, 0.6, 0.8, 1]
    assert accuracies == pytest.approx([1, 1 / 2, 2 / 3, 3 / 4, 3 / 5])
    # Of equally certain answers nobody knows which are refused first.
    _, tied = accuracy_by_share(right, np.array([0.9, 0.9, 0.9, 0.1, 0.1]))
    assert tied == pytest.approx([2 / 3, 2 / 3, 2 / 3, 2.5 / 4, 3 / 5])


def test_a_report_says_what_refusing_gives() -> None:
    true, scores = np.arange(100) % 2, np.zeros((100, 2))
    scores[:, 0] = np.linspace(0.51, 0.99, 100)  # every other answer is right, sure or not
    scores[:, 1] = 1 - scores[:, 0]
    report = score(true, np.zeros(100, int), classes=["a", "b"], scores=scores)
    assert dict(report.answered)[0.5] == 0.5
    assert report.answered[-1] == (1.0, report.accuracy)
    assert report.to_json()["answered"][-1] == {"share": 1.0, "accuracy": 0.5}
    assert score([0, 1], [0, 1], classes=["a", "b"]).answered == ()
