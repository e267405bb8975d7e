"""Fine-tuning from the cache: a head that carries layers, used like any other."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import keras
import numpy as np
import pytest

import pipeline
from pipeline import Listener, backbones, heads, images, store
from pipeline.common.choices import Dtype, HeadKind, Resize, Split
from pipeline.common.errors import (
    BackboneError,
    ExportError,
    HeadError,
    SourceError,
    SpaceMismatch,
    StoreError,
)
from tests.tiny import THIN

QUICK = {"epochs": 2, "learning_rate": 1e-3, "early_stopping": 0, "batch_size": 16}


@pytest.fixture
def photos(make_photos) -> Path:
    return make_photos(each=24)


@pytest.fixture
def trunk(tiny, photos, tmp_path) -> Path:
    """A store with the map below the last convolution, and what comes out of it."""
    out = tmp_path / "trunk"
    pipeline.extract(
        photos,
        out=out,
        backbone=tiny,
        weights="random",
        layers=["avg", "conv"],
        precision="float32",
    )
    return out


@pytest.fixture
def svm(trunk, tmp_path) -> Path:
    return Path(pipeline.fit_head(trunk, kind="svm", layer="avg", out=tmp_path / "svm").head)


@pytest.fixture
def tuned(svm, tmp_path) -> Path:
    result = pipeline.fine_tune(svm, start="conv", out=tmp_path / "tuned", **QUICK)
    return Path(result.head)


def test_the_result_says_what_was_done(svm, tmp_path):
    lines = []
    result = pipeline.fine_tune(
        svm,
        start="conv",
        out=tmp_path / "tuned",
        listener=Listener(tell=lines.append),
        **QUICK,
    )
    assert (result.start, result.stop, result.kind) == ("conv", "avg", "softmax")
    assert result.weights == 3 * 3 * 4 * 8 + 8
    assert (result.train_images + result.val_images) < 72
    assert result.epochs_run == 2
    assert 0 <= result.best_epoch <= 2
    assert lines[0].startswith("memory: about ")
    assert lines[1].startswith("plan: 2 epochs of about ")
    assert [line.partition(":")[0] for line in lines[2:]] == [
        "before, at a learning rate of 0.001", "epoch 1 of 2", "epoch 2 of 2",
    ]  # fmt: skip
    assert result.gain.value == pytest.approx(result.val_accuracy - result.val_accuracy_before)
    [attempt] = result.tried
    assert (attempt.start, attempt.val_accuracy) == ("conv", result.val_accuracy)
    assert sorted(path.suffix for path in Path(result.head).iterdir()) == [".h5", ".json", ".png"]
    assert json.loads((Path(result.head) / "head.json").read_text())["tuned_to"] == "avg"


class TestAuto:
    """Every boundary that is cached is trained from, and the best is kept."""

    def test_by_default_the_only_one(self, svm, tmp_path):
        result = pipeline.fine_tune(svm, out=tmp_path / "tuned", **QUICK)
        assert (result.start, [each.start for each in result.tried]) == ("conv", ["conv"])

    def test_the_smallest_validation_loss_of_several(self, photos, tmp_path, monkeypatch):
        monkeypatch.setattr("pipeline.backbones._table.TABLE", {**backbones.TABLE, **THIN})
        monkeypatch.setenv("PIPELINE_CACHE", str(tmp_path / "cache"))
        out, lines = tmp_path / "lite", []
        layers = ["avg", "block5c_add", "block6d_add"]
        pipeline.extract(photos, out=out, layers=layers, size=64)
        head = pipeline.fit_head(out, kind="softmax", layer="avg", out=tmp_path / "head").head
        result = pipeline.fine_tune(
            head, out=tmp_path / "tuned", listener=Listener(tell=lines.append), **QUICK
        )
        assert lines[0] == (
            "training from block6d_add and from block5c_add, whose codes the store has"
        )
        losses = {each.start: each.val_loss for each in result.tried}
        assert list(losses) == ["block6d_add", "block5c_add"]
        assert losses[result.start] == min(losses.values())
        saved = heads.load(Path(result.head))
        assert saved.card.layer == result.start
        assert saved.head.validation_["log_loss"] == losses[result.start]
        assert saved.card.trained_on["tried"] == list(losses)
        assert "chose its boundary and its epoch" in saved.card.trained_on["judged"]
        pipeline.evaluate(result.head, out, out=tmp_path / "report")
        assert [path.name for path in Path(result.head).glob("unfinished*")] == []

        lines = []
        hurried = pipeline.fine_tune(
            head,
            out=tmp_path / "h",
            minutes=1e-6,
            listener=Listener(tell=lines.append),
            **QUICK | {"epochs": None},
        )
        assert [each.start for each in hurried.tried] == ["block6d_add"]
        assert hurried.epochs_run == 1
        assert lines[-1].startswith("from block5c_add: an epoch takes about ")
        assert lines[-1].endswith("3 do not fit into the 0 s that are left; left out")

    def test_a_store_without_any(self, cached, tmp_path):
        fit = pipeline.fit_head(cached, kind="softmax", layer="avg", out=tmp_path / "head")
        with pytest.raises(StoreError, match="--layer conv --dtype float16"):
            pipeline.fine_tune(fit.head)

    @pytest.mark.parametrize("minutes", [0, -1.0, float("inf"), float("nan")])
    def test_impossible_minutes(self, svm, minutes):
        with pytest.raises(HeadError, match="expected --minutes above 0"):
            pipeline.fine_tune(svm, minutes=minutes)


def test_evaluate_and_predict_agree_with_the_whole_network(tuned, trunk, photos):
    """The trained layers, put back into the full network, say the same: within 1e-4."""
    evaluation = pipeline.evaluate(tuned, trunk, out=tuned / ".." / "report")
    assert evaluation.report.images > 0
    opened = store.open_store(trunk)
    rows = store.rows_of(opened, Split.test)
    files = [photos / path.decode() for path in opened.paths(rows)]
    said = pipeline.predict(tuned, files, top=3).predictions
    saved = heads.load(tuned)
    whole = backbones.codes_model(
        backbones.find("tiny"), layers=["avg"], size=32, weights="random", tuned=saved.tuned
    )
    for file, prediction in zip(files, said, strict=True):
        pixels = images.decode(file.read_bytes(), size=32, resize=Resize.crop)
        codes = whole(pixels[None], training=False)
        scores = saved.head.predict_proba(keras.ops.convert_to_numpy(codes))[0]
        expected = dict(zip(saved.card.classes, scores, strict=True))
        assert dict(prediction.top) == pytest.approx(expected, abs=1e-4)
    right = [p.label == f.parent.name for p, f in zip(said, files, strict=True)]
    assert evaluation.report.accuracy == pytest.approx(np.mean(right))


def test_only_the_layers_between_are_carried(tuned):
    arrays = heads.load(tuned).tuned
    assert {path.partition("/")[0] for path in arrays} == {"top"}


@pytest.mark.parametrize("kind", [HeadKind.softmax, HeadKind.ridge, HeadKind.mlp])
def test_other_kinds(kind, trunk, tmp_path):
    options = {"hidden": (8,), "epochs": 3} if kind is HeadKind.mlp else {}
    fit = pipeline.fit_head(trunk, kind=kind, layer="avg", out=tmp_path / "head", **options)
    result = pipeline.fine_tune(fit.head, start="conv", out=tmp_path / "tuned", **QUICK)
    pipeline.evaluate(result.head, trunk, out=tmp_path / "report")


def test_from_codes_of_16_bits_in_another_store(svm, photos, tmp_path):
    out = tmp_path / "half"
    pipeline.extract(
        photos, out=out, backbone="tiny", weights="random", layers="conv", dtype=Dtype.float16
    )
    result = pipeline.fine_tune(svm, start="conv", store_path=out, out=tmp_path / "tuned", **QUICK)
    pipeline.evaluate(result.head, out, out=tmp_path / "report")


def test_codes_that_memory_does_not_hold_are_read(svm, tmp_path, monkeypatch):
    plans = []
    in_memory = pipeline.fine_tune(svm, start="conv", out=tmp_path / "a", **QUICK)

    def plan(*args, **kwargs):
        plans.append(heads._plan.plan_tuning(*args, **kwargs | {"read": True}))
        return plans[-1]

    monkeypatch.setattr("pipeline.heads.plan_tuning", plan)
    read = pipeline.fine_tune(svm, start="conv", out=tmp_path / "b", **QUICK)
    assert (in_memory.in_memory, read.in_memory) == (True, False)
    assert plans[0].in_memory is False
    assert read.val_accuracy_before == in_memory.val_accuracy_before


def test_cached_views_are_learned_from(tiny, photos, tmp_path):
    out = tmp_path / "views"
    pipeline.extract(
        photos, out=out, backbone=tiny, weights="random", layers=["avg", "conv"], views=2
    )
    fit = pipeline.fit_head(out, kind="softmax", layer="avg", out=tmp_path / "head")
    steps = []
    result = pipeline.fine_tune(
        fit.head,
        start="conv",
        out=tmp_path / "tuned",
        listener=Listener(progress=lambda done, total: steps.append(total)),
        **QUICK,
    )
    assert steps[0] == 2 * result.train_images  # the head learns from all views
    assert steps[-1] == 2 * result.train_images  # each of two epochs from one of each image
    pipeline.evaluate(result.head, out, views=True, out=tmp_path / "report")


@pytest.mark.parametrize("start", ["conv", "input"])
def test_it_leaves_the_house_whole(start, svm, tmp_path):
    tuned = pipeline.fine_tune(svm, start=start, out=tmp_path / "tuned", **QUICK)
    result = pipeline.export(tuned.head, format="keras", out=tmp_path / "model.keras")
    assert (result.images, result.top1_agreement) == (32, 1.0)
    assert result.max_difference <= 1e-4
    card = Path(result.model_card).read_text()
    assert f"the layers above {start}" in card


def test_on_codes_alone_it_says_nothing(tuned, tmp_path):
    with pytest.raises(ExportError, match="fine-tuned layers of its own"):
        pipeline.export(tuned, format="joblib", out=tmp_path / "model.joblib")


class TestFromInput:
    """The whole network, from photos that differ in every epoch."""

    @pytest.fixture
    def whole(self, svm, tmp_path) -> Path:
        result = pipeline.fine_tune(svm, start="input", out=tmp_path / "whole", **QUICK)
        assert result.weights > 3 * 3 * 4 * 8 + 8
        return Path(result.head)

    def test_evaluate_and_predict_take_it_like_any_other(self, whole, trunk, photos, tmp_path):
        report = pipeline.evaluate(whole, trunk, out=tmp_path / "report").report
        opened = store.open_store(trunk)
        paths = opened.paths(store.rows_of(opened, Split.test))
        said = pipeline.predict(whole, [photos / path.decode() for path in paths]).predictions
        right = [
            each.label == path.decode().partition("/")[0]
            for each, path in zip(said, paths, strict=True)
        ]
        assert report.accuracy == pytest.approx(np.mean(right))

    def test_photos_that_are_gone_are_named(self, svm, photos, tmp_path):
        shutil.move(photos, tmp_path / "elsewhere")
        with pytest.raises(SourceError, match=r"photos of .* are gone"):
            pipeline.fine_tune(svm, start="input", out=tmp_path / "whole", **QUICK)

    def test_photos_that_changed_are_named(self, svm, trunk, photos, tmp_path):
        opened = store.open_store(trunk)
        paths = opened.paths(store.rows_of(opened, Split.train))
        shutil.copy(photos / paths[1].decode(), photos / paths[0].decode())
        with pytest.raises(SourceError, match="it has changed; extract again"):
            pipeline.fine_tune(svm, start="input", out=tmp_path / "whole", **QUICK)

    def test_a_packed_file_knows_no_photos(self, svm, trunk, tmp_path):
        pipeline.pack(trunk, tmp_path / "packed.h5")
        with pytest.raises(StoreError, match="says where its photos are"):
            pipeline.fine_tune(
                svm, start="input", store_path=tmp_path / "packed.h5", out=tmp_path / "w", **QUICK
            )


def test_other_splits_are_told(svm, photos, tmp_path):
    out = tmp_path / "other"
    pipeline.extract(photos, out=out, backbone="tiny", weights="random", layers="conv", test=0.5)
    lines = []
    pipeline.fine_tune(
        svm,
        start="conv",
        store_path=out,
        out=tmp_path / "t",
        listener=Listener(tell=lines.append),
        **QUICK,
    )
    assert "that the head was fitted on took other sides of the split" in lines[0]


class TestRefused:
    """One line each: what was expected, what was found, what to type."""

    def test_no_boundary(self, svm):
        with pytest.raises(BackboneError, match=r"below avg \(input, conv\), found 'top'"):
            pipeline.fine_tune(svm, start="top")

    def test_a_store_without_the_layer(self, cached, tmp_path):
        fit = pipeline.fit_head(cached, kind="softmax", layer="avg", out=tmp_path / "head")
        with pytest.raises(StoreError) as caught:
            pipeline.fine_tune(fit.head, start="conv")
        assert (
            "--backbone tiny --weights random --size 32 --resize crop --layer conv "
            "--dtype float16 --out artifacts/features/store-conv" in str(caught.value)
        )

    def test_a_store_of_another_space(self, svm, photos, tmp_path):
        out = tmp_path / "other"
        pipeline.extract(
            photos, out=out, backbone="tiny", weights="random", layers="conv", resize="squash"
        )
        with pytest.raises(SpaceMismatch, match="resize: crop against squash"):
            pipeline.fine_tune(svm, start="conv", store_path=out, out=tmp_path / "tuned")

    def test_a_store_without_some_classes(self, svm, photos, tmp_path):
        shutil.rmtree(photos / "class_1")
        out = tmp_path / "fewer"
        pipeline.extract(photos, out=out, backbone="tiny", weights="random", layers="conv")
        with pytest.raises(HeadError, match="lacks class_1 and has no others"):
            pipeline.fine_tune(svm, start="conv", store_path=out, out=tmp_path / "tuned")

    def test_the_folder_of_the_head_itself(self, svm):
        with pytest.raises(pipeline.OutputError, match="another folder than that of the head"):
            pipeline.fine_tune(svm, start="conv", out=svm)

    def test_a_store_without_what_the_tuned_layers_take(self, tuned, photos, tmp_path):
        out = tmp_path / "avg"
        pipeline.extract(photos, out=out, backbone="tiny", weights="random", layers="avg")
        with pytest.raises(SpaceMismatch, match=r"found avg in .* extract with --layer conv"):
            pipeline.evaluate(tuned, out)

    def test_a_head_that_is_tuned_already(self, tuned, tmp_path):
        with pytest.raises(HeadError, match="fine-tuned already"):
            pipeline.fine_tune(tuned, start="conv", out=tmp_path / "again")

    def test_augmentation_of_what_is_cached(self, svm):
        with pytest.raises(HeadError, match="extract --views 4"):
            pipeline.fine_tune(svm, start="conv", augment="flip")

    def test_another_folder_in_the_way(self, svm, photos):
        with pytest.raises(pipeline.OutputError, match="choose another --out"):
            pipeline.fine_tune(svm, start="conv", out=photos)

    def test_weights_damaged_after_saving(self, tuned, trunk):
        payload = next(tuned.glob("weights-*.h5"))
        payload.write_bytes(payload.read_bytes()[:-1] + b"x")
        with pytest.raises(pipeline.HeadDamaged):
            pipeline.evaluate(tuned, trunk)


def test_a_rate_that_makes_validation_worse_is_followed_by_lower_ones(svm, tmp_path, monkeypatch):
    """What trial on a few images finds may be too much for whole epochs."""
    monkeypatch.setattr("pipeline.heads._learning_rate.RateSearch.find", lambda *_: 1000.0)
    told = []
    quick = {name: value for name, value in QUICK.items() if name != "learning_rate"}
    done = pipeline.fine_tune(
        svm, start="conv", out=tmp_path / "t", listener=Listener(tell=told.append), **quick
    )
    rates = [line for line in told if line.startswith("before, at a learning rate of")]
    assert rates[0].startswith("before, at a learning rate of 1000:")
    assert rates[1].startswith("before, at a learning rate of 100:")
    assert done.learning_rate < 1000
    assert done.val_accuracy >= done.val_accuracy_before


def test_a_head_on_several_layers_is_refused_at_once(trunk, tmp_path):
    layers = ["avg", "conv:max"]
    head = pipeline.fit_head(trunk, kind="svm", C=1.0, layer=layers, out=tmp_path / "j").head
    with pytest.raises(
        HeadError, match=r"one layer, found .* on avg\+conv:max; fit one with `pipe"
    ):
        pipeline.fine_tune(head, start="conv", out=tmp_path / "t")
    assert not (tmp_path / "t").exists()
