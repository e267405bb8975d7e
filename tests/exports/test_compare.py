"""Two tables of probabilities, and what one image takes."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from pipeline.exports import Tolerance, compare, latency

ALLOWED = Tolerance(max_difference=0.1, top1_agreement=0.5)
EXPECTED = np.array([[0.7, 0.3], [0.45, 0.55]])


def test_the_same_is_near():
    found = compare(EXPECTED, EXPECTED)
    assert (found.max_difference, found.top1_agreement) == (0, 1)
    assert found.within(ALLOWED)


def test_a_difference_and_another_best_class():
    found = compare(np.array([[0.7, 0.3], [0.51, 0.49]]), EXPECTED)
    assert found.max_difference == pytest.approx(0.06)
    assert found.top1_agreement == 0.5
    assert found.within(ALLOWED)
    assert not found.within(Tolerance(max_difference=0.05, top1_agreement=0.5))
    assert not found.within(Tolerance(max_difference=0.1, top1_agreement=0.9))


def test_nan_and_another_shape_are_never_near():
    anything = Tolerance(max_difference=1.0, top1_agreement=0.0)
    assert not compare(np.full((2, 2), np.nan), EXPECTED).within(anything)
    assert not compare(EXPECTED[:1], EXPECTED).within(anything)


def test_latency_is_the_median_in_milliseconds(monkeypatch):
    """The first round, which compiles, does not count; of slow ones there are few."""
    now, taken = [0.0], [9.0, 0.5, 0.25, 1.5, 99.0]

    def run(one):
        now[0] += taken.pop(0)
        return one

    clock = SimpleNamespace(perf_counter=lambda: now[0])
    monkeypatch.setattr("pipeline.exports._compare.time", clock)
    assert latency(run, EXPECTED) == 500
    assert taken == [99.0], "2.25 s were enough"
    taken[:] = [1.0, *[0.001] * 30, 99.0]
    assert latency(run, EXPECTED) == pytest.approx(1)
    assert taken == [99.0], "and so are 30 rounds"
