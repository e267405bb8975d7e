from __future__ import annotations

import csv
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import pipeline
from pipeline import HeadKind, backbones, heads, store
from pipeline.common.errors import (
    HeadError,
    Interrupted,
    OutputError,
    SourceError,
    SpaceMismatch,
    WeightsNotFound,
)


def test_an_image_of_the_store_gets_the_scores_of_its_row(
    cached: Path, svm: Path, tmp_path: Path
) -> None:
    opened = store.open_store(cached)
    rows = np.arange(0, len(opened.labels), 7)
    expected = heads.load(svm).head.predict_proba(store.read_rows(opened, "avg", rows))
    photos = [tmp_path / "photos" / os.fsdecode(path) for path in opened.paths(rows)]
    result = pipeline.predict(svm, photos, top=3)
    for prediction, scores in zip(result.predictions, expected, strict=True):
        found = dict(prediction.top)
        assert [found[f"class_{label}"] for label in range(3)] == pytest.approx(scores, rel=1e-12)
        assert prediction.label == f"class_{scores.argmax()}"


def test_one_photo_alone_gets_the_same_scores_as_among_others(svm: Path, tmp_path: Path) -> None:
    photos = sorted((tmp_path / "photos").rglob("*.png"))
    together = pipeline.predict(svm, photos).predictions
    for photo, expected in zip(photos[:3], together, strict=False):
        [alone] = pipeline.predict(svm, [photo]).predictions
        # The codes are the same bits; the last digit of a matrix product depends on its shape.
        assert dict(alone.top) == pytest.approx(dict(expected.top), rel=1e-12)


def test_a_folder_is_searched_and_the_table_written(svm: Path, tmp_path: Path) -> None:
    photos = tmp_path / "new"
    shutil.copytree(tmp_path / "photos" / "class_1", photos)
    (photos / "=cmd().jpg").write_bytes(b"no image")
    result = pipeline.predict(svm, [photos], top=2, csv=tmp_path / "p.csv")
    assert (result.ok, result.rejected) == (24, 1)
    with (tmp_path / "p.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["path", "label", "score", "label_2", "score_2", "reason", "seen"]
    assert len(rows) == 25
    bad = [row for row in rows if row["reason"]]
    assert len(bad) == 1
    assert bad[0]["label"] == bad[0]["score"] == ""
    good = [row for row in rows if not row["reason"]]
    assert {row["label"] for row in good} == {"class_1"}
    assert all(float(row["score"]) >= float(row["score_2"]) for row in good)

    def stop(prediction: object) -> None:
        raise KeyboardInterrupt

    listener = pipeline.Listener(show=stop)
    with pytest.raises(Interrupted, match="interrupted: no table was written"):
        pipeline.predict(svm, [photos], csv=tmp_path / "q.csv", listener=listener)
    assert not (tmp_path / "q.csv").exists()


def test_every_kind_predicts(cached: Path, tmp_path: Path) -> None:
    photo = next((tmp_path / "photos" / "class_2").iterdir())
    for kind, options in (("softmax", {}), ("mlp", {"epochs": 2})):
        place = tmp_path / kind
        fit = pipeline.fit_head(cached, kind=HeadKind(kind), layer="top", out=place, **options)
        result = pipeline.predict(fit.head, [photo])
        assert result.score_kind == "probability"
        assert sum(score for _, score in result.predictions[0].top) == pytest.approx(1, abs=1e-5)


def test_the_place_of_the_table_is_checked_before_any_work(svm: Path, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"none at .*nowhere"):
        pipeline.predict(svm, tmp_path / "photos", csv=tmp_path / "nowhere" / "p.csv")


def test_a_table_replaces_nothing_but_a_table(svm: Path, tmp_path: Path) -> None:
    photo = next((tmp_path / "photos").rglob("*.png"))
    before = photo.read_bytes()
    with pytest.raises(OutputError, match=r"a \.csv to replace"):
        pipeline.predict(svm, photo, csv=photo)
    assert photo.read_bytes() == before


def test_one_path_need_not_be_a_list(svm: Path, tmp_path: Path) -> None:
    photo = next((tmp_path / "photos").rglob("*.png"))
    assert pipeline.predict(svm, str(photo)).ok == 1


def test_nothing_there(svm: Path, tmp_path: Path) -> None:
    with pytest.raises(SourceError):
        pipeline.predict(svm, [tmp_path / "none.jpg"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(SourceError):
        pipeline.predict(svm, [tmp_path / "empty"])


def test_weights_that_moved_or_changed(
    tiny: str, make_photos: Callable[..., Path], tmp_path: Path
) -> None:
    from keras import utils

    from tests.tiny import build

    photos, path = make_photos(each=24), tmp_path / "w.weights.h5"
    utils.set_random_seed(1)
    build(input_shape=(32, 32, 3)).save_weights(path)
    pipeline.extract(photos, out=tmp_path / "s", backbone=tiny, weights=str(path))
    head = pipeline.fit_head(tmp_path / "s", kind=HeadKind.svm, C=1.0, out=tmp_path / "h").head
    photo = next(photos.rglob("*.png"))
    before = pipeline.predict(head, [photo]).predictions
    path.rename(tmp_path / "moved.weights.h5")
    with pytest.raises(WeightsNotFound, match="--weights"):
        pipeline.predict(head, [photo])
    moved = pipeline.predict(head, [photo], weights=str(tmp_path / "moved.weights.h5"))
    assert moved.predictions == before
    utils.set_random_seed(2)
    build(input_shape=(32, 32, 3)).save_weights(path)
    with pytest.raises(SpaceMismatch, match="weights_sha256"):
        pipeline.predict(head, [photo])


def test_a_machine_that_computes_something_else_is_found_out(
    svm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = backbones.Network.__call__
    monkeypatch.setattr(
        backbones.Network,
        "__call__",
        lambda self, pixels: {name: codes[::-1] for name, codes in real(self, pixels).items()},
    )
    with pytest.raises(SpaceMismatch, match="the probe images"):
        pipeline.predict(svm, [tmp_path / "photos"])


def test_a_table_that_cannot_be_written_is_told_before_anything_is_computed(
    svm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.stages.predict.recognise", None)
    with pytest.raises(OutputError, match=r"cannot write /proc/p\.csv"):
        pipeline.predict(svm, [tmp_path / "photos"], csv="/proc/p.csv")


def test_photos_that_had_a_part_in_the_head_are_told(svm: Path, tmp_path: Path) -> None:
    new = tmp_path / "new.bmp"
    with Image.open(next((tmp_path / "photos").rglob("*.png"))) as image:
        image.save(new)
    result = pipeline.predict(svm, [tmp_path / "photos", new], csv=tmp_path / "p.csv")
    seen = sum(prediction.seen for prediction in result.predictions)
    card = heads.load(svm).card
    assert card.seen is not None
    assert seen == len(card.seen) > 0
    [warning] = result.warnings
    assert warning.startswith(f"warning: {seen} of these 73 images took part in fitting the head")
    assert not result.predictions[-1].seen
    with (tmp_path / "p.csv").open(newline="") as file:
        assert [row["seen"] for row in csv.DictReader(file)].count("yes") == seen
    assert pipeline.predict(svm, new).warnings == ()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("list.txt", "photos/class_0/000.png\n\n photos/class_1/001.png\r\n"),
        ("bom.txt", "\ufeffphotos\\class_0\\000.png\r\nphotos/class_1/001\r\n"),
        ("list.csv", "path\nphotos/class_0/000.png\nphotos/class_1/001.png\n"),
        ("list.tsv", "id;path\n1;photos\\class_0\\000.png\n2;photos/class_1/001\n"),
    ],
)
def test_lists_stand_for_the_photos_that_they_name(
    name: str, text: str, svm: Path, tmp_path: Path
) -> None:
    (tmp_path / name).write_text(text)
    expected = pipeline.predict(
        svm, [tmp_path / "photos/class_0/000.png", tmp_path / "photos/class_1/001.png"]
    )
    assert pipeline.predict(svm, tmp_path / name) == expected


def test_a_photo_named_like_a_list_is_a_photo(svm: Path, tmp_path: Path) -> None:
    photo = next((tmp_path / "photos").rglob("*.png")).rename(tmp_path / "photo.txt")
    [answer] = pipeline.predict(svm, photo).predictions
    assert answer.label is not None
    (tmp_path / "wide.txt").write_text("photo.txt\n", "utf-16")
    assert pipeline.predict(svm, tmp_path / "wide.txt").predictions[0].label == answer.label
    (tmp_path / "binary.txt").write_bytes(b"a\0b")
    with pytest.raises(SourceError, match="found bytes that are no text"):
        pipeline.predict(svm, tmp_path / "binary.txt")


@pytest.mark.parametrize("paths", [17, None, [3.5], np.zeros((4, 4, 3), np.uint8)])
def test_what_is_no_path_is_told_in_one_line(paths: object, svm: Path) -> None:
    with pytest.raises(SourceError, match="expected paths of images or folders, found"):
        pipeline.predict(svm, paths)  # type: ignore[arg-type]


def test_an_empty_name_is_no_folder(svm: Path) -> None:
    with pytest.raises(SourceError, match="found nothing at"):
        pipeline.predict(svm, [""])


def test_a_list_that_names_nothing_there(svm: Path, tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("gone.png\n")
    [answer] = pipeline.predict(svm, tmp_path / "list.txt").predictions
    assert answer.reason == "no such file"
    (tmp_path / "empty.txt").write_text("\n")
    with pytest.raises(SourceError, match="expected a path on each line"):
        pipeline.predict(svm, tmp_path / "empty.txt")


def test_a_head_on_several_layers_predicts_what_its_store_says(
    cached: Path, joined: Path, tmp_path: Path
) -> None:
    codes = pipeline.load_codes(cached, split="all", layer=["avg", "top:max"])
    expected = heads.load(joined).head.predict_proba(codes.X)
    photos = [tmp_path / "photos" / path for path in codes.paths]
    result = pipeline.predict(joined, photos, top=3)
    for prediction, scores in zip(result.predictions, expected, strict=True):
        found = dict(prediction.top)
        assert [found[name] for name in codes.classes] == pytest.approx(scores, rel=1e-9)


def test_the_probe_of_each_joined_layer_is_compared(joined: Path, tmp_path: Path) -> None:
    from dataclasses import replace

    saved = heads.load(joined)
    assert saved.card.probe is not None
    assert saved.card.probe.shape == (8, 16)
    turned = np.concatenate([saved.card.probe[:, :8], saved.card.probe[:, :7:-1]], axis=1)
    heads.save(tmp_path / "h", saved.head, replace(saved.card, probe=turned))
    with pytest.raises(SpaceMismatch, match="for layer top"):
        pipeline.predict(tmp_path / "h", tmp_path / "photos")


def test_a_table_with_the_scores_of_all_classes_and_a_sheet(
    svm: Path, make_photos: Callable[..., Path], tmp_path: Path
) -> None:
    photos = make_photos("new", each=2)
    (photos / "class_0" / "bad.png").write_bytes(b"no image")
    result = pipeline.predict(
        svm, photos, csv=tmp_path / "a.csv", scores="all", sheet=tmp_path / "a.png"
    )
    with (tmp_path / "a.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    each = [[line[f"score of class_{number}"] for number in range(3)] for line in lines]
    for line, cells, prediction in zip(lines, each, result.predictions, strict=True):
        if prediction.reason is not None:
            assert (cells, line["reason"]) == (["", "", ""], prediction.reason)
            continue
        numbers = [float(cell) for cell in cells]
        assert sum(numbers) == pytest.approx(1)
        assert float(line["score"]) == max(numbers)
        assert line["label"] == f"class_{numbers.index(max(numbers))}"
    assert "label_2" not in lines[0]
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


def test_a_sheet_that_cannot_be_written_is_refused_before_anything_is_computed(
    svm: Path, tmp_path: Path
) -> None:
    with pytest.raises(OutputError, match="expected a folder for the sheet, found none at"):
        pipeline.predict(svm, tmp_path / "photos", sheet=tmp_path / "nowhere" / "a.png")
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(OutputError, match=r"expected a new file or a \.png to replace"):
        pipeline.predict(svm, tmp_path / "photos", sheet=tmp_path / "notes.txt")
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_options_that_there_are_not_are_refused(svm: Path, tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="unexpected options view"):
        pipeline.predict(svm, tmp_path / "photos", view=True)  # type: ignore[call-arg]


@pytest.fixture
def strange(tmp_path: Path) -> Path:
    """Photos unlike the coloured ones: black, and white."""
    folder = tmp_path / "strange"
    folder.mkdir()
    for number, level in enumerate((0, 255)):
        Image.new("RGB", (40, 40), (level,) * 3).save(folder / f"{number}.png")
    return folder


def test_photos_unlike_those_fitted_on_are_unknown(
    svm: Path, strange: Path, tmp_path: Path
) -> None:
    table = tmp_path / "p.csv"
    result = pipeline.predict(svm, [strange, tmp_path / "photos"], top=1, reject="20%", csv=table)
    assert [each.label for each in result.predictions[:2]] == ["unknown", "unknown"]
    assert all(each.unknown for each in result.predictions[:2])
    # Of the photos that the head knows, few are refused; they keep their best class.
    known = result.predictions[2:]
    assert sum(each.unknown is not None for each in known) < 0.3 * len(known)
    assert result.unknown == sum(each.label == "unknown" for each in result.predictions)
    with table.open(newline="") as file:
        row = next(csv.DictReader(file))
    assert list(row) == ["path", "label", "score", "reason", "seen", "best", "unknown"]
    assert row["label"] == "unknown"
    assert row["best"] == result.predictions[0].top[0][0]
    plain = pipeline.predict(svm, [strange]).predictions
    assert [each.label for each in plain] == [each.top[0][0] for each in result.predictions[:2]]


@pytest.mark.parametrize("reject", ["5", "0%", "100%", "many", "", 0.0, -0.1])
def test_what_is_refused_is_a_share(svm: Path, reject: str | float) -> None:
    with pytest.raises(HeadError, match="expected --reject as a share between 0 and 1, found"):
        pipeline.predict(svm, ["nowhere"], reject=reject)


def test_a_share_of_less_than_one_held_out_image_is_refused(svm: Path) -> None:
    with pytest.raises(HeadError, match=r"expected --reject of at least .*; give a larger share"):
        pipeline.predict(svm, ["nowhere"], reject=0.001)


def test_a_head_that_does_not_know_what_is_usual_refuses_nothing(svm: Path, tmp_path: Path) -> None:
    saved = heads.load(svm)
    heads.save(tmp_path / "old", saved.head, replace(saved.card, novelty=None))
    with pytest.raises(HeadError, match="expected a head that knows which scores are usual"):
        pipeline.predict(tmp_path / "old", ["nowhere"], reject="5%")


def test_doubtful_answers_are_counted(svm: Path, tmp_path: Path) -> None:
    saved = heads.load(svm)
    assert saved.card.novelty is not None
    for below, doubtful in ((0.0, 0), (1.1, 72)):
        usual = replace(saved.card.novelty, doubtful_below=below)
        heads.save(tmp_path / "h", saved.head, replace(saved.card, novelty=usual))
        assert pipeline.predict(tmp_path / "h", tmp_path / "photos").doubtful == doubtful


def test_a_classifier_in_memory_refuses_the_same(svm: Path, strange: Path, tmp_path: Path) -> None:
    photos = sorted(strange.iterdir()) + sorted((tmp_path / "photos").rglob("*.png"))
    expected = [each.label for each in pipeline.predict(svm, photos, reject="20%").predictions]
    classifier = pipeline.load_head(svm)
    assert classifier.predict(photos, reject=0.2).tolist() == expected
    assert "unknown" not in classifier.predict(photos)
    assert classifier.predict([], reject=0.2).tolist() == []
