"""Memory for the pixels of images that are decoded at the same time."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from pipeline.common.memory import available_bytes

_MOST = 1 << 30
# Of what is free: the network and its batches take memory too.
_SHARE = 0.5


class Room:
    """
    Lets images be decoded at the same time as long as their pixels fit into memory together.

    One that alone takes more than that is decoded alone.
    """

    def __init__(self) -> None:
        self._most = min(_MOST, int(_SHARE * available_bytes()))
        self._held = 0
        self._freed = threading.Condition()

    @contextmanager
    def of(self, count: int) -> Iterator[bool]:
        """
        Wait for memory, and hold it.

        Parameters
        ----------
        count : int
            Bytes.

        Yields
        ------
        bool
            Whether there is so much at all.
        """
        with self._freed:
            self._freed.wait_for(lambda: not self._held or self._held + count <= self._most)
            enough = count <= self._most or count <= available_bytes()
            held = count if enough else 0
            self._held += held
        try:
            yield enough
        finally:
            with self._freed:
                self._held -= held
                self._freed.notify_all()
