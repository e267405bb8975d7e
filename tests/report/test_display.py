"""What notebooks show of results: tables, matrices and pictures, with every name escaped."""

from __future__ import annotations

import copy
import json
import pickle
import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pipeline
from pipeline import PipelineError, report
from pipeline.report import ConfusionMatrix, Display, Table, score

NAMES = ("cat", "<script>alert(1)</script>", "caf\udce9")


class Parts(HTMLParser):
    """Collect tags and texts."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.texts: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


@pytest.fixture
def three() -> report.Report:
    return score([0, 0, 1, 1], [0, 1, 1, 1], classes=NAMES)


def test_a_report_is_a_matrix_and_a_table_of_its_classes(three: report.Report) -> None:
    parts = Parts(three._repr_html_())
    assert parts.tags.count("table") == 3
    assert "script" not in parts.tags
    assert NAMES[1] in parts.texts
    assert r"caf\udce9" in parts.texts
    assert "75.0% of 4 images right" in parts.texts
    assert 'tr class="absent"' in three._repr_html_(), "no image is of the third class"


def test_frames_have_plain_values(three: report.Report) -> None:
    frame = three.to_frame()
    assert list(frame.columns) == ["name", "precision", "recall", "f1", "support"]
    assert frame.set_index("name").loc["cat", "recall"] == 0.5
    assert frame["support"].sum() == 4


def test_a_confusion_matrix_is_still_a_tuple_of_tuples(three: report.Report) -> None:
    matrix = three.confusion
    assert matrix == ((1, 1, 0), (0, 2, 0), (0, 0, 0))
    assert json.loads(json.dumps(matrix)) == [[1, 1, 0], [0, 2, 0], [0, 0, 0]]
    for other in (copy.deepcopy(matrix), pickle.loads(pickle.dumps(matrix))):
        assert (other, other.names) == (matrix, NAMES)


def test_a_confusion_matrix_as_a_frame(three: report.Report) -> None:
    frame = three.confusion.to_frame()
    assert frame.loc["cat", NAMES[1]] == 1
    assert (frame.index.name, frame.columns.name) == ("true class", "predicted class")
    assert frame.to_numpy().tolist() == [list(row) for row in three.confusion]


@pytest.mark.parametrize("k", [25, 26, 3000])
def test_of_many_classes_the_errors_are_shown_and_no_matrix(k: int) -> None:
    true = np.arange(2 * k) % k
    few = score(true, np.where(true == 3, 4, true), classes=[f"class {i}" for i in range(k)])
    html = few._repr_html_()
    assert len(html) < 40_000
    assert ("class 3 taken for class 4: 2" in html) is (k > 25)
    assert ('class="matrix"' in html) is (k <= 25)


def test_a_large_matrix_says_where_it_is() -> None:
    names = tuple(map(str, range(30)))
    html = ConfusionMatrix(tuple((0,) * 30 for _ in names), names)._repr_html_()
    assert "30 classes are too many to be shown here; to_frame() has all counts" in html


def test_a_long_table_is_cut_and_says_so() -> None:
    rows = tuple((f"{number}.jpg", 0.5) for number in range(1000))
    html = Display(title="t", table=Table(columns=("path", "val_score"), rows=rows)).html()
    assert "val score" in html
    assert "0.5000" in html
    assert "and 970 more; to_frame() has all" in html
    assert html.count("<tr>") == 31


def test_a_column_without_values_is_left_out_and_words_stand_on_the_left() -> None:
    table = Table(columns=("path", "images", "reason"), rows=(("a.jpg", 1234, None),))
    html = Display(title="t", table=table).html()
    assert "reason" not in html
    assert '<td class="text">a.jpg</td><td>1,234</td>' in html
    assert list(table.frame().columns) == ["path", "images", "reason"]


def test_without_pandas_the_extra_is_named(
    three: report.Report, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    said = r"expected pandas for a data frame, found none; .*bottleneck-pipeline\[pandas\]"
    for ask in (three.to_frame, three.confusion.to_frame):
        with pytest.raises(PipelineError, match=said):
            ask()


def test_colours_are_read_on_white_and_on_black(three: report.Report) -> None:
    """No text has a colour of its own, and no background is opaque."""
    html = three._repr_html_()
    assert set(re.findall(r"[^-]color: ([^;]+);", html)) == {"inherit"}
    for colour in re.findall(r"background: (rgb[^;\"]+)", html):
        assert float(colour.rstrip(")").split("/")[1]) <= 0.5


def test_results_of_commands(tiny: str, cached: Path, svm: Path, tmp_path: Path) -> None:
    """Each is a part of a page that is small and names what it found."""
    photos = tmp_path / "photos"
    again = {"backbone": tiny, "weights": "random", "layers": ["avg", "top"]}
    evaluation = pipeline.evaluate(svm, cached, out=tmp_path / "r")
    other = pipeline.fit_head(cached, kind="centroid", out=tmp_path / "c")
    results: list[tuple[Any, str, list[str] | None]] = [
        (evaluation, "95 % interval", ["name", "precision"]),
        (other, "validated on", None),
        (pipeline.extract(photos, out=cached, **again), "images have codes", None),
        (
            pipeline.compare_heads([svm, other.head], cached, out=tmp_path / "p"),
            "c against svm",
            ["head", "accuracy"],
        ),
        (
            pipeline.compare(cached, kinds=["centroid"], out=tmp_path / "b", report_out=tmp_path),
            "val loss",
            ["layer", "pool"],
        ),
        (
            pipeline.learning_curve(cached, seeds=[0], out=tmp_path / "l", desired=0.99),
            "<svg",
            ["images_per_class", "images"],
        ),
        (pipeline.audit(cached, out=tmp_path / "a", page=False), "findings among", ["kind"]),
        (pipeline.predict(svm, photos, weights="random"), "images answered", ["path", "label"]),
    ]
    for result, said, columns in results:
        html = result._repr_html_()
        assert said in html, type(result)
        assert len(html) < 200_000
        assert Parts(html).tags[0] == "div"
        if columns is None:
            assert not hasattr(result, "to_frame")
        else:
            assert list(result.to_frame().columns)[: len(columns)] == columns
