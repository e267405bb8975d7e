"""TIFF files of every kind of sample, against the pixels that tifffile reads and writes."""

import io
from itertools import product

import numpy as np
import pytest
import tifffile
from PIL import Image

from pipeline.common.choices import Resize
from pipeline.images import Rejected, decode

HEIGHT, WIDTH = 16, 16
COLOURS = {
    "minisblack": 1,
    "miniswhite": 1,
    "palette": 1,
    "rgb": 3,
    "separated": 4,
    "ycbcr": 3,
    "cielab": 3,
}
DTYPES = ("u1", "i1", "u2", "i2", "u4", "i4", "f2", "f4", "f8")


def values(dtype, bands):
    """Return noise over the whole range of a type; of floating point numbers from 0 to 1."""
    noise = np.random.default_rng(bands).integers(0, 256, (HEIGHT, WIDTH, bands))
    noise[0, 0] = 0
    if np.dtype(dtype).kind == "f":
        return (noise / 255).astype(dtype)
    width = 8 * np.dtype(dtype).itemsize
    wide = noise.astype(np.uint64) << np.uint64(width - 8)
    return wide.astype(f"u{width // 8}").view(dtype)


def written(array, photometric, planes=False, **options):
    """Write a TIFF; return its bytes and the pixels that tifffile reads from them."""
    stored = array[..., 0] if array.shape[2] == 1 else array
    if planes:
        stored = np.ascontiguousarray(np.moveaxis(array, 2, 0))
    if array.shape[2] > 1:
        options["planarconfig"] = "separate" if planes else "contig"
    file = io.BytesIO()
    tifffile.imwrite(file, stored, photometric=photometric, metadata=None, **options)
    read = tifffile.imread(io.BytesIO(file.getvalue()))
    return file.getvalue(), np.moveaxis(read, 0, 2) if planes else read


def kinds():
    """Yield sample type, bands, colours, planes and meaning of the bands beyond the colours."""
    for dtype, bands, (colours, least) in product(DTYPES, (1, 2, 3, 4, 5, 13), COLOURS.items()):
        if bands < least or (colours == "palette" and (dtype, bands) != ("u1", 1)):
            continue
        extras = (None,) if bands == least else ("unspecified", "unassalpha", "assocalpha")
        for planes, extra in product((False, True) if bands > 1 else (False,), extras):
            yield dtype, bands, colours, planes, extra


def is_read(dtype, bands, colours, planes, extra, order):
    """Say which kinds are read; all others are rejected with what they are."""
    if dtype not in ("u1", "u2") or (order, dtype, colours) == (">", "u2", "miniswhite"):
        return False
    if planes:
        return (dtype, bands, colours) == ("u1", 3, "rgb")
    return (
        (bands == 1 and (dtype == "u1" or colours != "palette"))
        or (dtype == "u1" and bands == 2 and colours == "minisblack" and extra != "unspecified")
        or (colours == "rgb" and bands == 3)
        or (colours == "rgb" and bands == 4 and (dtype == "u1" or extra != "assocalpha"))
        or (colours == "rgb" and bands == 5 and dtype == "u1")
        or (colours == "separated" and bands == 4)
        or (colours == "ycbcr" and bands == 3 and dtype == "u1")
    )


def expected(pixels, colours, colormap):
    """Turn tifffile's pixels into RGB by the definitions of TIFF 6.0."""
    high = pixels if pixels.dtype == np.uint8 else (pixels >> 8).astype(np.uint8)
    if colours == "palette":
        return (colormap >> 8).astype(np.uint8)[:, high].transpose(1, 2, 0)
    if colours in ("minisblack", "miniswhite"):
        grey = high if high.ndim == 2 else high[..., 0]
        grey = 255 - grey if colours == "miniswhite" else grey
        return np.stack([grey] * 3, axis=-1)
    if colours in ("separated", "ycbcr"):
        mode = {"separated": "CMYK", "ycbcr": "YCbCr"}[colours]
        image = Image.frombytes(mode, (WIDTH, HEIGHT), np.ascontiguousarray(high).tobytes())
        return np.asarray(image.convert("RGB"))
    return high[..., :3]


@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("order", ["<", ">"])
def test_every_kind_is_read_as_tifffile_reads_it_or_rejected_with_what_it_is(order, compression):
    wrong, read = [], 0
    colormap = np.random.default_rng(0).integers(0, 2**16, (3, 256)).astype(np.uint16)
    for kind in kinds():
        dtype, bands, colours, planes, extra = kind
        options = {"byteorder": order, "compression": compression}
        if extra:
            options["extrasamples"] = [extra] + ["unspecified"] * (bands - COLOURS[colours] - 1)
        if colours == "palette":
            options["colormap"] = colormap
        data, pixels = written(values(dtype, bands), colours, planes, **options)
        try:
            found = decode(data, size=WIDTH, resize=Resize.squash).astype(int)
        except Rejected as error:
            said = str(error)
            named = said.startswith(f"TIFF with {bands} band") and "is not read here: " in said
            if is_read(*kind, order) or not named:
                wrong.append((kind, said))
            continue
        read += 1
        difference = np.abs(found - expected(pixels, colours, colormap)).mean()
        if not is_read(*kind, order) or difference > (0 if colours != "ycbcr" else 1):
            wrong.append((kind, difference))
    assert wrong == []
    assert read > 15


@pytest.mark.parametrize("bits", [1, 2, 4, 12])
def test_few_bits(bits):
    grey = np.random.default_rng(0).integers(0, 2**bits, (16, 16)).astype(np.uint16)
    grey[0, 0] = 2**bits - 1
    if bits == 1:
        data, _ = written(grey.astype(bool)[..., None], "minisblack")
        expected = grey * 255
    else:
        packed = packed_bits(grey, bits)
        data = one_strip(packed, bits)
        expected = grey * 255 // (2**bits - 1) if bits < 8 else grey >> (bits - 8)
    found = decode(data, size=16, resize=Resize.squash)[..., 0]
    np.testing.assert_array_equal(found, expected)


def packed_bits(values, bits):
    """Pack values as TIFF does: the first in the highest bits."""
    digits = (values.ravel()[:, None] >> np.arange(bits)[::-1]) & 1
    return np.packbits(digits.astype(np.uint8)).tobytes()


def one_strip(packed, bits):
    """Write a grey TIFF of 16 by 16 whose samples are packed already."""
    file = io.BytesIO()
    tifffile.imwrite(file, np.zeros((16, 16), np.uint8), photometric="minisblack", metadata=None)
    data = bytearray(file.getvalue())
    with tifffile.TiffFile(io.BytesIO(bytes(data))) as tiff:
        tags = tiff.pages[0].tags
        at = {name: tags[name].valueoffset for name in ("BitsPerSample", "StripByteCounts")}
        start = tags["StripOffsets"].value[0]
    data[at["BitsPerSample"] : at["BitsPerSample"] + 2] = bits.to_bytes(2, "little")
    data[at["StripByteCounts"] : at["StripByteCounts"] + 4] = len(packed).to_bytes(4, "little")
    return bytes(data[:start]) + packed.ljust(256, b"\0")


@pytest.mark.parametrize(
    ("bands", "dtype", "words"),
    [
        (13, "u2", "TIFF with 13 bands of 16 bits (black is zero) is not read here: "
                   "export three bands as 8-bit RGB"),
        (1, "f4", "TIFF with 1 band of 32-bit floating point numbers (black is zero) is not read "
                  "here: convert it to RGB or grey of 8 or 16 bits"),
        (3, "i2", "TIFF with 3 bands of 16-bit signed numbers (black is zero) is not read here: "
                  "export three bands as 8-bit RGB"),
    ],
)  # fmt: skip
def test_the_reason_says_what_it_is_and_what_to_do(bands, dtype, words):
    extra = {"extrasamples": ["unspecified"] * (bands - 1)} if bands > 1 else {}
    data, _ = written(values(dtype, bands), "minisblack", **extra)
    with pytest.raises(Rejected) as caught:
        decode(data, size=8, resize=Resize.crop)
    assert str(caught.value) == words


@pytest.mark.parametrize(
    ("extra", "dtype"),
    [*product(["unspecified", "unassalpha"], ["u1", "u2"]), ("assocalpha", "u1")],
)
def test_near_infrared_that_is_called_opacity_is_left_out(extra, dtype):
    """GDAL calls a fourth band opacity unless it is told what it is."""
    four = values(dtype, 4)
    four[..., 3] = four[..., 3] // 4 + np.iinfo(dtype).max // 4
    data, pixels = written(four, "rgb", extrasamples=[extra])
    found = decode(data, size=WIDTH, resize=Resize.squash)
    np.testing.assert_array_equal(found, expected(pixels, "rgb", None))


@pytest.mark.parametrize("extra", ["unassalpha", "assocalpha"])
def test_opacity_is_over_white(extra):
    four = values("u1", 4) // 2
    four[..., 3] = 255
    four[:4, :, 3] = 0
    four[:4, :, :3] = 0
    data, _ = written(four, "rgb", extrasamples=[extra])
    found = decode(data, size=WIDTH, resize=Resize.squash)
    assert (found[:4] == 255).all()
    np.testing.assert_array_equal(found[4:], four[4:, :, :3])


def test_a_big_tiff_is_read_and_rejected_alike():
    data, pixels = written(values("u2", 3), "rgb", bigtiff=True)
    found = decode(data, size=WIDTH, resize=Resize.squash)
    np.testing.assert_array_equal(found, expected(pixels, "rgb", None))
    data, _ = written(values("f4", 3), "rgb", bigtiff=True)
    with pytest.raises(Rejected, match="floating point"):
        decode(data, size=WIDTH, resize=Resize.squash)
