"""Pictures with opacity, laid over white."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ._raw_mode import raw_mode, set_raw_mode

RULE = "over white; in TIFF where at least half of it is clear or opaque, else left out"
"""What is done with opacity, in words."""

_OPAQUE = 255


def rgb(image: Image.Image) -> Image.Image:
    """Lay an image of at most 8 bits with transparency over white."""
    image.load()
    return _over_white((image.convert("LA") if image.mode == "La" else image).convert("RGBA"))


def is_doubtful(image: Image.Image) -> bool:
    """Whether what an image of at most 8 bits calls opacity may be another band."""
    return image.format == "TIFF" and image.mode in ("RGBA", "LA", "La")


def tiff_rgb(image: Image.Image) -> Image.Image:
    """
    Return the picture of a TIFF that says that the band after its colours is opacity.

    Programs for satellites' images say so of near infrared, too (GDAL does unless told).

    Parameters
    ----------
    image : Image
        Open and not loaded; of 8 bits, grey or RGB.
    """
    raw = raw_mode(image)
    premultiplied = raw.startswith(("RGBa", "La"))
    if raw.startswith("RGBa"):  # which Pillow would divide by the opacity
        set_raw_mode(image, raw.replace("a", "A"))
    image.load()
    bands = np.asarray(image)
    colours, opacity = bands[..., :-1], bands[..., -1]
    colours = np.ascontiguousarray(colours[..., 0] if colours.shape[2] == 1 else colours)
    if not is_opacity(opacity):
        return Image.fromarray(colours).convert("RGB")
    return over_white(colours, np.ascontiguousarray(opacity), premultiplied=premultiplied)


def is_opacity(values: NDArray[np.uint8]) -> bool:
    """Whether a band looks like opacity: at least half of it is clear or opaque."""
    return int(((values == 0) | (values == _OPAQUE)).sum()) * 2 >= values.size


def over_white(
    colours: NDArray[np.uint8], opacity: NDArray[np.uint8], *, premultiplied: bool = False
) -> Image.Image:
    """Lay grey (height, width) or RGB (height, width, 3) over white."""
    picture = Image.fromarray(colours).convert("RGB")
    if premultiplied:
        light = np.asarray(picture).astype(np.uint16) + (_OPAQUE - opacity)[..., None]
        return Image.fromarray(light.clip(0, _OPAQUE).astype(np.uint8))
    picture.putalpha(Image.fromarray(opacity))
    return _over_white(picture)


def _over_white(picture: Image.Image) -> Image.Image:
    paper = Image.new("RGBA", picture.size, "white")
    paper.alpha_composite(picture)
    return paper.convert("RGB")
