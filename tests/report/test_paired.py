"""Two heads on the same images."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.report import paired_difference


def answers(both: int, gained: int, lost: int, none: int) -> tuple[np.ndarray, np.ndarray]:
    counts = (both, gained, lost, none)
    return np.repeat([1, 0, 1, 0], counts), np.repeat([1, 1, 0, 0], counts)


def test_the_approval_ratings_of_agresti() -> None:
    """794 and 150 and 86 and 570 of 1,600: -0.04, by hand with half a person more in each cell."""
    found = paired_difference(*answers(794, gained=86, lost=150, none=570))
    assert found.value == pytest.approx(-0.04)
    # (86.5 - 150.5) / 1602 = -0.039950; sqrt(237 - 64^2 / 1602) / 1602 = 0.0095579
    assert found.interval == pytest.approx((-0.039950 - 0.018733, -0.039950 + 0.018733), abs=1e-5)
    assert found.is_clear


def test_heads_that_agree_differ_by_chance_at_most() -> None:
    found = paired_difference(*answers(90, gained=0, lost=0, none=10))
    assert found.value == 0
    assert not found.is_clear
    low, high = found.interval
    assert low == pytest.approx(-high)
    assert 0 < high < 0.02


@given(cells=st.tuples(*[st.integers(0, 50)] * 4).filter(any))
def test_the_other_way_round_is_the_negative(cells: tuple[int, int, int, int]) -> None:
    first, second = answers(*cells)
    one, other = paired_difference(first, second), paired_difference(second, first)
    assert one.value == pytest.approx(-other.value)
    assert one.interval == pytest.approx((-other.interval[1], -other.interval[0]))
    assert (one.gained, one.lost) == (other.lost, other.gained)
    assert -1 <= one.interval[0] <= one.interval[1] <= 1


@pytest.mark.parametrize("rows", [((), ()), ((1, 0), (1,))])
def test_other_images_are_refused(rows: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    with pytest.raises(ValueError, match="the same images"):
        paired_difference(*rows)
