"""Who is trained on, who chooses, who tests: splits that stay when images are added."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.common.errors import SourceError
from pipeline.common.mapped import let_go
from pipeline.common.names import blocks, hashed, one_by_one

from ._source import Given, Source

# Part of every key: a change of it would deal all images anew.
_DOMAIN = b"pipeline split 1 "
_IMAGE = b"image "


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
    readable = np.empty(len(sha256), bool)
    for piece in blocks(len(sha256)):
        readable[piece] = sha256[piece].any(axis=1)
        let_go(sha256)
    dealt = readable & ((given == Given.NONE) | (given == Given.TRAIN))
    if given.any():
        test = test if labels is not None and _is_unlabelled(given, labels) else 0.0
        val = 0.0 if (given == Given.VAL).any() else val
    rows = np.flatnonzero(dealt)
    roots = {} if groups is None else _linked(sha256, groups, rows)
    for piece in blocks(len(rows)):
        part = rows[piece]
        images = [_IMAGE + digest.tobytes() for digest in sha256[part]]
        let_go(sha256)
        if groups is not None:
            members = (_member(groups[row], image) for row, image in zip(part, images, strict=True))
            images = [roots.get(member, member) for member in members]
        u = _fractions(images)
        splits[part] = np.select([u < test, u < test + val], [Given.TEST, Given.VAL], Given.TRAIN)
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


def _member(group: bytes, image: bytes) -> bytes:
    """Return what a row is dealt by unless it is linked to another: its group, or its content."""
    return b"group " + group if group else image


def _linked(
    sha256: NDArray[np.uint8], groups: Sequence[bytes], rows: NDArray[np.int64]
) -> dict[bytes, bytes]:
    """Find the members of rows that share an image, and what each of them is dealt by instead."""
    parents: dict[bytes, bytes] = {}
    first: dict[bytes, bytes] = {}
    # Only contents that come twice link anything.
    numbers = np.empty(len(rows), np.int64)
    for piece in blocks(len(rows)):
        numbers[piece] = hashed(digest.tobytes() for digest in sha256[rows[piece]])
        let_go(sha256)
    values, counts = np.unique(numbers, return_counts=True)
    for row in one_by_one(rows[np.isin(numbers, values[counts > 1])]):
        image = _IMAGE + sha256[row].tobytes()
        member = _member(groups[row], image)
        _link(parents, first.setdefault(image, member), member)
    return {member: _root(parents, member) for member in list(parents)}


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
