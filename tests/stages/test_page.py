"""What evaluate leaves for people and for programs: a page, and a line for each image."""

from __future__ import annotations

import csv
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars
import pytest
from PIL import Image

import pipeline
from pipeline import Split, heads, store
from pipeline.flows.thumbnails import thumbnails


def data_of(folder: Path) -> dict[str, Any]:
    html = (folder / "report.html").read_text()
    found = re.search(r'id="data">(.*?)</script>', html, re.S)
    assert found is not None
    plain: dict[str, Any] = json.loads(found[1])
    return plain


def test_every_image_has_a_line_with_its_scores(cached: Path, svm: Path, tmp_path: Path) -> None:
    pipeline.evaluate(svm, cached, out=tmp_path / "r", page=False)
    opened, head = store.open_store(cached), heads.load(svm).head
    rows = store.rows_of(opened, Split.test)
    scores = head.predict_proba(store.read_rows(opened, "avg", rows))
    with (tmp_path / "r" / "predictions.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert [line["path"].encode() for line in lines] == opened.paths(rows)
    for line, row, numbers in zip(lines, rows, scores, strict=True):
        best = opened.classes[numbers.argmax()]
        assert line["true"] == opened.classes[opened.labels[row]]
        assert line["predicted"] == best
        assert line["right"] == ("yes" if best == line["true"] else "no")
        found = [float(line[f"score of {name}"]) for name in opened.classes]
        assert found == pytest.approx(numbers, rel=1e-5)
        assert float(line["score"]) == pytest.approx(numbers.max(), rel=1e-5)


def test_the_same_as_parquet(cached: Path, svm: Path, tmp_path: Path) -> None:
    pipeline.evaluate(svm, cached, out=tmp_path / "r", page=False)
    table = polars.read_parquet(tmp_path / "r" / "predictions.parquet")
    plain = polars.read_csv(tmp_path / "r" / "predictions.csv")
    assert table.columns == plain.columns
    assert table["path"].to_list() == plain["path"].to_list()
    assert table["right"].to_list() == [word == "yes" for word in plain["right"]]


def test_the_page_has_the_photos_and_the_neighbours_of_wrong_ones(
    cached: Path, svm: Path, make_photos: Callable[..., Path], tmp_path: Path
) -> None:
    # The classes change their names: every answer is wrong.
    others = tmp_path / "others"
    for number in range(3):
        shutil.copytree(
            tmp_path / "photos" / f"class_{number}", others / f"class_{(number + 1) % 3}"
        )
    options = {"backbone": "tiny", "weights": "random", "layers": ["avg"]}
    pipeline.extract(others, out=tmp_path / "s", val=0, test=0.3, **options)
    result = pipeline.evaluate(svm, tmp_path / "s", out=tmp_path / "r")
    assert result.page == str(tmp_path / "r" / "report.html")
    data = data_of(tmp_path / "r")
    assert result.report.accuracy < 0.2
    wrong = [photo for photo in data["photos"] if photo[1] != photo[2]]
    assert len(data["images"]) > len(wrong) > 10
    assert all(photo[4] is not None for photo in wrong)
    near = [data["training"][place] for place, _ in wrong[0][5]]
    assert len(near) == 3
    # The nearest look like the photo, whose class has another photo's colour.
    assert {photo[1] for photo in near} == {wrong[0][1]}
    assert len(data["dots"]) == result.report.images


def test_photos_that_are_gone_are_told(cached: Path, svm: Path, tmp_path: Path) -> None:
    shutil.rmtree(tmp_path / "photos")
    pipeline.evaluate(svm, cached, out=tmp_path / "r")
    html = (tmp_path / "r" / "report.html").read_text()
    assert "no photos: they are gone from" in html
    assert data_of(tmp_path / "r")["images"] == []


def test_photos_that_have_changed_are_not_shown(cached: Path, svm: Path, tmp_path: Path) -> None:
    for path in (tmp_path / "photos" / "class_0").iterdir():
        Image.new("RGB", (40, 40), "white").save(path)
    pipeline.evaluate(svm, cached, out=tmp_path / "r")
    html = (tmp_path / "r" / "report.html").read_text()
    assert "have changed since their codes were computed" in html
    shown = [photo for photo in data_of(tmp_path / "r")["photos"] if photo[4] is not None]
    assert shown
    assert not any(photo[0].startswith("class_0") for photo in shown)


def test_a_packed_file_has_numbers_and_no_photos(cached: Path, svm: Path, tmp_path: Path) -> None:
    pipeline.pack(cached, tmp_path / "s.h5")
    pipeline.evaluate(svm, tmp_path / "s.h5", out=tmp_path / "r")
    assert "a packed file does not say where they are" in (tmp_path / "r/report.html").read_text()
    assert (tmp_path / "r" / "predictions.csv").read_text().count("\n") > 5


def test_it_says_how_it_was_made(cached: Path, svm: Path, tmp_path: Path) -> None:
    pipeline.evaluate(svm, cached, split="val", out=tmp_path / "r")
    html = (tmp_path / "r" / "report.html").read_text()
    assert f"pipeline evaluate {svm} {cached} --split val" in html
    assert f"--out {cached}" in html  # of the extract command
    assert f"numpy {np.__version__}" in html


def test_an_mlp_has_its_epochs_on_the_page(cached: Path, tmp_path: Path) -> None:
    pipeline.fit_head(cached, kind="mlp", hidden=[4], epochs=2, out=tmp_path / "h")
    pipeline.evaluate(tmp_path / "h", cached, out=tmp_path / "r")
    assert "<figcaption>Training</figcaption>" in (tmp_path / "r" / "report.html").read_text()


def test_heads_of_scikit_learn_need_no_tensorflow(cached: Path, svm: Path, tmp_path: Path) -> None:
    program = (
        "import sys, pipeline\n"
        f"pipeline.evaluate({str(svm)!r}, {str(cached)!r}, out={str(tmp_path / 'r')!r})\n"
        "print({'tensorflow', 'keras'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "set()"


def test_photos_beyond_the_size_of_a_page_are_told(cached: Path) -> None:
    opened = store.open_store(cached)
    rows = store.rows_of(opened, Split.train)
    small = thumbnails(opened, rows, most_bytes=3000)
    assert 0 < len(small.images) < len(rows)
    assert list(small.images) == rows[: len(small.images)].tolist()
    [note] = small.notes
    left = len(rows) - len(small.images)
    assert note.startswith(f"{left} photos of those to be shown have no picture here")


def test_no_page_of_other_scores_stays(cached: Path, svm: Path, tmp_path: Path) -> None:
    pipeline.evaluate(svm, cached, out=tmp_path / "r")
    assert pipeline.evaluate(svm, cached, split="val", out=tmp_path / "r", page=False).page is None
    assert not (tmp_path / "r" / "report.html").exists()
