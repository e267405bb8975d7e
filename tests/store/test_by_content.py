from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline import store
from pipeline.common.choices import Dtype
from pipeline.common.errors import StoreDamaged, StoreNotFound
from tests.store.helpers import HEADER, PROBE, codes, digest, make, row


def read(opened: store.ByContent, layer: str, numbers: list[int]) -> np.ndarray:
    shape = opened.header.space.layers[layer]
    found = np.full((len(numbers), *shape), np.nan, np.float32)
    for positions, block in opened.blocks(layer, [digest(i) for i in numbers]):
        assert block.dtype == np.float32
        found[positions] = block
    return found


@given(wanted=st.lists(st.integers(0, 11), max_size=20), shards=st.integers(1, 12))
@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_codes_come_in_the_order_asked_for_wherever_they_lie(
    tmp_path_factory: pytest.TempPathFactory, wanted: list[int], shards: int
) -> None:
    folder = tmp_path_factory.mktemp("store")
    make(folder, list(range(12)), shards=shards)
    expected = np.array([codes(i)["map"] for i in wanted], np.float32).reshape(-1, 2, 2, 3)
    np.testing.assert_array_equal(read(store.ByContent(folder), "map", wanted), expected)


def test_a_store_need_not_be_finished_nor_have_a_table(tmp_path: Path) -> None:
    with store.Writer(tmp_path) as writer:
        writer.create(HEADER, PROBE)
        writer.append(row(1))
        writer.append(row(2, reason="truncated"))
        writer.commit()
        opened = store.ByContent(tmp_path)
        writer.append(row(3))
        writer.commit()
    assert not (tmp_path / "table.h5").exists()
    assert [opened.known(digest(i)) for i in (1, 2, 3)] == [True, True, False]
    assert [opened.reason(digest(i)) for i in (1, 2)] == [None, "truncated"]
    np.testing.assert_array_equal(read(opened, "fc", [1]), [codes(1)["fc"]])
    assert store.ByContent(tmp_path).known(digest(3))
    np.testing.assert_array_equal(opened.probe("fc"), PROBE["fc"])


def test_shards_say_which_content_a_file_had(tmp_path: Path) -> None:
    make(tmp_path, [1])
    [(paths, stat, sha256)] = store.ByContent(tmp_path).seen()
    assert (list(paths), stat.tolist()) == ([b"1.jpg"], [[2, 10, 20]])
    assert sha256.tobytes() == digest(1)


def test_codes_of_16_bits_are_handed_out_in_32(tmp_path: Path) -> None:
    make(tmp_path, [1, 2], header=replace(HEADER, dtype=Dtype.float16))
    np.testing.assert_array_equal(
        read(store.ByContent(tmp_path), "fc", [2, 1]), [codes(i)["fc"] for i in (2, 1)]
    )


def test_what_is_not_known_is_no_codes_of_another(tmp_path: Path) -> None:
    make(tmp_path, [1])
    opened = store.ByContent(tmp_path)
    with pytest.raises(KeyError, match=digest(2).hex()):
        list(opened.blocks("fc", [digest(2)]))


def test_damage_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreNotFound):
        store.ByContent(tmp_path)
    make(tmp_path, [1, 2])
    opened = store.ByContent(tmp_path)
    [shard] = (tmp_path / "shards").iterdir()
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 1
    shard.write_bytes(bytes(data))
    with pytest.raises(StoreDamaged, match=shard.name):
        read(opened, "fc", [1])
