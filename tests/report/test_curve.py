"""Learning curves by hand: what rises, what has come to its end, and which error is which."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.report import CurvePoint, learning_curve_png, learning_curve_svg, read_curve


def curve(*points: tuple[int, float, float]) -> list[CurvePoint]:
    """Return points of (images, training accuracy, validation accuracy)."""
    return [
        CurvePoint(
            images_per_class=max(1, images // 10),
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


def by_law(a: float, b: float, c: float) -> list[CurvePoint]:
    """Return points whose validation error is a * n ** -b + c."""
    return curve(*((n, 1.0, 1 - a * n**-b - c) for n in (20, 50, 100, 200, 500, 1000)))


def test_how_many_images_would_reach_an_accuracy():
    # 1 - 0.9 = 0.02 + 0.8 * n ** -0.3 at n = 10 ** (10 / 3)
    desired = read_curve(by_law(0.8, 0.3, 0.02), val_images=10_000, desired=0.9).desired
    assert desired.images == pytest.approx(10 ** (10 / 3), rel=0.05)
    low, high = desired.interval
    assert low < desired.images < high
    assert f"about {desired.images:,} images, not 1,000 (80 % interval {low:,}" in desired.sentence
    accuracy = desired.law.accuracy(np.array([1000.0]))
    assert accuracy == pytest.approx(0.98 - 0.8 / 10**0.9, abs=1e-3)


def test_an_accuracy_above_where_the_curve_levels_off_is_not_reached():
    reading = read_curve(by_law(0.8, 1.0, 0.1), val_images=10_000, desired=0.95)
    assert reading.desired.images is None
    assert "levels off at 0.900, below the desired 0.95" in reading.sentence


def test_too_far_to_say():
    reading = read_curve(by_law(0.8, 0.2, 0.0), val_images=10_000, desired=0.95)
    assert reading.desired.images is None
    assert "more than 10,000 images, too far to say" in reading.sentence
    low, high = reading.desired.interval
    assert (low or 10_001) > 1000
    assert high is None


def test_an_accuracy_that_is_there():
    reading = read_curve(curve((100, 1.0, 0.7), (200, 1.0, 0.8)), val_images=100, desired=0.8)
    assert reading.desired.images == 200
    assert "0.8 is reached with 200 images" in reading.sentence


def test_of_few_points_nothing_is_said_of_more_images():
    reading = read_curve(curve((100, 1.0, 0.7), (200, 1.0, 0.8)), val_images=100, desired=0.9)
    assert reading.desired.law is None
    assert "how many images would reach 0.9 cannot be said" in reading.sentence


@pytest.mark.parametrize("desired", [0.7, 0.85, 0.9, 0.99])
def test_the_desired_accuracy_is_a_line(desired):
    points = by_law(0.8, 0.3, 0.02)
    reading = read_curve(points, val_images=1000, desired=desired)
    plain = learning_curve_png(points, reading=read_curve(points, val_images=1000))
    assert learning_curve_png(points, reading=reading) != plain
    svg = learning_curve_svg(points, reading)
    assert svg.startswith("<svg")
    assert ">desired<" in svg
    assert (">power law<" in svg) is (reading.desired.law is not None)
    assert len(svg) < 100_000
