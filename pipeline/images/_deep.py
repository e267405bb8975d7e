"""Images of more than 8 bits: their values, and the one rule by which these become 8-bit levels."""

from __future__ import annotations

import io
import math
import sys

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ._opacity import is_opacity, over_white
from ._raw_mode import raw_mode, set_raw_mode
from ._tiff import white_is_zero

RULE = (
    "the range of 8, 10, 12, 14 or 16 bits that holds 99 % of the values but 0 and 65535; "
    "contrast below half of it is raised to half"
)
"""What `levels` does, in words."""

_DEPTHS = (8, 10, 12, 14, 16)
_LEFT_OUT = 0.005  # of the values at each end: dead pixels, glints, marks for "no data"
_ENOUGH = 0.01  # of the values, that are neither 0 nor 65535
_SAMPLE = 2**20  # pixels that the range is taken from
_WHITE = 255
# Pillow keeps the high byte of 16-bit colours. Unpacked in the other byte order, the same data
# give the low byte; grey with opacity is unpacked as four bytes at once.
_SWAPPED = {"B": "L", "L": "B", "N": "B" if sys.byteorder == "little" else "L"}
_GREY_OPACITY = "LA;16B"


def is_deep(image: Image.Image) -> bool:
    """Whether the samples of an image that is open and not loaded are wider than 8 bits."""
    return image.mode.startswith("I;16") or (
        image.mode in ("RGB", "RGBA") and ";16" in raw_mode(image)
    )


def rgb(data: bytes, image: Image.Image) -> Image.Image:
    """
    Return the picture of an image whose samples are wider than 8 bits.

    Parameters
    ----------
    data : bytes
        The file.
    image : Image
        It, open and not loaded.

    Returns
    -------
    Image
        RGB, of `levels`; what is transparent is over white.
    """
    return _picture(*_values(data, image), image)


def rgb_of_grey(image: Image.Image) -> Image.Image:
    """Return the picture of a 16-bit grey image that is in memory."""
    return _picture(np.asarray(image).astype(np.uint16), None, image)


def _picture(
    colours: NDArray[np.uint16], opacity: NDArray[np.uint8] | None, image: Image.Image
) -> Image.Image:
    """Bring values to levels, and do what the file says of black and of transparency."""
    clear = _is_key(colours, image.info.get("transparency"))
    if opacity is not None and image.format == "TIFF" and not is_opacity(opacity):
        opacity = None
    hidden = clear if opacity is None else opacity == 0
    found = levels(colours, hidden=hidden)
    if image.format == "TIFF" and white_is_zero(image):
        found = _WHITE - found
    if clear is not None:
        found[clear] = _WHITE
    if opacity is not None:
        return over_white(found, opacity)
    return Image.fromarray(found).convert("RGB")


def levels(
    values: NDArray[np.uint16], *, hidden: NDArray[np.bool_] | None = None
) -> NDArray[np.uint8]:
    """
    Bring values of up to 16 bits to 8-bit levels.

    Nothing in a file says how many of its 16 bits are in use: cameras fill 10, 12 or 14 of them,
    reflectances of satellites go to 10000, photos go all the way. The range is taken to be that
    of 8, 10, 12, 14 or 16 bits, the least that 99 % of the values fit into; of these 0 and 65535,
    which often stand for no value, do not count where there are others. A picture whose
    values span half of this range, as most photos do, becomes the high bits of its values. One
    that spans less is spread until it spans half, in its place in the range, but never so far
    that neighbouring values are more than one level apart.

    Parameters
    ----------
    values : uint16 array of shape (height, width) or (height, width, 3)
        Colours have one range together.
    hidden : bool array of shape (height, width), optional
        Pixels that nobody sees, which do not count.

    Returns
    -------
    uint8 array of the same shape
    """
    low, high = _ends(values, hidden)
    full = next(2**depth for depth in _DEPTHS if high < 2**depth)
    spread = high - low + 1
    width = min(full, max(2 * spread, 2**8))
    # Where a window grows from the spread to the full range, its ends reach both at once.
    start = -(-low * (full - width) // (full - spread)) if full > spread else 0
    table = (np.arange(2**16, dtype=np.int64) - start) * 2**8 // width
    found: NDArray[np.uint8] = table.clip(0, _WHITE).astype(np.uint8)[values]
    return found


def _ends(values: NDArray[np.uint16], hidden: NDArray[np.bool_] | None) -> tuple[int, int]:
    """Return the least and greatest value that count, but for half a percent at each end."""
    step = max(1, math.isqrt(values.shape[0] * values.shape[1] // _SAMPLE))
    some = values[::step, ::step]
    if hidden is not None and not (unseen := hidden[::step, ::step]).all():
        some = some[~unseen]
    each = np.bincount(some.ravel(), minlength=2**16)
    if each[1:-1].sum() >= _ENOUGH * some.size:
        each[[0, -1]] = 0
    counts = each.cumsum()
    left_out = math.floor(counts[-1] * _LEFT_OUT)
    low = np.searchsorted(counts, left_out, side="right")
    high = np.searchsorted(counts, counts[-1] - left_out, side="left")
    return int(low), int(high)


def _values(data: bytes, image: Image.Image) -> tuple[NDArray[np.uint16], NDArray[np.uint8] | None]:
    """Return grey or RGB values, and the high byte of the opacity where there is one."""
    if image.mode.startswith("I;16"):
        image.load()
        return np.asarray(image).astype(np.uint16), None
    raw = raw_mode(image)
    if raw == _GREY_OPACITY:
        set_raw_mode(image, "RGBA")
        image.load()
        high, low, opacity = (np.asarray(image.getchannel(i)) for i in range(3))
        return _joined(high, low), opacity
    with Image.open(io.BytesIO(data), formats=[image.format or ""]) as again:
        set_raw_mode(again, raw[:-1] + _SWAPPED[raw[-1]])
        again.load()
        low = np.asarray(again)
    image.load()
    high = np.asarray(image)
    last = high[..., 3].copy() if high.shape[2] == 4 else None
    return _joined(high[..., :3], low[..., :3]), last


def _joined(high: NDArray[np.uint8], low: NDArray[np.uint8]) -> NDArray[np.uint16]:
    values = high.astype(np.uint16)
    values <<= 8
    values |= low
    return values


def _is_key(values: NDArray[np.uint16], key: object) -> NDArray[np.bool_] | None:
    """Say which pixels have the colour that stands for transparent."""
    if not isinstance(key, (int, tuple)):
        return None
    same: NDArray[np.bool_] = values == np.array(key)
    return np.all(same, axis=-1) if values.ndim == 3 else same
