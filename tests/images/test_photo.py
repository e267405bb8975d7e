"""A photo in memory: which of its pixels are meant."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from pipeline.common.choices import Resize
from pipeline.images import pixels_of

COLOURS = ((250, 0, 0), (0, 250, 0), (0, 0, 250))


def frames(kind: str) -> bytes:
    """Return a file of three frames, each of one colour."""
    first, *others = (Image.new("RGB", (20, 20), colour) for colour in COLOURS)
    buffer = io.BytesIO()
    first.save(buffer, kind, save_all=True, append_images=others, duration=100)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["TIFF", "GIF", "PNG"])
@pytest.mark.parametrize("visited", [(), (0,), (1,), (2,), (1, 2), (2, 0), (1, 1)])
def test_the_frame_that_an_image_stands_at_is_meant(kind: str, visited: tuple[int, ...]) -> None:
    image = Image.open(io.BytesIO(frames(kind)))
    for number in visited:
        image.seek(number)
    pixels = pixels_of(image, size=8, resize=Resize.crop)
    expected = COLOURS[visited[-1] if visited else 0]
    np.testing.assert_allclose(pixels.astype(int), np.broadcast_to(expected, (8, 8, 3)), atol=8)


def test_an_image_at_its_first_frame_is_read_as_its_file_is(encode) -> None:
    values = np.full((20, 20), 300, np.uint16)  # of 16 bits, which Pillow alone would cut off
    data = encode(Image.fromarray(values), "PNG")
    image = Image.open(io.BytesIO(data))
    expected = pixels_of(data, size=8, resize=Resize.crop)
    np.testing.assert_array_equal(pixels_of(image, size=8, resize=Resize.crop), expected)
