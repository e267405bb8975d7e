"""Files are recalled by name, size and times; what is in doubt is read again."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from pipeline import images
from pipeline.common.names import Names
from pipeline.flows.recalling import Recall
from pipeline.store import Seen

Stat = tuple[int, int, int]
ZEROS: Stat = (0, 0, 0)


@pytest.fixture
def found(tmp_path: Path) -> images.Source:
    """Three files, the third of which is named and not there."""
    paths = [tmp_path / name for name in ("a.jpg", "b.jpg", "none.jpg")]
    for size, path in enumerate(paths[:2], start=1):
        path.write_bytes(b"x" * size)
    return images.listed([os.fsencode(path) for path in paths])


def _seen(found: images.Source, *files: tuple[int, Stat, int]) -> Seen:
    """Say of rows which size and times they had, and which content, by its number."""
    return Seen(
        Names.of(found.paths[row] for row, _, _ in files),
        np.array([stat for _, stat, _ in files], np.int64).reshape(-1, 3),
        np.repeat(np.array([[content] for _, _, content in files], np.uint8), 32, axis=1),
    )


def _recall(found: images.Source, *, known: bool = True, wanted: tuple[int, ...] = (1, 1, 1)):  # type: ignore[no-untyped-def]
    def knows(sha256: np.ndarray) -> np.ndarray:
        return np.full(len(sha256), known)

    return Recall(found, np.array(wanted, bool), known=knows)


def _now(found: images.Source, row: int) -> Stat:
    stat = found.stat(row)
    assert stat is not None
    return stat


@pytest.mark.parametrize("old", [False, True], ids=["shard", "table"])
def test_a_file_of_the_same_size_and_times_is_known(found: images.Source, old: bool) -> None:
    recall = _recall(found)
    rows, stat, sha256 = recall.look(_seen(found, (1, _now(found, 1), 7)), old=old)
    assert (rows.tolist(), stat.tolist()) == ([1], [list(_now(found, 1))])
    assert sha256.tolist() == [[7] * 32]
    assert recall.todo.tolist() == [True, False, True]


@pytest.mark.parametrize("place", range(3))
def test_a_change_of_one_of_the_three_means_reading_it(found: images.Source, place: int) -> None:
    stat = list(_now(found, 0))
    stat[place] += 1
    recall = _recall(found)
    rows, _, _ = recall.look(_seen(found, (0, (stat[0], stat[1], stat[2]), 7)))
    assert not len(rows)
    assert recall.todo.all()


def test_times_that_prove_nothing_and_contents_without_codes_mean_reading(
    found: images.Source,
) -> None:
    for recall, stat in ((_recall(found), ZEROS), (_recall(found, known=False), _now(found, 0))):
        assert not len(recall.look(_seen(found, (0, stat, 7)))[0])
        assert recall.todo.all()


def test_until_it_is_read_a_file_is_what_the_table_says_unless_its_size_differs(
    found: images.Source,
) -> None:
    size, *times = _now(found, 0)
    later = (size, times[0] + 1, times[1])
    longer = (size + 5, times[0], times[1])
    files = _seen(found, (0, later, 1), (1, longer, 2), (2, longer, 3))
    rows, _, sha256 = _recall(found).look(files, old=True)
    assert rows.tolist() == [0, 2], "a file that is not there has no size"
    assert sha256[:, 0].tolist() == [1, 3]


def test_what_is_said_last_counts(found: images.Source) -> None:
    recall = _recall(found)
    now, other = _now(found, 0), (9, 9, 9)
    recall.look(_seen(found, (0, other, 1), (0, now, 2)))
    assert not recall.todo[0]
    recall.look(_seen(found, (0, now, 2), (0, other, 1)))
    assert recall.todo[0]


def test_shards_do_not_put_the_table_in_question(found: images.Source) -> None:
    recall = _recall(found)
    recall.look(_seen(found, (0, _now(found, 0), 1), (1, ZEROS, 1)), old=True)
    assert recall.open.tolist() == [False, True, True]
    rows, _, _ = recall.look(_seen(found, (0, _now(found, 0), 2), (1, _now(found, 1), 2)))
    assert rows.tolist() == [1]


def test_rows_that_do_not_matter_are_left_alone(found: images.Source) -> None:
    recall = _recall(found, wanted=(0, 1, 1))
    rows, _, _ = recall.look(_seen(found, (0, _now(found, 0), 1)), old=True)
    assert not len(rows)
    assert recall.todo.tolist() == [False, True, True]


def test_names_that_the_source_has_no_more_are_counted_once(found: images.Source) -> None:
    gone = Seen(
        Names.of([b"x", b"y", b"x", found.paths[0]]),
        np.zeros((4, 3), np.int64),
        np.zeros((4, 32), np.uint8),
    )
    recall = _recall(found)
    recall.look(gone, old=True)
    recall.look(gone, old=True)
    assert recall.gone == 2
