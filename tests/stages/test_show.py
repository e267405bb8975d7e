"""Contact sheets of photos, and of photos with their answers."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import pipeline
from pipeline.common.errors import SourceError, SourceNotFound, StoreError
from pipeline.flows import samples

GREEN, ORANGE = (26, 127, 55), (194, 65, 12)


def colours(path: Path) -> set[tuple[int, ...]]:
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("RGB")).reshape(-1, 3)
    return set(map(tuple, np.unique(pixels, axis=0).tolist()))


def test_photos_of_each_class_before_anything_is_computed(
    make_photos: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_photos(classes=2, each=9)
    monkeypatch.chdir(tmp_path)
    sheet = pipeline.show("photos")
    assert sheet.out == "artifacts/reports/photos/samples.png"
    assert (sheet.shown, sheet.images) == (12, 18)  # six of each
    with Image.open(sheet.out) as image:
        assert image.width > 600


def test_a_class_whose_name_is_a_formula(make_photos: Callable[..., Path], tmp_path: Path) -> None:
    photos = make_photos(classes=2)
    (photos / "class_0").rename(photos / r"$\frac{1}$")
    assert pipeline.show(photos, out=tmp_path / "a.png").shown == 12


def test_photos_of_a_store(cached: Path, tmp_path: Path) -> None:
    sheet = pipeline.show(cached, out=tmp_path / "a.png")
    assert (sheet.shown, sheet.images) == (18, 72)


def test_answers_are_marked_where_the_truth_is_known(
    cached: Path, svm: Path, tmp_path: Path
) -> None:
    pipeline.evaluate(svm, cached, out=tmp_path / "r", page=False)
    table = tmp_path / "r" / "predictions.csv"
    lines = list(csv.reader(table.read_text().splitlines()))
    lines[1][2] = "another class"
    with table.open("w", newline="") as file:
        csv.writer(file).writerows(lines)
    # The paths are relative to the store's photos, which report.json leads to.
    sheet = pipeline.show(table, out=tmp_path / "a.png")
    assert sheet.shown == len(lines) - 1
    assert {GREEN, ORANGE} <= colours(tmp_path / "a.png")


def test_answers_for_photos_of_unknown_class_are_plain(
    svm: Path, make_photos: Callable[..., Path], tmp_path: Path
) -> None:
    photos = make_photos("new", classes=1, each=4)
    pipeline.predict(svm, photos, csv=tmp_path / "answers.csv")
    assert samples.is_answers(tmp_path / "answers.csv")
    assert pipeline.show(tmp_path / "answers.csv", out=tmp_path / "a.png").shown == 4
    assert not {GREEN, ORANGE} & colours(tmp_path / "a.png")


def test_a_photo_that_cannot_be_read_has_its_place(
    svm: Path, make_photos: Callable[..., Path], tmp_path: Path
) -> None:
    photos = make_photos("new", classes=1, each=4)
    (photos / "class_0" / "bad.png").write_bytes(b"no image")
    pipeline.predict(svm, photos, csv=tmp_path / "answers.csv")
    assert pipeline.show(tmp_path / "answers.csv", out=tmp_path / "a.png").shown == 5


def test_a_manifest_is_a_source(make_photos: Callable[..., Path], tmp_path: Path) -> None:
    photos = make_photos(classes=2)
    manifest = tmp_path / "m.csv"
    names = [path.relative_to(photos) for path in sorted(photos.rglob("*.png"))]
    manifest.write_text("path,label\n" + "".join(f"{name},{name.parent}\n" for name in names))
    assert pipeline.show(manifest, root=photos, out=tmp_path / "a.png").images == len(names)


def test_what_cannot_be_shown(cached: Path, tmp_path: Path) -> None:
    with pytest.raises(SourceNotFound, match="found nothing at"):
        pipeline.show(tmp_path / "nowhere")
    pipeline.pack(cached, tmp_path / "s.h5")
    with pytest.raises(StoreError, match="expected a store that says where its photos are"):
        pipeline.show(tmp_path / "s.h5")
    (tmp_path / "a.csv").write_text("path,label,score\n")
    with pytest.raises(SourceError, match="found no row"):
        pipeline.show(tmp_path / "a.csv")
    (tmp_path / "a.csv").write_text("path,label,score\nx.jpg,cat,0.9\n")
    with pytest.raises(SourceError, match="name their folder with --root"):
        pipeline.show(tmp_path / "a.csv")
