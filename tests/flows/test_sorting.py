"""Photos in folders of their answers: nothing is replaced, and a second run adds nothing."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from typer.testing import CliRunner

import pipeline
from pipeline.cli import app
from pipeline.common.errors import OutputError, ResourceError, SourceError
from pipeline.flows.answers import Prediction
from pipeline.flows.sorting import Sorted, Sorter


def answer(path: Path, label: str | None) -> Prediction:
    return Prediction(path=str(path), label=label, score=None, top=(), reason=None)


def photo(folder: Path, name: str, text: str) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(text)
    return folder / name


def sort(folder: Path, *answers: Prediction, link: bool = False) -> Sorted:
    """Sort some photos in one run, whose head knows their answers."""
    labels = sorted({each.label for each in answers if each.label is not None})
    sorter = Sorter(folder, labels, link=link)
    for each in answers:
        sorter.add(each)
    return sorter.result()


def contents(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_text() for path in files}


def test_photos_are_copied_and_a_second_run_adds_nothing(tmp_path: Path) -> None:
    cat, dog = photo(tmp_path, "1.jpg", "cat"), photo(tmp_path, "2.jpg", "dog")
    os.utime(cat, (1e9, 1e9))
    answers = answer(cat, "cat"), answer(dog, "dog"), answer(tmp_path / "bad.jpg", None)
    out = tmp_path / "a" / "sorted"
    result = sort(out, *answers)
    assert (result.photos, result.present, result.classes) == (2, 0, {"cat": 1, "dog": 1})
    assert contents(out) == {"cat/1.jpg": "cat", "dog/2.jpg": "dog"}
    assert (out / "cat" / "1.jpg").stat().st_mtime == 1e9
    again = sort(out, *answers)
    assert (again.photos, again.present, again.notes) == (2, 2, ())
    assert contents(out) == {"cat/1.jpg": "cat", "dog/2.jpg": "dog"}
    (out / "cat" / "1.jpg").write_text("changed")
    assert cat.read_text() == "cat"


def test_two_photos_of_one_name_both_stay(tmp_path: Path) -> None:
    one, two = photo(tmp_path / "a", "1.jpg", "one"), photo(tmp_path / "b", "1.jpg", "two")
    same = photo(tmp_path / "c", "1.jpg", "one")
    own = f"cat/1-{hashlib.sha256(b'two').hexdigest()[:8]}.jpg"
    answers = [answer(each, "cat") for each in (one, two, same)]
    for present in (1, 3):
        result = sort(tmp_path / "out", *answers)
        assert (result.photos, result.present) == (3, present)
        assert contents(tmp_path / "out") == {"cat/1.jpg": "one", own: "two"}


def test_what_stands_there_is_not_replaced(tmp_path: Path) -> None:
    one = photo(tmp_path, "1.jpg", "one")
    sort(tmp_path / "out", answer(one, "cat"))
    (tmp_path / "out" / "cat" / "1.jpg").write_text("edited by hand")
    (tmp_path / "out" / "cat" / "list.txt").symlink_to("nowhere")
    (tmp_path / "list.txt").write_text("photo")
    listed = answer(tmp_path / "list.txt", "cat")
    for _ in range(2):
        result = sort(tmp_path / "out", answer(one, "cat"), listed)
        assert "there: 1 file of before" in result.notes[0]
    found = contents(tmp_path / "out")
    assert found.pop("cat/1.jpg") == "edited by hand"
    assert sorted(found.values()) == ["one", "photo"]
    assert (tmp_path / "out" / "cat" / "list.txt").is_symlink()
    taken = photo(tmp_path / "o", "cat", "a file")
    with pytest.raises(OutputError, match=r"a file of that name.*--sort-into"):
        sort(taken.parent, answer(one, "cat"))
    assert taken.read_text() == "a file"


def test_a_photo_with_another_answer_than_before_is_told(tmp_path: Path) -> None:
    one = photo(tmp_path, "1.jpg", "one")
    sort(tmp_path / "out", answer(one, "cat"))
    sorter = Sorter(tmp_path / "out", ["cat", "dog"], link=False)
    sorter.add(answer(one, "dog"))
    assert sorter.result().notes == (
        "note: beside these photos there: 1 file of before; a photo that had another answer then "
        "is in both folders",
    )


@pytest.mark.parametrize(
    "label",
    [
        *("a/b", "..", ".", ".hidden", "", "CON", "nul.txt", "x" * 300, "ä" * 200, "\udcff"),
        *("dot.", "two\nlines", 'a:b*?"<>|\\', "\ud83d", "ends "),
    ],
)
def test_names_that_no_folder_can_have_are_made_safe_and_told(label: str, tmp_path: Path) -> None:
    result = sort(tmp_path / "out", answer(photo(tmp_path, "1.jpg", "one"), label))
    assert result.classes == {label: 1}
    [folder] = (tmp_path / "out").iterdir()
    assert folder.name.isprintable()
    assert folder.name.strip(". ") == folder.name
    assert folder.name.partition(".")[0].lower() not in ("con", "nul")
    assert not set(folder.name) & set('/\\:*?"<>|')
    assert len(folder.name.encode()) < 200
    assert contents(folder) == {"1.jpg": "one"}
    [note] = result.notes
    assert f"is in {folder.name}: not every system takes its own name" in note
    assert note.isprintable()
    assert sort(tmp_path / "out", answer(tmp_path / "1.jpg", label)).present == 1


def test_names_that_some_system_takes_for_one_are_two_folders(tmp_path: Path) -> None:
    one = photo(tmp_path, "1.jpg", "one")
    labels = ["Cat", "cat", "a_b", "a/b", "a:b", "unknown"]
    for order in (labels, labels[::-1]):
        out = tmp_path / order[0]
        sort(out, *(answer(one, label) for label in order))
        names = sorted(each.name for each in out.iterdir())
        assert len({name.lower() for name in names}) == 6
        assert {"Cat", "a_b", "unknown"} < set(names)
    assert names == sorted(each.name for each in (tmp_path / "Cat").iterdir())


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
def test_photos_with_names_that_not_every_system_takes_get_others(tmp_path: Path) -> None:
    names = ["12:30.jpg", ".hidden.png", "\udcff.jpg", "a" * 240 + ".jpeg", "..."]
    answers = [answer(photo(tmp_path, name, name[0]), "cat") for name in names[:2]]
    for name in names[2:]:
        (tmp_path / name).write_bytes(os.fsencode(name))
        answers.append(answer(tmp_path / name, "cat"))
    result = sort(tmp_path / "out", *answers)
    assert result.notes[0].startswith("note: 5 photos got another name there")
    found = [each.name for each in (tmp_path / "out" / "cat").iterdir()]
    assert len(found) == 5
    assert sorted(Path(name).suffix for name in found) == ["", ".jpeg", ".jpg", ".jpg", ".png"]
    assert all(name.isprintable() and not name.startswith(".") for name in found)
    assert sort(tmp_path / "out", *answers).present == 5


def test_links_take_no_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = photo(tmp_path, "1.jpg", "one")
    (tmp_path / "link.jpg").symlink_to(one)
    result = sort(tmp_path / "out", answer(one, "a"), answer(tmp_path / "link.jpg", "b"), link=True)
    assert result.notes == ()
    places = tmp_path / "out" / "a" / "1.jpg", tmp_path / "out" / "b" / "link.jpg"
    assert all(place.samefile(one) and not place.is_symlink() for place in places)
    (tmp_path / "out" / "a" / "1.jpg").unlink()
    assert one.read_text() == "one"

    def no_links(*_: Any) -> None:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr("os.link", no_links)
    result = sort(tmp_path / "out", answer(one, "a"), link=True)
    assert result.notes == ("note: copied, for no link can be made there: 1 photo",)
    assert not (tmp_path / "out" / "a" / "1.jpg").samefile(one)


def test_what_was_sorted_stays_on_a_full_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = [answer(photo(tmp_path, f"{n}.jpg", str(n)), "cat") for n in range(3)]
    real = shutil.copyfileobj

    def full(photo: Any, *others: Any) -> None:
        if photo.name.endswith("1.jpg"):
            raise OSError(errno.ENOSPC, "No space left on device")
        real(photo, *others)

    with monkeypatch.context() as patch:
        patch.setattr("shutil.copyfileobj", full)
        with pytest.raises(ResourceError, match="run the same command again"):
            sort(tmp_path / "out", *answers)
    assert contents(tmp_path / "out") == {"cat/0.jpg": "0"}
    assert sort(tmp_path / "out", *answers).present == 1
    assert len(contents(tmp_path / "out")) == 3
    (tmp_path / "1.jpg").unlink()
    with pytest.raises(OutputError, match=r"cannot sort .*No such file.*what was sorted stays"):
        sort(tmp_path / "out", answers[1])


def test_predict_sorts_what_has_an_answer(svm: Path, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    (photos / "bad.png").write_bytes(b"no image")
    out = photos / "sorted"
    for present in (0, 72):
        result = pipeline.predict(svm, photos, sort_into=out)
        assert result.rejected == 1
        assert result.sorting is not None
        assert (result.sorting.photos, result.sorting.present) == (72, present)
    assert result.sorting.notes == ("note: left out, for they are sorted already: 72 photos",)
    for prediction in result.predictions:
        if prediction.label is not None:
            there = out / prediction.label
            contents_ = {each.read_bytes() for each in there.iterdir()}
            assert Path(prediction.path).read_bytes() in contents_
    said = "expected photos to sort into .*, found only what is in its folders already"
    with pytest.raises(SourceError, match=said):
        pipeline.predict(svm, out, sort_into=out)


def test_places_are_refused_before_anything_is_computed(
    svm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.stages.predict.recognise", None)
    photos = tmp_path / "photos"
    with pytest.raises(OutputError, match=r"cannot make the folder /proc/x .*--sort-into"):
        pipeline.predict(svm, photos, sort_into="/proc/x")
    with pytest.raises(OutputError, match="expected a folder for the links, found none; add"):
        pipeline.predict(svm, photos, link=True)


def test_the_command(svm: Path, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    (photos / "bad.png").write_bytes(b"no image")
    arguments = ["predict", str(svm), str(photos), "--sort-into", str(tmp_path / "out")]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 3
    assert "bad.png: " in done.stderr
    assert done.stdout.splitlines()[-1] == f"sorted 72 photos into folders of {tmp_path / 'out'}"
    done = CliRunner().invoke(app, [*arguments, "--json"])
    sorting = json.loads(done.stdout)["sorting"]
    assert (sorting["photos"], sorting["present"]) == (72, 72)
    assert sum(sorting["classes"].values()) == 72


def test_an_interrupted_run_keeps_what_was_sorted(svm: Path, tmp_path: Path) -> None:
    def stop(prediction: object) -> None:
        raise KeyboardInterrupt

    listener = pipeline.Listener(show=stop)
    with pytest.raises(pipeline.Interrupted, match="what was sorted stays, run the same command"):
        pipeline.predict(svm, tmp_path / "photos", sort_into=tmp_path / "out", listener=listener)
    assert len(contents_of := list((tmp_path / "out").rglob("*.png"))) == 1
    assert contents_of[0].stat().st_size


def test_unknown_photos_have_a_folder_of_their_own(svm: Path, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    Image.new("RGB", (40, 40)).save(photos / "black.png")
    sorted_ = photos / "sorted"
    for present in (0, 73):  # what was sorted is not sorted again
        done = pipeline.predict(svm, photos, reject="20%", sort_into=sorted_).sorting
        assert done is not None
        assert (done.photos, done.present) == (73, present)
        assert (sorted_ / "unknown" / "black.png").is_file()
