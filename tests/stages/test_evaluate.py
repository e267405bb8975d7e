from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, confusion_matrix

import pipeline
from pipeline import HeadKind, Listener, Split, heads, store
from pipeline.common.errors import HeadError, HeadNotFound, SpaceMismatch, StoreIncomplete


def test_the_scores_are_those_of_scikit_learn(cached: Path, svm: Path, tmp_path: Path) -> None:
    result = pipeline.evaluate(svm, cached, out=tmp_path / "r")
    opened = store.open_store(cached)
    rows = store.rows_of(opened, Split.test)
    decided = heads.load(svm).head.decision(store.read_rows(opened, "avg", rows)).argmax(axis=1)
    truth = opened.labels[rows]
    assert result.report.accuracy == accuracy_score(truth, decided)
    np.testing.assert_array_equal(result.report.confusion, confusion_matrix(truth, decided))


def test_the_report_on_disk(cached: Path, svm: Path, tmp_path: Path) -> None:
    result = pipeline.evaluate(svm, cached, split=Split.val, out=tmp_path / "r")
    plain = json.loads((tmp_path / "r" / "report.json").read_text())
    assert plain["split"] == "val"
    assert plain["accuracy"] == result.report.accuracy
    assert (tmp_path / "r" / "confusion.csv").read_text().count("\n") == 4
    assert (tmp_path / "r" / "confusion.png").read_bytes().startswith(b"\x89PNG")


def test_neither_photos_nor_backbone_are_needed(
    cached: Path, svm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.rmtree(tmp_path / "photos")
    monkeypatch.setattr("pipeline.backbones.load", None)
    pipeline.evaluate(svm, cached, out=tmp_path / "r")


def test_codes_of_another_space_are_refused_by_the_field_that_differs(
    tiny: str, svm: Path, make_photos: Callable[..., Path], tmp_path: Path
) -> None:
    photos = make_photos("other")
    pipeline.extract(
        photos, out=tmp_path / "wide", backbone=tiny, weights="random", size=40, layers=["avg"]
    )
    with pytest.raises(SpaceMismatch, match="size: 32 against 40"):
        pipeline.evaluate(svm, tmp_path / "wide", out=tmp_path / "r")
    pipeline.extract(photos, out=tmp_path / "top", backbone=tiny, weights="random", layers=["top"])
    with pytest.raises(SpaceMismatch, match=r"with the layer avg .* found top in"):
        pipeline.evaluate(svm, tmp_path / "top", out=tmp_path / "r")
    assert not (tmp_path / "r").exists()


def test_the_same_layer_cached_beside_others_is_the_same_space(
    tiny: str, svm: Path, make_photos: Callable[..., Path], tmp_path: Path
) -> None:
    pipeline.extract(
        make_photos("other"), out=tmp_path / "s", backbone=tiny, weights="random", test=0.5
    )
    pipeline.evaluate(svm, tmp_path / "s", out=tmp_path / "r")


def test_a_class_that_the_head_never_saw_counts_as_an_error_and_is_told(
    tiny: str, svm: Path, make_photos: Callable[..., Path], tmp_path: Path
) -> None:
    photos = make_photos("other")
    (photos / "class_2").rename(photos / "unicorn")
    pipeline.extract(photos, out=tmp_path / "s", backbone=tiny, weights="random", test=0.5)
    told: list[str] = []
    result = pipeline.evaluate(
        svm, tmp_path / "s", out=tmp_path / "r", listener=Listener(tell=told.append)
    )
    unicorn = result.report.classes[result.report.names.index("unicorn")]
    assert unicorn.support > 0
    assert unicorn.recall == 0
    assert any("unicorn" in sentence for sentence in told)


def test_a_score_on_images_that_the_head_was_fitted_on_is_called_by_its_name(
    cached: Path, svm: Path, tmp_path: Path
) -> None:
    told: list[str] = []
    result = pipeline.evaluate(
        svm, cached, split="train", out=tmp_path / "r", listener=Listener(tell=told.append)
    )
    [warning] = told
    assert f"{result.report.images} of these {result.report.images} images took part" in warning
    told.clear()
    pipeline.evaluate(
        svm, cached, split="test", out=tmp_path / "r", listener=Listener(tell=told.append)
    )
    assert told == []


def test_also_when_they_come_in_another_store_under_other_names(
    tiny: str, cached: Path, svm: Path, tmp_path: Path
) -> None:
    (tmp_path / "photos").rename(tmp_path / "moved")
    for path in (tmp_path / "moved").rglob("*.png"):
        path.rename(path.with_stem("renamed" + path.stem))
    pipeline.extract(
        tmp_path / "moved", out=tmp_path / "s", backbone=tiny, weights="random", test=0.99, val=0
    )
    pipeline.pack(tmp_path / "s", tmp_path / "s.h5")
    for again in (tmp_path / "s", tmp_path / "s.h5"):
        told: list[str] = []
        result = pipeline.evaluate(
            svm, again, out=tmp_path / "r", listener=Listener(tell=told.append)
        )
        assert any("took part in fitting" in sentence for sentence in told)
        assert result.report.images > 50


def test_an_unfinished_store(cached: Path, svm: Path, tmp_path: Path) -> None:
    for name in ("table.h5", "rejected.csv"):
        (cached / name).unlink()
    with pytest.raises(StoreIncomplete):
        pipeline.evaluate(svm, cached, out=tmp_path / "r")


def test_nothing_to_score(
    tiny: str, svm: Path, make_photos: Callable[..., Path], tmp_path: Path
) -> None:
    pipeline.extract(make_photos("o"), out=tmp_path / "s", backbone=tiny, weights="random", test=0)
    with pytest.raises(HeadError, match=r"split 'test' of .*, found train \d+, val \d+"):
        pipeline.evaluate(svm, tmp_path / "s", out=tmp_path / "r")


def test_no_head(cached: Path, tmp_path: Path) -> None:
    with pytest.raises(HeadNotFound):
        pipeline.evaluate(tmp_path / "none", cached)


def test_heads_of_several_kinds_are_scored_on_the_same_rows(cached: Path, tmp_path: Path) -> None:
    counts = {
        pipeline.evaluate(
            pipeline.fit_head(cached, kind=kind, out=tmp_path / kind, C=1.0).head,
            cached,
            out=tmp_path / "r",
        ).report.images
        for kind in (HeadKind.svm, HeadKind.softmax)
    }
    assert len(counts) == 1


def test_names_that_are_not_utf8(
    tiny: str, make_photos: Callable[..., Path], tmp_path: Path
) -> None:
    photos = make_photos(each=12)
    for i, name in enumerate((b"caf\xe9", b"\xff\xfe")):
        (photos / f"class_{i}").rename(photos / os.fsdecode(name))
    folder = tmp_path / os.fsdecode(b"\xe9")
    pipeline.extract(photos, out=folder / "s", backbone=tiny, weights="random")
    pipeline.fit_head(folder / "s", kind="ridge", out=folder / "h")
    result = pipeline.evaluate(folder / "h", folder / "s", split="train", out=folder / "r")
    assert len(result.report.classes) == 3
    assert json.loads((folder / "r" / "report.json").read_text())["head"] == str(folder / "h")
    assert (folder / "r" / "confusion.png").stat().st_size > 1000


@pytest.mark.parametrize(
    ("kind", "options", "said"),
    [
        ("svm", {}, ["note: these 9 images took part in fitting in the end; their scores"]),
        ("svm", {"fewshot": 3}, ["warning: 9 of these 9 images chose its C and calibrated its"]),
        ("knn", {}, ["warning: 9 of these 9 images chose its k: what the head gets right"]),
        ("knn", {"k": 3}, []),
        ("centroid", {}, ["note: 9 of these 9 images calibrated its scores: what the head"]),
        ("mlp", {"epochs": 2, "hidden": (8,)}, ["warning: 9 of these 9 images chose its epoch"]),
        (
            "mlp",
            {"epochs": 2, "hidden": (8,), "early_stopping": 0},
            ["note: 9 of these 9 images calibrated its scores: what the head"],
        ),
    ],
)
def test_what_validation_images_did_for_a_head_is_told_and_kept(
    kind: str, options: dict[str, object], said: list[str], cached: Path, tmp_path: Path
) -> None:
    fit = pipeline.fit_head(cached, kind=kind, out=tmp_path / "h", **options)
    count = fit.val_images
    told: list[str] = []
    result = pipeline.evaluate(
        fit.head,
        cached,
        split="val",
        out=tmp_path / "r",
        listener=Listener(tell=told.append),
    )
    expected = [line.replace("9", str(count)) for line in said]
    assert [line[: len(start)] for line, start in zip(told, expected, strict=True)] == expected
    plain = json.loads((tmp_path / "r" / "report.json").read_text())
    assert plain["warnings"] == told == list(result.warnings)
    # The picture is higher by the lines that say so.
    if not said:
        return
    picture = (tmp_path / "r" / "confusion.png").read_bytes()
    pipeline.evaluate(fit.head, cached, out=tmp_path / "t")
    assert json.loads((tmp_path / "t" / "report.json").read_text())["warnings"] == []
    assert picture[20:24] > (tmp_path / "t" / "confusion.png").read_bytes()[20:24]


def test_a_group_on_both_sides_of_a_given_split_is_told(
    tiny: str, make_photos: Callable[..., Path], tmp_path: Path
) -> None:
    """By extract, and by evaluate of a head that was fitted on the other images of the group."""
    table = _with_herd(make_photos(each=8), (0, 6))
    told: list[str] = []
    ask = {"backbone": tiny, "weights": "random", "listener": Listener(tell=told.append)}
    pipeline.extract(table, out=tmp_path / "s", **ask)
    assert any(
        line.startswith("warning: the source has 3 images of val or test of groups")
        for line in told
    )
    head = pipeline.fit_head(tmp_path / "s", kind="svm", out=tmp_path / "h").head
    pipeline.pack(tmp_path / "s", tmp_path / "p.h5")
    for codes in (tmp_path / "s", tmp_path / "p.h5"):
        result = pipeline.evaluate(head, codes, out=tmp_path / "r")
        [warning] = result.warnings
        assert warning.startswith("warning: 3 of these 6 images are of groups of which other")
        everything = pipeline.load_codes(codes, split="all")
        assert everything.groups is not None
        assert everything.groups.count("herd") == 6


@pytest.mark.parametrize(("herd", "images"), [((0, 5), 3), ((0, 4, 5), 6), ((4, 5), 0), ((), 0)])
def test_a_group_that_held_out_images_share_with_fitted_ones_is_told(
    herd: tuple[int, ...], images: int, tiny: str, make_photos: Callable[..., Path], tmp_path: Path
) -> None:
    """Of each of 3 classes, photos 0 to 3 are for training, and 4 and 5 for validation."""
    table = _with_herd(make_photos(each=8), herd)
    pipeline.extract(table, out=tmp_path / "s", backbone=tiny, weights="random")
    fit = pipeline.fit_head(tmp_path / "s", kind="svm", out=tmp_path / "h")
    assert fit.fitted_on == "train and val"
    result = pipeline.evaluate(fit.head, tmp_path / "s", split="val", out=tmp_path / "r")
    note, *warnings = result.warnings
    assert note.startswith("note: these 6 images took part in fitting in the end")
    start = f"warning: {images} of these 6 images are of groups of which other images took part"
    assert [line[: len(start)] for line in warnings] == [start] * bool(images)


def _with_herd(photos: Path, herd: tuple[int, ...]) -> Path:
    """Write a table of photos, 0 to 7 of each class, those of some numbers in one group."""
    lines = ["path,label,split,group"]
    for path in sorted(photos.rglob("*.png")):
        number, name = int(path.stem), path.relative_to(photos)
        split = "test" if number > 5 else "val" if number > 3 else "train"
        lines.append(f"{name},{path.parent.name},{split},{'herd' if number in herd else name}")
    (photos / "photos.csv").write_text("\n".join(lines))
    return photos / "photos.csv"


@pytest.mark.parametrize("kind", ["svm", "softmax", "ridge"])
def test_validation_images_are_scored_as_they_were_held_out(
    kind: str, cached: Path, tmp_path: Path
) -> None:
    """The matrix of a head that has learned them in the end is that of one that never did."""
    whole = pipeline.fit_head(cached, kind=kind, out=tmp_path / "h")
    assert whole.fitted_on == "train and val"
    result = pipeline.evaluate(whole.head, cached, split="val", out=tmp_path / "r")
    assert result.report.accuracy == whole.val_accuracy
    plain = json.loads((tmp_path / "r" / "report.json").read_text())
    assert plain["held_out"]
    assert "when they were held out (validation images" in plain["warnings"][0]

    opened = store.open_store(cached)
    train, val = (store.rows_of(opened, split) for split in (Split.train, Split.val))
    C = whole.parameters["C_used"]
    alone = heads.build(HeadKind(kind), C=C, refit=False).fit(
        store.read_rows(opened, "avg", train),
        opened.labels[train],
        X_val=store.read_rows(opened, "avg", val),
        y_val=opened.labels[val],
    )
    guesses = alone.predict(store.read_rows(opened, "avg", val))
    expected = confusion_matrix(opened.labels[val], guesses)
    np.testing.assert_array_equal(result.report.confusion, expected)
    assert not json.loads(
        (
            Path(pipeline.evaluate(whole.head, cached, out=tmp_path / "t").out) / "report.json"
        ).read_text()
    )["held_out"]


def test_without_validation_images_training_images_are_scored_out_of_fold(
    tiny: str, make_photos: Callable[..., Path], tmp_path: Path
) -> None:
    pipeline.extract(
        make_photos(each=12), out=tmp_path / "s", backbone=tiny, weights="random", val=0
    )
    fit = pipeline.fit_head(tmp_path / "s", kind="softmax", out=tmp_path / "h")
    result = pipeline.evaluate(fit.head, tmp_path / "s", split="train", out=tmp_path / "r")
    assert result.report.accuracy == fit.val_accuracy
    assert "3-fold cross-validation" in result.warnings[0]


def test_relabelled_images_count_by_their_new_labels(cached: Path, tmp_path: Path) -> None:
    fit = pipeline.fit_head(cached, kind="svm", out=tmp_path / "h")
    before = pipeline.evaluate(fit.head, cached, split="val", out=tmp_path / "a").report
    pipeline.relabel(cached, rename={"class_0": "class_1", "class_1": "class_0"})
    after = pipeline.evaluate(fit.head, cached, split="val", out=tmp_path / "b").report
    swapped = np.array(before.confusion)[[1, 0, 2]]
    np.testing.assert_array_equal(after.confusion, swapped)


def test_a_head_on_several_layers_is_scored_on_all_of_them(
    cached: Path, joined: Path, tmp_path: Path
) -> None:
    pipeline.pack(cached, tmp_path / "s.h5")
    codes = pipeline.load_codes(cached, split="test", layer=["avg", "top:max"])
    decided = heads.load(joined).head.decision(codes.X).argmax(axis=1)
    for path in (cached, tmp_path / "s.h5"):
        result = pipeline.evaluate(joined, path, out=tmp_path / "r")
        assert result.report.accuracy == accuracy_score(codes.y, decided) > 0.8


def test_every_layer_of_a_head_must_be_there_and_of_its_space(
    tiny: str, cached: Path, joined: Path, tmp_path: Path
) -> None:
    from keras import utils

    from tests.tiny import build

    utils.set_random_seed(1)
    build(input_shape=(32, 32, 3)).save_weights(tmp_path / "w.weights.h5")
    options = {"source": tmp_path / "photos", "backbone": tiny}
    pipeline.extract(out=tmp_path / "one", weights="random", layers=["avg"], **options)
    with pytest.raises(
        SpaceMismatch, match=r"the layer top .*extract with --layer avg --layer top"
    ):
        pipeline.evaluate(joined, tmp_path / "one", out=tmp_path / "r")
    pipeline.extract(
        out=tmp_path / "s", weights=str(tmp_path / "w.weights.h5"), layers=["avg", "top"], **options
    )
    with pytest.raises(SpaceMismatch, match="weights_sha256"):
        pipeline.evaluate(joined, tmp_path / "s", out=tmp_path / "r")
    assert not (tmp_path / "r").exists()


def test_joined_codes_of_another_program(tmp_path: Path) -> None:
    import h5py

    labels = np.arange(200) % 3
    random = np.random.default_rng(0)
    for name, width in (("x", 4), ("y", 5)):
        with h5py.File(tmp_path / f"{name}.h5", "w") as file:
            file["codes/a"] = random.normal(size=(200, 6)) + 4 * np.eye(3, 6)[labels]
            file["codes/b"] = random.random((200, 3, 3, width))
            file["labels"] = labels
    fit = pipeline.fit_head(tmp_path / "x.h5", kind="svm", layer=["a", "b:max"], out=tmp_path / "h")
    assert pipeline.evaluate(fit.head, tmp_path / "x.h5", out=tmp_path / "r").report.accuracy > 0.9
    with pytest.raises(SpaceMismatch, match=r"shape \(3, 3, 4\) in layer 'b' .*\(3, 3, 5\)"):
        pipeline.evaluate(fit.head, tmp_path / "y.h5", out=tmp_path / "r")


@pytest.mark.parametrize("kind", ["svm", "centroid"])
def test_folds_give_an_honest_matrix_of_the_training_images(
    cached: Path, tmp_path: Path, kind: str
) -> None:
    told: list[str] = []
    fit = pipeline.fit_head(
        cached, kind=kind, folds=4, out=tmp_path / "h", listener=Listener(tell=told.append)
    )
    assert fit.validated_on == "4-fold cross-validation"
    assert any("have no part in this head: evaluate --split val is a test" in line for line in told)
    result = pipeline.evaluate(tmp_path / "h", cached, split="train", out=tmp_path / "r")
    assert result.report.accuracy == pytest.approx(fit.val_accuracy)
    [note] = result.warnings
    assert "when they were held out (4-fold cross-validation" in note
    assert not pipeline.evaluate(tmp_path / "h", cached, split="val", out=tmp_path / "v").warnings


@pytest.mark.parametrize("kind", ["knn", "mlp"])
def test_folds_are_for_the_other_kinds(cached: Path, tmp_path: Path, kind: str) -> None:
    with pytest.raises(HeadError, match=f"expected --folds with kind svm.*found {kind}"):
        pipeline.fit_head(cached, kind=kind, folds=4, out=tmp_path / "h")
