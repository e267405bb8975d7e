"""Learning curves by hand: what rises, what has come to its end, and which error is which."""

from __future__ import annotations

import pytest

from pipeline.report import CurvePoint, learning_curve_png, read_curve


def curve(*points: tuple[int, float, float]) -> list[CurvePoint]:
    """Return points of (images, training accuracy, validation accuracy)."""
    return [
        CurvePoint(
            images_per_class=images // 10,
            images=images,
            seeds=3,
            train_accuracy=train,
            val_accuracy=val,
            val_deviation=0.01,
        )
        for images, train, val in points
    ]


def test_still_rising_and_fitted_too_well():
    reading = read_curve(curve((100, 1.0, 0.6), (200, 1.0, 0.7), (800, 1.0, 0.86)), val_images=900)
    assert reading.gain_per_doubling == pytest.approx((0.86 - 0.70) / 2)
    assert reading.more_images_would_help
    assert reading.verdict == "variance"
    assert (reading.train_error, reading.val_error) == (0.0, pytest.approx(0.14))
    assert "+8.0 points: more images would help" in reading.sentence


def test_flat_and_not_fitted_at_all():
    reading = read_curve(
        curve((100, 0.8, 0.71), (200, 0.75, 0.72), (400, 0.74, 0.722)), val_images=900
    )
    assert not reading.more_images_would_help
    assert reading.verdict == "bias"
    assert "another layer" in reading.sentence


def test_a_rise_within_chance_is_none():
    points = curve((100, 1.0, 0.80), (200, 1.0, 0.815))
    assert read_curve(points, val_images=10_000).more_images_would_help
    # Of 100 images one point is one image.
    assert not read_curve(points, val_images=100).more_images_would_help


def test_too_few_wrong_images_to_say_why():
    reading = read_curve(curve((100, 1.0, 0.97), (200, 1.0, 0.99)), val_images=100)
    assert reading.verdict == "none"
    assert "too few" in reading.sentence


def test_a_single_point_rises_by_nothing():
    assert read_curve(curve((100, 1.0, 0.8)), val_images=100).gain_per_doubling == 0


def test_it_is_drawn():
    points = curve((10, 1.0, 0.5), (100, 1.0, 0.6), (200, 0.9, 0.7))
    data = learning_curve_png(points, title="svm on $x$")
    assert data.startswith(b"\x89PNG")
    assert data == learning_curve_png(points, title="svm on $x$")
