"""Which split the name of a folder means: train, training_set, seg_test, ILSVRC2012_img_val, ..."""

from __future__ import annotations

import re
from typing import NamedTuple

from ._source import Given

_WORDS = {
    Given.TRAIN: ("train", "training", "trainval", "trn"),
    Given.VAL: ("val", "valid", "validation", "dev", "development"),
    Given.TEST: ("test", "testing", "tst", "eval", "evaluation", "holdout"),
}
_SPLITS = {word: given for given, words in _WORDS.items() for word in words}
# What stands beside such a word and says nothing of a class.
_PLAIN = frozenset(
    (
        "data",
        "dataset",
        "dir",
        "folder",
        "image",
        "images",
        "img",
        "imgs",
        "photo",
        "photos",
        "pic",
        "pics",
        "pictures",
        "samples",
        "set",
        "split",
        "subset",
    )
)
_WORD = re.compile(r"[^\W\d_]+")
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")


class SplitName(NamedTuple):
    """
    The name of a folder with the word for a split in it.

    Attributes
    ----------
    given : Given
    rest : tuple of str
        The other words, but for those that say nothing; of folders that belong together the same.
    """

    given: Given
    rest: tuple[str, ...]


def split_name(name: str) -> SplitName | None:
    """Return what a folder's name says of a split; None if it names none, or several."""
    words = _WORD.findall(_CAMEL.sub(" ", name).lower())
    splits = {word: given for word in words if (given := _split(word)) is not None}
    if sum(word in splits for word in words) != 1:
        return None
    [given] = splits.values()
    return SplitName(given, tuple(w for w in words if w not in splits and w not in _PLAIN))


def is_plain(name: str) -> bool:
    """Whether a folder's name says nothing but that there are images in it."""
    words = _WORD.findall(_CAMEL.sub(" ", name).lower())
    return bool(words) and all(word in _PLAIN for word in words)


def _split(word: str) -> Given | None:
    """Return the split that a word means, also with a plain word right behind it (``testset``)."""
    if word in _SPLITS:
        return _SPLITS[word]
    return next(
        (
            given
            for start, given in _SPLITS.items()
            if word.startswith(start) and word.removeprefix(start) in _PLAIN
        ),
        None,
    )
