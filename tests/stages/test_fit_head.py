from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from sklearn.linear_model import RidgeClassifier
from sklearn.pipeline import make_pipeline
from threadpoolctl import threadpool_limits

import pipeline
from pipeline import HeadKind, Listener, Pool, heads, store
from pipeline.common.errors import ChoiceError, HeadError, OutputError, StoreError

# The default of 100 epochs is for thousands of images.
_FAST = {HeadKind.mlp: {"hidden": (32,), "epochs": 20, "learning_rate": 0.02}}


@pytest.mark.parametrize("kind", list(HeadKind))
def test_every_kind_learns_to_tell_red_from_green_from_blue(
    cached: Path, tmp_path: Path, kind: HeadKind
) -> None:
    fit = pipeline.fit_head(cached, kind=kind, out=tmp_path / "head", **_FAST.get(kind, {}))
    assert fit.val_accuracy is not None
    assert fit.val_accuracy > 0.8
    assert fit.classes == ("class_0", "class_1", "class_2")
    assert pipeline.evaluate(fit.head, cached, out=tmp_path / "r").report.accuracy > 0.8


def test_a_map_is_averaged_unless_told_otherwise(cached: Path, tmp_path: Path) -> None:
    dimensions = {
        pool: pipeline.fit_head(
            cached, kind=HeadKind.svm, layer="top", pool=pool, C=1.0, out=tmp_path / "h"
        ).dimensions
        for pool in (None, Pool.avg, Pool.max, Pool.flat)
    }
    assert dimensions == {None: 8, Pool.avg: 8, Pool.max: 8, Pool.flat: 512}


def test_the_head_carries_what_it_depends_on(cached: Path, svm: Path) -> None:
    card = heads.load(svm).card
    opened = store.open_store(cached)
    assert opened.header is not None
    assert card.space == opened.header.space
    assert card.layer == "avg"
    np.testing.assert_array_equal(card.probe, opened.probe("avg"))


def test_curves_of_an_mlp_are_drawn(cached: Path, tmp_path: Path) -> None:
    pipeline.fit_head(cached, kind="mlp", epochs=3, out=tmp_path / "h")
    assert (tmp_path / "h" / "curves.png").read_bytes().startswith(b"\x89PNG")
    history = heads.load(tmp_path / "h").head.history_
    assert history is not None
    assert {name: len(values) for name, values in history.items()} == {
        "accuracy": 3,
        "loss": 3,
        "val_accuracy": 3,
        "val_loss": 3,
    }


def test_one_class_only(tiny: str, make_photos: Callable[..., Path], tmp_path: Path) -> None:
    pipeline.extract(make_photos(classes=1), out=tmp_path / "s", backbone=tiny, weights="random")
    with pytest.raises(HeadError, match=r"at least two classes in .*, found 1 \(class_0\)"):
        pipeline.fit_head(tmp_path / "s", kind=HeadKind.svm, out=tmp_path / "h")
    assert not (tmp_path / "h").exists()


def test_an_unknown_layer_names_those_there_are(cached: Path, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"\(top.*\), found 'tpo'"):
        pipeline.fit_head(cached, kind=HeadKind.svm, layer="tpo", out=tmp_path / "h")


def test_a_place_with_other_files_is_refused_before_fitting(cached: Path, tmp_path: Path) -> None:
    with pytest.raises(OutputError):
        pipeline.fit_head(cached, kind=HeadKind.svm, out=cached)


def test_settings_of_an_mlp_with_another_kind(cached: Path, tmp_path: Path) -> None:
    with pytest.raises(HeadError, match="hidden with kind mlp only"):
        pipeline.fit_head(cached, kind="svm", hidden=(5,), out=tmp_path / "h")
    with pytest.raises(HeadError, match="C with kind svm, softmax or ridge"):
        pipeline.fit_head(cached, kind="mlp", C=1.0, out=tmp_path / "h")
    with pytest.raises(HeadError, match="no option 'hiden'"):
        pipeline.fit_head(cached, kind="mlp", hiden=(5,), out=tmp_path / "h")


def test_choices_are_named(cached: Path, tmp_path: Path) -> None:
    with pytest.raises(
        ChoiceError, match="svm, softmax, ridge, knn, centroid, mlp, found 'forest'"
    ):
        pipeline.fit_head(cached, kind="forest", out=tmp_path / "h")
    with pytest.raises(ChoiceError, match="avg, max, flat"):
        pipeline.fit_head(cached, kind="svm", layer="top", pool="mean", out=tmp_path / "h")


def test_numbers_may_come_from_numpy(cached: Path, tmp_path: Path) -> None:
    pipeline.fit_head(cached, kind="svm", C=np.float32(0.5), seed=np.int64(3), out=tmp_path / "h")
    assert heads.load(tmp_path / "h").head.parameters["C"] == 0.5
    for wrong in ({"seed": -1}, {"seed": 2**32}, {"seed": None}, {"C": None}, {"C": -1.0}):
        with pytest.raises(HeadError):
            pipeline.fit_head(cached, kind="svm", out=tmp_path / "h", **wrong)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"kind": "svm", "C": -1.0}, "expected --C auto or a number"),
        ({"kind": "knn", "k": 0}, "expected --k auto or a number of 1 or more"),
        ({"kind": "ridge", "folds": 1}, "expected --folds of 2 or more, found 1"),
        ({"kind": "mlp", "folds": 3}, "expected --folds with kind svm.*found mlp"),
        ({"kind": "mlp", "dropout": 1.0}, "for --dropout, found 1.0"),
        ({"kind": "softmax", "seed": [0, -1]}, "expected a seed from 0"),
        ({"estimator": np.mean}, "expected a classifier of scikit-learn's, not fitted"),
    ],
)
def test_bad_settings_are_refused_before_anything_is_read(
    wrong: dict[str, object], message: str, tmp_path: Path
) -> None:
    with pytest.raises(HeadError, match=message):
        pipeline.fit_head(tmp_path / "nowhere", **wrong)


def test_the_curves_of_an_mlp_do_not_stay_beside_an_svm(cached: Path, tmp_path: Path) -> None:
    pipeline.fit_head(cached, kind="mlp", epochs=1, out=tmp_path / "h")
    pipeline.fit_head(cached, kind="svm", C=1.0, out=tmp_path / "h")
    assert not (tmp_path / "h" / "curves.png").exists()


def test_vectors_have_nothing_to_pool(cached: Path, tmp_path: Path) -> None:
    with pytest.raises(HeadError, match="drop --pool"):
        pipeline.fit_head(cached, kind="svm", layer="avg", pool="max", out=tmp_path / "h")


def test_a_preset_takes_its_codes_as_its_article_does(cached: Path, tmp_path: Path) -> None:
    fit = pipeline.fit_head(
        cached, kind="mlp", preset="mnist-upscaling", layer="top", epochs=1, out=tmp_path / "h"
    )
    assert (fit.pool, fit.dimensions) == ("flat", 8 * 8 * 8)


def test_a_linear_head_is_fitted_on_validation_images_too_and_says_so(
    cached: Path, tmp_path: Path
) -> None:
    fit = pipeline.fit_head(cached, kind="svm", out=tmp_path / "h")
    assert fit.fitted_on == "train and val"
    assert fit.validated_on == "validation images"


def test_codes_as_arrays_for_other_estimators(cached: Path) -> None:
    train = pipeline.load_codes(cached)
    assert train.X.shape == (len(train.y), 8)
    assert train.X.dtype == np.float32
    assert [train.classes[label] for label in train.y] == [
        path.split("/")[0] for path in train.paths
    ]
    maps = pipeline.load_codes(cached, split="test", layer="top")
    assert maps.X.shape[1:] == (8, 8, 8)
    np.testing.assert_allclose(
        pipeline.load_codes(cached, split="test", layer="top", pool="max").X,
        maps.X.max(axis=(1, 2)),
    )


def test_codes_of_another_program(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    labels = random.integers(0, 3, 200)
    X = random.normal(size=(200, 6)) + 4 * np.eye(6)[labels]
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["codes/theirs"] = X
        file["labels"] = labels
    fit = pipeline.fit_head(tmp_path / "x.h5", kind=HeadKind.svm, out=tmp_path / "h")
    result = pipeline.evaluate(fit.head, tmp_path / "x.h5", out=tmp_path / "r")
    assert result.report.accuracy > 0.9
    with pytest.raises(HeadError, match="codes of another program"):
        pipeline.predict(fit.head, [__file__])


def test_a_choice_by_few_images_is_told(
    tiny: str, make_photos: Callable[..., Path], tmp_path: Path
) -> None:
    photos = make_photos(each=8)
    pipeline.extract(photos, out=tmp_path / "s", backbone=tiny, weights="random")
    for kind, name in (("svm", "C"), ("knn", "k")):
        told: list[str] = []
        fit = pipeline.fit_head(
            tmp_path / "s",
            kind=kind,
            out=tmp_path / kind,
            listener=Listener(tell=told.append),
        )
        assert (
            any(
                line.startswith(
                    f"note: {fit.val_images} validation images chose {name}: fewer than 10"
                )
                for line in told
            )
            or fit.val_images == 1
        )
    told.clear()
    pipeline.fit_head(
        tmp_path / "s",
        kind="svm",
        C=1.0,
        out=tmp_path / "fixed",
        listener=Listener(tell=told.append),
    )
    assert not any("say little" in line for line in told)


@pytest.mark.parametrize("kind", list(HeadKind))
def test_several_layers_stand_side_by_side(cached: Path, tmp_path: Path, kind: HeadKind) -> None:
    layers = ["top:max", "avg"]
    fast = _FAST.get(kind, {})
    fit = pipeline.fit_head(cached, kind=kind, layer=layers, out=tmp_path / "h", **fast)
    assert (fit.layer, fit.pool, fit.dimensions) == ("top:max+avg", None, 16)
    assert fit.val_accuracy is not None
    assert fit.val_accuracy > 0.8
    card = heads.load(Path(fit.head)).card
    assert (card.layer, card.pool, card.shape) == ("top", "max", (8, 8, 8))
    assert card.also == (heads.Part(layer="avg", shape=(8,)),)


def test_joined_codes_are_those_of_each_layer_in_the_order_given(
    cached: Path, tmp_path: Path
) -> None:
    layers = ["top:max", "avg"]
    a, b = (pipeline.load_codes(cached, split="all", layer=layer) for layer in layers)
    both = pipeline.load_codes(cached, split="all", layer=layers)
    np.testing.assert_array_equal(both.X, np.concatenate([a.X, b.X], axis=1))
    fit = pipeline.fit_head(cached, kind="ridge", C=1.0, layer=layers, out=tmp_path / "a")
    scaler = heads.ParetoScaler(widths=(8, 8))  # each layer by itself
    by_hand = make_pipeline(scaler, RidgeClassifier(alpha=1.0))
    learned = np.isin(both.splits, ["train", "val"])
    with threadpool_limits(1):
        by_hand.fit(both.X[learned], both.y[learned])
    expected = by_hand.decision_function(both.X)
    head = heads.load(Path(fit.head)).head
    np.testing.assert_allclose(head.decision(both.X), expected, rtol=1e-4, atol=1e-4)
    fit = pipeline.fit_head(cached, kind="ridge", C=1.0, layer=layers, out=tmp_path / "h")
    saved = heads.load(Path(fit.head))
    maps = pipeline.load_codes(cached, split="all", layer="top")
    taken = saved.card.take({"avg": b.X, "top": maps.X})
    np.testing.assert_array_equal(saved.decision(taken), saved.head.decision(both.X))


def test_joined_codes_that_do_not_fit_are_read_in_every_pass(
    cached: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dataclasses import replace

    options = {"kind": "centroid", "layer": ["top:flat", "avg"]}
    loaded = pipeline.fit_head(cached, out=tmp_path / "a", **options)
    pipeline.pack(cached, tmp_path / "s.h5")
    real = heads.plan

    def without_room(*args, **kwargs):  # type: ignore[no-untyped-def]
        return replace(real(*args, **kwargs), in_memory=False, val_in_memory=False)

    monkeypatch.setattr(heads, "plan", without_room)
    X = pipeline.load_codes(cached, split="test", layer=["top:flat", "avg"]).X
    assert X.shape[1] == 8 * 8 * 8 + 8
    for path in (cached, tmp_path / "s.h5"):
        read = pipeline.fit_head(path, out=tmp_path / "b", **options)
        assert (loaded.in_memory, read.in_memory) == (True, False)
        a, b = (heads.load(Path(fit.head)).head for fit in (loaded, read))
        np.testing.assert_allclose(a.decision(X), b.decision(X), rtol=0.01, atol=0.01)


def test_pool_is_for_maps_that_do_not_say(cached: Path, tmp_path: Path) -> None:
    def dimensions(layer: str | list[str], pool: str | None) -> int:
        where = {"out": tmp_path / "h", "layer": layer, "pool": pool}
        return pipeline.fit_head(cached, kind="centroid", **where).dimensions

    assert dimensions(["avg", "top"], None) == 16
    assert dimensions(["avg", "top"], "flat") == 8 + 512
    assert dimensions("top:flat", None) == 512
    assert dimensions(["top:flat"], None) == 512
    card = heads.load(tmp_path / "h").card
    assert (card.layer, card.pool, card.also) == ("top", "flat", ())


@pytest.mark.parametrize(
    ("layer", "pool", "error", "words"),
    [
        (["avg", "avg"], None, HeadError, "layers that differ, found avg twice; name each"),
        (["top:avg", "avg", "top:max"], None, HeadError, "found top twice"),
        (["avg", "tpo"], None, StoreError, r"\(top.*\), found 'tpo'; cache it with"),
        (["avg", "tpo:max"], None, StoreError, "found 'tpo:max'; cache it .* --layer tpo:max"),
        (["avg", "tpo:flat"], None, StoreError, "found 'tpo'; cache it .* --layer tpo`"),
        (["top", "avg:max"], None, HeadError, "found avg with vectors; type --layer avg"),
        (["avg", "top:max"], "avg", HeadError, "found avg with vectors, top:max; drop --pool"),
        (["avg", "top:mean"], None, ChoiceError, "of layer top .* avg, max, flat, found 'mean'"),
    ],
)
def test_layers_that_cannot_be_joined(
    cached: Path,
    tmp_path: Path,
    layer: list[str],
    pool: str | None,
    error: type[Exception],
    words: str,
) -> None:
    with pytest.raises(error, match=words) as caught:
        pipeline.fit_head(cached, kind="svm", layer=layer, pool=pool, out=tmp_path / "h")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "h").exists()


def test_a_layer_that_was_pooled_when_it_was_cached_keeps_its_name(
    tiny: str, make_photos: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos = make_photos(each=24)
    layers = ["avg", "conv:max"]
    pipeline.extract(photos, out=tmp_path / "s", backbone=tiny, weights="random", layers=layers)
    monkeypatch.chdir(tmp_path)
    told: list[str] = []
    fit = pipeline.fit_head(
        "s", kind="svm", C=1.0, layer=layers, listener=Listener(tell=told.append)
    )
    assert (fit.layer, fit.dimensions) == ("avg+conv:max", 12)
    assert fit.head == "artifacts/heads/s-avg+conv-max-svm"
    assert "layers avg+conv:max, of avg, conv:max" in told
    assert pipeline.predict(fit.head, photos / "class_1").predictions[0].label == "class_1"


def test_all_views_of_joined_layers_are_learned_from(
    tiny: str, make_photos: Callable[..., Path], tmp_path: Path
) -> None:
    options = {"backbone": tiny, "weights": "random", "layers": ["avg", "top"], "views": 3}
    pipeline.extract(make_photos(each=24), out=tmp_path / "s", **options)
    fit = pipeline.fit_head(
        tmp_path / "s", kind="knn", k=1, layer=["avg", "top"], out=tmp_path / "h"
    )
    head = heads.load(Path(fit.head)).head
    train = pipeline.load_codes(tmp_path / "s", layer=["avg", "top"], views=True)
    assert train.X.shape == (3 * fit.train_images, 16)
    np.testing.assert_array_equal(head.predict(train.X), train.y)
    result = pipeline.evaluate(fit.head, tmp_path / "s", views=True, out=tmp_path / "r")
    assert result.report.accuracy > 0.8
    pipeline.predict(fit.head, tmp_path / "photos", views=True)
