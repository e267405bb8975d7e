"""Several heads on the same images."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binomtest

import pipeline
from pipeline.common.errors import HeadError
from pipeline.report import differing_first, head_pair


@pytest.fixture
def heads(cached: Path, svm: Path, tmp_path: Path) -> list[Path]:
    """A good head, and one that is so regular that it knows little."""
    poor = pipeline.fit_head(cached, kind="softmax", layer="top", C=1e-12, out=tmp_path / "poor")
    return [svm, Path(poor.head)]


def answers(folder: Path) -> list[str]:
    with (folder / "predictions.csv").open(newline="") as file:
        return [line["predicted"] for line in csv.DictReader(file)]


def test_they_are_scored_on_the_same_images(
    cached: Path, heads: list[Path], tmp_path: Path
) -> None:
    found = pipeline.compare_heads(heads, cached, split="val", out=tmp_path / "r")
    alone = [
        pipeline.evaluate(head, cached, split="val", out=tmp_path / head.name, page=False)
        for head in heads
    ]
    assert [each.accuracy for each in found.reports] == [each.report.accuracy for each in alone]
    first, second = (answers(tmp_path / head.name) for head in heads)
    assert found.differing == sum(a != b for a, b in zip(first, second, strict=True))
    [pair] = found.pairs
    assert (pair.first, pair.second) == ("svm", "poor")
    assert pair.difference.value == pytest.approx(
        alone[1].report.accuracy - alone[0].report.accuracy
    )
    plain = json.loads((tmp_path / "r" / "heads.json").read_text())
    assert plain["differing"] == found.differing
    html = (tmp_path / "r" / "heads.html").read_text()
    assert "poor against svm" in html
    assert html.count('class="tile"') == found.differing
    assert all(note.startswith(("svm: ", "poor: ")) for note in found.warnings)


def test_mcnemar_counts_the_images_that_only_one_answers_right() -> None:
    first = np.array([1, 1, 1, 0, 0, 0, 1, 1], bool)
    second = np.array([1, 0, 0, 1, 0, 0, 0, 0], bool)
    pair = head_pair("a", "b", (first, second))
    assert (pair.difference.gained, pair.difference.lost) == (1, 4)
    assert pair.p_value == binomtest(1, 5).pvalue
    assert head_pair("a", "b", (first, first)).p_value == 1.0


def test_images_that_only_some_answer_right_come_first() -> None:
    right = [np.array([True, False, False, True]), np.array([True, False, True, False])]
    said = np.array([["cat", "dog", "owl", "cat"], ["cat", "owl", "cat", "dog"]])
    assert differing_first(right, said).tolist() == [2, 3, 1]


def test_heads_of_one_name_are_told_apart(cached: Path, heads: list[Path], tmp_path: Path) -> None:
    shutil.copytree(heads[0], tmp_path / "other" / "svm")
    found = pipeline.compare_heads(
        [heads[0], tmp_path / "other" / "svm"], cached, out=tmp_path / "r"
    )
    assert found.pairs[0].second == str(tmp_path / "other" / "svm")
    assert found.differing == 0


def test_one_head_is_no_comparison(cached: Path, svm: Path, tmp_path: Path) -> None:
    for few in ([svm], [svm, svm]):
        with pytest.raises(HeadError, match="expected two heads or more, each once"):
            pipeline.compare_heads(few, cached, out=tmp_path / "r")
    assert not (tmp_path / "r").exists()
