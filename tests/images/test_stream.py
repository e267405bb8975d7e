"""Reading, hashing and decoding in threads: in order, bounded, nothing lost."""

import errno
import hashlib
import os
import threading

import numpy as np
import pytest

from pipeline.common.choices import Resize
from pipeline.images import files, find, stream


def run(source, rows=None, *, workers=2, known=lambda sha: False):
    rows = range(len(source)) if rows is None else rows
    return stream(source, rows, size=4, resize=Resize.crop, workers=workers, known=known)


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_one_result_for_each_row_in_order(workers, tree):
    source = find(tree(*(f"cat/{i}.png" for i in range(60))))
    rows = [5, 3, 3, *range(59, -1, -1)]
    loaded = list(run(source, rows, workers=workers))
    assert [one.row for one in loaded] == rows
    for one in loaded:
        path = os.path.join(os.fsencode(source.location), source.paths[one.row])
        with open(path, "rb") as file:
            assert one.sha256 == hashlib.sha256(file.read()).digest()
        found = os.stat(path)
        assert one.stat == (found.st_size, found.st_mtime_ns, found.st_ctime_ns)
        assert one.stat == source.stat(one.row)
        assert one.pixels.shape == (4, 4, 3)
        assert (one.reason, one.transient) == (None, False)


def test_known_images_are_hashed_but_not_decoded(tree):
    source = find(tree("cat/a.png", "cat/b.png", **{"cat/c.png": b"broken"}))
    hashes = [one.sha256 for one in run(source)]
    loaded = list(run(source, known=lambda sha: sha in (hashes[0], hashes[2])))
    assert [one.pixels is None for one in loaded] == [True, False, True]
    assert [one.reason for one in loaded] == [None] * 3
    assert [one.sha256 for one in loaded] == hashes


def test_rejected_is_bound_to_the_content(tree):
    source = find(tree(**{"cat/a.png": b"broken", "cat/b.png": b""}))
    loaded = list(run(source))
    assert [one.reason for one in loaded] == [
        "not a JPEG, PNG, GIF, WebP, BMP, TIFF, AVIF or HEIC image",
        "the file is empty",
    ]
    assert loaded[0].sha256 == hashlib.sha256(b"broken").digest()
    assert not any(one.transient for one in loaded)


def test_rows_are_taken_as_they_are_needed(tree):
    source = find(tree(*(f"cat/{i}.png" for i in range(200))))
    taken = []

    def rows():
        for row in range(200):
            taken.append(row)
            yield row

    loaded = run(source, rows(), workers=2)
    for _ in range(3):
        next(loaded)
    assert len(taken) < 30
    loaded.close()


def image_threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("images")]


def test_closing_ends_the_threads(tree):
    loaded = run(find(tree(*(f"cat/{i}.png" for i in range(100)))))
    next(loaded)
    assert image_threads()
    loaded.close()
    assert not image_threads()


def test_an_interrupt_ends_the_threads(tree):
    def interrupt(sha):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(run(find(tree(*(f"cat/{i}.png" for i in range(100)))), known=interrupt))
    assert not image_threads()


def test_a_lack_of_memory_is_not_a_property_of_an_image(tree):
    def full(sha):
        raise MemoryError

    with pytest.raises(MemoryError):
        list(run(find(tree("cat/a.png")), known=full))


@pytest.mark.parametrize(
    ("number", "reason", "transient"),
    [
        (errno.EACCES, "permission denied", False),
        (errno.ELOOP, "a loop of symbolic links", False),
        (errno.ENXIO, "a socket or a device, not a file", False),
        (errno.ENAMETOOLONG, "the path is too long", False),
        (errno.EIO, "cannot be read: ", True),
        (errno.ESTALE, "cannot be read: ", True),
        (errno.ETIMEDOUT, "cannot be read: ", True),
        (errno.EMFILE, "cannot be read: ", True),
    ],
)
def test_what_may_pass_and_what_will_not(number, reason, transient, tree, monkeypatch):
    source = find(tree("cat/a.png"))

    def fail(path, *args, **kwargs):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("os.open", fail)
    (loaded,) = run(source)
    assert loaded.reason.startswith(reason)
    assert (loaded.transient, loaded.sha256, loaded.pixels) == (transient, None, None)
    assert loaded.stat == (0, 0, 0)


def test_a_file_that_vanished_after_the_scan_stays_pending(tree):
    root = tree("cat/a.png", "cat/b.png")
    source = find(root)
    (root / "cat/a.png").unlink()
    first, second = run(source)
    assert (first.reason, first.transient) == ("vanished since the folder was listed", True)
    assert second.pixels is not None
    assert source.stat(0) is None


def test_a_file_that_changed_after_the_scan_is_read_as_it_is(tree, photo, encode):
    root = tree("cat/a.png")
    source = find(root)
    before = source.stat(0)
    (root / "cat/a.png").write_bytes(encode(photo))
    (loaded,) = run(source)
    assert loaded.sha256 == hashlib.sha256(encode(photo)).digest()
    assert loaded.stat == source.stat(0) != before


def test_huge_files_are_not_read(tree):
    root = tree("cat/a.png")
    with (root / "cat/huge.jpg").open("wb") as file:
        file.truncate(300 * 2**20)
    _, huge = run(find(root))
    assert huge.reason == f"too large: {300 * 2**20} bytes, of {256 * 2**20} at most"
    assert (huge.sha256, huge.transient) == (None, False)


def test_a_folder_where_a_file_is_expected(tree):
    root = tree("cat/a.png")
    (root / "list.csv").write_text("path,label\ncat,cat\n")
    (loaded,) = run(find(root / "list.csv"))
    assert (loaded.reason, loaded.transient) == ("a folder, not a file", False)


def test_photos(test_data):
    folders = [test_data / "clothing" / "test" / name for name in ("hat", "skirt")]
    source = files(folders)
    loaded = list(run(source))
    assert len(loaded) == len(source) > 10
    assert all(one.pixels is not None for one in loaded)
    again = {one.sha256: one.pixels for one in run(source, workers=1)}
    for one in loaded:
        np.testing.assert_array_equal(one.pixels, again[one.sha256])
