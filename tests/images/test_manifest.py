"""Manifests: one image per line of a CSV or TSV file."""

import os
import sys

import pytest

from pipeline.common.choices import Resize
from pipeline.common.errors import SourceError
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
        "1 line has no label",
        "1 line names a path that an earlier line names",
    )


@pytest.mark.skipif(sys.platform != "linux", reason="needs file names of any bytes")
def test_paths_that_are_not_utf8(tmp_path, photo, encode):
    with open(os.fsencode(tmp_path) + b"/\xff.png", "wb") as file:
        file.write(encode(photo))
    source = find(write(tmp_path, b"path,label\n\xff.png,caf\xe9\n"))
    assert source.paths == [b"\xff.png"]
    assert source.classes == ("café",), "as Windows-1252"
    assert "1 labels are no UTF-8 and are read as Windows-1252" in source.notes
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
        ("path,class\na.jpg,cat\n", "found path, class; say .* --columns label=class"),
        ("file;Category\na.jpg;cat\n", "--columns path=file,label=Category"),
        ("path,label\n", "only a header"),
        ("path,label,label\na.jpg,a,b\n", "expected one column label .* found 2"),
        (
            "path,label\na.jpg,yes,no\n",
            "expected 2 fields in line 2 .* found 3; put what has a ','",
        ),
        ("path,label\na.jpg,cat\n,dog\n", "expected a path in line 3"),
        ("path,label\na\0b.jpg,cat\n", r"found 'a\\x00b.jpg'"),
        ("path,label,split\na.jpg,cat,train\nb.jpg,cat,fold1\n", "in line 3 of .* found 'fold1'"),
        (
            "path,label,split\na,b,1\na,b,2\n,b,\n",
            "found '1', as 1 others; expected a path in line 4",
        ),
        (
            "path,label\na.jpg,cat\n",
            "found none of 1, such as a.jpg; name their folder with --root",
        ),
        ("path,label\n" + "x" * 200_000 + ",cat\n", "cannot be read as a table"),
    ],
)
def test_what_cannot_be_understood_names_the_line(text, words, tmp_path):
    with pytest.raises(SourceError, match=words) as error:
        find(write(tmp_path, text))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("name", ["p.csv", "p.tsv"])
def test_what_excel_and_other_programs_write(delimiter, encoding, name, tree):
    root = tree("a.jpg", "b.jpg")
    rows = [["Path", "Label", "Split"], ["a.jpg", "Bär", "training"], ["b.jpg", "Hund", "Test"]]
    text = "\r\n".join(delimiter.join(row) for row in rows) + "\r\n\r\n"
    source = find(write(root, text.encode(encoding), name))
    assert source.classes == ("Bär", "Hund")
    assert source.splits.tolist() == [Given.TRAIN, Given.TEST]


def test_a_first_line_that_names_the_delimiter(tree):
    source = find(write(tree("a.jpg"), "sep=;\npath;label\na.jpg;cat\n"))
    assert source.classes == ("cat",)


@pytest.mark.parametrize(
    ("word", "given"),
    [("valid", Given.VAL), ("dev", Given.VAL), ("Testing", Given.TEST), ("", Given.NONE)],
)
def test_splits_have_the_names_that_folders_may_have(word, given, tree):
    source = find(write(tree("a.jpg"), f"path,label,split\na.jpg,cat,{word}\n"))
    assert source.splits.tolist() == [given]


@pytest.mark.skipif(os.sep != "/", reason="there they are paths as they are")
def test_paths_of_windows(tree):
    source = find(
        write(tree("cats/a.jpg", "cats/b.jpg"), "path,label\ncats\\a.jpg,cat\ncats/b.jpg,x\n")
    )
    assert source.paths == [b"cats/a.jpg", b"cats/b.jpg"]
    assert source.notes == ("1 paths with \\ are read with /",)


def test_numbers_without_an_extension_and_a_folder_elsewhere(tree):
    root = tree("lists/readme.md", "train/000bec.jpg", "train/17.5.png", "train/x")
    path = write(root / "lists", "id,breed\n000bec,boston\n17.5,pug\nx,pug\n")
    source = find(path, root=root / "train", columns="path=id,label=breed")
    assert source.paths == [b"000bec.jpg", b"17.5.png", b"x"]
    assert source.location == str(root / "train")
    assert all(source.stat(row) for row in range(3))


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (["cat|dog", "cat", "dog", "dog|cat|cow", "cow"], "found several, such as 'cat|dog'"),
        (["a b", "a c", "b c", "a b c", "a", "b", "c a", "c b a"], "found several, such as 'a b'"),
        (["yes", "no", "yes|no"], "found several, such as 'yes|no'"),
        (["cat", "dog", "cat+dog"], "found several, such as 'cat+dog'"),
        (["['a', 'b']", "['a']"], "found several, such as"),
        (["0.21", "0.5", "3.75", "4"], "found numbers of a scale, such as 0.21"),
        (["0,37", "1,5", "2,25"], "found numbers of a scale, such as 0,37"),
    ],
)
def test_labels_that_are_no_classes(labels, words, tree):
    root = tree(*(f"{number}.jpg" for number in range(len(labels))))
    lines = "".join(f"{number}.jpg\t{label}\n" for number, label in enumerate(labels))
    with pytest.raises(SourceError) as caught:
        find(write(root, f"path\tlabel\n{lines}"))
    assert words in str(caught.value)


@pytest.mark.parametrize(
    "labels",
    [
        ["black cat", "white cat", "black dog", "white dog", "grey cat", "grey dog"],
        [
            "golden retriever",
            "boxer",
            "great dane",
            "irish terrier",
            "toy terrier",
            "west highland terrier",
        ],
        ["mallard|m", "mallard|f", "teal|m", "teal|f"],
        ["1.0", "2.0", "3.0"],
        ["cat, black", "dog"],
    ],
)
def test_names_of_several_words_are_classes(labels, tree):
    root = tree(*(f"{number}.jpg" for number in range(len(labels))))
    lines = "".join(f"{number}.jpg\t{label}\n" for number, label in enumerate(labels))
    assert set(find(write(root, f"path\tlabel\n{lines}")).classes) == set(labels)


def test_several_lines_with_different_labels_for_one_image(tree):
    root = tree("a.jpg", "b.jpg")
    text = "path,label\na.jpg,cat\na.jpg,dog\nb.jpg,cat\nb.jpg,dog\n"
    with pytest.raises(SourceError, match="2 of 2 images on several lines with different labels"):
        find(write(root, text))


def test_a_column_that_is_named_and_not_there(tree):
    path = write(tree("a.jpg"), "path,label,patient\na.jpg,cat,7\n")
    with pytest.raises(SourceError, match=r"expected a column patient_id for group .* found path"):
        find(path, columns="group=patient_id")


def test_blank_lines_before_the_first_one(tree):
    assert find(write(tree("a.jpg"), "\n \npath,label\na.jpg,cat\n")).classes == ("cat",)


@pytest.mark.skipif(sys.platform != "linux", reason="needs file names of any bytes")
def test_paths_of_a_windows_program(tree):
    source = find(write(tree("café.jpg"), b"path,label\ncaf\xe9.jpg,cat\n"))
    assert source.paths == ["café.jpg".encode()]


def test_columns_and_roots_belong_to_tables(tree):
    root = tree("cat/a.jpg", "dog/b.jpg")
    with pytest.raises(SourceError, match="expected a CSV or TSV file with --root"):
        find(root, root=root)
    with pytest.raises(SourceError, match="expected columns such as path=filename,label=class"):
        find(root, columns="file=path")
    with pytest.raises(SourceError, match="expected a folder of images as --root"):
        find(write(root, "path,label\ncat/a.jpg,cat\n"), root=root / "nowhere")
