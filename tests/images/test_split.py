"""Splits: by content, whole groups, stable when images are added."""

import hashlib

import numpy as np
import pytest
from hypothesis import given as for_all
from hypothesis import strategies as st

from pipeline.common.errors import SourceError
from pipeline.images import Given, split

NONE, TRAIN, VAL, TEST = Given


def hashes(contents):
    joined = b"".join(hashlib.sha256(str(content).encode()).digest() for content in contents)
    return np.frombuffer(joined, np.uint8).reshape(-1, 32)


def deal(contents, *, given=None, groups=None, val=0.2, test=0.2):
    given = np.zeros(len(contents), np.uint8) if given is None else np.array(given, np.uint8)
    result = split(hashes(contents), given=given, groups=groups, val=val, test=test)
    assert result.dtype == np.uint8
    assert len(result) == len(contents)
    return result.tolist()


contents = st.lists(st.integers(0, 30), min_size=1, max_size=40)
rows = st.lists(
    st.tuples(st.integers(0, 15), st.sampled_from([b"", b"a", b"b", b"c", b"d"])),
    min_size=1,
    max_size=30,
)


@for_all(contents, contents)
def test_more_images_change_nothing_for_those_before(some, more):
    assert deal(some + more)[: len(some)] == deal(some)


@for_all(contents, st.randoms())
def test_order_does_not_matter(some, random):
    order = list(range(len(some)))
    random.shuffle(order)
    dealt = deal(some)
    assert deal([some[i] for i in order]) == [dealt[i] for i in order]


@for_all(rows, st.randoms())
def test_order_does_not_matter_with_groups(some, random):
    shuffled = list(some)
    random.shuffle(shuffled)
    one, other = (
        dict(zip(way, deal([row[0] for row in way], groups=[row[1] for row in way]), strict=True))
        for way in (some, shuffled)
    )
    assert one == other


@for_all(rows, st.floats(0, 0.5), st.floats(0, 0.49))
def test_neither_an_image_nor_a_group_is_on_two_sides(some, val, test):
    dealt = deal([row[0] for row in some], groups=[row[1] for row in some], val=val, test=test)
    for images, groups in (({row[0]}, {row[1]} - {b""}) for row in some):
        sides = {
            side
            for row, side in zip(some, dealt, strict=True)
            if row[0] in images or row[1] in groups
        }
        assert len(sides) == 1


@for_all(rows)
def test_images_added_to_a_group_follow_it(some):
    before = deal([row[0] for row in some], groups=[row[1] for row in some])
    fresh = [(100 + i, row[1]) for i, row in enumerate(some) if row[1]]
    both = some + fresh
    assert deal([row[0] for row in both], groups=[row[1] for row in both])[: len(some)] == before


def test_groups_that_share_an_image_are_one_group():
    """a-b by image 1, b-c by image 2: all of them are dealt as the smallest name, a."""
    shared = deal([1, 1, 2, 2, 3, 4], groups=[b"b", b"a", b"c", b"b", b"c", b"a"])
    assert set(shared) == set(deal([9], groups=[b"a"]))


def test_rows_without_a_group_are_dealt_like_rows_of_a_source_without_groups():
    assert deal(range(50), groups=[b""] * 50) == deal(range(50))


def test_shares_are_about_right():
    """Of 10,000, a share of p has a standard deviation of 100 sqrt(p (1 - p)) < 50."""
    counts = np.bincount(deal(range(10_000), val=0.3, test=0.1), minlength=4)
    np.testing.assert_allclose(counts, [0, 6000, 3000, 1000], atol=200)


def test_the_deal_never_changes():
    """Worked out with hashlib alone; another result would move test images into training."""
    keys = (b"pipeline split 1 image " + row.tobytes() for row in hashes(range(20)))
    u = [int.from_bytes(hashlib.sha256(key).digest()[:8], "big") / 2**64 for key in keys]
    assert deal(range(20)) == [TEST if x < 0.2 else VAL if x < 0.4 else TRAIN for x in u]


def test_no_shares_no_splits():
    assert deal(range(30), val=0, test=0) == [TRAIN] * 30


def test_what_the_source_gives_is_kept():
    given = [TRAIN, VAL, TEST] * 10
    assert deal(range(30), given=given, val=0.5, test=0.4) == given


def test_a_missing_val_is_carved_from_train():
    dealt = deal(range(1000), given=[TRAIN] * 900 + [TEST] * 100, val=0.25, test=0.25)
    assert dealt[900:] == [TEST] * 100
    assert set(dealt[:900]) == {TRAIN, VAL}
    assert 175 < dealt.count(VAL) < 275


def test_a_missing_test_is_not_invented():
    given = [TRAIN] * 20 + [VAL] * 10
    assert deal(range(30), given=given) == given


def test_rows_that_are_not_given_a_split_are_training_rows_where_others_are():
    assert deal(range(20), given=[NONE] * 15 + [VAL, TEST] * 2 + [VAL]) == [TRAIN] * 15 + [
        VAL,
        TEST,
    ] * 2 + [VAL]


def test_rows_without_a_hash_have_no_split():
    sha256 = hashes(range(4)).copy()
    sha256[[1, 3]] = 0
    given = np.array([0, 0, 0, 3], np.uint8)
    dealt = split(sha256, given=given, groups=[b"g"] * 4, val=0.2, test=0.2)
    assert dealt[1] == dealt[3] == NONE
    assert NONE not in dealt[[0, 2]]
    assert given.tolist() == [0, 0, 0, 3], "the argument stays"


def test_nothing_to_deal():
    empty = np.zeros(0, np.uint8)
    assert len(split(empty.reshape(0, 32), given=empty, groups=[], val=0.2, test=0.2)) == 0


@pytest.mark.parametrize(("val", "test"), [(-0.1, 0.2), (0.2, -0.1), (0.5, 0.5), (float("nan"), 0)])
def test_shares_that_leave_nothing_to_train_on(val, test):
    with pytest.raises(SourceError, match="expected shares"):
        deal([1], val=val, test=test)
