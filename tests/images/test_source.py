"""Limits: subsets that do not depend on what else there is."""

import hashlib

import pytest

from pipeline.common.errors import SourceError
from pipeline.images import Given, find, parse_limit


def test_the_images_with_the_smallest_hashes_of_their_paths_are_kept_in_order(tree):
    source = find(tree(*(f"{name}/{i}.png" for name in ("cat", "dog") for i in range(20))))
    part = source.limited(parse_limit("7"))
    chosen = sorted(source.paths, key=lambda path: hashlib.sha256(path).digest())[:7]
    assert part.paths == sorted(chosen)
    assert part.classes == ("cat", "dog")
    for path, label in zip(part.paths, part.labels, strict=True):
        assert path.decode().startswith(part.classes[label])
    assert len(source) == 40, "the source itself stays"


def test_a_larger_limit_contains_a_smaller_one(tree):
    source = find(tree(*(f"cat/{i}.png" for i in range(30))))
    parts = [set(source.limited(parse_limit(str(number))).paths) for number in (1, 5, 12, 99)]
    assert [len(part) for part in parts] == [1, 5, 12, 30]
    assert parts[0] < parts[1] < parts[2] < parts[3]


def test_limits_by_split(tree):
    names = [f"{split}/cat/{i}.png" for split in ("train", "val", "test") for i in range(9)]
    part = find(tree(*names)).limited(parse_limit("train=4, test=2"))
    assert sorted(part.splits.tolist()) == [Given.TRAIN] * 4 + [Given.TEST] * 2


def test_groups_are_kept(tree):
    root = tree("a.png", "b.png")
    (root / "list.csv").write_text("path,label,group\na.png,x,g\nb.png,x,h\n")
    part = find(root / "list.csv").limited(parse_limit("1"))
    assert part.groups == {b"a.png": [b"g"], b"b.png": [b"h"]}[part.paths[0]]


def test_a_split_that_the_source_does_not_give(tree):
    with pytest.raises(SourceError, match="puts no image into train; give one number"):
        find(tree("cat/a.png", "dog/a.png")).limited(parse_limit("train=5"))


@pytest.mark.parametrize(
    "text", ["", "0", "-3", "many", "1.5", "train", "train=", "dev=3", "train=0", "train=1,train=2"]
)
def test_what_is_no_limit(text):
    with pytest.raises(SourceError, match=r"expected a limit such as 500 or train=2000,test=1000"):
        parse_limit(text)
