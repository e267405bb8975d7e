"""Scores of rows: as a table, and out of memory where they are many."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.report import ScoredRows, _scored

CLASSES = ["cat", "dog", "owl"]  # the head knows the first two


@pytest.fixture
def rows() -> ScoredRows:
    rows = ScoredRows.empty(np.array([0, 1, 2]), 2)
    rows.put(np.array([2, 0]), np.array([[0.25, 0.75], [0.9, 0.1]]))
    rows.put(np.array([1]), np.array([[0.6, 0.4]]))
    return rows


def test_rows_may_come_in_any_order(rows: ScoredRows) -> None:
    assert rows.predicted.tolist() == [0, 0, 1]
    assert rows.right.tolist() == [True, False, False]
    assert rows.best.tolist() == pytest.approx([0.9, 0.6, 0.75])


def test_a_table_has_a_line_for_each_row(rows: ScoredRows) -> None:
    names = ["path", "true", "predicted", "right", "score", "score of cat", "score of dog"]
    assert rows.columns(CLASSES) == names
    [lines] = rows.lines(lambda places: [f"{place}.jpg" for place in places], CLASSES)
    assert lines == [
        ["0.jpg", "cat", "cat", "yes", "0.9", "0.9", "0.1"],
        ["1.jpg", "dog", "cat", "no", "0.6", "0.6", "0.4"],
        ["2.jpg", "owl", "dog", "no", "0.75", "0.25", "0.75"],
    ]


def test_too_many_scores_for_a_table_leave_that_of_the_true_class(
    rows: ScoredRows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_scored, "MOST_NUMBERS", 5)
    assert rows.columns(CLASSES)[5:] == ["score of the true class"]
    [lines] = rows.lines(lambda places: ["x"] * len(places), CLASSES)
    assert [line[4:] for line in lines] == [["0.9", "0.9"], ["0.6", "0.4"], ["0.75", "0"]]


def test_many_scores_are_not_in_memory() -> None:
    rows = ScoredRows.empty(np.zeros(300_000, np.int64), 60)
    assert isinstance(rows.scores, np.memmap)
    rows.put(np.array([299_999]), np.eye(60)[[7]])
    assert rows.predicted[-1] == 7
