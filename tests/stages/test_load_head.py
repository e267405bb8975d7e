"""Heads in memory: the answers of predict, for photos in whatever form."""

from __future__ import annotations

import io
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

import pipeline
from pipeline.common.errors import HeadError, SourceError


@pytest.fixture
def photos(svm: Path, tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "photos").rglob("*.png"))


def test_the_answers_of_predict(svm: Path, photos: list[Path]) -> None:
    """Photos alone are computed by themselves, many in full batches: last digits may differ."""
    head = pipeline.load_head(svm)
    expected = pipeline.predict(svm, photos).predictions
    assert head.classes_.tolist() == ["class_0", "class_1", "class_2"]
    for several in (photos, photos[:1], photos[:3]):
        scores = head.predict_proba(several)
        assert scores.shape == (len(several), 3)
        for row, prediction in zip(scores, expected, strict=False):
            found = dict(zip(head.classes_.tolist(), row.tolist(), strict=True))
            assert found == pytest.approx(dict(prediction.top), abs=1e-4)
    assert head.predict(photos).tolist() == [each.label for each in expected]


def test_every_form_of_a_photo_gives_the_same_answer(svm: Path, photos: list[Path]) -> None:
    head, path = pipeline.load_head(svm), photos[0]
    data = path.read_bytes()
    with Image.open(io.BytesIO(data)) as image:
        image.load()
        pixels = np.asarray(image)
        forms = [path, str(path), data, bytearray(data), image, pixels, [path], (path,)]
        expected = head.predict_proba(path)
        for form in forms:
            np.testing.assert_array_equal(head.predict_proba(form), expected)
        both = head.predict_proba([path, data, image, pixels])
        np.testing.assert_array_equal(head.predict_proba(np.stack([pixels, pixels])), both[:2])
    np.testing.assert_array_equal(head.predict_proba(pixels.astype(np.uint16) * 257), expected)
    lazily = Image.open(io.BytesIO(data))
    np.testing.assert_array_equal(head.predict_proba(lazily), expected)
    assert head.predict([]).shape == (0,)


def test_images_are_turned_upright_and_laid_over_white(svm: Path, photos: list[Path]) -> None:
    head = pipeline.load_head(svm)
    with Image.open(photos[0]) as image:
        turned = io.BytesIO()
        exif = Image.Exif()
        exif[0x0112] = 6
        image.save(turned, "PNG", exif=exif)
        clear = image.convert("RGBA")
        clear.putalpha(100)
        over = io.BytesIO()
        clear.save(over, "PNG")
    for data in (turned, over):
        with Image.open(io.BytesIO(data.getvalue())) as again:
            np.testing.assert_array_equal(
                head.predict_proba(again), head.predict_proba(data.getvalue())
            )


def test_an_image_that_was_opened_is_read_as_its_file(svm: Path, tmp_path: Path) -> None:
    """Pillow keeps the high byte of 16-bit colours; of 12-bit ones that is next to nothing."""
    head = pipeline.load_head(svm)
    values = np.random.default_rng(0).integers(0, 4096, (40, 40, 3)).astype(np.uint16)
    values[..., 2] //= 2
    tifffile.imwrite(tmp_path / "deep.tif", values, photometric="rgb", metadata=None)
    grey = values[..., 0]
    tifffile.imwrite(tmp_path / "white.tif", grey, photometric="miniswhite", metadata=None)
    for name in ("deep.tif", "white.tif"):
        expected = head.predict_proba(tmp_path / name)
        with Image.open(tmp_path / name) as image:
            np.testing.assert_array_equal(head.predict_proba(image), expected)
        with (tmp_path / name).open("rb") as file:
            np.testing.assert_array_equal(head.predict_proba(file), expected)
    with Image.open(tmp_path / "white.tif") as image:
        image.load()
        np.testing.assert_array_equal(head.predict_proba(image), expected)


def test_threads_share_a_head(svm: Path, photos: list[Path]) -> None:
    head = pipeline.load_head(svm)
    expected = [head.predict_proba(path) for path in photos[:12]]
    fresh = pipeline.load_head(svm)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(fresh.predict_proba, photos[:12]))
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("photo", "words"),
    [
        (17, "found int"),
        (None, "found NoneType"),
        ([3.5], "found float"),
        (np.zeros((4, 4, 3)), "found float64 of shape .*astype"),
        (np.zeros((4, 4, 7), np.uint8), "found uint8 of shape"),
        (b"text", "found these bytes: not a JPEG"),
        ("nowhere.jpg", "nowhere.jpg"),
        (".", "found a folder"),
        (Image.new("F", (4, 4)), "floating point numbers"),
        (Image.new("RGB", (0, 4)), "0 x 4 pixels"),
    ],
)
def test_what_is_no_photo_is_told_in_one_line(photo: object, words: str, svm: Path) -> None:
    with pytest.raises(SourceError, match=words) as caught:
        pipeline.load_head(svm).predict(photo)
    assert "\n" not in str(caught.value)


def test_a_damaged_photo_is_named(svm: Path, photos: list[Path], tmp_path: Path) -> None:
    bad = tmp_path / "cut.png"
    bad.write_bytes(photos[0].read_bytes()[:200])
    with pytest.raises(SourceError, match=r"found .*cut\.png: "):
        pipeline.load_head(svm).predict([*photos[:3], bad])


def test_a_head_of_unknown_codes_is_refused(tmp_path: Path) -> None:
    import h5py

    with h5py.File(tmp_path / "foreign.h5", "w") as file:
        rng = np.random.default_rng(0)
        file["codes/x"] = np.concatenate([rng.random((20, 4)), rng.random((20, 4)) + 2])
        file["labels"] = np.repeat([0, 1], 20)
    head = pipeline.fit_head(tmp_path / "foreign.h5", kind="svm", out=tmp_path / "h").head
    with pytest.raises(HeadError, match="expected a head that knows its backbone"):
        pipeline.load_head(head)


def test_a_head_on_several_layers(joined: Path, photos: list[Path]) -> None:
    head = pipeline.load_head(joined)
    expected = pipeline.predict(joined, photos).predictions
    for several in (photos, photos[:1]):
        for row, prediction in zip(head.predict_proba(several), expected, strict=False):
            found = dict(zip(head.classes_.tolist(), row.tolist(), strict=True))
            assert found == pytest.approx(dict(prediction.top), abs=1e-4)
