"""Tables in memory: what a CSV file says, without the file."""

import os

import numpy as np
import pytest

from pipeline.common.errors import SourceError
from pipeline.images import Given, find

COLUMNS = {
    "path": ["a.jpg", "b.jpg", "c.jpg"],
    "label": ["dog", "cat", None],
    "split": ["train", "valid", ""],
    "group": [7, 7, 8],
}


def check(source, root):
    assert source.layout == "table in memory"
    assert source.location == str(root)
    assert source.paths == [b"a.jpg", b"b.jpg", b"c.jpg"]
    assert source.classes == ("cat", "dog")
    assert source.labels.tolist() == [1, 0, -1]
    assert source.splits.tolist() == [Given.TRAIN, Given.VAL, Given.NONE]
    assert source.groups == [b"7", b"7", b"8"]


@pytest.fixture
def root(tree):
    return tree("a.jpg", "b.jpg", "c.jpg")


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_data_frames(library, root):
    frame = pytest.importorskip(library).DataFrame(COLUMNS)
    check(find(frame, root=root), root)


def test_a_dict_of_columns(root):
    check(find(COLUMNS, root=root), root)


def test_columns_of_other_names(root):
    table = {"file": COLUMNS["path"], "class": [2.0, 1.0, np.nan]}
    source = find(table, root=root, columns={"path": "file", "label": "class"})
    assert source.classes == ("1", "2")
    assert source.labels.tolist() == [1, 0, -1]


def test_lists_of_paths_and_labels(root):
    paths = [root / name for name in COLUMNS["path"]]
    source = find((paths, np.array([3, 10, 3])))
    assert source.paths == [os.fsencode(path) for path in paths]
    assert source.classes == ("3", "10")
    assert source.labels.tolist() == [0, 1, 0]


def test_a_list_of_pairs(root):
    paths = [root / "a.jpg", root / "b.jpg"]
    source = find([(paths[0], "cat"), (paths[1], "dog")])
    assert source.paths == [os.fsencode(path) for path in paths]
    assert source.classes == ("cat", "dog")


def test_columns_of_any_case_and_kind(root):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"Path": COLUMNS["path"], "Label": ["dog", "cat", None]})
    frame["Label"] = frame["Label"].astype("string")
    frame["Group"] = pandas.array([7, 7, None], dtype="Int64")
    source = find(frame, root=root)
    assert source.classes == ("cat", "dog")
    assert source.labels.tolist() == [1, 0, -1]
    assert source.groups == [b"7", b"7", b""]
    frame["Label"] = frame["Label"].astype("category")
    assert find(frame, root=root).classes == ("cat", "dog")


def test_a_list_of_paths_alone(root):
    source = find([root / "a.jpg", root / "b.jpg"])
    assert source.labels.tolist() == [-1, -1]
    assert len(find([root / "a.jpg", root / "b.jpg", root / "c.jpg"])) == 3


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ({"file": ["a.jpg"], "class": ["cat"]}, "--columns path=file,label=class"),
        ((["a.jpg", "b.jpg"], ["cat"]), "found 2 paths, 1 labels"),
        ({"path": ["a.jpg"], "label": ["x"], "split": ["fold"]}, "in row 0, found 'fold'"),
        (([1, 2], ["a", "b"]), "expected a path in row 0, found int"),
        ({"path": [], "label": []}, "a table without rows"),
        ((["a.jpg"], [["cat", "pet"]]), "found several"),
        ((["a.jpg"], [np.array(["cat", "pet"])]), "found several"),
        (17, "expected a path, a table or lists as source, found int"),
        (["missing.jpg", "gone.jpg", "lost.jpg"], "found none of 3"),
    ],
)
def test_what_cannot_be_understood_is_told(source, words):
    with pytest.raises(SourceError) as caught:
        find(source)
    assert words in str(caught.value)
