"""Codes in memory and codes that are read, asked for the same things."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from pipeline.heads import InMemory
from pipeline.heads._batches import in_order, pool_for, shuffled
from pipeline.heads._codes import Chained, Rows
from pipeline.heads._scaler import ParetoScaler
from tests.heads.helpers import streamed

X = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32) * [1, 10, 0] + [5, 0, 7]
X = X.astype(np.float32)


def whole(codes):
    """Put the blocks together."""
    out = np.full((len(codes), codes.width), np.nan, np.float32)
    for positions, block in codes.blocks():
        out[positions] = block
    return out


@pytest.mark.parametrize("make", [InMemory, streamed])
class TestBoth:
    def test_every_row_once(self, make):
        assert np.array_equal(whole(make(X)), X)

    def test_some_rows_of_some_rows(self, make):
        some = make(X).take(np.array([40, 3, 9])).take(np.array([2, 0]))
        assert np.array_equal(whole(some), X[[9, 40]])

    def test_two_behind_each_other(self, make):
        both = Chained(make(X[:20]), make(X[20:]))
        assert np.array_equal(whole(both), X)
        assert np.array_equal(whole(both.take(np.array([1, 5, 30]))), X[[1, 5, 30]])

    def test_deviations_are_those_of_numpy(self, make):
        found = ParetoScaler().fit_codes(make(X))
        assert_allclose(found.mean_, X.mean(axis=0, dtype=np.float64))
        assert_allclose(found.var_, X.var(axis=0, dtype=np.float64), atol=1e-12)
        assert found.scale_[2] == 1  # a column that never changes


@pytest.mark.parametrize("make", [InMemory, streamed])
@given(
    rows=st.integers(1, 50),
    batch=st.integers(1, 20),
    room=st.integers(1, 1000),
    seed=st.integers(0),
)
@settings(max_examples=40, deadline=None)
def test_batches_have_every_row_once_with_its_label(make, rows, batch, room, seed):
    codes = np.arange(rows, dtype=np.float32)[:, None]
    examples = Rows(codes=make(codes), y=np.arange(rows))
    rng = np.random.default_rng(seed)
    for parts in (
        shuffled(examples, batch_size=batch, pool=pool_for(examples, room=room), rng=rng),
        in_order(examples, batch_size=batch),
    ):
        found = [
            (X_part, y) for stack, labels in parts for X_part, y in zip(stack, labels, strict=True)
        ]
        assert [len(y) for _, y in found[:-1]] == [batch] * (len(found) - 1)
        y = np.concatenate([y for _, y in found])
        assert sorted(y) == list(range(rows))
        assert np.array_equal(np.concatenate([part for part, _ in found])[:, 0], y)


@pytest.mark.parametrize("make", [InMemory, streamed])
def test_rows_sorted_by_class_are_mixed(make):
    y = np.repeat(np.arange(10), 200)
    rows = Rows(codes=make(np.zeros((2000, 2), np.float32)), y=y)
    pool = pool_for(rows, room=8 * 500)
    batches = shuffled(rows, batch_size=50, pool=pool, rng=np.random.default_rng(0))
    classes = [len(set(labels)) for _, stack in batches for labels in stack]
    assert len(classes) == 40
    assert np.mean(classes) > 8  # of 10; 1 without mixing


def test_reading_ends_with_whoever_reads():
    before = threading.active_count()
    blocks = streamed(X).blocks()
    next(blocks)
    blocks.close()
    assert threading.active_count() == before


def test_what_goes_wrong_while_reading_reaches_the_reader():
    from pipeline.heads import Streamed

    def broken(rows, rng):
        yield np.arange(2), X[:2]
        raise OSError("no such shard")

    with pytest.raises(OSError, match="no such shard"):
        list(Streamed(broken, np.arange(50), width=3).blocks())
