"""The entry of a SavedModel for image files: the decoder's square, as far as TensorFlow can."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_sample_images

from pipeline import images
from pipeline.common.choices import Resize
from pipeline.exports._saved_model import _square, load, load_bytes, write

from .conftest import SIZE, layers


def _photo(size: tuple[int, int], kind: str = "JPEG") -> bytes:
    file = io.BytesIO()
    photo = Image.fromarray(load_sample_images().images[0])
    photo.resize(size).save(file, kind)
    return file.getvalue()


@pytest.mark.parametrize("resize", list(Resize))
@pytest.mark.parametrize(
    ("shape", "size"), [((150, 100), 64), ((100, 151), 64), ((40, 30), 64), ((90, 40), 64)]
)
def test_the_square_is_that_of_the_decoder(resize, shape, size):
    for kind, allowed in (("PNG", 1), ("JPEG", 6)):
        data = _photo(shape, kind)
        found = _square(data, size, resize).numpy().astype(int)
        expected = images.decode(data, size=size, resize=resize)
        assert np.abs(found - expected).max() <= allowed
        assert np.abs(found - expected).mean() < 0.5


def test_files_give_what_their_pixels_give(content, rng, tmp_path):
    path = tmp_path / "model"
    path.mkdir()
    write(content(layers(rng)), path)
    files = [_photo((60, 40), "PNG"), _photo((30, 50), "JPEG")]
    pixels = np.stack([images.decode(file, size=SIZE, resize=Resize.crop) for file in files])
    np.testing.assert_allclose(load_bytes(path)(files), load(path)(pixels), atol=0.02)
