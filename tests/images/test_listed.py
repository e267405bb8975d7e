"""Files and folders named one by one."""

import os

import pytest

from pipeline.common.choices import Resize
from pipeline.common.errors import SourceError, SourceNotFound
from pipeline.images import files, stream


def test_order_is_as_given_and_sorted_inside_a_folder(tree, monkeypatch):
    root = tree("z.png", "more/b.png", "more/a/c.jpg", "a.png")
    monkeypatch.chdir(root)
    source = files(["z.png", "more", root / "a.png"])
    assert source.layout == "files"
    assert source.classes == ()
    assert source.paths == [b"z.png", b"more/a/c.jpg", b"more/b.png", os.fsencode(root / "a.png")]
    assert source.labels.tolist() == [-1] * 4
    assert source.splits.tolist() == [0] * 4
    monkeypatch.chdir("more")
    assert all(source.stat(row) is not None for row in range(4)), "the folder is remembered"


def test_a_named_file_is_taken_whatever_its_extension(tree):
    root = tree(**{"notes.md": b"text"})
    source = files([root / "notes.md"])
    (loaded,) = stream(source, [0], size=4, resize=Resize.crop, workers=1, known=lambda sha: False)
    assert loaded.reason == "not a JPEG, PNG, GIF, WebP, BMP, TIFF, AVIF or HEIC image"


def test_other_files_in_a_folder_are_counted(tree):
    assert files([tree("a.png", **{"b.txt": b"", ".hidden": b""})]).ignored == {
        ".txt": 1,
        "hidden": 1,
    }


def test_what_does_not_exist(tmp_path):
    with pytest.raises(SourceNotFound, match=r"missing\\n.jpg"):
        files([tmp_path / "missing\n.jpg"])


def test_folders_without_images(tree):
    with pytest.raises(SourceError, match="found 1 other files"):
        files([tree(**{"b.txt": b""})])
