"""Images inside arrays: NumPy archives, IDX files, scikit-learn's digits."""

import gzip
import io
import struct
import zipfile

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from pipeline.common.choices import Resize
from pipeline.common.errors import SourceError
from pipeline.images import Given, decode, find, parse_limit, stream


def load(source, rows=None, size=8):
    rows = range(len(source)) if rows is None else rows
    return list(
        stream(source, rows, size=size, resize=Resize.crop, workers=2, known=lambda sha: False)
    )


def pixels(source, rows=None, size=8):
    return np.stack([loaded.pixels for loaded in load(source, rows, size)])


@pytest.fixture
def noise():
    def noise(*shape, seed=0):
        return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)

    return noise


@pytest.fixture
def npz(tmp_path):
    """Save arrays, compressed or not, and return the path."""

    def npz(save=np.savez, **arrays):
        save(tmp_path / "data.npz", **arrays)
        return tmp_path / "data.npz"

    return npz


def message(path):
    with pytest.raises(SourceError) as error:
        find(path)
    assert "\n" not in str(error.value)
    return str(error.value)


# NumPy archives


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_keras_archive(save, npz, noise):
    x, t = noise(9, 8, 8, 3), noise(4, 8, 8, 3, seed=1)
    y = np.array([0, 10, 9] * 3)
    source = find(npz(save, x_train=x, y_train=y, x_test=t, y_test=y[:4]))
    assert source.layout == "numpy archive"
    assert source.classes == ("0", "9", "10")
    assert source.labels.tolist() == [0, 2, 1] * 3 + [0, 2, 1, 0]
    assert source.splits.tolist() == [Given.TRAIN] * 9 + [Given.TEST] * 4
    assert source.paths[0] == b"x_train#0"
    assert source.paths[-1] == b"x_test#3"
    np.testing.assert_array_equal(pixels(source), np.concatenate([x, t]))
    assert source.stat(0) is None
    assert load(source)[0].stat == (0, 0, 0)


@pytest.mark.parametrize(
    ("names", "given"),
    [
        (("x", "y"), Given.NONE),
        (("X", "y"), Given.NONE),
        (("x_val", "y_val"), Given.VAL),
        (("x_valid", "y_valid"), Given.VAL),
        (("x_validation", "y_validation"), Given.VAL),
        (("train_images", "train_labels"), Given.TRAIN),
    ],
)
def test_names_of_arrays(names, given, npz, noise):
    source = find(npz(**{names[0]: noise(3, 8, 8), names[1]: np.arange(3)}))
    assert source.splits.tolist() == [given] * 3


@pytest.mark.parametrize("shape", [(3, 8, 8), (3, 8, 8, 1)])
def test_grey_becomes_three_equal_channels(shape, npz, noise):
    x = noise(*shape)
    result = pixels(find(npz(x=x, y=np.arange(3))))
    np.testing.assert_array_equal(result, np.broadcast_to(x.reshape(3, 8, 8, 1), (3, 8, 8, 3)))


def test_an_image_is_handed_over_as_a_bmp_file_of_fixed_bytes(npz, noise):
    """Checked by Pillow; rows of 5 pixels end on 4 bytes."""
    x = noise(1, 3, 5, 3)
    ((_, read),) = find(npz(x=x, y=np.zeros(1))).contents([0])
    data = read().data
    opened = Image.open(io.BytesIO(data))
    assert (opened.format, opened.mode) == ("BMP", "RGB")
    np.testing.assert_array_equal(np.asarray(opened), x[0])
    assert len(data) == 54 + 3 * 16
    np.testing.assert_array_equal(
        decode(data, size=3, resize=Resize.crop), np.asarray(opened)[:, 1:4]
    )


@pytest.mark.parametrize(
    "labels",
    [
        np.array([3, 7, 7]),
        np.array([[3], [7], [7]]),
        np.array([3.0, 7.0, 7.0]),
        np.array(["3", "7", "7"]),
        np.array([b"3", b"7", b"7"]),
        np.eye(8)[[3, 7, 7]],
        np.eye(8, dtype=bool)[[3, 7, 7]],
    ],
)
def test_kinds_of_labels(labels, npz, noise):
    source = find(npz(x=noise(3, 8, 8), y=labels))
    assert source.classes == ("3", "7")
    assert source.labels.tolist() == [0, 1, 1]


def test_negative_labels_are_names_like_any_other(npz, noise):
    source = find(npz(x=noise(3, 8, 8), y=np.array([-1, 5, 1000])))
    assert source.classes == ("-1", "5", "1000")
    assert source.labels.tolist() == [0, 1, 2]


def test_images_without_labels(npz, noise):
    source = find(npz(x_train=noise(3, 8, 8), y_train=np.arange(3), x_test=noise(2, 8, 8)))
    assert source.labels.tolist() == [0, 1, 2, -1, -1]
    assert source.notes == ("x_test has no labels: there is no y_test",)


def test_unit_floats_are_scaled_and_said(npz):
    x = np.linspace(0, 1, 2 * 64, dtype=np.float32).reshape(2, 8, 8)
    source = find(npz(x=x, y=np.arange(2)))
    np.testing.assert_array_equal(pixels(source)[..., 0], np.rint(x * 255))
    assert "multiplied by 255" in source.notes[0]


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64, ">f4", np.float16])
def test_other_numbers_in_the_range_of_bytes(dtype, npz, noise):
    x = noise(2, 8, 8)
    source = find(npz(x=x.astype(dtype), y=np.arange(2)))
    np.testing.assert_array_equal(pixels(source)[..., 0], x)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (np.full((2, 8, 8), -1.0), r"-1..-1"),
        (np.full((2, 8, 8), 256, np.int32), "undo the preprocessing"),
        (np.full((2, 8, 8), 1j), "complex128; save it as uint8"),
        (np.zeros((2, 3, 8, 8), np.uint8), r"channels come last: save np.moveaxis(x, 1, -1)"),
        (np.zeros((2, 8, 8, 4), np.uint8), "drop the alpha channel"),
        (np.zeros((2, 64), np.uint8), "rows are flat: save x.reshape(-1, height, width)"),
        (np.zeros((2, 0, 8), np.uint8), "found 2x0x8"),
        (np.zeros((0, 8, 8), np.uint8), "found 0x8x8"),
        (np.zeros((2, 8, 8, 3), np.uint8, order="F"), "ascontiguousarray"),
    ],
)
def test_what_are_no_images(values, words, npz):
    assert words in message(npz(x=values, y=np.arange(len(values))))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_pixels_that_are_no_numbers_are_named(bad, npz):
    x = np.zeros((5, 8, 8), np.float32)
    x[3, 1, 1] = bad
    assert "x[3]" in message(npz(x=x, y=np.arange(5)))


def test_train_scaled_and_test_not_is_refused(npz, noise):
    x = noise(3, 8, 8)
    words = message(npz(x_train=x / 255, y_train=[0] * 3, x_test=x / 1.0, y_test=[0] * 3))
    assert "0..1 in x_train" in words


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (np.arange(4), "expected 3 labels"),
        (np.zeros((3, 2)), "one-hot rows in y, found neither in row 0"),
        (np.array([0.5, 1, 2]), "found 0.5 in y[0]"),
        (np.array([0, 1, np.nan]), "in y[2]"),
        (np.zeros(3, complex), "expected numbers or text"),
        (np.zeros((3, 1, 1)), "found shape 3x1x1"),
    ],
)
def test_labels_that_do_not_fit(labels, words, npz, noise):
    assert words in message(npz(x=noise(3, 8, 8), y=labels))


def test_objects_are_never_loaded(npz, tmp_path):
    class Trap:
        def __reduce__(self):
            return (tmp_path.joinpath("sprung").write_text, ("x",))

    for name in ("x", "y"):
        arrays = {"x": np.zeros((1, 8, 8), np.uint8), "y": np.zeros(1)}
        arrays[name] = np.array([Trap()], dtype=object)
        assert "never loaded" in message(npz(**arrays))
    assert not tmp_path.joinpath("sprung").exists()


def test_an_archive_without_images_says_what_it_has(npz):
    assert "x_train" in message(npz(weights=np.zeros(3)))


def test_an_archive_never_writes_outside(tmp_path, noise):
    path = tmp_path / "data.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("../x_train.npy", b"evil")
    assert "expected arrays" in message(path)


def with_header(tmp_path, header, body, **options):
    path = tmp_path / "data.npz"
    with zipfile.ZipFile(path, "w") as archive:
        text = header.ljust(117).encode() + b"\n"
        data = b"\x93NUMPY\1\0" + struct.pack("<H", len(text)) + text + body
        archive.writestr("x.npy", data, **options)
    return path


@pytest.mark.parametrize("compress_type", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_header_that_claims_40_gb(compress_type, tmp_path):
    header = "{'descr': '|u1', 'fortran_order': False, 'shape': (40000, 1000, 1000)}"
    path = with_header(tmp_path, header, b"\0" * 1000, compress_type=compress_type)
    assert "claims 40000000" in message(path)


@pytest.mark.parametrize("header", ["{", "[]", "{'descr': 'x'}", "(" * 100])
def test_a_header_that_is_none(header, tmp_path):
    assert "cannot be read" in message(with_header(tmp_path, header, b""))


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("kept", [0, 100, 0.5, -30])
def test_a_truncated_archive(kept, save, npz, noise):
    path = npz(save, x=noise(50, 8, 8), y=np.arange(50))
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * kept) if isinstance(kept, float) else kept])
    assert "cannot be read" in message(path)


def test_a_flipped_bit_in_a_compressed_archive(npz):
    path = npz(np.savez_compressed, x=np.zeros((50, 32, 32), np.uint8), y=np.arange(50))
    data = bytearray(path.read_bytes())
    data[200] ^= 4
    path.write_bytes(data)
    assert "cannot be read" in message(path)


def test_rows_in_any_order_and_limits(npz, noise):
    x = noise(20, 8, 8, 3)
    source = find(npz(np.savez_compressed, x=x, y=np.arange(20)))
    np.testing.assert_array_equal(pixels(source, [7, 3, 3, 19]), x[[7, 3, 3, 19]])
    part = source.limited(parse_limit("5"))
    chosen = [int(path.split(b"#")[1]) for path in part.paths]
    np.testing.assert_array_equal(pixels(part), x[chosen])
    assert [part.classes[label] for label in part.labels] == [str(i) for i in chosen]


# IDX


def idx(data, *shape, magic=None):
    return (magic or bytes([0, 0, 8, len(shape)])) + struct.pack(f">{len(shape)}I", *shape) + data


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("dot", ["-", "."])
def test_mnist_files(packed, dot, tmp_path, noise):
    x, t = noise(5, 8, 8), noise(3, 8, 8, seed=1)
    files = {
        f"train-images{dot}idx3-ubyte": idx(x.tobytes(), 5, 8, 8),
        f"train-labels{dot}idx1-ubyte": idx(bytes([4, 0, 4, 0, 9]), 5),
        f"t10k-images{dot}idx3-ubyte": idx(t.tobytes(), 3, 8, 8),
        f"t10k-labels{dot}idx1-ubyte": idx(bytes([0, 4, 9]), 3),
    }
    for name, data in files.items():
        path = tmp_path / (name + ".gz" * packed)
        path.write_bytes(gzip.compress(data, mtime=0) if packed else data)
    source = find(tmp_path)
    assert source.layout == "IDX files"
    assert source.classes == ("0", "4", "9")
    assert source.splits.tolist() == [Given.TEST] * 3 + [Given.TRAIN] * 5
    assert source.labels.tolist() == [0, 1, 2, 1, 0, 1, 0, 2]
    np.testing.assert_array_equal(pixels(source)[..., 0], np.concatenate([t, x]))


def test_an_unpacked_file_beside_its_archive_counts_once(tmp_path, noise):
    data = idx(noise(3, 8, 8).tobytes(), 3, 8, 8)
    (tmp_path / "images-idx3-ubyte").write_bytes(data)
    (tmp_path / "images-idx3-ubyte.gz").write_bytes(gzip.compress(data, mtime=0))
    source = find(tmp_path)
    assert source.splits.tolist() == [Given.NONE] * 3
    assert source.labels.tolist() == [-1] * 3
    assert "no labels" in source.notes[0]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "found nothing"),
        (b"\0\0", "found 0000"),
        (idx(b"\0" * 64, 1, 8, 8, magic=b"\0\0\x08\x01"), "found 00000801"),
        (idx(b"\0" * 63, 1, 8, 8), "claims 80 bytes (1x8x8) and has 79"),
        (idx(b"\0" * 64, 2**32 - 1, 2**16, 2**16), "claims"),
        (idx(b"", 0, 8, 8), "found 0x8x8"),
    ],
)
def test_damaged_idx(data, words, tmp_path):
    (tmp_path / "train-images-idx3-ubyte").write_bytes(data)
    assert words in message(tmp_path)


@pytest.mark.parametrize(
    "data",
    [
        gzip.compress(idx(b"", 2**32 - 1, 2**16, 2**16), mtime=0),
        gzip.compress(idx(b"\0" * 6400, 101, 8, 8), mtime=0),
        gzip.compress(idx(bytes(range(256)) * 25, 100, 8, 8), mtime=0)[:-20],
        b"not gzip",
    ],
)
def test_damaged_gzip(data, tmp_path):
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(data)
    message(tmp_path)


def test_labels_of_another_number(tmp_path):
    (tmp_path / "train-images-idx3-ubyte").write_bytes(idx(b"\0" * 128, 2, 8, 8))
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx(b"\0" * 3, 3))
    assert "expected 2 labels" in message(tmp_path)


def test_a_file_that_shrinks_after_it_was_found(tmp_path):
    path = tmp_path / "train-images-idx3-ubyte"
    path.write_bytes(idx(b"\0" * 640, 10, 8, 8))
    source = find(tmp_path)
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(SourceError, match="expected 10 rows"):
        load(source)


def test_mnist(test_data):
    """As its authors describe it: 980 of 10,000 test digits are zeros, the first one is a 7."""
    source = find(test_data / "mnist")
    assert np.bincount(source.splits).tolist() == [0, 60_000, 0, 10_000]
    test = source.labels[source.splits == Given.TEST]
    assert np.bincount(test)[0] == 980
    assert source.classes[test[0]] == "7"
    part = source.limited(parse_limit("train=20,test=10"))
    assert np.bincount(part.splits).tolist() == [0, 20, 0, 10]
    assert all(loaded.reason is None for loaded in load(part, size=32))


# Digits


def test_digits():
    source = find("digits")
    bundled = load_digits()
    assert source.layout == "scikit-learn digits"
    assert source.location == "digits"
    assert source.classes == tuple("0123456789")
    np.testing.assert_array_equal(source.labels, bundled.target)
    expected = np.rint(bundled.images[:50] * 255 / 16)
    np.testing.assert_array_equal(pixels(source, range(50))[..., 0], expected)
    assert source.paths[12] == b"digits#12"


def test_a_folder_named_digits_comes_first(tree, monkeypatch):
    root = tree("digits/one/a.png", "digits/two/a.png")
    monkeypatch.chdir(root)
    assert find("digits").classes == ("one", "two")
