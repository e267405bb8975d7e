"""Who is trained on, who chooses, who tests: splits that stay when images are added."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.common.errors import SourceError

from ._source import Given, Source

# Part of every key: a change of it would deal all images anew.
_DOMAIN = b"pipeline split 1 "


def split(
    sha256: NDArray[np.uint8],
    *,
    given: NDArray[np.uint8],
    groups: Sequence[bytes] | None,
    val: float,
    test: float,
    labels: NDArray[np.int32] | None = None,
) -> NDArray[np.uint8]:
    """
    Deal rows to train, val and test.

    A hash of an image's content decides, so that a row's split depends neither on the order nor
    on the number of the other rows, and identical images fall on the same side. Groups are dealt
    as a whole; groups that share an image are one group, dealt by the smallest of their names.

    What a source gives is kept. Where it gives some splits, only a missing val is carved out of
    the rows that are train or not given: a source with train and val but no test is left without
    a test, as its author wanted it. Where its test has no labels, as on Kaggle, a share of test is
    carved out as well.

    Parameters
    ----------
    sha256 : ndarray of uint8, shape (n, 32)
        Hashes of the images' bytes; zeros where they could not be read.
    given : ndarray of uint8, shape (n,)
        A `Given` each.
    groups : sequence of bytes or None
        Of each row its group; an empty name is no group.
    val, test : float
        Shares of val and test; the rest is train.
    labels : ndarray of int32, shape (n,), optional
        -1 for rows without a label.

    Returns
    -------
    ndarray of uint8, shape (n,)
        A `Given` each; ``NONE`` for rows without a hash.

    Raises
    ------
    SourceError
        If a share is negative or nothing is left to train on.
    """
    if min(val, test) < 0 or not val + test < 1:
        raise SourceError(
            "expected shares of val and test of at least 0 and below 1 together, "
            f"found val {val} and test {test}; try val 0.2 and test 0.2"
        )
    splits = given.astype(np.uint8)
    readable = sha256.any(axis=1)
    dealt = readable & ((given == Given.NONE) | (given == Given.TRAIN))
    if given.any():
        test = test if labels is not None and _is_unlabelled(given, labels) else 0.0
        val = 0.0 if (given == Given.VAL).any() else val
    rows = np.flatnonzero(dealt).tolist()
    names = None if groups is None else [groups[row] for row in rows]
    u = _fractions(_keys([sha256[row].tobytes() for row in rows], names))
    splits[rows] = np.select([u < test, u < test + val], [Given.TEST, Given.VAL], Given.TRAIN)
    splits[~readable] = Given.NONE
    return splits


def idle_shares(source: Source, **asked: bool) -> list[str]:
    """
    Name the shares that change nothing, since `split` keeps what a source gives.

    Parameters
    ----------
    source : Source
    **asked : bool
        Of ``val`` and ``test``, whether somebody asked for a share.

    Returns
    -------
    list of str
    """
    given = source.splits
    kept = bool(given.any()) and not has_unlabelled_test(source)
    idle = {"val": bool((given == Given.VAL).any()), "test": kept}
    return [name for name, wanted in asked.items() if wanted and idle[name]]


def has_unlabelled_test(source: Source) -> bool:
    """Whether a source has images for the test, and no label of any of them."""
    return _is_unlabelled(source.splits, source.labels)


def _is_unlabelled(given: NDArray[np.uint8], labels: NDArray[np.int32]) -> bool:
    test = given == Given.TEST
    return bool(test.any() and (labels[test] < 0).all())


def _fractions(keys: Iterable[bytes]) -> NDArray[np.float64]:
    """Map each key to a number in [0, 1) that looks random and never changes."""
    heads = b"".join(hashlib.sha256(_DOMAIN + key).digest()[:8] for key in keys)
    # 53 bits are what a float64 holds: rounding up to 1.0 is impossible.
    return (np.frombuffer(heads, ">u8") >> np.uint64(11)) / float(2**53)


def _keys(images: Sequence[bytes], groups: Sequence[bytes] | None) -> list[bytes]:
    """Return for each row what its split is dealt by: its content, or its linked groups."""
    alone = [b"image " + image for image in images]
    if groups is None:
        return alone
    parents: dict[bytes, bytes] = {}
    members = [
        b"group " + group if group else image for image, group in zip(alone, groups, strict=True)
    ]
    first: dict[bytes, bytes] = {}
    for image, member in zip(alone, members, strict=True):
        _link(parents, first.setdefault(image, member), member)
    return [_root(parents, member) for member in members]


def _root(parents: dict[bytes, bytes], member: bytes) -> bytes:
    """Find the member that stands for all that are linked, halving the way for the next time."""
    while (parent := parents.setdefault(member, member)) != member:
        parents[member] = parents[parent]
        member = parents[member]
    return member


def _link(parents: dict[bytes, bytes], one: bytes, other: bytes) -> None:
    """Link two members; the smallest of all that are linked stands for them, groups first."""
    roots = (_root(parents, one), _root(parents, other))
    parents[max(roots)] = min(roots)
