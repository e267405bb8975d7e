"""One slope for all classes, against scikit-learn's logistic regression without a bias."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from pipeline.common.choices import HeadKind
from pipeline.heads import MlpConfig, build
from pipeline.heads._calibration import calibrate


def test_two_classes_have_the_slope_of_platts_sigmoid_without_offset():
    rng = np.random.default_rng(0)
    margin = rng.normal(size=4000) * 3
    y = (rng.random(4000) < 1 / (1 + np.exp(-1.7 * margin))).astype(int)
    found = calibrate(np.stack([-margin, margin], axis=1), y, how="these")
    exact = LogisticRegression(C=1e6, fit_intercept=False, tol=1e-8).fit(margin[:, None], y)
    # The softmax of (-s m, s m) is the sigmoid of 2 s m.
    assert 2 * found["slope"] == pytest.approx(exact.coef_[0, 0], rel=1e-2)
    assert (found["images"], found["how"]) == (4000, "these")


@pytest.mark.parametrize("size", [1e-6, 1.0, 1e6])
def test_logits_that_are_too_sure_are_cooled(size):
    rng = np.random.default_rng(1)
    logits = rng.normal(size=(5000, 4)) * 2
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    y = np.array([rng.choice(4, p=share) for share in shares])
    assert calibrate(logits * size, y, how="")["slope"] == pytest.approx(1 / size, rel=0.05)


def test_no_error_gives_no_certainty():
    y = np.arange(20) % 2
    found = calibrate(np.eye(2)[y] * 2 - 1, y, how="")
    sure = 1 / (1 + np.exp(-2 * found["slope"]))
    assert sure == pytest.approx(21 / 22, rel=1e-2)  # Platt's target for 20 images


def probabilities(scores, slope):
    powers = np.exp(slope * (scores - scores.max(axis=1, keepdims=True)))
    return powers / powers.sum(axis=1, keepdims=True)


def test_the_slope_by_hand():
    """
    Of 8 images 6 are right, all by 1: the targets are 9/10 and 1/10.

    The mean target of the class with the higher score is (6 * 9/10 + 2 * 1/10) / 8 = 7/10, and
    the slope for which the sigmoid of 1 is that is log(7 / 3). The loss is by the labels.
    """
    scores = np.tile([0.0, 1.0], (8, 1))
    found = calibrate(scores, np.array([1] * 6 + [0] * 2), how="")
    assert found["slope"] == pytest.approx(np.log(7 / 3), rel=1e-4)
    expected = -(6 * np.log(0.7) + 2 * np.log(0.3)) / 8
    assert found["loss"] == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("nearly", [0.0, 1e-9, 1e-3])
def test_two_classes_that_are_one_share_what_there_is(nearly):
    """
    Two scores are the same, the third is 1 below: its target of 1/20 is what it gets.

    exp(-s) / (2 + exp(-s)) is 1/20 where s is log(9.5).
    """
    y = np.arange(8) % 2
    scores = np.tile([0.0, 0.0, -1.0], (8, 1))
    scores[:, 0] += nearly * np.tile([1, 1, -1, -1], 2)  # as often right as wrong
    found = calibrate(scores, y, how="")
    assert found["slope"] == pytest.approx(np.log(9.5), rel=1e-2)
    assert probabilities(scores, found["slope"])[0] == pytest.approx(
        [19 / 40, 19 / 40, 1 / 20], 0.01
    )


@pytest.mark.parametrize("k", [2, 3, 7])
@pytest.mark.parametrize(
    "noise", [0.0, np.finfo(np.float32).eps], ids=["equal", "equal up to rounding"]
)
@pytest.mark.parametrize("level", [0.0, -1 / 3, 1e6])
def test_equal_scores_tell_nothing(level, noise, k):
    """Also where rounding happens to get all of them right."""
    y = np.arange(4 * k) % k
    scores = level * (1 + noise * np.eye(k)[y] * np.sign(level))
    slope = calibrate(scores, y, how="")["slope"]
    for given in (scores, level + np.eye(k)[y]):  # and of later images whose scores differ
        assert probabilities(given, slope) == pytest.approx(np.full((4 * k, k), 1 / k), abs=1e-3)


@pytest.mark.parametrize("k", [2, 4])
def test_who_is_right_no_more_often_than_by_guessing_is_not_sure(k):
    """Of 4 k images 4 are right, however far apart their scores are."""
    y = np.arange(4 * k) % k
    guesses = np.where(np.arange(4 * k) < 4, y, (y + 1) % k)
    far = np.where(np.arange(4 * k) < 4, 1000.0, 0.01)
    scores = np.eye(k)[guesses] * far[:, None]
    assert (scores.argmax(axis=1) == y).mean() == 1 / k
    slope = calibrate(scores, y, how="")["slope"]
    assert probabilities(scores, slope) == pytest.approx(np.full((4 * k, k), 1 / k), abs=1e-3)


@pytest.mark.parametrize("validated", [True, False])
@pytest.mark.parametrize("kind", [kind for kind in HeadKind if kind is not HeadKind.knn])
def test_equal_codes_give_every_class_its_share(kind, validated):
    """Without validation images too, where the heads of the folds differ by rounding alone."""
    y, same = np.arange(30) % 3, np.full((30, 8), 0.3, np.float32)
    config = {"config": MlpConfig(hidden=(4,), epochs=2)} if kind is HeadKind.mlp else {}
    val = {"X_val": same[:12], "y_val": y[:12]} if validated else {}
    head = build(kind, **config).fit(same, y, **val)
    if head.score_kind == "margin":  # of a centroid that nothing calibrates
        assert (kind, validated) == (HeadKind.centroid, False)
        return
    assert head.predict_proba(same) == pytest.approx(np.full((30, 3), 1 / 3), abs=0.01)


@pytest.mark.parametrize("kind", [HeadKind.softmax, HeadKind.centroid])
def test_of_many_images_with_many_classes_enough_are_taken(kind, monkeypatch):
    """The slope is one number: 60 rows of 600 say the same within their error."""
    rng = np.random.default_rng(2)
    y = np.arange(900) % 3
    codes = (np.eye(3)[y] + rng.normal(size=(900, 3)) * 0.7).astype(np.float32)
    data = {"X": codes[:300], "y": y[:300], "X_val": codes[300:], "y_val": y[300:]}
    full = build(kind).fit(**data)
    monkeypatch.setattr("pipeline.heads._calibration.SCORES", 3 * 60)
    some = build(kind).fit(**data)
    assert (full.calibration_["images"], some.calibration_["images"]) == (600, 60)
    assert some.validation_["accuracy"] == full.validation_["accuracy"]
    assert some.validation_["log_loss"] == pytest.approx(full.validation_["log_loss"], rel=0.3)
    assert some.calibration_["slope"] == pytest.approx(full.calibration_["slope"], rel=0.5)
