"""One slope for all classes, against scikit-learn's logistic regression without a bias."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from pipeline.choices import HeadKind
from pipeline.heads import build
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


def test_equal_scores_tell_nothing():
    assert np.isfinite(calibrate(np.zeros((4, 3)), np.array([0, 1, 2, 0]), how="")["slope"])


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
    assert some.validation_ == full.validation_
    assert some.calibration_["slope"] == pytest.approx(full.calibration_["slope"], rel=0.5)
