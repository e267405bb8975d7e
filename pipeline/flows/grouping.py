"""Images in groups of like codes: PCA, directions, k-means."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline import heads, store
from pipeline.common.errors import StoreError, counted
from pipeline.common.listener import Listener
from pipeline.flows.audited import unit_blocks, units_of
from pipeline.flows.originals import spread

# Codes of EfficientNet-Lite0, ten groups, adjusted Rand index with the classes of 925 photos of
# clothing, 1,797 handwritten digits and 2,000 of MNIST: k-means 0.50, 0.36, 0.36; in batches 0.47,
# 0.34, 0.34; bisecting 0.47, 0.30, 0.31; k-means on 1,280 numbers instead of 32 0.44, 0.29, 0.28.
# Ward's method (0.45, 0.37, 0.39) says nothing of further images; HDBSCAN left most of them out.
_NUMBERS = 32
_LEARNED_FROM = 20_000  # images
_MOST_BYTES = 1 << 29  # of their codes
_JUDGED = 2_000  # images by which the number of groups is chosen: all pairs of them are compared
_MOST = 30  # groups, unless more are asked for
_STARTS, _FEWER_STARTS = 10, 3
_CLEARLY = 1.5


@dataclass(frozen=True, kw_only=True, eq=False)
class Groups:
    """
    Rows of a store in groups, the largest first.

    Attributes
    ----------
    rows : int64 array of shape (n,)
        Those with codes.
    of : int64 array of shape (n,)
        The group of each, from 0.
    distances : float32 array of shape (n,)
        From the centre of the group, between directions of length 1: 0 to 2.
    tried : dict of int to float
        The silhouette of each number of groups that was tried.
    notes : tuple of str
        What was cut short.
    """

    rows: NDArray[np.int64]
    of: NDArray[np.int64]
    distances: NDArray[np.float32]
    tried: dict[int, float]
    notes: tuple[str, ...]

    @property
    def sizes(self) -> list[int]:
        """Images in each group."""
        return [int(size) for size in np.bincount(self.of)]

    def members(self, group: int) -> NDArray[np.int64]:
        """Return the rows of a group, those nearest to its centre first."""
        places = np.flatnonzero(self.of == group)
        return self.rows[places[np.argsort(self.distances[places], kind="stable")]]


def check_number(opened: store.Store, asked: int | None) -> None:
    """
    See that there are images, and no more groups asked for than images.

    Raises
    ------
    StoreError
    """
    count = int(opened.usable.sum())
    if not count:
        raise StoreError(
            f"expected images with codes in {opened.location}, found none; extract photos into it"
        )
    if asked is not None and not 1 <= asked <= count:
        raise StoreError(
            f"expected 1 to {count} groups of the {counted(count, 'image')} of {opened.location}, "
            f"found {asked}; correct --groups"
        )


def grouped(
    opened: store.Store,
    parts: Sequence[heads.Part],
    *,
    number: int | None,
    seed: int,
    listener: Listener,
) -> Groups:
    """
    Put the images of a store into groups.

    What is learned is learned from a bounded number of images from all over the store; all are
    then read in blocks.

    Parameters
    ----------
    opened : Store
    parts : sequence of Part
        Which codes.
    number : int or None
        How many groups; None for that with the best silhouette, see `_best`.
    seed : int
        Of what is random.
    listener : Listener

    Returns
    -------
    Groups
    """
    rows = np.flatnonzero(opened.usable)
    width = sum(part.width for part in parts)
    sample = spread(rows, min(_LEARNED_FROM, max(2, _MOST_BYTES // (4 * width))))
    units = units_of(opened, parts, sample)
    with _quiet():
        project = _Projection(units, seed=seed)
        directions = project(units)
        del units
        tried = _tried(directions, seed=seed, listener=listener) if number is None else {}
        wanted = number or _best(tried)
        notes = [] if len(sample) == len(rows) else [_learned(len(sample), len(rows))]
        differing = len(np.unique(directions.round(4), axis=0))
        if differing < wanted:
            notes.append(f"{counted(differing, 'group')}, for no more images differ")
        model = _kmeans(directions, min(wanted, differing), seed=seed, starts=_STARTS)
        of, distances = np.empty(len(rows), np.int64), np.empty(len(rows), np.float32)
        done = 0
        for positions, block in unit_blocks(opened, parts, rows):
            far = model.transform(project(block))
            of[positions], distances[positions] = far.argmin(axis=1), far.min(axis=1)
            done += len(positions)
            listener.progress(done, len(rows))
    order = np.argsort(-np.bincount(of, minlength=model.n_clusters), kind="stable")
    return Groups(
        rows=rows,
        of=np.argsort(order)[of],
        distances=distances,
        tried=tried,
        notes=tuple(notes),
    )


class _Projection:
    """The principal components of directions, again of length 1."""

    def __init__(self, units: NDArray[np.float32], *, seed: int) -> None:
        from sklearn.decomposition import PCA

        most = min(_NUMBERS, *units.shape)
        self._pca: Any = PCA(most, svd_solver="randomized", random_state=seed).fit(units)

    def __call__(self, units: NDArray[np.float32]) -> NDArray[np.float32]:
        found = self._pca.transform(units)
        lengths = np.linalg.norm(found, axis=1, keepdims=True)
        return np.asarray(found / np.where(lengths > 1e-6, lengths, 1), np.float32)


def _kmeans(X: NDArray[np.float32], number: int, *, seed: int, starts: int) -> Any:
    from sklearn.cluster import KMeans

    return KMeans(number, n_init=starts, random_state=seed).fit(X)


def _tried(X: NDArray[np.float32], *, seed: int, listener: Listener) -> dict[int, float]:
    """Return the silhouette of each number of groups: at most 30, or the root of the images."""
    from sklearn.metrics import silhouette_score

    some = X[spread(np.arange(len(X)), _JUDGED)]
    differing = len(np.unique(some.round(4), axis=0))
    most = min(_MOST, math.isqrt(len(X)), differing - 1)
    tried: dict[int, float] = {}
    for number in range(2, most + 1):
        labels = _kmeans(some, number, seed=seed, starts=_FEWER_STARTS).labels_
        tried[number] = round(float(silhouette_score(some, labels)), 4)
        listener.progress(number - 1, most - 1)
    return tried


def _best(tried: Mapping[int, float]) -> int:
    """
    Choose a number of groups by its silhouette, and a small one only where it is clearly better.

    Two groups often have the best silhouette and mix many things; of too many groups several can
    get one name.
    """
    if not tried:
        return 1
    best = max(tried, key=tried.__getitem__)
    many = {number: score for number, score in tried.items() if 4 * number >= max(tried)}
    other = max(many, key=many.__getitem__)
    return best if tried[best] > _CLEARLY * max(tried[other], 0) else other


def _learned(some: int, all_: int) -> str:
    return f"groups were learned from {some} of {counted(all_, 'image')}, from all over the store"


@contextmanager
def _quiet() -> Iterator[None]:
    """Compute in one thread, which gives the same bits each time, and print no warnings."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
