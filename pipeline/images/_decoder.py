"""Images decoded with limits on time and memory, by processes of their own where these matter.

Decoders are written in C and read what strangers made: some files take minutes or gigabytes, some
end the process. So that no file ends a run, each thread that loads images has a child decode. Small
images in JPEG's baseline form and in PNG, whose time and memory are bounded by their pixels, are
decoded in the thread itself: a child takes a fifth longer for them.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.common.child import Child, ChildEnded
from pipeline.common.choices import Resize
from pipeline.common.errors import ResourceError
from pipeline.images._augment import Views, decode_copies
from pipeline.images._decode import EARLIER, DecodeOptions, Rejected
from pipeline.images._room import Room

SECONDS = 30.0  # of a processor, for one image; the largest that are taken need less than half
MEMORY = 4 << 30  # beyond what Python needs; the largest images that are taken need 3.2 GB
UNASKED = 64 << 20  # bytes of pixels for which a child need not ask
# Without a word for so long, a child is stuck, or the machine has far too much to do.
_PATIENCE = 600.0
_HERE = 32 << 20  # bytes of pixels of an image that is decoded in the thread, at the most
_PNG, _JPEG, _PROGRESSIVE = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"\xff\xc2"
_MODULE = "pipeline.images._decoder_child"
_KILLED = 9  # by the system, where memory runs out


class Decoded(NamedTuple):
    """
    What became of an image.

    Attributes
    ----------
    pixels : uint8 array of shape (size, size, 3) or (views, size, size, 3), or None
    reason : str or None
        Why there are none.
    transient : bool
        Whether another try may succeed.
    seconds : float
        Of a processor, in the child.
    """

    pixels: NDArray[np.uint8] | None = None
    reason: str | None = None
    transient: bool = False
    seconds: float = 0.0


class Decoders:
    """
    Children that decode the images of one stream, as many as threads ask at the same time.

    Parameters
    ----------
    size, resize, views, policy
        As for `pipeline.images.decode_views`.

    Raises
    ------
    ResourceError
        When called, if no child can be started.
    """

    def __init__(
        self, *, size: int, resize: Resize, views: Views, policy: Mapping[str, str]
    ) -> None:
        self._request: dict[str, Any] = {
            "size": size,
            "resize": resize.value,
            "earlier": policy == EARLIER,
            **views.policy,
        }
        self._here: DecodeOptions = {
            "size": size,
            "resize": resize,
            "policy": policy,
            "room": _room_here,
        }
        self._views = views
        self._room = Room()
        self._lock = threading.Lock()
        self._busy: set[Child] = set()
        self._stopped = False

    def __call__(self, data: bytes, sha256: bytes) -> Decoded:
        """
        Decode an image; called from several threads.

        Parameters
        ----------
        data : bytes
        sha256 : bytes
            Of `data`.
        """
        if _is_plain(data):
            try:
                return self._decode(data, sha256)
            except _Elsewhere:
                pass
        try:
            return self._ask(data, sha256)
        except ChildEnded as first:
            if first.out_of_time or first.silent or first.signal == _KILLED or self._stopped:
                return _lost(first)
        try:  # what is in memory may be damaged, not the file: a new process tries again
            return self._ask(data, sha256)
        except ChildEnded as second:
            return _lost(second)

    def stop(self) -> None:
        """End what is still decoding; its images are lost."""
        with self._lock:
            self._stopped = True
            for child in self._busy:
                child.kill()

    def _decode(self, data: bytes, sha256: bytes) -> Decoded:
        """Decode an image in this thread; _Elsewhere if it has too many pixels."""
        try:
            return Decoded(
                pixels=decode_copies(data, views=self._views, sha256=sha256, **self._here)
            )
        except Rejected as error:
            return Decoded(reason=str(error))

    def _ask(self, data: bytes, sha256: bytes) -> Decoded:
        with self._child() as child:
            child.send(self._request | {"sha256": sha256.hex()}, data)
            reply, pixels = child.receive(_PATIENCE)
            if "room" in reply:
                with self._room.of(int(reply["room"])) as enough:
                    child.send({"room": enough})
                    reply, pixels = child.receive(_PATIENCE)
        seconds = float(reply["seconds"])
        if "shape" in reply:
            found = np.frombuffer(pixels, np.uint8).reshape(reply["shape"])
            return Decoded(pixels=found, seconds=seconds)
        if "transient" in reply:
            return Decoded(reason=str(reply["transient"]), transient=True, seconds=seconds)
        return Decoded(reason=str(reply["rejected"]), seconds=seconds)

    @contextmanager
    def _child(self) -> Iterator[Child]:
        """Borrow a child that has nothing to do, or start one."""
        child = _idle.take() or _started()
        with self._lock:
            self._busy.add(child)
            if self._stopped:
                child.kill()
        try:
            yield child
        finally:
            with self._lock:
                self._busy.discard(child)
                killed = self._stopped  # or about to answer when it was
        if killed:
            child.stop()
        else:
            _idle.put(child)


class _Elsewhere(MemoryError):
    """An image has more pixels than are decoded in a thread."""


def _room_here(count: int) -> AbstractContextManager[object]:
    if count > _HERE:
        raise _Elsewhere
    return nullcontext()


def _is_plain(data: bytes) -> bool:
    """Whether bytes are of a PNG, or of a JPEG that is not progressive."""
    return data.startswith(_PNG) or (data.startswith(_JPEG) and _PROGRESSIVE not in data)


class _Idle:
    """Children that wait for images; a process that was forked starts its own."""

    def __init__(self) -> None:
        self._children: list[tuple[int, Child]] = []

    def take(self) -> Child | None:
        while self._children:
            owner, child = self._children.pop()
            if owner == os.getpid() and not child.stopped:
                return child
        return None

    def put(self, child: Child) -> None:
        self._children.append((os.getpid(), child))


_idle = _Idle()


def _started() -> Child:
    try:
        return Child(_MODULE)
    except OSError as error:
        raise ResourceError(
            f"cannot start the process that decodes images ({error.strerror or error}); free some "
            "memory or processes and run the same command again"
        ) from error


def _lost(error: ChildEnded) -> Decoded:
    """Say why a child gave no answer."""
    if error.out_of_time:
        return Decoded(reason=f"timeout: not decoded in {SECONDS:.0f} s of computing")
    if error.silent:
        return Decoded(reason=f"not decoded within {_PATIENCE:.0f} s", transient=True)
    if error.code is not None and error.code > 0:
        raise ResourceError(
            f"the process that decodes images ended with code {error.code}, whatever the image; "
            f"see what `{sys.executable} -m {_MODULE}` says"
        ) from error
    if error.signal in (_KILLED, None):
        return Decoded(reason="the decoder was ended by the system", transient=True)
    return Decoded(reason=f"crash: the decoder ended with {signal.Signals(error.signal).name}")
