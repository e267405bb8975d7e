"""Other labels for the same codes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import pipeline
from pipeline import Listener, store
from pipeline.common.errors import SourceError, StoreError


def codes(folder: Path) -> pipeline.stages.load_codes.Codes:
    return pipeline.load_codes(folder, split="all")


def test_classes_are_renamed_and_joined_without_photos(cached: Path, tmp_path: Path) -> None:
    before = codes(cached)
    shutil.rmtree(tmp_path / "photos")
    done = pipeline.relabel(cached, rename={"class_0": "zebra", "class_1": "zebra"})
    after = codes(cached)
    assert done.classes == {"class_2": 24, "zebra": 48}
    assert done.changed == 48
    assert after.classes == ("class_2", "zebra")
    expected = ["class_2" if before.classes[y] == "class_2" else "zebra" for y in before.y]
    assert [after.classes[y] for y in after.y] == expected
    assert after.splits == before.splits
    np.testing.assert_array_equal(after.X, before.X)
    assert pipeline.verify(cached).damage == ()


def test_a_manifest_gives_labels_splits_and_groups(cached: Path, tmp_path: Path) -> None:
    before = codes(cached)
    table = tmp_path / "again.csv"
    table.write_text(
        "file;class;split;group\n"
        f"{before.paths[0]};new;test;a\n"
        f"{tmp_path}/photos/{before.paths[1]};;;b\n"
        "gone.png;new;train;\n"
    )
    done = pipeline.relabel(cached, table, columns="path=file,label=class")
    assert (done.changed, done.not_named, done.not_found) == (2, 70, 1)
    after = codes(cached)
    assert after.classes == ("class_0", "class_1", "class_2", "new")
    assert after.classes[after.y[0]] == "new"
    assert after.splits[0] == "test"
    assert after.y[1] == -1
    assert after.splits[1:] == before.splits[1:]
    assert after.groups is not None
    assert after.groups[:3] == ("a", "b", "")


def test_a_table_in_memory(cached: Path) -> None:
    before = codes(cached)
    names = [before.classes[y].upper() for y in before.y]
    pipeline.relabel(cached, {"path": before.paths, "label": names})
    assert codes(cached).classes == ("CLASS_0", "CLASS_1", "CLASS_2")


def test_classes_change_names_at_the_same_time(cached: Path) -> None:
    before = codes(cached)
    swap = {"class_0": "class_1", "class_1": "class_2", "class_2": "class_0"}
    pipeline.relabel(cached, rename=swap)
    after = codes(cached)
    expected = [swap[before.classes[y]] for y in before.y]
    assert [after.classes[y] for y in after.y] == expected


def test_extract_takes_the_labels_of_its_source_again(
    tiny: str, cached: Path, tmp_path: Path
) -> None:
    pipeline.relabel(cached, rename={"class_0": "zebra"})
    again = pipeline.extract(
        tmp_path / "photos", out=cached, backbone=tiny, weights="random", layers=["avg", "top"]
    )
    assert again.computed == 0
    assert again.classes == ("class_0", "class_1", "class_2")


@pytest.mark.parametrize(
    ("manifest", "rename", "words"),
    [
        (None, {}, "found neither"),
        (None, {"cat": "dog"}, "found 'cat'"),
        ({"path": ["x.png"], "label": ["cat"]}, {}, "found x.png and 0 others"),
        ("nowhere.csv", {}, "expected a CSV or TSV file or a table"),
    ],
)
def test_what_cannot_be_done_changes_nothing(
    manifest: object, rename: dict[str, str], words: str, cached: Path
) -> None:
    before = (cached / "table.h5").read_bytes()
    with pytest.raises(SourceError, match=words):
        pipeline.relabel(cached, manifest, rename=rename)
    assert (cached / "table.h5").read_bytes() == before


def test_what_is_no_store(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="expected a store with a table"):
        pipeline.relabel(tmp_path / "nowhere", rename={"a": "b"})
    (tmp_path / "p.h5").write_bytes(b"")
    with pytest.raises(StoreError, match="relabel the store and pack it again"):
        pipeline.relabel(tmp_path / "p.h5", rename={"a": "b"})


# Adding


def test_a_second_source_is_added_and_nothing_moves(
    tiny: str, make_photos: object, tmp_path: Path
) -> None:
    first, second = make_photos("first", each=20), make_photos("second", each=10, seed=1)  # type: ignore[operator]
    (second / "class_2").rename(second / "horse")
    shutil.copy(first / "class_0" / "003.png", second / "horse" / "copy.png")
    ask = {"out": tmp_path / "s", "backbone": tiny, "weights": "random"}
    pipeline.extract(first, **ask)
    before = codes(tmp_path / "s")
    head = pipeline.fit_head(tmp_path / "s", kind="svm", out=tmp_path / "h").head
    # Gone by now: what a store has, it does not read again.
    first.rename(tmp_path / "moved")
    added = pipeline.extract(second, add=True, **ask)
    after = codes(tmp_path / "s")
    assert (added.computed, added.scanned) == (30, 91)
    assert after.classes == ("class_0", "class_1", "class_2", "horse")
    n = len(before.paths)
    assert after.paths[:n] == before.paths
    assert after.splits[:n] == before.splits
    assert [after.classes[y] for y in after.y[:n]] == [before.classes[y] for y in before.y]
    np.testing.assert_array_equal(after.X[:n], before.X)
    assert all(path.startswith(str(second)) for path in after.paths[n:])
    at = after.paths.index(str(second / "horse" / "copy.png"))
    assert after.splits[at] == before.splits[before.paths.index("class_0/003.png")]
    assert pipeline.evaluate(head, tmp_path / "s", out=tmp_path / "r").report.images > 0

    again = pipeline.extract(second, add=True, **ask)
    assert (again.computed, again.scanned) == (0, 91)
    table = store.open_store(tmp_path / "s").table  # type: ignore[union-attr]
    assert [each["location"] for each in table.source["added"]] == [str(second)]


def test_groups_stay_together_when_images_are_added(
    tiny: str, make_photos: object, tmp_path: Path
) -> None:
    photos, new = make_photos("a", each=12), make_photos("b", each=6, seed=1)  # type: ignore[operator]
    ask = {"out": tmp_path / "s", "backbone": tiny, "weights": "random"}

    def table(root: Path) -> dict[str, list[object]]:
        paths = sorted(root.rglob("*.png"))
        names = [path.parent.name for path in paths]
        return {"path": paths, "label": names, "group": [path.stem for path in paths]}

    pipeline.extract(table(photos), **ask)
    pipeline.extract(table(new), add=True, **ask)
    found = codes(tmp_path / "s")
    assert found.groups is not None
    sides = {group: set() for group in found.groups}
    for group, split in zip(found.groups, found.splits, strict=True):
        sides[group].add(split)
    assert all(len(splits) == 1 for splits in sides.values())


def test_given_splits_stay_and_new_images_are_dealt(
    tiny: str, make_photos: object, tmp_path: Path
) -> None:
    photos, new = make_photos("a", each=12), make_photos("b", each=30, seed=1)  # type: ignore[operator]
    for split, numbers in (("train", range(8)), ("test", range(8, 12))):
        for folder in sorted(photos.glob("class_*")):
            (tmp_path / "given" / split / folder.name).mkdir(parents=True)
            for number in numbers:
                path = folder / f"{number:03d}.png"
                path.rename(tmp_path / "given" / split / folder.name / path.name)
    ask = {"out": tmp_path / "s", "backbone": tiny, "weights": "random"}
    pipeline.extract(tmp_path / "given", **ask)
    before = codes(tmp_path / "s")
    pipeline.extract(new, add=True, **ask)
    after = codes(tmp_path / "s")
    assert after.splits[: len(before.splits)] == before.splits
    dealt = after.splits[len(before.splits) :]
    assert {"train", "val", "test"} == set(dealt)
    assert dealt.count("test") == pytest.approx(18, abs=12)


def test_a_split_that_a_source_gives_is_kept_and_a_leak_told(
    tiny: str, make_photos: object, tmp_path: Path
) -> None:
    photos = make_photos()  # type: ignore[operator]
    ask = {"out": tmp_path / "s", "backbone": tiny, "weights": "random"}
    pipeline.extract(photos, val=0, test=0, **ask)
    shutil.copytree(photos, tmp_path / "copies")
    paths = sorted((tmp_path / "copies").rglob("*.png"))
    names = [path.parent.name for path in paths]
    table = {"path": paths, "label": names, "split": ["test"] * len(paths)}
    told: list[str] = []
    done = pipeline.extract(table, add=True, listener=Listener(tell=told.append), **ask)
    assert done.splits == {"train": 24, "val": 0, "test": 24}
    assert any("24 images of val or test byte for byte in train" in line for line in told)


def test_repair_prints_a_command_for_every_source(
    tiny: str, make_photos: object, tmp_path: Path
) -> None:
    photos, new = make_photos("a"), make_photos("b", seed=1)  # type: ignore[operator]
    ask = {"out": tmp_path / "s", "backbone": tiny, "weights": "random"}
    pipeline.extract(photos, **ask)
    pipeline.extract(new, add=True, test=0.3, **ask)
    for shard in (tmp_path / "s" / "shards").iterdir():
        shard.write_bytes(shard.read_bytes()[:-1] + b"x")
    (tmp_path / "s" / "shards").joinpath("x").unlink(missing_ok=True)
    with pytest.raises(StoreError):
        pipeline.extract(new, add=True, **ask)
    command = pipeline.repair(tmp_path / "s").command
    assert command is not None
    one, two = command.split(" && ")
    assert str(photos) in one
    assert "--add" not in one
    assert str(new) in two
    assert "--test 0.3" in two
    assert "--add" in two


def test_adding_to_nothing_is_extracting(tiny: str, make_photos: object, tmp_path: Path) -> None:
    photos = make_photos()  # type: ignore[operator]
    ask = {"backbone": tiny, "weights": "random"}
    plain = pipeline.extract(photos, out=tmp_path / "a", **ask)
    added = pipeline.extract(photos, out=tmp_path / "b", add=True, **ask)
    assert added.splits == plain.splits
    assert json.dumps(pipeline.info(tmp_path / "b")["classes"])
