from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline import store
from pipeline.common.choices import Split
from pipeline.common.errors import StoreError
from tests.store.helpers import HEADER, codes, make

OTHER = replace(HEADER, space=replace(HEADER.space, backbone="other"))


def join(*stores: Path) -> store.JoinedStore:
    return store.JoinedStore([store.open_store(path) for path in stores])


def test_rows_are_found_by_content_whatever_their_order(tmp_path: Path) -> None:
    numbers = list(range(20))
    make(tmp_path / "a", numbers, shards=3)
    make(tmp_path / "b", [*numbers[::-1], 50, 51], shards=4, header=OTHER)
    joined = join(tmp_path / "a", tmp_path / "b")
    assert list(joined.layers) == ["fc", "map", "other/fc", "other/map"]
    rows = np.array([7, 3, 3, 19, 0])
    for layer, own in [("fc", "fc"), ("map", "map"), ("other/fc", "fc"), ("other/map", "map")]:
        expected = [codes(i)[own] for i in rows.tolist()]
        np.testing.assert_array_equal(store.read_rows(joined, layer, rows), expected)
        np.testing.assert_array_equal(joined.probe(layer), np.ones((8, *joined.layers[layer])))
    for positions, both in joined.together(["other/map", "fc"], rows):
        for place, position in enumerate(positions):
            i = int(rows[position])
            np.testing.assert_array_equal(both["other/map"][place], codes(i)["map"])
            np.testing.assert_array_equal(both["fc"][place], codes(i)["fc"])
    assert joined.left_out == 0


def test_labels_splits_and_paths_are_those_of_the_first(tmp_path: Path) -> None:
    make(tmp_path / "a", list(range(20)))
    make(tmp_path / "b", list(range(20))[::-1], header=OTHER)
    first, joined = store.open_store(tmp_path / "a"), join(tmp_path / "a", tmp_path / "b")
    every = np.arange(20)
    assert joined.location == first.location
    assert joined.paths(every) == first.paths(every)
    np.testing.assert_array_equal(joined.labels, first.labels)
    for split in Split:
        np.testing.assert_array_equal(store.rows_of(joined, split), store.rows_of(first, split))


def test_a_packed_file_joins_as_its_store_does(tmp_path: Path) -> None:
    make(tmp_path / "a", list(range(20)))
    make(tmp_path / "b", list(range(20))[::-1], header=OTHER, shards=2)
    store.pack(store.FolderStore(tmp_path / "b"), tmp_path / "b.h5")
    rows = np.array([4, 17, 2])
    for there in ("b", "b.h5"):
        found = store.read_rows(join(tmp_path / "a", tmp_path / there), "other/fc", rows)
        np.testing.assert_array_equal(found, [codes(i)["fc"] for i in rows.tolist()])


def test_images_that_one_of_them_lacks_are_not_usable(tmp_path: Path) -> None:
    make(tmp_path / "a", list(range(20)))
    make(tmp_path / "b", list(range(5, 30)), header=OTHER)
    joined = join(tmp_path / "a", tmp_path / "b")
    assert np.flatnonzero(joined.usable).tolist() == list(range(5, 20))
    assert joined.left_out == 5
    found = store.read_rows(joined, "other/fc", np.array([19, 5]))
    np.testing.assert_array_equal(found, [codes(19)["fc"], codes(5)["fc"]])


def test_names_of_layers_say_which_backbone(tmp_path: Path) -> None:
    for name, header in [("a", HEADER), ("b", OTHER), ("c", OTHER), ("d", HEADER)]:
        make(tmp_path / name, [0, 1, 2], header=header)
    joined = join(*(tmp_path / name for name in "abcd"))
    assert [name for name in joined.layers if name.endswith("fc")] == [
        "fc",
        "other/fc",
        "other-3/fc",
        "tiny/fc",
    ]
    assert joined.places["other-3/fc"] == (2, "fc")


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("size", 48, "size: 32 against 48"),
        ("resize", "pad", "resize: crop against pad"),
        ("depth16", "another rule", "depth16: high byte against another rule"),
    ],
)
def test_stores_that_read_images_differently_are_refused(
    tmp_path: Path, field: str, value: object, words: str
) -> None:
    make(tmp_path / "a", [0, 1])
    other = replace(HEADER, space=replace(HEADER.space, **{field: value}))
    make(tmp_path / "b", [0, 1], header=other)
    with pytest.raises(StoreError, match=f"read images in the same way.*{words}.*extract one"):
        join(tmp_path / "a", tmp_path / "b")


def test_stores_without_a_common_image_are_refused(tmp_path: Path) -> None:
    make(tmp_path / "a", [0, 1])
    make(tmp_path / "b", [2, 3], header=OTHER)
    with pytest.raises(StoreError, match=r"same images, found no image of .*a in .*b; extract"):
        join(tmp_path / "a", tmp_path / "b")


@settings(max_examples=25, deadline=None)
@given(
    first=st.lists(st.integers(0, 12), min_size=1, max_size=12, unique=True),
    second=st.lists(st.integers(0, 12), min_size=1, max_size=12, unique=True),
    shards=st.integers(1, 3),
)
def test_each_row_keeps_the_codes_of_its_image(
    tmp_path_factory: pytest.TempPathFactory, first: list[int], second: list[int], shards: int
) -> None:
    folder = tmp_path_factory.mktemp("joined")
    make(folder / "a", first, shards=min(shards, len(first)))
    make(folder / "b", second, shards=min(shards, len(second)), header=OTHER)
    common = [i for i in first if i in second]
    if not common:
        with pytest.raises(StoreError):
            join(folder / "a", folder / "b")
        return
    joined = join(folder / "a", folder / "b")
    rows = np.flatnonzero(joined.usable)
    assert [first[row] for row in rows.tolist()] == common
    found = store.read_rows(joined, "other/map", rows)
    np.testing.assert_array_equal(found, [codes(i)["map"] for i in common])
