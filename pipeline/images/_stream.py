"""Rows of a source, read, hashed and decoded by a few threads and their processes, in order."""

from __future__ import annotations

import hashlib
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from pipeline.common.choices import Resize

from . import _formats
from ._augment import ONE_VIEW, Views
from ._decode import POLICY
from ._decoder import Decoded, Decoders
from ._source import NO_STAT, Read, Source, Stat, Unreadable

_NOISE = 8  # levels that one colour may differ by
_EVERY = 8  # pixels in both directions, of which one is looked at
_WINDOW = 8  # images under way for each worker: enough to hide a slow one, little memory


@dataclass(frozen=True, eq=False, kw_only=True)
class Loaded:
    """
    What became of one row.

    Attributes
    ----------
    row : int
        Index of the row.
    sha256 : bytes or None
        32 bytes, of the content; None if it could not be read.
    stat : tuple of int
        Size, mtime and ctime in nanoseconds of the file that was read; zeros for arrays.
    pixels : ndarray of uint8, shape (size, size, 3), or None
        None if the image is known already or cannot be used. Of several views, which are asked
        for, all: the shape is (views, size, size, 3).
    reason : str or None
        Why it cannot be used.
    transient : bool
        Whether another try may succeed.
    nearly_constant : bool
        Whether its pixels are of one colour, but for noise.
    read_seconds, decode_seconds : float
        What it took: to read the content, by the clock; to hash and decode it, of a processor.
    """

    row: int
    sha256: bytes | None = None
    stat: Stat = NO_STAT
    pixels: NDArray[np.uint8] | None = None
    reason: str | None = None
    transient: bool = False
    nearly_constant: bool = False
    read_seconds: float = 0.0
    decode_seconds: float = 0.0


def stream(
    source: Source,
    rows: Iterable[int],
    *,
    size: int,
    resize: Resize,
    workers: int,
    known: Callable[[bytes], bool] = lambda digest: False,
    views: Views = ONE_VIEW,
    policy: Mapping[str, str] = POLICY,
) -> Generator[Loaded, None, None]:
    """
    Load rows, in the order given, with a bounded number of images in memory.

    Parameters
    ----------
    source : Source
        From `find` or `files`.
    rows : iterable of int
        Indices; in rising order arrays are read only once.
    size, resize
        As for `decode`.
    workers : int
        Number of threads, at least 1.
    known : callable, optional
        Given the SHA-256 of a content, tells whether it need not be decoded; by default all are.
        It is called from several threads.
    views : Views, optional
        Which copies of each image; by default the image alone.
    policy : mapping of str to str, default POLICY
        As for `decode`.

    Yields
    ------
    Loaded
        One for each row. Closing the iterator ends the threads, and what is still being decoded.

    Raises
    ------
    SourceError
        If an array ends early or is damaged.
    """
    waiting: deque[Future[Loaded]] = deque()
    pool = ThreadPoolExecutor(workers, thread_name_prefix="images")
    decoders = Decoders(size=size, resize=resize, views=views, policy=policy)
    decoded = partial(_decoded, source.paths, decoders)
    window = max(1, _WINDOW // views.count) * workers
    try:
        with closing(source.contents(rows)) as contents:
            for row, read in contents:
                waiting.append(pool.submit(_load, row, read, decoded, known))
                if len(waiting) >= window:
                    yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        decoders.stop()
        pool.shutdown(wait=True, cancel_futures=True)


def _load(
    row: int,
    read: Read,
    decoded: Callable[[int, bytes, bytes], Decoded],
    known: Callable[[bytes], bool],
) -> Loaded:
    """Read, hash and decode one image; whatever is wrong with it becomes a reason."""
    started = time.perf_counter()
    try:
        content = read()
    except Unreadable as error:
        return Loaded(row=row, reason=error.reason, transient=error.transient)
    there, started_here = time.perf_counter(), time.thread_time()
    sha256 = hashlib.sha256(content.data).digest()
    found = Decoded() if known(sha256) else decoded(row, content.data, sha256)
    pixels = found.pixels
    return Loaded(
        row=row,
        sha256=sha256,
        stat=content.stat,
        pixels=pixels,
        reason=found.reason,
        transient=found.transient,
        nearly_constant=pixels is not None and is_nearly_constant(pixels),
        read_seconds=there - started,
        decode_seconds=time.thread_time() - started_here + found.seconds,
    )


def _decoded(
    paths: Sequence[bytes], decoders: Decoders, row: int, data: bytes, sha256: bytes
) -> Decoded:
    """Return the pixels, or the reason why there are none."""
    if reason := _formats.raw_reason(paths[row]):
        return Decoded(reason=reason)
    return decoders(data, sha256)


def is_nearly_constant(pixels: NDArray[np.uint8]) -> bool:
    """Say whether pixels, of one view or of several, are of one colour but for noise."""
    some = pixels[..., ::_EVERY, ::_EVERY, :]
    axes = tuple(range(some.ndim - 1))
    return int(np.ptp(some, axis=axes).max()) <= _NOISE
