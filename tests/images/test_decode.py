"""From bytes to pixels: one path, golden numbers from Pillow and from the standards."""

import csv
import io
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageCms, ImageOps

from pipeline.common.choices import Resize
from pipeline.images import POLICY, Rejected, decode

# What the commands do as well: a warning of Pillow about an image is no error.
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*:UserWarning"),
    pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning"),
]


def pixels(data, size=40, resize=Resize.crop):
    result = decode(data, size=size, resize=resize)
    assert result.shape == (size, size, 3)
    assert result.dtype == np.uint8
    return result


def reason(data):
    with pytest.raises(Rejected) as caught:
        decode(data, size=8, resize=Resize.crop)
    text = str(caught.value)
    assert text.isprintable()
    assert " at 0x" not in text, "a memory address differs from run to run"
    return text


def one_colour(data):
    """Decode an image that must be of one colour."""
    colours = np.unique(pixels(data, size=4).reshape(-1, 3), axis=0)
    assert len(colours) == 1
    return tuple(map(int, colours[0]))


# Scaling


def test_crop_takes_the_largest_centred_square(photo, encode):
    expected = photo.resize((24, 24), Image.Resampling.HAMMING, box=(10, 0, 50, 40))
    np.testing.assert_array_equal(pixels(encode(photo), 24, Resize.crop), np.asarray(expected))


def test_crop_at_full_size_only_cuts(photo, encode):
    np.testing.assert_array_equal(pixels(encode(photo), 40), np.asarray(photo)[:, 10:50])


def test_squash_scales_the_whole_image(photo, encode):
    expected = photo.resize((24, 24), Image.Resampling.HAMMING)
    np.testing.assert_array_equal(pixels(encode(photo), 24, Resize.squash), np.asarray(expected))


def test_pad_fits_the_whole_image_onto_grey(photo, encode):
    result = pixels(encode(photo), 30, Resize.pad)
    inner = photo.resize((30, 20), Image.Resampling.HAMMING)
    np.testing.assert_array_equal(result[5:25], np.asarray(inner))
    assert (result[:5] == 127).all()
    assert (result[25:] == 127).all()


def test_enlarging_in_one_direction_is_bicubic(encode):
    """One kernel serves both axes: the one that can enlarge."""
    photo = Image.fromarray(np.random.default_rng(0).integers(0, 255, (20, 80, 3), np.uint8))
    expected = np.asarray(photo.resize((40, 40), Image.Resampling.BICUBIC))
    np.testing.assert_array_equal(pixels(encode(photo), 40, Resize.squash), expected)


def test_enlarging_is_bicubic(encode):
    digit = Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8) * 4)
    expected = np.asarray(digit.resize((40, 40), Image.Resampling.BICUBIC))
    result = pixels(encode(digit))
    for channel in range(3):
        np.testing.assert_array_equal(result[..., channel], expected)


@pytest.mark.parametrize("resize", list(Resize))
@pytest.mark.parametrize("shape", [(1, 1), (1, 5000), (65000, 1), (3, 2)])
def test_extreme_shapes_have_pixels(shape, resize, encode):
    image = Image.new("RGB", shape, (10, 20, 30))
    assert (pixels(encode(image), 16, resize) == (10, 20, 30)).all(axis=-1).any()


def test_policy_names_what_is_done():
    assert set(POLICY) == {"kernel", "colour", "alpha", "exif", "depth16"}
    with pytest.raises(TypeError):
        POLICY["alpha"] = "over black"


# Modes


def test_grey_jpeg_has_three_equal_channels(photo, encode):
    result = pixels(encode(photo.convert("L"), "JPEG"))
    assert (result == result[..., :1]).all()


def test_cmyk_jpeg_becomes_rgb(encode):
    assert one_colour(encode(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "JPEG")) == (255, 0, 0)


def test_inverted_cmyk_jpeg_of_adobe(test_data):
    data = (test_data / "odd_images/pillow/pil_sample_cmyk.jpg").read_bytes()
    expected = Image.open(io.BytesIO(data)).convert("RGB")
    side = min(expected.size)
    left, top = (expected.width - side) // 2, (expected.height - side) // 2
    cut = expected.crop((left, top, left + side, top + side))
    np.testing.assert_array_equal(pixels(data, side), np.asarray(cut))


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparency_is_over_white(mode, encode):
    half = Image.new("L", (8, 8), 0).convert(mode)
    half.putalpha(128)
    # Black at 128/255 over white leaves 255 * 127 / 255.
    assert one_colour(encode(half)) == (127, 127, 127)


def test_transparent_palette_entry_is_white(encode):
    image = Image.new("P", (8, 8), 1)
    image.putpalette([0, 0, 0, 200, 0, 0])
    assert one_colour(encode(image)) == (200, 0, 0)
    assert one_colour(encode(image, transparency=1)) == (255, 255, 255)
    assert one_colour(encode(image, "GIF", transparency=1)) == (255, 255, 255)


@pytest.mark.parametrize(("mode", "key"), [("1", 0), ("L", 0), ("RGB", (0, 0, 0))])
def test_transparent_colour_is_white(mode, key, encode):
    assert one_colour(encode(Image.new(mode, (8, 8)), transparency=key)) == (255, 255, 255)


def test_one_bit(encode):
    assert one_colour(encode(Image.new("1", (8, 8), 1))) == (255, 255, 255)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bit_grey_keeps_the_high_byte(kind, encode):
    values = np.full((8, 8), 0xABCD, np.uint16)
    assert one_colour(encode(Image.fromarray(values), kind)) == (0xAB,) * 3


def test_sixteen_bit_big_endian_tiff_of_few_values(test_data):
    """Its values lie between 303 and 620 but for a few: less than half of the range of 10 bits."""
    data = (test_data / "odd_images/pillow/16bit.MM.deflate.tif").read_bytes()
    values = np.asarray(Image.open(io.BytesIO(data))).astype(int)
    found = pixels(data, 64)[..., 0].astype(int)
    order = np.argsort(values.ravel(), kind="stable")
    assert (np.diff(found.ravel()[order]) >= 0).all(), "a greater value is never darker"
    assert np.ptp(found) >= 120


def test_sixteen_bit_rgb_png_keeps_the_high_byte():
    def chunk(kind, data):
        return (
            struct.pack(">I", len(data))
            + kind
            + data
            + struct.pack(">I", zlib.crc32(data, zlib.crc32(kind)))
        )

    row = b"\0" + struct.pack(">3H", 0x12FF, 0x3400, 0xD680) * 4
    header = struct.pack(">IIBBBBB", 4, 4, 16, 2, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header)
    data += chunk(b"IDAT", zlib.compress(row * 4)) + chunk(b"IEND", b"")
    assert one_colour(data) == (0x12, 0x34, 0xD6)


@pytest.mark.parametrize(
    ("values", "words"),
    [(np.ones((8, 8), np.float32), "floating point"), (np.ones((8, 8), np.int32), "32-bit")],
)
def test_numbers_without_a_fixed_range_are_rejected(values, words, encode):
    assert words in reason(encode(Image.fromarray(values), "TIFF"))


def test_lab_is_rejected(photo, encode):
    lab = ImageCms.applyTransform(
        photo,
        ImageCms.buildTransform(
            ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB"
        ),
    )
    assert reason(encode(lab, "TIFF")).startswith("TIFF with 3 bands of 8 bits (CIELAB)")


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "TIFF", "PNG"])
def test_first_frame_or_page(kind, encode):
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    options = {"lossless": True} if kind == "WEBP" else {}
    data = encode(frames[0], kind, save_all=True, append_images=frames[1:], **options)
    assert one_colour(data) == (255, 0, 0)


def test_progressive_jpeg(photo, encode):
    """Order of transmission, not another image (ITU T.81, annex G)."""
    plain, progressive = (encode(photo, "JPEG", progressive=way) for way in (False, True))
    np.testing.assert_array_equal(pixels(plain), pixels(progressive))


def test_name_does_not_matter_content_does(photo, encode):
    for kind in ("PNG", "BMP", "TIFF"):
        np.testing.assert_array_equal(pixels(encode(photo, kind)), pixels(encode(photo)))


def test_trailing_garbage_is_ignored(photo, encode):
    data = encode(photo, "JPEG")
    np.testing.assert_array_equal(pixels(data + b"garbage" * 9), pixels(data))


# EXIF


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_becomes_upright(kind, orientation, photo, encode):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encode(photo, kind, exif=exif)
    expected = ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB")
    expected = expected.resize((32, 32), Image.Resampling.HAMMING)
    np.testing.assert_array_equal(pixels(data, 32, Resize.squash), np.asarray(expected))


@pytest.mark.parametrize("shape", ["Landscape", "Portrait"])
def test_photos_of_all_orientations_look_alike(shape, test_data):
    folder = test_data / "odd_images/exif-orientation"
    upright = pixels((folder / f"{shape}_1.jpg").read_bytes(), 64).astype(int)
    for number in range(9):
        other = pixels((folder / f"{shape}_{number}.jpg").read_bytes(), 64)
        # Each file was compressed on its own; a wrong turn differs by more than 40 on average.
        assert np.abs(upright - other).mean() < 3


@pytest.mark.parametrize(
    "exif",
    [b"Exif\0\0garbage", b"Exif\0\0MM\0*\xff\xff\xff\xff", b"Exif\0\0II*\0\x08\0\0\0\xff\xff"],
)
@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "PNG"])
def test_corrupt_exif_does_not_lose_the_image(exif, kind, photo, encode):
    options = {"lossless": True} if kind == "WEBP" else {}
    plain = encode(photo, kind, **options)
    np.testing.assert_array_equal(pixels(encode(photo, kind, exif=exif, **options)), pixels(plain))


@pytest.mark.parametrize("value", [0, 9, 65535])
def test_unknown_orientation_is_left_alone(value, photo, encode):
    exif = Image.Exif()
    exif[0x0112] = value
    np.testing.assert_array_equal(pixels(encode(photo, exif=exif)), pixels(encode(photo)))


def test_junk_colour_profile_is_ignored(photo, encode):
    for kind in ("JPEG", "PNG"):
        data = encode(photo, kind, icc_profile=b"junk" * 50)
        np.testing.assert_array_equal(pixels(data), pixels(encode(photo, kind)))


# What is not an image


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "the file is empty"),
        (b"x", "not a JPEG"),
        (b"\xff\xd8", "not a JPEG"),
        (b"\0" * 4096, "not a JPEG"),
        (b"<!DOCTYPE html><title>404", "an HTML page"),
        (b"hello", "not a JPEG"),
        (b"%PDF-1.7", "PDF is not read here"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG is not read here"),
        (b"<?xml version='1.0'?><svg/>", "SVG is not read here"),
        (b"%!PS-Adobe-3.0 EPSF-3.0", "EPS is not read here"),
        (b"\0\0\0\x18ftypheic\0\0\0\0", "damaged: starts like HEIC"),
        (b"\0\0\0\x18ftypavif\0\0\0\0", "damaged: starts like AVIF"),
        (b"\0\0\0\x18ftypmp42\0\0\0\0", "not a JPEG"),
        (b"BMW drivers are", "not a JPEG"),
        (b"P6\n1 1\n255\n\0\0\0", "PPM is not read here"),
        (b"\x89PNG\r\n\x1a\n", "damaged"),
        (b"\n\xff\xd8\xff\xe0", "not a JPEG"),
    ],
)
def test_not_an_image(data, words):
    assert reason(data).startswith(words)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP", "WEBP", "GIF", "TIFF"])
@pytest.mark.parametrize("kept", [0.1, 0.5])
def test_truncated(kind, kept, photo, encode):
    data = encode(photo, kind)
    assert reason(data[: int(len(data) * kept)])


def test_truncated_jpeg_keeps_the_words_of_pillow(photo, encode):
    data = encode(photo, "JPEG")
    assert reason(data[:-2]).startswith("damaged: image file is truncated")


def test_png_with_a_wrong_checksum(photo, encode):
    data = bytearray(encode(photo))
    data[data.index(b"IDAT") + 10] ^= 1
    assert reason(bytes(data))


def test_png_without_its_end_is_whole_enough(photo, encode):
    data = encode(photo)
    np.testing.assert_array_equal(pixels(data[:-12]), pixels(data))


@pytest.mark.parametrize("width", [0, 20_000, 2**31 - 1])
def test_claimed_size_is_checked_before_memory_is_taken(width, photo, encode):
    data = bytearray(encode(photo))
    data[16:24] = struct.pack(">II", width, 20_000)
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    assert reason(bytes(data))


def test_bitmap_bomb_is_refused_before_it_is_unpacked(encode):
    data = encode(Image.new("1", (12_000, 12_000)))
    assert len(data) < 100_000
    assert reason(data) == "too large: 12000 x 12000 pixels, of 134217728 at most"


@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_of_more_pixels_than_are_decoded_is_shrunk(progressive):
    """Phones take 200 megapixels; of them libjpeg decodes a 64th."""
    blocks = Image.fromarray(np.random.default_rng(0).integers(0, 255, (12, 16), np.uint8))
    large, small = io.BytesIO(), io.BytesIO()
    # More than `Image.open` opens, which judges by what is claimed.
    blocks.resize((15600, 11700), 0).save(large, "JPEG", quality=50, progressive=progressive)
    blocks.resize((1560, 1170), 0).save(small, "JPEG", quality=50)
    found = pixels(large.getvalue()).astype(int)
    assert np.abs(found - pixels(small.getvalue())).mean() < 5


def test_png_that_pillow_calls_a_bomb_is_too_large(encode):
    data = encode(Image.new("1", (16320, 12240)))
    assert reason(data) == "too large: more than 134217728 pixels"


def test_text_bomb(photo):
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    info.add_text("comment", "x" * 80_000_000, zip=True)
    buffer = io.BytesIO()
    photo.save(buffer, "PNG", pnginfo=info)
    assert reason(buffer.getvalue()).startswith("damaged")


def test_memory_error_says_nothing_about_the_image(photo, encode, monkeypatch):
    def full(*args, **kwargs):
        raise MemoryError

    monkeypatch.setattr(Image.Image, "resize", full)
    with pytest.raises(MemoryError):
        decode(encode(photo), size=8, resize=Resize.crop)


# Formats whose parsers come late


@pytest.mark.parametrize("kind", ["AVIF", "HEIF"])
def test_photos_of_phones(kind, photo, encode):
    if kind == "HEIF":
        pytest.importorskip("pillow_heif").register_heif_opener()
    picture = photo.resize((8, 6)).resize((60, 40))  # without detail that compression loses
    found = pixels(encode(picture, kind, quality=95), 40).astype(int)
    assert np.abs(found - pixels(encode(picture), 40)).mean() < 3


@pytest.mark.parametrize("kind", ["AVIF", "HEIF"])
@pytest.mark.parametrize("kept", [0.5, 0.9])
def test_truncated_photos_of_phones(kind, kept, photo, encode):
    if kind == "HEIF":
        pytest.importorskip("pillow_heif").register_heif_opener()
    data = encode(photo, kind)
    assert reason(data[: int(len(data) * kept)]).startswith("damaged")


def test_heic_without_its_reader_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    assert reason(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic") == (
        'HEIC needs pillow-heif: pip install "bottleneck-pipeline[heic]", or convert to JPEG'
    )


def test_only_the_six_parsers_are_loaded(photo, encode):
    """A foreign format must not even import its parser (EPS would start Ghostscript)."""
    code = """
import sys
from pipeline.common.choices import Resize
from pipeline.images import Rejected, decode

for data in (b"%!PS-Adobe-3.0 EPSF-3.0", b"8BPS" + bytes(99)):
    try:
        decode(data, size=8, resize=Resize.crop)
    except Rejected:
        pass
print([name for name in ("Eps", "Psd", "Fits") if f"PIL.{name}ImagePlugin" in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# Collections and fuzz


def test_odd_images_as_pillow_judges_them(test_data):
    """Nothing but pixels or a reason; where the format is read here, Pillow's own verdict."""
    folder = test_data / "odd_images"
    read_here = {"JPEG", "MPO", "PNG", "GIF", "WEBP", "BMP", "TIFF"}
    refused_modes = {"LAB", "I", "F"}
    rows = list(csv.DictReader((folder / "MANIFEST.csv").open()))
    assert len(rows) > 600
    wrong = []
    for row in rows:
        try:
            decode((folder / row["path"]).read_bytes(), size=32, resize=Resize.pad)
            verdict = "pixels"
        except Rejected as error:
            verdict = str(error)
        if verdict.startswith("damaged") and "| exif OSError" in row["error"]:
            continue  # the pixels came, then the end of the file was found damaged
        if (
            verdict.startswith("TIFF with") and row["pillow_result"] == "decoded"
        ):  # Pillow shows them, as something that they are not
            assert any(word in verdict for word in ("signed", "CIELAB", "in planes", "16", "1, 8"))
            continue
        good = (
            row["pillow_result"] == "decoded"
            and row["format"] in read_here
            and row["mode"] not in refused_modes
            and int(row["width"]) * int(row["height"]) <= 2**27
        )
        if good != (verdict == "pixels"):
            wrong.append((row["path"], row["format"], row["mode"], verdict))
    assert wrong == []


def pixels_or_reason(data):
    try:
        result = decode(data, size=8, resize=Resize.pad)
    except Rejected:
        return
    assert result.shape == (8, 8, 3)


@given(st.binary(max_size=200), st.sampled_from([b"", b"\xff\xd8\xff\xe0", b"BM", b"GIF89a"]))
def test_random_bytes_are_pixels_or_a_reason(data, magic):
    pixels_or_reason(magic + data)


@given(data=st.data(), kind=st.sampled_from(["JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF"]))
def test_mutated_images_are_pixels_or_a_reason(data, kind, photo, encode):
    mutated = bytearray(encode(photo, kind))
    for _ in range(data.draw(st.integers(1, 8))):
        mutated[data.draw(st.integers(0, len(mutated) - 1))] = data.draw(st.integers(0, 255))
    pixels_or_reason(bytes(mutated))


def _large_jpeg() -> bytes:
    """Return a photo (scikit-learn's temple) as a JPEG of 4 megapixels."""
    from sklearn.datasets import load_sample_image

    photo = Image.fromarray(load_sample_image("china.jpg"))
    data = io.BytesIO()
    photo.resize((2560, 1708), Image.Resampling.BICUBIC).save(data, "JPEG", quality=90)
    return data.getvalue()


@pytest.mark.parametrize("resize", list(Resize))
def test_a_large_jpeg_is_shrunk_by_libjpeg_without_a_visible_difference(resize: Resize) -> None:
    data = _large_jpeg()
    with Image.open(io.BytesIO(data)) as image:
        whole = io.BytesIO()
        image.save(whole, "BMP")  # which nothing shrinks
    ours = decode(data, size=224, resize=resize).astype(int)
    full = decode(whole.getvalue(), size=224, resize=resize).astype(int)
    assert np.abs(ours - full).mean() < 0.5
    assert np.abs(ours - full).max() <= 8


def test_a_jpeg_below_four_times_the_size_is_decoded_whole() -> None:
    data = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (890, 890, 3), np.uint8)).save(
        data, "JPEG"
    )
    with Image.open(data) as image:
        expected = np.asarray(image.resize((224, 224), Image.Resampling.HAMMING))
    np.testing.assert_array_equal(decode(data.getvalue(), size=224, resize=Resize.squash), expected)
