from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from pipeline import images
from pipeline.common.choices import Resize
from pipeline.common.errors import SourceError

PIXELS = np.random.default_rng(0).integers(0, 256, (5, 6, 9, 3), np.uint8)


def _load(source: images.Source, rows: list[int]) -> list[images.Loaded]:
    return list(
        images.stream(
            source, rows, size=8, resize=Resize.crop, workers=2, known=lambda digest: False
        )
    )


@pytest.mark.parametrize("pixels", [PIXELS, PIXELS[..., 0], PIXELS[..., :1]])
def test_an_array_is_read_as_the_same_array_in_a_npz(tmp_path: Path, pixels: np.ndarray) -> None:
    np.savez(tmp_path / "a.npz", x=pixels)
    there, here = images.find(tmp_path / "a.npz"), images.held(pixels)
    for a, b in zip(_load(there, [4, 0, 4]), _load(here, [4, 0, 4]), strict=True):
        assert a.sha256 == b.sha256
        np.testing.assert_array_equal(a.pixels, b.pixels)


def test_whatever_order_the_numbers_lie_in() -> None:
    expected = [loaded.sha256 for loaded in _load(images.held(PIXELS[::2, :, ::-1]), [0, 1, 2])]
    copied = np.asfortranarray(PIXELS[::2, :, ::-1])
    assert [loaded.sha256 for loaded in _load(images.held(copied), [0, 1, 2])] == expected


def test_rows_are_named_after_the_array() -> None:
    found = images.held(PIXELS, name="photos")
    assert list(found.paths) == [b"photos#0", b"photos#1", b"photos#2", b"photos#3", b"photos#4"]
    assert found.stat(0) is None
    assert set(found.labels) == {-1}


def test_the_whole_array_is_never_copied() -> None:
    """No machine has room for all of these 16 TB."""
    much = np.broadcast_to(PIXELS[0, :, :, 0], (300_000, 6, 9))
    huge = np.broadcast_to(np.zeros(1, np.uint8), (300_000, 7168, 7168))
    for pixels in (much, huge):
        [loaded] = _load(images.held(pixels), [299_999])
        assert loaded.pixels is not None


@pytest.mark.parametrize(
    ("pixels", "said"),
    [
        (PIXELS / 255, r"expected X of dtype uint8, found float64; .* X\.astype\('uint8'\)"),
        (PIXELS.astype(int), "expected X of dtype uint8, found int64"),
        (PIXELS.reshape(5, -1), "rows are flat"),
        (np.moveaxis(PIXELS, -1, 1), "channels come last"),
        (PIXELS[:0], "expected X of shape"),
    ],
)
def test_arrays_that_are_no_images(pixels: np.ndarray, said: str) -> None:
    with pytest.raises(SourceError, match=said) as caught:
        images.held(pixels)
    assert "\n" not in str(caught.value)


def test_files_are_rows_in_the_order_given_and_as_often(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.jpg").touch()
    monkeypatch.chdir(tmp_path)
    given = [b"a.jpg", b"nowhere.jpg", os.fsencode(tmp_path / "a.jpg"), b"."]
    found = images.listed(given)
    whole = os.fsencode(tmp_path)
    assert list(found.paths) == [
        whole + b"/a.jpg",
        whole + b"/nowhere.jpg",
        whole + b"/a.jpg",
        whole,
    ]
    assert found.stat(1) is None
    reasons = [loaded.reason for loaded in _load(found, [0, 1, 2, 3])]
    assert reasons[1] == "no such file"
    assert all(reasons)
    assert not any(loaded.transient for loaded in _load(found, [0, 1, 2, 3]))
