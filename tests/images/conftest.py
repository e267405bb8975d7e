"""Small images and folders of them."""

import io

import numpy as np
import pytest
from PIL import Image


@pytest.fixture(scope="session")
def photo():
    """A picture with structure in all directions and colours, 60 wide and 40 high."""
    y, x = np.mgrid[:40, :60]
    pixels = np.stack([x * 4, y * 6, (x * y) % 256], axis=-1).astype(np.uint8)
    return Image.fromarray(pixels)


@pytest.fixture(scope="session")
def encode():
    """Encode an image: `encode(image, "JPEG", quality=95)`."""

    def encode(image, kind="PNG", **options):
        buffer = io.BytesIO()
        image.save(buffer, kind, **options)
        return buffer.getvalue()

    return encode


@pytest.fixture
def tree(tmp_path, encode):
    """Write files below tmp_path: a PNG of its own for each name, or the bytes that are given."""

    def tree(*names, **contents):
        for number, name in enumerate(names, start=len(list(tmp_path.rglob("*")))):
            contents[name] = encode(Image.new("RGB", (4, 4), (number % 256, number // 256, 7)))
        for name, data in contents.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        return tmp_path

    return tree
