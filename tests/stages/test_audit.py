"""An audit: what was planted is found, nothing else is made up, and what cannot be done is told."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from typer.testing import CliRunner

import pipeline
from pipeline.cli import app
from pipeline.flows.audited import audited
from pipeline.flows.wrong_labels import confident_errors
from pipeline.stages.audit import Audit
from pipeline.store import open_store
from tests.light import check_light
from tests.planted import plant

LABEL, LEAK = "likely wrong label", "duplicate across splits"


def packed(
    path: Path, codes: NDArray[np.float32], labels: list[int], splits: list[str] | None = None
) -> Path:
    """Write codes as another program does."""
    names = sorted({f"class {label}" for label in labels if label >= 0}) or ["class 0"]
    with h5py.File(path, "w") as file:
        file["codes/avg"] = codes
        file["labels"] = np.array(labels, np.int32)
        file["classes"] = np.array(names, "S")
        if splits is not None:
            file["splits"] = np.array(splits, "S")
    return path


def clusters(*, each: int = 30, seed: int = 0) -> tuple[NDArray[np.float32], list[int]]:
    """Codes of three classes, about 0.2 apart within a class, and their labels."""
    random = np.random.default_rng(seed)
    centres = np.eye(3, 64) * 6
    labels = np.repeat(np.arange(3), each)
    return (centres[labels] + random.normal(size=(3 * each, 64)) * 0.5).astype(
        np.float32
    ), labels.tolist()


def of_kind(result: Audit, kind: str) -> list[tuple[str, ...]]:
    return [each.paths for each in result.findings if each.kind == kind]


def test_what_is_planted_in_codes_is_found_and_nothing_else(tmp_path: Path) -> None:
    codes, labels = clusters()
    labels[4], labels[50] = 2, 0  # wrong
    codes[20] = codes[70] * 1.01  # another label, too
    codes[25] = 10 * np.eye(64)[40]  # far from all others
    splits = ["train"] * 60 + ["test"] * 30
    result = pipeline.audit(
        packed(tmp_path / "codes.h5", codes, labels, splits), out=tmp_path / "out"
    )
    assert of_kind(result, LEAK) == [("row 20", "row 70")]
    assert "labels differ: class 0 and class 2" in result.findings[0].reason
    assert {row for (row,) in of_kind(result, LABEL)} >= {"row 4", "row 50"}
    assert len(of_kind(result, LABEL)) <= 5
    assert of_kind(result, "outlier")[0] == ("row 25",)
    assert any("packed file" in note for note in result.notes)
    plain = json.loads((tmp_path / "out" / "audit.json").read_text())
    assert plain["findings"][0]["paths"] == ["row 20", "row 70"]


def test_errors_are_counted_as_by_hand() -> None:
    # Both classes have 0.6 on average: the last row has 0.8 of the other, the second has 0.5.
    p = np.array([[0.9, 0.1], [0.5, 0.5], [0.4, 0.6], [0.2, 0.8], [0.2, 0.8], [0.8, 0.2]])
    assert confident_errors(p, np.array([0, 0, 0, 1, 1, 1])) == 2


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ([0] * 30, "two classes"),
        ([-1] * 30, "there are none"),
        ([0] * 28 + [1] * 2, "two classes"),
        ([0, 1] * 15, "no better than guessing"),
    ],
)
def test_labels_that_cannot_be_judged_are_told(
    tmp_path: Path, labels: list[int], said: str
) -> None:
    codes = np.random.default_rng(0).normal(size=(30, 8)).astype(np.float32)
    result = pipeline.audit(packed(tmp_path / "codes.h5", codes, labels), out=tmp_path / "out")
    assert not of_kind(result, LABEL)
    assert any(said in note for note in result.notes)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_tiny_stores(tmp_path: Path, count: int) -> None:
    codes = np.eye(count, 8, dtype=np.float32)
    result = pipeline.audit(
        packed(tmp_path / "codes.h5", codes, list(range(count))), out=tmp_path / "out"
    )
    assert result.compared == count
    assert not of_kind(result, "duplicate")


def test_work_is_bounded_and_held_out_rows_come_first(tmp_path: Path) -> None:
    codes, labels = clusters()
    opened = open_store(
        packed(tmp_path / "codes.h5", codes, labels, ["train"] * 80 + ["test"] * 10)
    )
    some = audited(opened, None, most_rows=20)
    assert len(some.rows) == 20
    assert set(range(80, 90)) <= set(some.rows.tolist())
    assert any("20 of 90 images" in note for note in some.notes)


@pytest.fixture
def faulty(tiny: str, make_photos: Callable[..., Path], tmp_path: Path) -> Path:
    """A store of photos of which one is there twice, one is black, and classes differ in format."""
    photos = make_photos(each=24)
    for number, path in enumerate(sorted((photos / "class_0").iterdir())):
        Image.open(path).save(path.with_suffix(".bmp"))
        path.unlink()
        if number == 3:
            (photos / "class_1" / "again.bmp").write_bytes(path.with_suffix(".bmp").read_bytes())
    Image.new("RGB", (40, 40)).save(photos / "class_2" / "black.png")
    pipeline.extract(photos, out=tmp_path / "store", backbone=tiny, weights="random")
    return tmp_path / "store"


def test_photos_are_looked_at_and_a_better_manifest_is_written(
    faulty: Path, tiny: str, tmp_path: Path
) -> None:
    fix = tmp_path / "better.csv"
    result = pipeline.audit(faulty, out=tmp_path / "out", fix=fix)
    assert of_kind(result, "nearly constant") == [("class_2/black.png",)]
    assert any("extension alone" in each.reason for each in result.findings)
    (pair,) = [each for each in result.findings if "same bytes" in each.reason]
    assert set(pair.paths) == {"class_0/003.bmp", "class_1/again.bmp"}
    page = (tmp_path / "out" / "audit.html").read_text()
    assert "data:image/jpeg;base64," in page
    assert "<script" not in page
    with fix.open() as file:
        rows = list(csv.DictReader(file))
    assert result.kept == len(rows) == result.images - sum(result.left_out.values())
    named = {Path(row["path"]).name for row in rows}
    assert "black.png" not in named
    again = pipeline.extract(fix, out=tmp_path / "again", backbone=tiny, weights="random")
    assert again.ok == len(rows)
    found = pipeline.audit(tmp_path / "again", out=tmp_path / "o").findings
    assert not any("same bytes" in each.reason for each in found)


def test_photos_that_are_gone_are_told(faulty: Path, tmp_path: Path) -> None:
    (tmp_path / "photos").rename(tmp_path / "moved")
    result = pipeline.audit(faulty, out=tmp_path / "out")
    assert any("they are gone from" in note for note in result.notes)
    assert "no picture" in (tmp_path / "out" / "audit.html").read_text()
    with pytest.raises(pipeline.StoreError, match="put them back"):
        pipeline.audit(faulty, out=tmp_path / "out", fix=tmp_path / "better.csv")


def test_the_command(faulty: Path, tmp_path: Path) -> None:
    arguments = ["audit", str(faulty), "--out", str(tmp_path / "out")]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines()[-1].endswith(f"in {tmp_path / 'out' / 'audit.html'}")
    done = CliRunner().invoke(app, [*arguments, "--json"])
    assert json.loads(done.stdout)["images"] == 74


def test_names_of_strangers_stay_text(tmp_path: Path) -> None:
    from pipeline.report import AuditCard, AuditPage, AuditPhoto, AuditSection

    photo = AuditPhoto(path="<img src=x>\udcff", label="<b>", split="train")
    card = AuditCard(reason="<script>", photos=(photo,))
    page = AuditPage(
        title="<i>", sections=(AuditSection(title="a", about="", of=1, cards=(card,)),)
    ).html()
    assert not any(tag in page for tag in ("<img src=x", "<b></b>", "<script>", "<i>"))


def test_several_stores_are_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(pipeline.StoreError, match="audit each by itself"):
        pipeline.audit([tmp_path, tmp_path])  # type: ignore[arg-type]


def test_tensorflow_is_not_imported(faulty: Path, tmp_path: Path) -> None:
    check_light(f"pipeline.audit({str(faulty)!r}, out={str(tmp_path / 'out')!r})")


@pytest.mark.slow
def test_planted_faults_among_real_photos(test_data: Path, tmp_path: Path) -> None:
    planted = plant(test_data / "clothing", tmp_path / "clothing")
    pipeline.extract(planted.folder, out=tmp_path / "store")
    fix = tmp_path / "better.csv"
    result = pipeline.audit(tmp_path / "store", out=tmp_path / "out", fix=fix)
    first = result.findings[:80]
    assert len({each.paths[0] for each in first if each.kind == LABEL} & planted.wrong) >= 32
    assert len({frozenset(each.paths) for each in first} & planted.pairs) >= 19
    assert "train/" not in "".join(each.paths[1] for each in first if each.kind == LEAK)
    assert pipeline.extract(fix, out=tmp_path / "store2", limit=20).ok == 20
