"""Values of 16 bits: which of them become which 8-bit level."""

import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from pipeline.common.choices import Resize
from pipeline.images import decode


def png(values, *, key=None):
    """Encode a PNG of 16 bits: grey, grey and opacity, RGB, or RGB and opacity."""
    height, width, bands = values.shape
    colour = {1: 0, 2: 4, 3: 2, 4: 6}[bands]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)

    def chunk(kind, data):
        check = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + check

    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, colour, 0, 0, 0))
        + (b"" if key is None else chunk(b"tRNS", np.array(key, ">u2").tobytes()))
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def levels(values):
    """Decode a PNG of these values at its own size."""
    values = np.atleast_3d(values)
    return decode(png(values), size=values.shape[0], resize=Resize.squash)


def noise(low, high, bands=1):
    values = np.random.default_rng(0).integers(low, high, (64, 64, bands))
    values[0, :8], values[1, :8] = low, high - 1
    return values


@pytest.mark.parametrize("bands", [1, 3])
@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
def test_values_of_a_camera_become_their_high_bits(bits, bands):
    values = noise(0, 2**bits, bands)
    expected = np.broadcast_to(values >> (bits - 8), (64, 64, 3))
    np.testing.assert_array_equal(levels(values), expected)


def test_a_photo_in_12_bits_and_in_16_is_the_same():
    values = noise(0, 4096, 3)
    np.testing.assert_array_equal(levels(values), levels(values * 16))


def test_few_values_of_a_large_range_are_spread_over_half_of_it_in_their_place():
    """The forest of a satellite: 776 to 1008 of 10 bits, that is 233 of 1024 values.

    A window of twice the spread, 466, holds the values; it starts at
    776 * (1024 - 466) / (1024 - 233) = 547.4, so that 776 is at 228 and 1008 at 460 of 466.
    """
    found = levels(noise(776, 1009))
    assert (found.min(), found.max()) == (228 * 256 // 466, 460 * 256 // 466) == (125, 252)


def test_neighbouring_values_are_one_level_apart_at_the_most():
    values = np.full((64, 64, 1), 30000)
    values[::2] += 3
    assert np.ptp(levels(values)) == 3


def test_a_white_page_stays_white_and_a_black_one_black():
    assert levels(np.full((8, 8, 1), 65535)).min() == 255
    assert levels(np.zeros((8, 8, 1), int)).max() == 0


def test_marks_and_glints_do_not_darken_the_rest():
    """Half a percent at each end is left out."""
    values = noise(0, 4096)
    values[10, 10:24] = 60000
    found = levels(values)
    assert (found[10, 10:24] == 255).all()
    found[10, 10:24] = 0
    values[10, 10:24] = 0
    np.testing.assert_array_equal(found[..., 0], values[..., 0] >> 4)


@pytest.mark.parametrize("mark", [0, 65535])
def test_pixels_without_a_value_do_not_count(mark):
    """Half of a tile of a satellite may lie outside of its picture."""
    values = noise(29000, 29900)
    alone = levels(values)
    values[:32] = mark
    found = levels(values)
    assert np.abs(found[32:].astype(int) - alone[32:]).max() <= 1
    assert (found[:32] == (255 if mark else 0)).all()


def test_what_nobody_sees_does_not_count():
    values = noise(0, 4096, 4)
    values[..., 3] = 65535
    values[:20, :, 3] = 0
    values[:20, :, :3] *= 15
    assert (levels(values)[20:] == values[20:, :, :3] >> 4).all()


def test_colours_share_one_range():
    values = noise(0, 4096, 3)
    values[..., 2] //= 8
    np.testing.assert_array_equal(levels(values), values >> 4)


@pytest.mark.parametrize("bands", [2, 4])
def test_opacity_of_16_bits_is_over_white(bands):
    values = noise(0, 4096, bands)
    values[..., -1] = 65535
    values[:8, :, -1] = 0
    found = levels(values)
    assert (found[:8] == 255).all()
    expected = np.broadcast_to(values[8:, :, :-1] >> 4, (56, 64, 3))
    np.testing.assert_array_equal(found[8:], expected)


@pytest.mark.parametrize("bands", [1, 3])
def test_the_colour_that_stands_for_transparent_is_white(bands):
    values = noise(0, 4096, bands)
    values[5, 5] = 100
    found = decode(png(values, key=[100] * bands), size=64, resize=Resize.squash)
    assert (found[5, 5] == 255).all()
    assert (found[0, 8:] == values[0, 8:] >> 4).all() or bands == 1


@given(
    arrays.arrays(np.uint16, (8, 8, 1)),
)
def test_a_greater_value_is_never_darker(values):
    found = levels(values)[..., 0].ravel()
    order = np.argsort(values.ravel(), kind="stable")
    assert (np.diff(found[order].astype(int)) >= 0).all()


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_png_and_tiff_agree(kind):
    values = noise(200, 3000)[..., 0].astype(np.uint16)
    file = io.BytesIO()
    Image.fromarray(values).save(file, kind)
    found = decode(file.getvalue(), size=64, resize=Resize.squash)
    np.testing.assert_array_equal(found, levels(values))


@given(st.integers(9, 16))
def test_every_depth_is_visible(bits):
    assert np.ptp(levels(noise(2 ** (bits - 1), 2**bits))) >= 120
