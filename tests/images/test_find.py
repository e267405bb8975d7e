"""Folders of images: which layout, which rows, which labels, what is left out."""

import errno
import os
import sys

import numpy as np
import pytest

from pipeline.common.choices import Resize
from pipeline.common.errors import SourceError, SourceNotFound
from pipeline.images import Given, files, find, printable, stream

unix = pytest.mark.skipif(sys.platform != "linux", reason="needs file names of any bytes")


def rows(source):
    """Show path, class name and split of each row."""
    names = [source.classes[label] if label >= 0 else None for label in source.labels]
    splits = [Given(split).name for split in source.splits]
    return list(zip(map(bytes.decode, source.paths), names, splits, strict=True))


def reasons(source):
    loaded = stream(
        source, range(len(source)), size=4, resize=Resize.crop, workers=2, known=lambda sha: False
    )
    return {source.paths[one.row]: one.reason for one in loaded}


def one_line(error):
    assert "\n" not in str(error.value)
    return str(error.value)


# Layouts


def test_class_folders(tree):
    root = tree("dog/b.jpg", "dog/a.png", "cat/deep/er/c.webp", "cat/d.GIF")
    source = find(root)
    assert source.layout == "class folders"
    assert source.location == str(root)
    assert source.classes == ("cat", "dog")
    assert source.labels.dtype == np.int32
    assert source.splits.dtype == np.uint8
    assert source.groups is None
    assert rows(source) == [
        ("cat/d.GIF", "cat", "NONE"),
        ("cat/deep/er/c.webp", "cat", "NONE"),
        ("dog/a.png", "dog", "NONE"),
        ("dog/b.jpg", "dog", "NONE"),
    ]
    assert len(source) == 4


def test_relative_name_of_the_folder(tree, monkeypatch):
    monkeypatch.chdir(tree("cat/a.jpg", "dog/a.jpg").parent)
    root = os.path.relpath(tree())
    assert find(root).location == str(tree())


def test_classes_that_are_numbers_are_sorted_as_numbers(tree):
    assert find(tree("10/a.png", "9/a.png", "1/a.png")).classes == ("1", "9", "10")


@pytest.mark.parametrize(
    "names",
    [
        ("train", "val", "test"),
        ("Training", "VALIDATION", "Testing"),
        ("train", "valid", "test"),
        ("training_set", "validation_set", "test_set"),
        ("TrainImages", "ValImages", "TestImages"),
        ("seg_train", "seg_val", "seg_test"),
        ("ILSVRC2012_img_train", "ILSVRC2012_img_val", "ILSVRC2012_img_test"),
        ("train2017", "val2017", "test2017"),
        ("trainset", "devset", "testset"),
        ("flowers-train", "flowers-valid", "flowers-eval"),
        ("1 train", "2 dev", "3 holdout"),
        ("trainval", "val", "test1"),
        ("archive/train", "archive/val", "archive/test"),
        ("seg_train/seg_train", "seg_val/seg_val", "seg_test/seg_test"),
    ],
)
def test_split_folders(names, tree):
    train, val, test = names
    root = tree(f"{train}/cat/1.jpg", f"{train}/dog/1.jpg", f"{val}/cat/2.jpg", f"{test}/dog/3.jpg")
    assert set(rows(find(root))) == {
        (f"{train}/cat/1.jpg", "cat", "TRAIN"),
        (f"{train}/dog/1.jpg", "dog", "TRAIN"),
        (f"{val}/cat/2.jpg", "cat", "VAL"),
        (f"{test}/dog/3.jpg", "dog", "TEST"),
    }


def test_train_alone_is_a_class_folder_like_any_other(tree):
    assert find(tree("train/a.jpg", "plane/a.jpg")).classes == ("plane", "train")


@pytest.mark.parametrize(
    "classes",
    [
        ("train", "bus", "car"),
        ("valid", "invalid"),
        ("test_tube", "beaker"),
        ("training shoes", "boots"),
        ("pretrained", "contest"),
    ],
)
def test_words_for_splits_in_names_of_classes(classes, tree):
    source = find(tree(*(f"{name}/{i}.jpg" for name in classes for i in range(2))))
    assert source.classes == tuple(sorted(classes))
    assert not source.splits.any()


@pytest.mark.parametrize(
    "folders",
    [
        ("bus", "car", "test", "train"),
        ("test_cat", "train_cat", "train_dog"),
        ("test tube", "training shoe"),
    ],
)
def test_folders_that_may_be_both_are_not_guessed(folders, tree):
    root = tree(*(f"{name}/{i}.jpg" for name in folders for i in range(2)))
    with pytest.raises(SourceError, match=r"add --folders splits .* or --folders classes"):
        find(root)
    assert find(root, folders="classes").classes == folders
    assert set(find(root, folders="splits").splits.tolist()) == {1, 3}


def test_splits_that_are_asked_for_and_not_there(tree):
    with pytest.raises(SourceError, match="expected folders named train, val or test"):
        find(tree("cat/1.jpg", "dog/1.jpg"), folders="splits")


def test_one_split_alone_is_a_folder_around_classes(tree):
    source = find(tree("training_set/cat/1.jpg", "training_set/dog/1.jpg"))
    assert source.classes == ("cat", "dog")
    assert not source.splits.any(), "its images are divided as those of class folders are"


def test_a_folder_that_repeats_its_own_name(tmp_path, tree):
    root = tree("flowers/flowers/rose/1.jpg", "flowers/flowers/tulip/1.jpg")
    assert find(root / "flowers").classes == ("rose", "tulip")
    assert find(tree("x/cat/cat/1.jpg") / "x" / "cat").classes == ("cat",), "it is the class"


@pytest.mark.parametrize(
    "files",
    [
        ("store.json", "probe.h5"),
        ("head.json", "weights-0123456789ab.h5", "curves.png"),
        ("report.json", "confusion.png"),
        ("learning_curve.json", "learning_curve.png"),
    ],
)
def test_results_of_this_program_are_no_photos(files, tree):
    root = tree("cat/a.jpg", "dog/a.jpg", *(f"artifacts/features/x/{name}" for name in files))
    (root / "artifacts/features/x/picture.png").write_bytes((root / "cat/a.jpg").read_bytes())
    source = find(root)
    assert source.classes == ("cat", "dog")
    assert source.ignored["results of this program"] == 1
    with pytest.raises(SourceError, match="found a store, a head or a report of this program"):
        find(root / "artifacts" / "features" / "x")


def test_splits_without_train_are_splits(tree):
    source = find(tree("valid/cat/1.jpg", "test/cat/1.jpg"))
    assert (source.classes, source.splits.tolist()) == (("cat",), [3, 2])


def test_split_folders_with_flat_files_as_on_kaggle(tree):
    train = [f"train/{name}.{i}.jpg" for name in ("cat", "dog") for i in range(3)]
    source = find(tree(*train, "test/1.jpg", "test/2.jpg"))
    assert source.classes == ("cat", "dog")
    assert [row for row in rows(source) if row[2] == "TEST"] == [
        ("test/1.jpg", None, "TEST"),
        ("test/2.jpg", None, "TEST"),
    ]
    assert [row[1] for row in rows(source) if row[2] == "TRAIN"] == ["cat"] * 3 + ["dog"] * 3
    assert any("2 files without a label" in note for note in source.notes)


def test_a_small_split_may_have_one_file_of_each_label(tree):
    train = [f"train/{name}{i}.jpg" for name in ("cat", "dog") for i in range(3)]
    source = find(tree(*train, "val/cat9.jpg", "val/dog9.jpg", "val/cow9.jpg"))
    assert [row[1] for row in rows(source) if row[2] == "VAL"] == ["cat", None, "dog"]


def test_test_images_in_one_folder_of_any_name_are_unlabelled(tree):
    """The way Keras' `flow_from_directory` wants them."""
    source = find(tree("train/cat/1.jpg", "train/dog/1.jpg", "test/all/1.jpg"))
    assert source.classes == ("cat", "dog")
    assert rows(source)[0] == ("test/all/1.jpg", None, "TEST")


def test_what_stands_beside_split_folders_is_left_out_and_said(tree):
    source = find(tree("train/cat/1.jpg", "test/cat/1.jpg", "backup/cat/1.jpg", "logo.png"))
    assert len(source) == 2
    assert any("backup" in note for note in source.notes)
    assert any("1 images beside" in note for note in source.notes)


def test_a_class_of_the_test_only_is_said(tree):
    source = find(tree("train/cat/1.jpg", "test/cat/1.jpg", "test/cow/1.jpg"))
    assert "only in test: cow" in source.notes


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("cat.123.jpg", "cat"),
        ("dog001.jpg", "dog"),
        ("dog_12.png", "dog"),
        ("cat (3).jpg", "cat"),
        ("class1_004.jpg", "class1"),
        ("american bulldog-7.webp", "american bulldog"),
    ],
)
def test_label_in_the_name(name, label, tree):
    source = find(tree(name, f"{label}_999.jpg", "zebra1.jpg", "zebra2.jpg"))
    assert source.layout == "flat files, label in the name"
    assert source.classes == (label, "zebra")


@pytest.mark.parametrize(
    "names",
    [
        ("1.jpg", "2.jpg", "3.jpg", "4.jpg"),
        ("holiday1.jpg", "holiday2.jpg", "holiday3.jpg"),
        ("anna1.jpg", "bert1.jpg", "carl1.jpg"),
        ("IMG_20240131_1.jpg", "IMG_20240131_2.jpg", "IMG_20240201_1.jpg", "IMG_20240201_2.jpg"),
        ("cat1.jpg", "cat2.jpg", "dog1.jpg", "dog2.jpg", *(f"{c}.jpg" for c in "abcdefgh")),
    ],
)
def test_names_that_are_no_labels(names, tree):
    source = find(tree(*names))
    assert source.layout == "flat files, unlabelled"
    assert source.classes == ()
    assert (source.labels == -1).all()
    [note] = source.notes
    assert "files without a label in the name, such as " in note


def test_labels_in_names_are_believed_where_more_than_half_have_one(tree):
    labelled = ("cat1.jpg", "cat2.jpg", "dog1.jpg", "dog2.jpg")
    root = tree(*labelled, "a.jpg", "b.jpg", "c.jpg")
    assert find(root).classes == ("cat", "dog")
    tree("d.jpg")
    assert find(root).classes == ()


def test_labels_in_names_are_told_the_most_frequent_first(tree):
    numbers = {"ape": 1, "bee": 7, "cat": 4, "dog": 5, "elk": 2, "fox": 3}
    names = [f"{name}{i}.jpg" for name, number in numbers.items() for i in range(number)]
    source = find(tree(*names, "scan.jpg", **{"texts/a.txt": b"x", "more/b.txt": b"x"}))
    assert source.notes == (
        "1 files without a label in the name, such as scan.jpg",
        "labels are taken from the file names: bee 7, dog 5, cat 4, fox 3, elk 2",
        "2 folders without images beside the files: left out",
    )


# Left out, and told


def test_other_files_are_counted(tree):
    root = tree(
        "cat/a.jpg",
        "dog/a.jpg",
        **{"cat/a.txt": b"x", "dog/Thumbs.db": b"x", "dog/.DS_Store": b"x", "LICENSE": b"x"},
        **{"cat/._a.jpg": b"x", ".ipynb_checkpoints/a.jpg": b"x", "__MACOSX/a.jpg": b"x"},
    )
    source = find(root)
    assert source.classes == ("cat", "dog")
    assert source.ignored == {".txt": 1, ".db": 1, "hidden": 3, "no extension": 1, "__MACOSX": 1}


def test_images_beside_class_folders_and_empty_class_folders_are_said(tree):
    root = tree("cat/a.jpg", "dog/a.jpg", "stray.jpg")
    (root / "cow").mkdir()
    source = find(root)
    assert source.classes == ("cat", "dog")
    assert source.ignored == {"images beside class folders": 1}
    assert any("'cow'" in note for note in source.notes)
    assert any(note.startswith("1 images") for note in source.notes)


def test_one_class_folder_may_be_one_level_too_high(tree):
    source = find(tree("PetImages/Cat/1.jpg", "PetImages/Dog/1.jpg"))
    assert source.classes == ("PetImages",)
    assert any("PetImages" in note for note in source.notes)


def test_images_of_formats_that_are_not_read_become_rows_with_a_reason(tree):
    heic = b"\0\0\0\x18ftypheic\0\0\0\0"
    root = tree(
        "cat/a.jpg", **{"cat/phone.HEIC": heic, "cat/b.nef": b"II*\0", "cat/c.psd": b"8BPS"}
    )
    assert reasons(find(root)) == {
        b"cat/a.jpg": None,
        b"cat/b.nef": "NEF is not read here: convert it to JPEG or PNG",
        b"cat/c.psd": "PSD is not read here: convert it to JPEG or PNG",
        b"cat/phone.HEIC": "damaged: starts like HEIC, but its header cannot be read",
    }


def test_a_jpeg_named_heic_is_read(tree):
    assert reasons(find(tree("cat/a.heic"))) == {b"cat/a.heic": None}


def test_files_without_an_extension_are_known_by_their_first_bytes(tree, photo, encode):
    root = tree("cat/a.jpg", **{"cat/photo": encode(photo, "JPEG"), "cat/README": b"text"})
    assert find(root).paths == [b"cat/a.jpg", b"cat/photo"]


def test_a_folder_named_like_an_image_is_a_folder(tree):
    assert find(tree("cat/x.jpg/a.png")).paths == [b"cat/x.jpg/a.png"]


# Names


@unix
def test_names_of_any_bytes_come_back(tmp_path, photo, encode):
    names = [b"sp ace'\"$.jpg", b"-rf.jpg", b"new\nline.jpg", b"\xff\xfe.jpg", b"e\xcc\x81.jpg"]
    names += [b"\xc3\xa9.jpg", b"n" * 251 + b".jpg", b"<script>.jpg", b"=cmd().jpg"]
    classes = ["\N{CAT FACE}".encode(), "\N{RIGHT-TO-LEFT OVERRIDE}cat".encode(), b"Cat", b"cat"]
    for folder in classes:
        os.mkdir(os.fsencode(tmp_path) + b"/" + folder)
        for name in names:
            with open(os.fsencode(tmp_path) + b"/" + folder + b"/" + name, "wb") as file:
                file.write(encode(photo))
    source = find(tmp_path)
    assert source.paths == sorted(folder + b"/" + name for folder in classes for name in names)
    assert source.classes == tuple(sorted(folder.decode() for folder in classes))
    assert set(reasons(source).values()) == {None}


@unix
def test_class_names_that_are_not_utf8_can_be_written_down(tmp_path, photo, encode):
    os.mkdir(os.fsencode(tmp_path) + b"/caf\xe9")
    with open(os.fsencode(tmp_path) + b"/caf\xe9/a.png", "wb") as file:
        file.write(encode(photo))
    (name,) = find(tmp_path).classes
    assert name.encode() == rb"caf\xe9"


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("caf\u00e9 \N{CAT FACE}", "caf\u00e9 \N{CAT FACE}"),
        ("a\nb\x1b[31m", r"a\nb\x1b[31m"),
        ("\u202etac", r"\u202etac"),
        (b"\xff.jpg", r"\xff.jpg"),
    ],
)
def test_printable(name, shown):
    assert printable(name) == shown


# Links, pipes, permissions


@unix
def test_links_to_folders_are_followed_and_loops_end(tree):
    root = tree("cat/a.jpg", "dog/a.jpg")
    (root / "cat/again").symlink_to(root / "cat")
    (root / "cat/top").symlink_to(root)
    (root / "cow").symlink_to(root / "dog")
    source = find(root)
    assert source.paths == [b"cat/a.jpg", b"cow/a.jpg", b"dog/a.jpg"]
    assert source.ignored == {"folders linked again": 2}


@unix
def test_links_that_lead_nowhere_and_pipes_become_rows_with_a_reason(tree):
    root = tree("cat/a.jpg")
    (root / "cat/loop.jpg").symlink_to("loop.jpg")
    (root / "cat/nowhere.jpg").symlink_to("missing.jpg")
    (root / "cat/passwords.jpg").symlink_to("/etc/passwd")
    (root / "cat/null.jpg").symlink_to("/dev/null")
    os.mkfifo(root / "cat/pipe.jpg")
    os.mkfifo(root / "cat/pipe")
    assert reasons(find(root)) == {
        b"cat/a.jpg": None,
        b"cat/loop.jpg": "a loop of symbolic links",
        b"cat/nowhere.jpg": "no such file",
        b"cat/null.jpg": "a link that leads out of the source (--follow-links)",
        b"cat/passwords.jpg": "a link that leads out of the source (--follow-links)",
        b"cat/pipe.jpg": "a FIFO, socket or device, not a file",
    }
    assert reasons(find(root, follow_links=True)) == {
        b"cat/a.jpg": None,
        b"cat/loop.jpg": "a loop of symbolic links",
        b"cat/nowhere.jpg": "no such file",
        b"cat/null.jpg": "a FIFO, socket or device, not a file",
        b"cat/passwords.jpg": "not a JPEG, PNG, GIF, WebP, BMP, TIFF, AVIF or HEIC image",
        b"cat/pipe.jpg": "a FIFO, socket or device, not a file",
    }


@pytest.mark.parametrize(
    ("layout", "places"),
    [
        ("class folders", ("cat/1.jpg", "cat/2.jpg", "dog/1.jpg")),
        ("split folders", ("train/cat/1.jpg", "train/cat/2.jpg", "test/cat/1.jpg")),
        ("flat files", ("cat1.jpg", "cat2.jpg", "dog1.jpg", "dog2.jpg")),
        ("named folder", ("cat1.jpg", "cat2.jpg")),
    ],
)
def test_links_that_leave_the_source_are_followed_only_when_asked(
    tree, tmp_path_factory, layout, places
):
    root = tree(*places)
    outside = tmp_path_factory.mktemp("elsewhere") / "outside.jpg"
    outside.write_bytes((root / places[0]).read_bytes())
    (root / places[1]).unlink()
    (root / places[1]).symlink_to(outside)
    (root / places[0].replace("1.jpg", "3.jpg")).symlink_to(root / places[0])
    found = {
        follow: reasons(
            files([root], follow_links=follow)
            if layout == "named folder"
            else find(root, follow_links=follow)
        )
        for follow in (False, True)
    }
    refused = [path for path, reason in found[False].items() if reason is not None]
    assert [path.endswith(os.fsencode(places[1])) for path in refused] == [True]
    assert "--follow-links" in found[False][refused[0]]
    assert set(found[True].values()) == {None}
    assert len(found[True]) == len(found[False]) == len(places) + 1


def test_a_folder_that_is_a_link_to_outside_is_told_at_once(tree, tmp_path_factory):
    root = tree("cat/a.jpg")
    dogs = tmp_path_factory.mktemp("dogs")
    (dogs / "b.jpg").write_bytes((root / "cat/a.jpg").read_bytes())
    (root / "dog").symlink_to(dogs)
    with pytest.raises(SourceError, match=r"dog, a link to .*dogs0; add --follow-links"):
        find(root)
    assert find(root, follow_links=True).classes == ("cat", "dog")


def test_a_class_that_is_a_link_to_a_missing_disk_is_told_at_once(tree):
    root = tree("cat/a.jpg")
    (root / "dog").symlink_to("/no/such/disk/dog")
    (root / "cat" / "again").symlink_to("again")
    (root / "cat" / "note").symlink_to("missing")
    with pytest.raises(SourceError, match=r"dog, a link to /no/such/disk/dog, which is not there"):
        find(root)
    (root / "dog").unlink()
    assert find(root).ignored == {"no extension": 1, "links to what is not there": 1}


def test_folders_of_file_systems_are_no_classes(tree, monkeypatch):
    root = tree("cat/a.jpg", "lost+found/a.jpg")
    real = os.scandir

    def scandir(path):
        assert not os.fsencode(path).endswith(b"lost+found"), "it belongs to root"
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    assert find(root).ignored == {"lost+found": 1}


@pytest.mark.parametrize("number", [errno.EIO, errno.EACCES, errno.ESTALE])
def test_a_folder_that_fails_to_be_listed_is_not_taken_for_empty(tree, monkeypatch, number):
    root = tree("cat/a.jpg", "dog/a.jpg")
    real = os.scandir

    def scandir(path):
        if os.fsencode(path).endswith(b"dog"):
            raise OSError(number, os.strerror(number))
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(SourceError, match=r"cannot list the folder .*dog: .*; make it readable"):
        find(root)


# What is no source


@pytest.mark.parametrize("name", ["", "no/such", "digit"])
def test_nothing_there(name):
    with pytest.raises(SourceNotFound) as error:
        find(name)
    assert isinstance(error.value, FileNotFoundError)
    one_line(error)


def test_a_folder_without_images_says_what_is_accepted(tree):
    with pytest.raises(SourceError) as error:
        find(tree(**{"notes.txt": b"x"}))
    assert "no images there" in one_line(error)
    assert "class folders" in one_line(error)


@pytest.mark.parametrize("name", ["a.jpg", "a.zip", "a.h5"])
def test_a_file_of_another_kind(name, tree):
    with pytest.raises(SourceError, match="a file of another kind"):
        find(tree(name) / name)


def test_splits_inside_of_class_folders(tree):
    source = find(tree("cats/train/1.jpg", "cats/test/2.jpg", "dogs/train/3.jpg", "dogs/val/4.jpg"))
    assert source.layout == "class folders with split folders in each"
    assert source.classes == ("cats", "dogs")
    assert source.splits.tolist() == [Given.TEST, Given.TRAIN, Given.TRAIN, Given.VAL]


def test_some_folders_like_splits_inside_of_class_folders_are_told(tree):
    source = find(tree("cats/train/1.jpg", "cats/2.jpg", "dogs/3.jpg"))
    assert source.splits.tolist() == [0, 0, 0]
    assert any("1 images are in folders named after splits" in note for note in source.notes)


def test_folders_that_only_say_images_inside_of_splits(tree):
    names = [
        f"{split}/images/{name}.jpg" for split in ("train", "val") for name in ("cats/1", "dogs/2")
    ]
    source = find(tree(*names))
    assert source.classes == ("cats", "dogs")
    assert source.splits.tolist() == [Given.TRAIN, Given.TRAIN, Given.VAL, Given.VAL]


def test_one_split_of_classes_beside_flat_folders_is_unclear(tree):
    root = tree("train/cats/1.jpg", "train/dogs/2.jpg", "unlabelled/3.jpg")
    with pytest.raises(SourceError, match="found train, unlabelled, which may be both"):
        find(root)
    source = find(root, folders="splits")
    assert source.classes == ("cats", "dogs")
    assert find(root, folders="classes").classes == ("train", "unlabelled")


@pytest.mark.parametrize(
    "names",
    [
        ["train/cats/1.jpg", "train/dogs/2.jpg", "train2/cats/3.jpg", "train2/dogs/4.jpg"],
        [
            "test/cats/1.jpg",
            "test/dogs/2.jpg",
            "entrainement/cats/3.jpg",
            "entrainement/dogs/4.jpg",
        ],
    ],
)
def test_splits_of_which_one_name_is_known_are_unclear(names, tree):
    with pytest.raises(SourceError, match="which may be both; add --folders"):
        find(tree(*names))


def test_a_class_train_beside_others_stays_a_class_with_folders_in_it_too(tree):
    years = [f"{kind}/{year}/1.jpg" for kind in ("train", "bus", "car") for year in (2019, 2020)]
    assert find(tree(*years)).classes == ("bus", "car", "train")


def test_names_that_promise_nothing_are_known_by_content(tree, photo, encode):
    jpeg = encode(photo, "JPEG")
    root = tree(
        **{
            "cat/a.jpg.1": jpeg,
            "cat/b.jpg?w=300": jpeg,
            "cat/c.mpo": jpeg,
            "cat/d.jfif": jpeg,
            "cat/e": jpeg,
            "cat/f.download": encode(photo, "WEBP"),
            "cat/notes.txt": jpeg,
            "cat/BMW.notes": b"BMW is a brand",
            "dog/g.jpg": jpeg,
        }
    )
    source = find(root)
    assert [path.rpartition(b"/")[2] for path in source.paths] == [
        b"a.jpg.1",
        b"b.jpg?w=300",
        b"c.mpo",
        b"d.jfif",
        b"e",
        b"f.download",
        b"g.jpg",
    ]
    assert source.ignored == {".txt": 1, ".notes": 1}


@pytest.mark.parametrize("ends", ["{}.jpg.1", "{}.jpg?w=300", "{}.jfif", "{}", "{}.JPG.2.3"])
def test_labels_in_names_that_promise_nothing(ends, tree, photo, encode):
    jpeg = encode(photo, "JPEG")
    names = [ends.format(f"{kind}.{number}") for kind in ("cat", "dog") for number in (1, 2)]
    assert find(tree(**dict.fromkeys(names, jpeg))).classes == ("cat", "dog")
