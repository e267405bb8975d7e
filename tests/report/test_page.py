"""The page of a report: what is in it, and that nothing of a stranger's names gets out of it."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest

from pipeline.report import Page, PagePhotos, Photo, Report, order_of, score, shown_of

NASTY = "</script><script>alert(1)</script>"


def report_of(true: list[int], predicted: list[int], names: list[str]) -> Report:
    return score(np.array(true), np.array(predicted), classes=names)


def page_of(names: list[str]) -> str:
    report = report_of([0, 0, 0, 1, 1, 2], [0, 1, 1, 1, 0, 2], names)
    photos = (
        Photo(path=f"{names[0]}/1.jpg", true=0, predicted=1, score=0.91, image=0),
        Photo(path="b.jpg", true=1, predicted=1, score=0.5, neighbours=()),
    )
    shown = PagePhotos(photos=photos, images=(b"\xff\xd8",), notes=("2 photos are gone",))
    notes = ("warning: <i>small</i>",)
    return Page(title=f"svm & {names[0]}", report=report, notes=notes, photos=shown).html()


class Parsed(HTMLParser):
    """The tags of a page, its text, and what its scripts say."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def data_of(html: str) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', html, re.S)
    assert found is not None
    plain: dict[str, Any] = json.loads(found[1])
    return plain


def test_it_says_the_scores_and_what_to_know_of_them() -> None:
    text = " ".join(" ".join(Parsed(page_of(["cat", "dog", "owl"])).text).split())
    assert "50.0 % of 6 images right" in text
    assert "always the largest class 50.0 %" in text
    assert "warning: <i>small</i>" in text
    assert "cat taken for dog: 2" in text
    assert "2 photos are gone" in text


def test_its_data_are_those_of_the_report() -> None:
    data = data_of(page_of(["cat", "dog", "owl"]))
    assert data["classes"] == ["cat", "dog", "owl"]
    assert [0, 1, 2] in data["pairs"]
    assert sorted(data["order"]) == [0, 1, 2]
    assert data["photos"][0] == ["cat/1.jpg", 0, 1, 0.91, 0, []]
    assert data["images"] == ["/9g="]  # base64 of the two bytes


@pytest.mark.parametrize(
    "name", [NASTY, "<!--", '"><img src=x onerror=alert(1)>', "a\u2028b", "{{ 7 * 7 }}"]
)
def test_names_stay_names(name: str) -> None:
    html = page_of([name, "dog", "owl"])
    parsed = Parsed(html)
    assert [tag for tag, _ in parsed.tags].count("script") == 2
    assert not any("onerror" in attributes for _, attributes in parsed.tags)
    assert data_of(html)["classes"][0] == name
    titles = [
        attributes["data-true"] for tag, attributes in parsed.tags if "data-true" in attributes
    ]
    assert name in titles


def test_nothing_is_fetched() -> None:
    html = page_of(["cat", "dog", "owl"])
    assert "default-src 'none'" in html
    for _, attributes in Parsed(html).tags:
        for name in ("src", "href"):
            link = attributes.get(name) or "#"
            assert link.startswith(("#", "data:"))


def test_classes_that_are_taken_for_each_other_stand_together() -> None:
    """0 and 3 are mixed up, 1 and 4 too; 2 is alone."""
    true = np.repeat(np.arange(5), 10)
    predicted = true.copy()
    predicted[:4], predicted[30:34], predicted[10:13], predicted[40:44] = 3, 0, 4, 1
    order = order_of(report_of(true.tolist(), predicted.tolist(), list("abcde")))
    assert sorted(order) == [0, 1, 2, 3, 4]
    assert abs(order.index(0) - order.index(3)) == 1
    assert abs(order.index(1) - order.index(4)) == 1


def test_the_worst_errors_and_the_most_uncertain_right_answers_are_shown() -> None:
    true = np.array([0, 0, 0, 0, 0, 1, 1])
    predicted = np.array([1, 1, 1, 0, 0, 1, 0])
    best = np.array([0.6, 0.9, 0.7, 0.8, 0.55, 0.99, 0.51], np.float32)
    report = report_of(true.tolist(), predicted.tolist(), ["cat", "dog"])
    shown = shown_of(report, true, predicted, best, each_wrong=2, each_right=1, most=100)
    assert set(shown.tolist()) == {1, 2, 6, 4, 5}  # 0 is the third of its cell, 3 the surer one
    assert shown[0] == 1 or shown[0] == 6
    assert not (true == predicted)[shown[:3]].any()
    first = shown_of(report, true, predicted, best, each_wrong=2, each_right=1, most=2)
    assert set(first.tolist()) == {1, 6}  # the worst of each cell before the second of any


def test_more_classes_than_a_screen_shows_have_no_matrix() -> None:
    k = 301
    report = report_of(list(range(k)), [1, *range(1, k)], [f"c{i}" for i in range(k)])
    html = Page(title="many", report=report).html()
    assert 'id="matrix"' not in html
    assert "c0 taken for c1: 1" in html
    assert data_of(html)["order"] == []


def test_bytes_of_a_name_that_are_no_text_are_escapes() -> None:
    report = report_of([0, 1], [0, 1], ["cat", "dog"])
    assert r"<h1>a\udcff</h1>" in Page(title="a\udcff", report=report).html()
