"""Several views of each image, from extract to predict."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import pipeline
from pipeline import (
    Augment,
    HeadKind,
    Listener,
    Resize,
    Split,
    backbones,
    heads,
    images,
    report,
    store,
)
from pipeline.common.errors import ChoiceError, HeadError, Interrupted, SpaceMismatch

Photos = Callable[..., Path]
K = 3
AUGMENT = "flip,crop,rotate,colour"


@pytest.fixture
def of_views(tiny: str, make_photos: Photos, tmp_path: Path) -> Path:
    """A finished store like `cached`, with three views of each image."""
    options = {"backbone": tiny, "weights": "random", "layers": ["avg", "top"]}
    pipeline.extract(
        make_photos(each=24), out=tmp_path / "views", views=K, augment=AUGMENT, seed=7, **options
    )
    pipeline.extract(tmp_path / "photos", out=tmp_path / "one", **options)
    return tmp_path / "views"


def every_row(opened: store.Store) -> np.ndarray:
    return np.arange(len(opened.labels))


def test_the_codes_are_those_of_the_network_on_each_view(
    tiny: str, make_photos: Photos, tmp_path: Path
) -> None:
    photos = make_photos()
    result = pipeline.extract(
        photos, out=tmp_path / "s", backbone=tiny, weights="random", views=K, engine="tensorflow"
    )
    assert (result.ok, result.computed, result.views) == (24, 24, K)
    assert result.layers == {"avg": (8,)}
    network = backbones.load(backbones.find(tiny), weights="random", layers=["avg"])
    opened = store.open_store(tmp_path / "s")
    rows = every_row(opened)
    read = store.read_rows(opened, "avg", rows, views=True)
    for path, codes in zip(opened.paths(rows), read, strict=True):
        data = (photos / os.fsdecode(path)).read_bytes()
        pixels = images.decode_views(
            data,
            size=32,
            resize=Resize.crop,
            views=images.parse_views(K, augment="flip,crop", seed=0),
            sha256=hashlib.sha256(data).digest(),
        )
        np.testing.assert_array_equal(codes, network(pixels)["avg"])


def test_the_first_view_is_what_a_store_of_one_view_has(of_views: Path, tmp_path: Path) -> None:
    several, one = store.open_store(of_views), store.open_store(tmp_path / "one")
    rows = every_row(one)
    assert several.paths(rows) == one.paths(rows)
    np.testing.assert_array_equal(several.labels, one.labels)
    np.testing.assert_array_equal(several.splits, one.splits)
    for layer in one.layers:
        np.testing.assert_array_equal(
            store.read_rows(several, layer, rows), store.read_rows(one, layer, rows)
        )


@pytest.mark.parametrize("stop", [1, 7, 23])
def test_an_interrupt_between_views_leaves_whole_rows(
    tiny: str, make_photos: Photos, tmp_path: Path, stop: int
) -> None:
    """Batches of 4 end in the middle of an image's 3 views."""
    photos = make_photos()

    def press(done: int, total: int) -> None:
        if done >= stop:
            raise KeyboardInterrupt

    options = {"backbone": tiny, "weights": "random", "batch_size": 4, "views": K}
    kept = stop // 4 * 4  # whose views fill three batches
    with pytest.raises(Interrupted, match=f"{kept} of 24 images have their codes"):
        pipeline.extract(photos, out=tmp_path / "a", listener=Listener(progress=press), **options)
    assert pipeline.verify(tmp_path / "a").damage == ()
    again = pipeline.extract(photos, out=tmp_path / "a", **options)
    assert (again.computed, again.ok) == (24 - kept, 24)
    pipeline.extract(photos, out=tmp_path / "b", **options)
    for name in ("a", "b"):
        pipeline.pack(tmp_path / name, tmp_path / f"{name}.h5")
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"views": 4}, "views: 3 there, 4 asked for"),
        ({"views": 1, "augment": None, "seed": 0}, "views: 3 there, 1 asked for"),
        ({"augment": "flip"}, "augment: flip,crop,rotate,colour there, flip asked for"),
        ({"seed": 8}, "augment_seed: 7 there, 8 asked for"),
    ],
)
def test_a_store_never_mixes_views(
    of_views: Path, tiny: str, tmp_path: Path, change: dict[str, object], field: str
) -> None:
    asked = {"views": K, "augment": AUGMENT, "seed": 7, **change}
    with pytest.raises(SpaceMismatch, match=field):
        pipeline.extract(
            tmp_path / "photos",
            out=of_views,
            backbone=tiny,
            weights="random",
            layers=["avg", "top"],
            **asked,
        )


def test_views_are_not_added_to_a_store_of_one_view(
    of_views: Path, tiny: str, tmp_path: Path
) -> None:
    options = {"backbone": tiny, "weights": "random", "layers": ["avg", "top"], "views": 2}
    with pytest.raises(SpaceMismatch, match=r"views: 1 there, 2 asked for; augment: none there"):
        pipeline.extract(tmp_path / "photos", out=tmp_path / "one", **options)


def test_augment_without_views(make_photos: Photos, tmp_path: Path) -> None:
    with pytest.raises(ChoiceError, match="expected augment with 2 views or more, found 1"):
        pipeline.extract(make_photos(), out=tmp_path / "s", augment=[Augment.flip])
    assert not (tmp_path / "s").exists()


def test_an_estimate_counts_views(tiny: str, make_photos: Photos, tmp_path: Path) -> None:
    options = {"backbone": tiny, "weights": "random", "layers": "top"}
    result = pipeline.estimate(make_photos(), out=tmp_path / "s", views=K, **options)
    assert (result.to_compute, result.tried) == (24, 24)
    assert result.bytes == K * 24 * 8 * 8 * 8 * 4


def test_one_view_of_nan_has_its_image_rejected(
    tiny: str, make_photos: Photos, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = backbones.Network._batch

    def poisoned(self, pixels):  # type: ignore[no-untyped-def]
        codes = {name: block.copy() for name, block in real(self, pixels).items()}
        if len(pixels) == 72:  # the probe stays sound
            codes["avg"][4, 0] = np.nan  # the second view of the second image
        return codes

    monkeypatch.setattr(backbones.Network, "_batch", poisoned)
    options = {"backbone": tiny, "weights": "random", "batch_size": 72, "views": K}
    result = pipeline.extract(make_photos(), out=tmp_path / "s", **options)
    assert (result.ok, result.rejected) == (23, 1)
    listed = (tmp_path / "s" / "rejected.csv").read_text()
    assert "class_0/001.png" in listed
    assert "NaN" in listed


def test_codes_for_other_estimators(of_views: Path) -> None:
    one = pipeline.load_codes(of_views, layer="top", pool="avg")
    every = pipeline.load_codes(of_views, layer="top", pool="avg", views=True)
    assert every.X.shape == (K * len(one.y), 8)
    np.testing.assert_array_equal(every.X[::K], one.X)
    np.testing.assert_array_equal(every.y, np.repeat(one.y, K))
    assert every.paths[::K] == one.paths


def test_a_head_learns_from_all_views_of_its_training_images(
    of_views: Path, tmp_path: Path
) -> None:
    """Nearest neighbours keep what they were trained on."""
    images_ = len(store.rows_of(store.open_store(of_views), Split.train))
    fit = pipeline.fit_head(of_views, kind=HeadKind.knn, k=1, out=tmp_path / "h")
    assert fit.train_images == images_
    kept = heads.load(tmp_path / "h").head.arrays()
    assert K * images_ in {len(array) for array in kept.values()}


def test_without_validation_images_folds_never_part_the_views_of_an_image(
    tiny: str, make_photos: Photos, tmp_path: Path
) -> None:
    options = {"backbone": tiny, "weights": "random", "val": 0.0}
    pipeline.extract(make_photos(), out=tmp_path / "v", views=K, **options)
    pipeline.extract(tmp_path / "photos", out=tmp_path / "s", **options)
    told: list[str] = []
    fits = [
        pipeline.fit_head(
            tmp_path / name,
            kind="svm",
            out=tmp_path / "h",
            listener=Listener(tell=told.append),
        )
        for name in ("v", "s")
    ]
    assert fits[0].validated_on == fits[1].validated_on == "3-fold cross-validation"
    assert fits[0].val_accuracy == fits[1].val_accuracy
    [note] = [line for line in told if line.startswith("note: without")]
    assert "without validation images" in note


def test_scores_are_averaged_over_the_stored_views(
    of_views: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[np.ndarray] = []
    real = report.Tally.add

    def watch(self, truth, predicted, *, scores, **more):  # type: ignore[no-untyped-def]
        seen.append(scores)
        return real(self, truth, predicted, scores=scores, **more)

    monkeypatch.setattr(report.Tally, "add", watch)
    head = pipeline.fit_head(of_views, kind="softmax", C=1.0, out=tmp_path / "h").head
    opened, saved = store.open_store(of_views), heads.load(tmp_path / "h")
    rows = store.rows_of(opened, Split.test)
    codes = store.read_rows(opened, "avg", rows, views=True)
    each = [saved.head.predict_proba(codes[:, view]) for view in range(K)]
    assert pipeline.evaluate(head, of_views, views=True, out=tmp_path / "r").views == K
    assert pipeline.evaluate(head, of_views, out=tmp_path / "r").views == 1
    np.testing.assert_allclose(seen[0], np.mean(each, axis=0), rtol=1e-6)
    np.testing.assert_allclose(seen[1], each[0], rtol=1e-6)


def test_heads_and_stores_meet_whatever_their_views(of_views: Path, tmp_path: Path) -> None:
    """Codes of an image mean the same with copies beside them; only --views asks for these."""
    for fitted, scored in (("one", "views"), ("views", "one")):
        head = pipeline.fit_head(tmp_path / fitted, kind="svm", C=0.1, out=tmp_path / "h").head
        here = pipeline.evaluate(head, tmp_path / fitted, out=tmp_path / "r").report
        there = pipeline.evaluate(head, tmp_path / scored, out=tmp_path / "r").report
        assert here.to_json() == there.to_json()
    with pytest.raises(HeadError, match=r"expected a store with several views .* drop --views"):
        pipeline.evaluate(tmp_path / "h", tmp_path / "one", views=True, out=tmp_path / "r")


@pytest.mark.parametrize(("layer", "kind"), [("avg", "svm"), ("top", "softmax")])
def test_a_photo_gets_the_scores_of_its_stored_views(
    of_views: Path, tmp_path: Path, layer: str, kind: str
) -> None:
    head = pipeline.fit_head(of_views, kind=kind, layer=layer, C=0.1, out=tmp_path / "h").head
    opened, saved = store.open_store(of_views), heads.load(tmp_path / "h")
    rows = every_row(opened)[::5]
    codes = store.read_rows(opened, layer, rows, views=True).reshape(-1, *opened.layers[layer])
    how = pipeline.Pool.avg if layer == "top" else None
    each = saved.head.predict_proba(heads.pool(codes, how)).reshape(len(rows), K, 3)
    photos = [tmp_path / "photos" / os.fsdecode(path) for path in opened.paths(rows)]
    for views, expected in ((True, each.mean(axis=1)), (False, each[:, 0])):
        predictions = pipeline.predict(head, photos, views=views).predictions
        for prediction, scores in zip(predictions, expected, strict=True):
            found = dict(prediction.top)
            assert [found[f"class_{i}"] for i in range(3)] == pytest.approx(scores, rel=1e-12)


def test_a_head_of_one_view_has_none_to_average(svm: Path, tmp_path: Path) -> None:
    with pytest.raises(HeadError, match=r"expected a head fitted on several views .* drop --views"):
        pipeline.predict(svm, tmp_path / "photos", views=True)


def test_info_names_the_views(of_views: Path, tmp_path: Path) -> None:
    pipeline.fit_head(of_views, kind="svm", C=0.1, out=tmp_path / "h")
    for path in (of_views, tmp_path / "h"):
        space = pipeline.info(path)["space"]
        assert (space["views"], space["augment"], space["augment_seed"]) == (K, AUGMENT, 7)
    assert "augment" not in pipeline.info(tmp_path / "one")["space"]
