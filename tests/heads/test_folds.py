"""Folds: every row is held out once, classes are everywhere, groups stay together."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.heads._codes import InMemory, Rows
from pipeline.heads._folds import held_out_rows


def rows_of(y: list[int]) -> Rows:
    return Rows(codes=InMemory(np.zeros((len(y), 1), np.float32)), y=np.array(y))


@given(
    y=st.lists(st.integers(0, 2), min_size=6, max_size=40),
    folds=st.integers(2, 6),
    seed=st.integers(0, 5),
    grouped=st.booleans(),
    data=st.data(),
)
@settings(max_examples=80, deadline=None)
def test_each_row_once_and_groups_together(y, folds, seed, grouped, data):
    y = [*y, 0, 1, 2]
    groups = None
    if grouped:
        each = st.integers(0, 8)
        groups = np.array(data.draw(st.lists(each, min_size=len(y), max_size=len(y))))
    trials = held_out_rows(rows_of(y), None, seed=seed, folds=folds, groups=groups)
    if trials is None:
        return
    held_out = trials.held_out
    assert held_out.min() == 0
    assert 2 <= trials.count <= folds
    for fold in range(trials.count):
        assert set(np.array(y)[held_out != fold]) == {0, 1, 2}
    if groups is not None:
        for group in set(groups):
            assert len(set(held_out[groups == group])) == 1


def test_classes_are_spread_evenly():
    trials = held_out_rows(rows_of([0] * 20 + [1] * 10), None, seed=0, folds=5)
    counts = [np.bincount(np.repeat([0, 1], [20, 10])[trials.held_out == f]) for f in range(5)]
    assert all(count.tolist() == [4, 2] for count in counts)
