"""Byte strings end to end are what a list of them would be."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.common import names
from pipeline.common.names import Names, Places

LISTS = st.lists(st.binary(max_size=5), max_size=40)


@given(LISTS, st.integers(-50, 50), st.integers(-50, 50), st.integers(1, 3))
def test_names_are_a_list(values: list[bytes], start: int, stop: int, step: int) -> None:
    packed = Names.of(values)
    assert list(packed) == values
    assert packed == values
    assert len(packed) == len(values)
    assert packed.size == sum(map(len, values))
    part, wanted = packed[start:stop:step], values[start:stop:step]
    assert part == wanted
    assert [part[place] for place in range(-len(wanted), len(wanted))] == 2 * wanted
    assert part.data.tobytes() == b"".join(wanted)
    assert part.ends.tolist() == np.cumsum([len(value) for value in wanted]).tolist()
    assert part[1:][:2] == wanted[1:][:2], "a part of a part"


@given(st.lists(LISTS, max_size=4))
def test_joined_they_follow_each_other(parts: list[list[bytes]]) -> None:
    joined = Names.joined([Names.of(part) for part in parts])
    assert joined == [value for part in parts for value in part]


def test_what_is_no_list_of_bytes_is_another_thing() -> None:
    packed = Names.of([b"a", b"bc"])
    assert packed != [b"a"]
    assert packed != [b"a", b"bd"]
    assert packed != b"abc"
    assert repr(packed) == "<b'a', b'bc'>"
    for place in (2, -3):
        with pytest.raises(IndexError):
            packed[place]


@given(LISTS, LISTS)
def test_each_name_is_found_as_often_as_it_is_there(one: list[bytes], other: list[bytes]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(names, "BLOCK", 3)
        rows, places = Places(Names.of(one)).find(other)
    pairs = Counter(zip(rows.tolist(), places.tolist(), strict=True))
    assert pairs == Counter(
        (row, place)
        for place, name in enumerate(other)
        for row, value in enumerate(one)
        if value == name
    )
    assert places.tolist() == sorted(places.tolist())


def test_a_path_takes_its_letters_and_four_bytes() -> None:
    packed = Names.of(b"class_1/%06d.jpg" % i for i in range(1000))
    assert packed._data.nbytes + packed._ends.nbytes == (18 + 4) * 1000
