"""Views: what each augmentation does, and that nothing but seed, content and number decides it."""

import hashlib
import io

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image, ImageOps

from pipeline.common.choices import Augment, Resize
from pipeline.common.errors import ChoiceError
from pipeline.images import ONE_VIEW, decode, decode_views, find, parse_views, stream
from pipeline.images._augment import _Dice, affine, crop_box, warped

SIZE = 24
EVERYTHING = ",".join(name.value for name in Augment)
fractions = st.floats(0, 1, exclude_max=True)


@pytest.fixture(scope="module")
def data(photo, encode):
    return encode(photo)


def views_of(data, augment=EVERYTHING, *, count=4, seed=0, resize=Resize.crop, size=SIZE):
    views = parse_views(count, augment=augment, seed=seed)
    digest = hashlib.sha256(data).digest()
    result = decode_views(data, size=size, resize=resize, views=views, sha256=digest)
    assert result.shape == (count, size, size, 3)
    assert result.dtype == np.uint8
    return result


def smooth(size):
    """A picture without edges, on which one interpolation is as good as another."""
    y, x = np.mgrid[:size, :size] / size
    waves = [np.sin(3 * x + 2 * y), np.cos(4 * x - y), x * y]
    return np.stack([128 + 100 * wave for wave in waves], axis=-1).astype(np.uint8)


# What is asked for


def test_one_view_is_the_image_alone():
    assert parse_views(1) == ONE_VIEW
    assert ONE_VIEW.policy == {"views": 1}


def test_names_come_in_any_order_and_are_kept_in_one():
    for given_names in ("crop,flip", ["flip", "crop"], (Augment.crop, "flip"), None):
        views = parse_views(3, augment=given_names, seed=5)
        assert views.policy == {"views": 3, "augment": "flip,crop", "augment_seed": 5}


@pytest.mark.parametrize(
    ("count", "options", "message"),
    [
        (0, {}, "expected 1 to 100 views, found 0"),
        (101, {}, "expected 1 to 100 views, found 101"),
        (1, {"augment": "flip"}, "expected augment with 2 views or more, found 1"),
        (2, {"augment": "flip,blur"}, "expected augment to be one of flip, crop, .* found 'blur'"),
        (2, {"augment": ()}, "expected a name in augment, found none"),
        (2, {"seed": -1}, "expected a seed from 0"),
    ],
)
def test_what_is_refused(count, options, message):
    with pytest.raises(ChoiceError, match=message):
        parse_views(count, **options)


# What each view is


@pytest.mark.parametrize("resize", list(Resize))
@pytest.mark.parametrize("augment", [name.value for name in Augment] + [EVERYTHING])
def test_the_first_view_is_the_image_and_the_others_are_not(data, augment, resize):
    views = views_of(data, augment, count=8, resize=resize)
    np.testing.assert_array_equal(views[0], decode(data, size=SIZE, resize=resize))
    differ = [(view != views[0]).any() for view in views[1:]]
    assert any(differ) if augment == "flip" else all(differ)


def test_every_second_view_is_flipped(data):
    views = views_of(data, "flip", count=100)
    mirrored = np.asarray(ImageOps.mirror(Image.fromarray(views[0])))
    flipped = sum(np.array_equal(view, mirrored) for view in views)
    assert flipped + sum(np.array_equal(view, views[0]) for view in views) == 100
    assert 35 <= flipped <= 65  # 3 standard deviations of a fair coin


def test_a_crop_is_scaled_from_the_whole_photo_at_once(photo, data):
    dice = _Dice(0, hashlib.sha256(data).digest(), 1)
    box = crop_box(photo.size, *dice(Augment.crop))
    expected = photo.resize((8, 8), Image.Resampling.HAMMING, box=box)
    np.testing.assert_array_equal(views_of(data, "crop", size=8)[1], np.asarray(expected))


def test_the_box_of_a_crop():
    """By hand: of 60 x 40 pixels the largest square has an edge of 40, and 0.81 of it one of 36."""
    assert crop_box((60, 40), 1, 0.5, 0.5, 0.5) == pytest.approx((10, 0, 50, 40))
    share = (0.81 - 0.75) / 0.25
    assert crop_box((60, 40), share, 0.5, 0, 0) == pytest.approx((0, 0, 36, 36))
    assert crop_box((60, 40), 1, 1, 0, 0) == pytest.approx((0, 0, 160 / 3, 40))
    assert crop_box((60, 40), 1, 0, 1, 0) == pytest.approx((30, 0, 60, 40))


@given(
    st.tuples(st.integers(1, 5000), st.integers(1, 5000)),
    fractions,
    fractions,
    fractions,
    fractions,
)
@example((538, 403), 0.9999999999999998, 0.9999999999999998, 0.0, 0.5)
def test_a_crop_is_inside_and_neither_small_nor_long(shape, share, ratio, x, y):
    left, top, right, bottom = crop_box(shape, share, ratio, x, y)
    assert 0 <= left < right <= shape[0]
    assert 0 <= top < bottom <= shape[1]
    width, height = right - left, bottom - top
    assert 3 / 4 - 1e-6 <= width / height <= 4 / 3 + 1e-6
    largest = min(shape[0], shape[1] * width / height)
    assert width >= np.sqrt(0.75) * largest * (1 - 1e-6)


@pytest.mark.parametrize(
    "parameters",
    [
        {"theta": 50},
        {"theta": -17, "zx": 0.7, "zy": 1.3},
        {"shear": 11.4},
        {"tx": 9, "ty": -4},
        {"theta": 31, "tx": -7, "ty": 5, "shear": -9, "zx": 1.2, "zy": 0.8},
    ],
)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_affine_maps_are_those_of_keras(parameters):
    """Keras interpolates between two pixels, and repeats the edge, too."""
    from keras.src.legacy.preprocessing.image import apply_affine_transform

    pixels, size = smooth(64), 64
    expected = apply_affine_transform(
        pixels.astype(np.float32), row_axis=0, col_axis=1, channel_axis=2, **parameters
    )
    matrix = affine(
        angle=np.radians(parameters.get("theta", 0)),
        shift=(parameters.get("tx", 0) / size, parameters.get("ty", 0) / size),
        shear=np.radians(parameters.get("shear", 0)),
        zoom=(parameters.get("zx", 1), parameters.get("zy", 1)),
    )
    found = np.asarray(warped(Image.fromarray(pixels), matrix)).astype(np.float32)
    assert np.abs(found - expected).max() <= 3
    assert np.abs(found - expected).mean() <= 0.6


def still(**change):
    return affine(**{"angle": 0.0, "shift": (0.0, 0.0), "shear": 0.0, "zoom": (1.0, 1.0), **change})


def test_a_map_that_changes_nothing_changes_no_bit():
    pixels = np.random.default_rng(0).integers(0, 256, (17, 17, 3), np.uint8)
    np.testing.assert_array_equal(np.asarray(warped(Image.fromarray(pixels), still())), pixels)


def test_what_comes_in_from_outside_repeats_the_edge():
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
    right = np.asarray(warped(Image.fromarray(pixels), still(shift=(0.25, 0))))
    np.testing.assert_array_equal(right[:, :12], pixels[:, 4:])
    np.testing.assert_array_equal(right[:, 12:], np.repeat(pixels[:, 15:], 4, axis=1))


def test_a_quarter_turn_is_that_of_numpy():
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
    turned = np.asarray(warped(Image.fromarray(pixels), still(angle=np.pi / 2)))
    np.testing.assert_allclose(turned, np.rot90(pixels), atol=1)


def test_colour_leaves_grey_grey_and_within_its_bounds(encode):
    views = views_of(encode(Image.new("RGB", (9, 9), (100, 100, 100))), "colour", count=50)
    assert (views == views[..., :1]).all()
    assert (views.min(axis=(1, 2, 3)) == views.max(axis=(1, 2, 3))).all()
    assert 60 <= views.min() < 70
    assert 130 < views.max() <= 140


@pytest.mark.parametrize("shape", [(1, 1), (1, 3000), (3000, 1), (3, 2)])
def test_extreme_shapes_keep_their_colour(shape, encode):
    views = views_of(encode(Image.new("RGB", shape, (10, 20, 30))), "flip,crop,rotate,zoom,shift")
    assert (views == (10, 20, 30)).all()


# What decides


def test_the_numbers_are_those_of_sha256():
    """Of 32 zero bytes, seed 7 and view 1 as 8 bytes each, and the name: sha256sum of coreutils."""
    words = ["c56e0738777a772e", "b11729e9f4c66758", "311e5cb320097b46", "f581eceea77f28a0"]
    expected = [(int(word, 16) >> 11) / 2**53 for word in words]
    assert list(_Dice(7, bytes(32), 1)(Augment.flip)) == expected


def test_seed_content_and_number_decide(data, photo, encode):
    again, other = views_of(data), views_of(data, seed=1)
    np.testing.assert_array_equal(views_of(data), again)
    np.testing.assert_array_equal(other[0], again[0])
    assert all((a != b).any() for a, b in zip(other[1:], again[1:], strict=True))
    # The same pixels in another file are another content.
    same = encode(photo, compress_level=1)
    assert (views_of(same)[1] != again[1]).any()
    # A view does not depend on how many come after it.
    np.testing.assert_array_equal(views_of(data, count=9)[:4], again)


def test_one_augmentation_does_not_move_another(data):
    both, alone = views_of(data, "flip,crop", count=9), views_of(data, "crop", count=9)
    for view, crop in zip(both, alone, strict=True):
        mirrored = np.asarray(ImageOps.mirror(Image.fromarray(crop)))
        assert np.array_equal(view, crop) or np.array_equal(view, mirrored)


@pytest.mark.parametrize("workers", [1, 3])
def test_order_and_threads_decide_nothing(workers, tree, encode):
    random = np.random.default_rng(0)
    pictures = [Image.fromarray(random.integers(0, 256, (9, 9, 3), np.uint8)) for _ in range(12)]
    source = find(tree(**{f"cat/{i:02}.png": encode(image) for i, image in enumerate(pictures)}))
    options = {"size": SIZE, "resize": Resize.crop, "workers": workers, "known": lambda sha: False}
    rows = [7, 3, *range(11, -1, -1)]
    for loaded in stream(source, rows, views=parse_views(3, augment=EVERYTHING), **options):
        expected = views_of(encode(pictures[loaded.row]), count=3)
        np.testing.assert_array_equal(loaded.pixels, expected)


def test_a_large_photo_gives_all_detail_to_its_views(photo, encode):
    """libjpeg may leave out detail, but a part of the photo is not enlarged from a small one."""
    large = photo.resize((2400, 1600), Image.Resampling.BICUBIC)
    data = encode(large, "JPEG", quality=95)
    views = views_of(data, "crop", size=64)
    box = crop_box(large.size, *_Dice(0, hashlib.sha256(data).digest(), 1)(Augment.crop))
    decoded = Image.open(io.BytesIO(data)).convert("RGB")
    expected = np.asarray(decoded.resize((64, 64), Image.Resampling.HAMMING, box=box))
    assert np.abs(views[1].astype(int) - expected).mean() < 1.5
