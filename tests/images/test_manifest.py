"""Manifests: one image per line of a CSV or TSV file."""

import os
import sys

import pytest

from pipeline.choices import Resize
from pipeline.errors import SourceError
from pipeline.images import Given, find, stream


def write(folder, text, name="photos.csv"):
    data = text if isinstance(text, bytes) else text.encode()
    (folder / name).write_bytes(data)
    return folder / name


def test_all_columns(tree):
    root = tree("a.jpg", "b.jpg", "c.jpg")
    path = write(
        root,
        "path,label,split,group,camera\n"
        "c.jpg,dog,train,rex,x\n"
        f"{root}/a.jpg,cat,test,,x\n"
        'b.jpg,"cat, black",,rex,x\n',
    )
    source = find(path)
    assert source.layout == "manifest photos.csv"
    assert source.location == str(root)
    assert source.paths == [b"c.jpg", os.fsencode(root / "a.jpg"), b"b.jpg"], "in its own order"
    assert source.classes == ("cat", "cat, black", "dog")
    assert source.labels.tolist() == [2, 0, 1]
    assert source.splits.tolist() == [Given.TRAIN, Given.TEST, Given.NONE]
    assert source.groups == [b"rex", b"", b"rex"]
    assert source.stat(0) == source.stat(0) != source.stat(1)


def test_tabs_a_byte_order_mark_and_empty_labels(tree):
    path = write(tree("a.jpg"), b"\xef\xbb\xbfPath\tLabel\r\na.jpg\t\r\na.jpg\tcat\r\n", "p.TSV")
    source = find(path)
    assert source.labels.tolist() == [-1, 0]
    assert source.groups is None
    assert source.notes == (
        "1 lines have no label",
        "1 lines name a path that an earlier line names",
    )


@pytest.mark.skipif(sys.platform != "linux", reason="needs file names of any bytes")
def test_paths_that_are_not_utf8(tmp_path, photo, encode):
    with open(os.fsencode(tmp_path) + b"/\xff.png", "wb") as file:
        file.write(encode(photo))
    source = find(write(tmp_path, b"path,label\n\xff.png,caf\xe9\n"))
    assert source.paths == [b"\xff.png"]
    assert source.classes == (r"caf\xe9",)
    assert source.stat(0) is not None


def test_a_missing_file_stays_a_row(tree):
    source = find(write(tree("a.jpg"), "path,label\na.jpg,cat\nb.jpg,dog\n"))
    loaded = list(
        stream(source, [0, 1], size=4, resize=Resize.crop, workers=1, known=lambda sha: False)
    )
    assert loaded[0].reason is None
    assert (loaded[1].reason, loaded[1].transient, loaded[1].sha256) == (
        "no such file",
        False,
        None,
    )
    assert source.stat(1) is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "found an empty file"),
        ("a.jpg,cat\n", "expected columns path,label"),
        ("path;label\na.jpg;cat\n", "found path;label"),
        ("path,class\na.jpg,cat\n", "found path, class"),
        ("path,label\n", "only a header"),
        ("path,label\na.jpg,cat\n,dog\n", "expected a path in line 3"),
        ("path,label\na\0b.jpg,cat\n", r"found 'a\\x00b.jpg'"),
        ("path,label,split\na.jpg,cat,train\nb.jpg,cat,dev\n", "in line 3 of .* found 'dev'"),
        ("path,label\n" + "x" * 200_000 + ",cat\n", "cannot be read as a table"),
    ],
)
def test_what_cannot_be_understood_names_the_line(text, words, tmp_path):
    with pytest.raises(SourceError, match=words) as error:
        find(write(tmp_path, text))
    assert "\n" not in str(error.value)
