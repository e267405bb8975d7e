"""Reasons are a mapping, however many rows have the same one."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.store._reasons import Reasons


def test_reasons_are_a_mapping_in_the_order_of_rows() -> None:
    said = {7: "damaged", 2: "no such file", 9: "damaged"}
    reasons = Reasons.of(said)
    assert reasons == said
    assert list(reasons) == [2, 7, 9]
    assert reasons.counts() == {"damaged": 2, "no such file": 1}
    assert list(reasons.encoded(slice(1, 3))) == [b"damaged", b"damaged"]
    assert Reasons.of(reasons) is reasons
    for row in (0, 3, 10):
        with pytest.raises(KeyError):
            reasons[row]


def test_of_a_row_that_comes_twice_the_last_counts() -> None:
    rows = np.array([3, 1, 3], np.int64)
    assert Reasons.listed(rows, ["first", "other", "last"]) == {1: "other", 3: "last"}


def test_most_rows_have_one_reason() -> None:
    rows = np.array([1, 4, 6], np.int64)
    reasons = Reasons.mostly("waits", rows, {6: "damaged"})
    assert reasons == {1: "waits", 4: "waits", 6: "damaged"}
    assert reasons.counts() == {"waits": 2, "damaged": 1}


def test_there_may_be_none() -> None:
    assert Reasons.of({}) == {}
    assert Reasons.of({}).counts() == {}
    assert not len(Reasons.mostly("waits", np.empty(0, np.int64), {}))
