"""The probe images: eight, small, each of another kind, never changing."""

import hashlib
import io

import numpy as np
from PIL import Image

from pipeline.common.choices import Resize
from pipeline.images import decode, probe, probe_pixels


def test_eight_small_images_of_different_kinds():
    images = [Image.open(io.BytesIO(data)) for data in probe()]
    assert [image.format for image in images] == ["JPEG"] * 6 + ["PNG"] * 2
    assert [image.mode for image in images] == ["RGB"] * 4 + ["L", "RGB", "RGBA", "I;16"]
    assert images[5].getexif()[0x0112] == 6
    assert sum(map(len, probe())) < 150_000


def test_the_probe_never_changes():
    """Stores made before would no longer be recognised."""
    assert (
        hashlib.sha256(b"".join(probe())).hexdigest()
        == "af1f5e1f7e1f970afa56b3eac80a9107598f41607c757210f2f44c353916b7fd"
    )


def test_pixels_are_those_of_the_one_decode_path():
    pixels = probe_pixels(size=32, resize=Resize.pad)
    assert pixels.shape == (8, 32, 32, 3)
    for data, image in zip(probe(), pixels, strict=True):
        np.testing.assert_array_equal(decode(data, size=32, resize=Resize.pad), image)
