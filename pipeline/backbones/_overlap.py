"""Batches on their way through a network while the next images are read."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

T = TypeVar("T")
Codes = Mapping[str, NDArray[np.float32]]
_AHEAD = 2  # batches handed over for each that is computed: the next is there when one ends
_LONGEST = 1024  # items without pixels in one batch at the most


class Computes(Protocol):
    """
    What turns batches of pixels into codes: a network, or several that see the same pixels.

    Attributes
    ----------
    batch_size : int
        How many images are in one batch.
    parallel : int
        How many batches are best computed at once.
    """

    batch_size: int
    parallel: int

    def submit(self, pixels: NDArray[np.uint8]) -> Future[dict[str, NDArray[np.float32]]]:
        """Begin to compute the codes of at most one batch; see `Network.submit`."""


class Meter:
    """The time during which at least one of several threads was at work, in seconds."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._active = 0
        self._since = 0.0
        self._seconds = 0.0

    @property
    def seconds(self) -> float:
        """Up to now, in seconds."""
        with self._lock:
            return self._seconds + (time.monotonic() - self._since if self._active else 0.0)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Count the time that the block takes."""
        with self._lock:
            if not self._active:
                self._since = time.monotonic()
            self._active += 1
        try:
            yield
        finally:
            with self._lock:
                self._active -= 1
                if not self._active:
                    self._seconds += time.monotonic() - self._since


class _Batch(Generic[T]):
    """Some items in order; the pixels of those that have any are computed together."""

    def __init__(self) -> None:
        self.places: list[tuple[T, int | None]] = []
        self.pixels: list[NDArray[np.uint8]] = []
        self.codes: Future[dict[str, NDArray[np.float32]]] | None = None

    def add(self, item: T, pixels: NDArray[np.uint8] | None) -> None:
        self.places.append((item, None if pixels is None else len(self.pixels)))
        if pixels is not None:
            self.pixels.append(pixels)

    def start(self, network: Callable[[], Computes]) -> None:
        if self.pixels:
            self.codes = network().submit(np.stack(self.pixels))
            self.pixels = []

    def results(self) -> Iterator[tuple[T, Codes | None, bool]]:
        codes = self.codes.result() if self.codes is not None else {}
        for number, (item, i) in enumerate(self.places, start=1):
            own = None if i is None else {layer: rows[i] for layer, rows in codes.items()}
            yield item, own, number == len(self.places)


def compute(
    images: Iterable[tuple[T, NDArray[np.uint8] | None]], *, network: Callable[[], Computes]
) -> Generator[tuple[T, Codes | None, bool], None, None]:
    """
    Compute codes while the next images are fetched.

    Parameters
    ----------
    images : iterable of (item, pixels)
        Pixels as uint8 array of shape (size, size, 3), or None for an item that has none.
    network : callable
        Returns the network; it is called when the first pixels have come.

    Yields
    ------
    item
        In the order in which they came, a batch at a time.
    codes : mapping of str to float32 array, or None
        For each layer, the codes of this one image; None where there were no pixels.
    ends : bool
        Whether a batch ends with this item: what comes next has the first place in the next one.
    """
    waiting: deque[_Batch[T]] = deque()
    batch: _Batch[T] = _Batch()
    try:
        for item, pixels in images:
            batch.add(item, pixels)
            without = len(batch.places) - len(batch.pixels)
            full = bool(batch.pixels) and len(batch.pixels) == network().batch_size
            if full or without == _LONGEST or not (batch.pixels or waiting):
                batch.start(network)
                waiting.append(batch)
                batch = _Batch()
            while waiting and _ready(waiting, network):
                yield from waiting.popleft().results()
        batch.start(network)
        waiting.append(batch)
        while waiting:
            yield from waiting.popleft().results()
    finally:  # whoever stops early need not wait for what has not begun
        for rest in waiting:
            if rest.codes is not None:
                rest.codes.cancel()


def _ready(waiting: Sequence[_Batch[T]], network: Callable[[], Computes]) -> bool:
    """Whether the first batch is to be taken: it has no codes, or enough are ahead."""
    return waiting[0].codes is None or len(waiting) > _AHEAD * network().parallel
