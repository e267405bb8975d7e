"""Batches under way: order, batches, and what runs at the same time."""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.backbones import compute
from pipeline.backbones._overlap import Meter

PIXELS = np.zeros((1, 1, 3), np.uint8)


class Doubling:
    """A network whose code is twice the first grey level; it writes down its batches."""

    def __init__(self, batch_size=4, parallel=2, wait=0.0):
        self.batch_size, self.parallel, self.wait = batch_size, parallel, wait
        self.batches, self.futures, self.at_once, self.most = [], [], 0, 0
        self._pool, self._lock = ThreadPoolExecutor(parallel), threading.Lock()

    def submit(self, pixels) -> Future:
        self.batches.append(len(pixels))
        self.futures.append(self._pool.submit(self._double, pixels))
        return self.futures[-1]

    def _double(self, pixels):
        with self._lock:
            self.at_once += 1
            self.most = max(self.most, self.at_once)
        time.sleep(self.wait)
        with self._lock:
            self.at_once -= 1
        return {"avg": pixels[:, 0, 0, :1].astype(np.float32) * 2}


def image(level):
    return PIXELS + np.uint8(level)


@given(
    levels=st.lists(st.one_of(st.none(), st.integers(0, 255)), max_size=60),
    batch_size=st.integers(1, 9),
    parallel=st.integers(1, 3),
)
def test_every_item_comes_back_in_order_with_its_own_codes(levels, batch_size, parallel):
    network = Doubling(batch_size, parallel)
    pairs = ((i, None if x is None else image(x)) for i, x in enumerate(levels))
    results = list(compute(pairs, network=lambda: network))
    assert [item for item, _, _ in results] == list(range(len(levels)))
    assert [None if codes is None else codes["avg"][0] for _, codes, _ in results] == [
        None if x is None else 2 * x for x in levels
    ]
    counts, since = [], 0
    for _, codes, ends in results:
        since += codes is not None
        if ends:
            counts, since = [*counts, since], 0
    assert [count for count in counts if count] == network.batches, "batches end where it says"
    images = sum(x is not None for x in levels)
    assert network.batches[:-1] == [batch_size] * (len(network.batches) - 1)
    assert sum(network.batches) == images


def test_batches_are_computed_at_the_same_time_while_images_come():
    network = Doubling(batch_size=1, parallel=2, wait=0.02)
    list(compute(((i, image(i)) for i in range(20)), network=lambda: network))
    assert network.most == 2


def test_few_batches_are_ahead_of_what_was_taken():
    """Whoever takes slowly holds the reading up: nothing gathers in memory."""
    network, fetched = Doubling(batch_size=2, parallel=1), []

    def pairs():
        for i in range(200):
            fetched.append(i)
            yield i, image(i)

    results = compute(pairs(), network=lambda: network)
    next(results)
    assert len(fetched) <= 2 * (2 * network.parallel + 1)


def test_without_pixels_no_network_is_asked_for_and_nothing_is_held_back():
    def refuse():
        raise AssertionError("no network is needed")

    taken = []

    def pairs():
        for i in range(5000):
            taken.append(i)
            yield i, None

    results = compute(pairs(), network=refuse)
    assert next(results)[:2] == (0, None)
    assert len(taken) == 1
    assert sum(1 for _ in results) == 4999


def test_one_new_image_among_many_old_ones_is_not_waited_for_without_end():
    network = Doubling(batch_size=4)

    def pairs():
        yield 0, image(1)
        for i in range(1, 5000):
            yield i, None

    results = list(compute(pairs(), network=lambda: network))
    assert [item for item, _, _ in results] == list(range(5000))
    assert network.batches == [1]


def test_what_goes_wrong_in_the_network_is_raised():
    class Failing(Doubling):
        def _double(self, pixels):
            raise MemoryError("no room")

    network = Failing()
    with pytest.raises(MemoryError, match="no room"):
        list(compute([(0, image(1))], network=lambda: network))


def test_whoever_stops_early_does_not_wait_for_batches_that_have_not_begun():
    network = Doubling(batch_size=1, parallel=1, wait=0.02)
    results = compute(((i, image(i)) for i in range(100)), network=lambda: network)
    next(results)
    results.close()
    network._pool.shutdown()
    assert sum(future.cancelled() for future in network.futures) >= 1


def test_the_meter_counts_what_overlaps_once(monkeypatch):
    now = [100.0]
    clock = SimpleNamespace(monotonic=lambda: now[0])
    monkeypatch.setattr("pipeline.backbones._overlap.time", clock)
    meter = Meter()
    with meter.running():
        now[0] += 1
        with meter.running():
            now[0] += 2
        now[0] += 4
        assert meter.seconds == 7, "up to now"
    now[0] += 8
    assert meter.seconds == 7
    with meter.running():
        now[0] += 16
    assert meter.seconds == 23
