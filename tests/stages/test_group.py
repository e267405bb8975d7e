"""Groups: what was planted is found, they become classes, and what cannot be done is told."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import adjusted_rand_score
from typer.testing import CliRunner

import pipeline
from pipeline.cli import app
from pipeline.common.errors import OutputError, StoreError
from pipeline.common.listener import SILENT
from pipeline.flows import grouping
from pipeline.flows.layers import choose_parts
from pipeline.store import open_store
from tests.light import check_light
from tests.stages.test_audit import clusters, packed


@pytest.fixture
def unlabelled(tiny: str, make_photos: Callable[..., Path], tmp_path: Path) -> Path:
    """A store of photos of three colours without a label, of which one is damaged."""
    photos = sorted(make_photos(each=20).rglob("*.png"))
    photos[0].write_bytes(b"no image")
    out = tmp_path / "store"
    pipeline.extract(photos, out=out, backbone=tiny, weights="random", max_rejected=1)
    return out


def rows_of(table: Path) -> list[dict[str, str]]:
    with table.open(newline="") as file:
        return list(csv.DictReader(file))


def test_planted_groups_are_found_and_counted(tmp_path: Path) -> None:
    codes, labels = clusters()
    codes[::2] *= 3  # directions count, not lengths
    path = packed(tmp_path / "codes.h5", codes, [-1] * len(labels))
    result = pipeline.group(path, out=tmp_path / "out")
    assert [each.size for each in result.groups] == [30, 30, 30]
    assert result.silhouettes[3] == max(result.silhouettes.values())
    assert max(result.silhouettes) == 9  # the root of 90
    found = [row["label"] for row in rows_of(Path(result.csv))]
    assert adjusted_rand_score(labels, found) == 1
    assert result.labelled == 0
    assert {each.classes == {} for each in result.groups} == {True}


def test_distances_are_those_between_directions_by_hand(tmp_path: Path) -> None:
    # Two principal components keep all of these; the mean is 0. Centres lie at (1, 0) and (-1, 0).
    codes = np.array([[1, 0.1], [1, -0.1], [-1, 0.1], [-1, -0.1]] * 5, np.float32)
    path = packed(tmp_path / "codes.h5", codes, [0] * 20)
    result = pipeline.group(path, groups=2, out=tmp_path / "out")
    side = 0.1 / np.hypot(1, 0.1)
    for row in rows_of(Path(result.csv)):
        assert float(row["distance"]) == pytest.approx(side, abs=1e-4)


def test_groups_become_classes(unlabelled: Path, tiny: str, tmp_path: Path) -> None:
    result = pipeline.group(unlabelled, groups=3, out=tmp_path / "out")
    rows = rows_of(Path(result.csv))
    assert (result.images, len(rows), result.labelled) == (59, 59, 0)
    assert "without codes, and in no group: 1 image" in result.notes
    colours = [Path(row["path"]).parent.name for row in rows]
    assert adjusted_rand_score(colours, [row["label"] for row in rows]) == 1
    assert [each.size for each in result.groups] == [20, 20, 19]
    names = {"group-01": "sea", "group-02": "sea", "group-03": "wood"}
    relabelled = pipeline.relabel(unlabelled, result.csv, rename=names)
    assert relabelled.classes == {"sea": 40, "wood": 19}
    assert pipeline.fit_head(unlabelled, kind="centroid", out=tmp_path / "head").classes
    again = pipeline.extract(result.csv, out=tmp_path / "again", backbone=tiny, weights="random")
    assert again.classes == ("group-01", "group-02", "group-03")
    assert again.ok == 59


def test_the_page_shows_the_photos_or_says_why_not(unlabelled: Path, tmp_path: Path) -> None:
    result = pipeline.group(unlabelled, groups=3, out=tmp_path / "out")
    page = Path(result.page).read_text()
    assert page.count("data:image/jpeg;base64,") == 59
    assert page.index("group-01: 20") < page.index("group-03: 19")
    assert "--rename group-01=NAME" in page
    assert "<script" not in page
    (tmp_path / "photos" / "class_1").rename(tmp_path / "moved")
    notes = pipeline.group(unlabelled, groups=3, out=tmp_path / "out").notes
    assert any("20 photos of those to be shown are gone from" in note for note in notes)
    assert "no picture" in Path(result.page).read_text()


def test_the_most_typical_come_first_and_the_least_typical_last(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    codes = random.normal(size=(60, 8)).astype(np.float32) + 3
    result = pipeline.group(
        packed(tmp_path / "codes.h5", codes, [0] * 60), groups=1, out=tmp_path / "out"
    )
    rows = sorted(rows_of(Path(result.csv)), key=lambda row: float(row["distance"]))
    assert result.groups[0].typical == rows[0]["path"]
    page = Path(result.page).read_text()
    shown = [line.split("</figcaption>")[0] for line in page.split("</b>")[1:]]
    assert shown[:18] == [row["path"] for row in rows[:18]]
    assert shown[18:] == [row["path"] for row in rows[:-7:-1]]


@pytest.mark.parametrize("count", [1, 2, 3])
def test_tiny_stores(tmp_path: Path, count: int) -> None:
    path = packed(tmp_path / "codes.h5", np.eye(count, 8, dtype=np.float32), [-1] * count)
    result = pipeline.group(path, out=tmp_path / "out")
    assert [each.size for each in result.groups] == [count]
    each = pipeline.group(path, groups=count, out=tmp_path / "out")
    assert [one.size for one in each.groups] == [1] * count
    assert any("no paths" in note for note in each.notes)
    assert {row["path"] for row in rows_of(Path(each.csv))} == {f"row {n}" for n in range(count)}


def test_images_that_are_all_the_same_are_one_group(tmp_path: Path) -> None:
    path = packed(tmp_path / "codes.h5", np.ones((40, 8), np.float32), [0] * 40)
    result = pipeline.group(path, groups=4, out=tmp_path / "out")
    assert [each.size for each in result.groups] == [40]
    assert "1 group, for no more images differ" in result.notes
    assert len(pipeline.group(path, out=tmp_path / "out").groups) == 1
    zeros = packed(tmp_path / "zeros.h5", np.zeros((4, 8), np.float32), [0] * 4)
    assert len(pipeline.group(zeros, out=tmp_path / "o").groups) == 1


@pytest.mark.parametrize("asked", [0, 21, -1])
def test_more_groups_than_images_are_refused(asked: int, tmp_path: Path) -> None:
    path = packed(tmp_path / "codes.h5", np.eye(20, dtype=np.float32), [0] * 20)
    with pytest.raises(StoreError, match=f"expected 1 to 20 groups.*found {asked}; correct"):
        pipeline.group(path, groups=asked, out=tmp_path / "out")


def test_what_cannot_be_grouped_is_one_clear_line(tmp_path: Path) -> None:
    path = packed(tmp_path / "codes.h5", np.eye(4, dtype=np.float32), [0] * 4)
    with pytest.raises(OutputError, match=r"cannot make the folder /proc/x .*--out"):
        pipeline.group(path, out="/proc/x")
    with pytest.raises(StoreError, match="group each by itself"):
        pipeline.group([path, path])  # type: ignore[arg-type]
    with h5py.File(path, "r+") as file:
        file["codes/avg"][1, 1] = np.nan
    with pytest.raises(StoreError, match="expected finite numbers"):
        pipeline.group(path, out=tmp_path / "out")


def test_a_table_that_somebody_changed_is_not_replaced(tmp_path: Path) -> None:
    codes, labels = clusters()
    path = packed(tmp_path / "codes.h5", codes, labels)
    first = pipeline.group(path, out=tmp_path / "out")
    pipeline.group(path, groups=4, out=tmp_path / "out")
    text = Path(first.csv).read_text().replace("group-01", "beach")
    Path(first.csv).write_text(text)
    with pytest.raises(OutputError, match=r"groups\.csv as it was written, found it changed; use"):
        pipeline.group(path, out=tmp_path / "out")
    assert Path(first.csv).read_text() == text
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "groups.csv").write_text("mine")
    with pytest.raises(OutputError, match="found it changed"):
        pipeline.group(path, out=tmp_path / "other")


def test_the_seed_decides(tmp_path: Path) -> None:
    codes: NDArray[np.float32] = np.random.default_rng(0).normal(size=(300, 16)).astype(np.float32)
    path = packed(tmp_path / "codes.h5", codes, [0] * 300)
    tables = [
        Path(pipeline.group(path, seed=seed, out=tmp_path / name).csv).read_text()
        for seed, name in ((0, "a"), (0, "b"), (1, "c"))
    ]
    assert tables[0] == tables[1] != tables[2]


def test_work_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    codes, labels = clusters()
    opened = open_store(packed(tmp_path / "codes.h5", codes, labels))
    monkeypatch.setattr(grouping, "_LEARNED_FROM", 30)
    monkeypatch.setattr(grouping, "_JUDGED", 20)
    parts = choose_parts(opened, None, None)
    found = grouping.grouped(opened, parts, number=None, seed=0, listener=SILENT)
    assert adjusted_rand_score(labels, found.of) == 1
    assert found.notes == ("groups were learned from 30 of 90 images, from all over the store",)


def test_a_small_number_of_groups_must_be_clearly_better() -> None:
    scores = {2: 0.17, 3: 0.14, 8: 0.127, 12: 0.132, 30: 0.11}  # as of handwritten digits
    assert grouping._best(scores) == 12
    assert grouping._best(scores | {3: 0.2}) == 3
    assert grouping._best({}) == 1


def test_the_command(unlabelled: Path, tmp_path: Path) -> None:
    arguments = ["group", str(unlabelled), "--out", str(tmp_path / "out")]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    where = tmp_path / "out" / "groups.html"
    assert done.stdout.splitlines()[-1] == f"3 groups of 59 images in {where}"
    done = CliRunner().invoke(app, [*arguments, "--groups", "2", "--json"])
    plain = json.loads(done.stdout)
    assert sum(each["size"] for each in plain["groups"]) == plain["images"] == 59
    assert CliRunner().invoke(app, [*arguments, "--groups", "0"]).exit_code == 2


def test_names_of_strangers_stay_text() -> None:
    from pipeline.report import AuditPhoto, GroupSheet, GroupsPage

    photo = AuditPhoto(path="<img src=x>\udcff", label="<b>", split="")
    sheet = GroupSheet(
        name="g", size=1, classes={"<script>": 1}, typical=(photo,), unusual=(photo,)
    )
    page = GroupsPage(title="<i>", images=1, groups=(sheet,), commands=("<u>",)).html()
    assert not any(tag in page for tag in ("<img src=x", "<b><b>", "<script>", "<i>", "<u>"))


def test_tensorflow_is_not_imported(unlabelled: Path, tmp_path: Path) -> None:
    check_light(f"pipeline.group({str(unlabelled)!r}, out={str(tmp_path / 'out')!r})")


@pytest.mark.slow
def test_real_photos(test_data: Path, tmp_path: Path) -> None:
    pipeline.extract(test_data / "clothing", out=tmp_path / "store")
    result = pipeline.group(tmp_path / "store", out=tmp_path / "out")
    found = rows_of(Path(result.csv))
    classes = [Path(row["path"]).parent.name for row in found]
    assert 8 <= len(result.groups) <= 14
    assert adjusted_rand_score(classes, [row["label"] for row in found]) > 0.4
