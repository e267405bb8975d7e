from __future__ import annotations

import errno
import itertools
import os
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from PIL import Image

import pipeline
from pipeline import Listener, backbones, store
from pipeline.common.errors import (
    BackboneError,
    Interrupted,
    OutputError,
    ResourceError,
    SourceError,
    SpaceMismatch,
    StoreDamaged,
    StoreError,
    StoreIncomplete,
)

Photos = Callable[..., Path]


def test_the_codes_are_those_of_the_network_on_the_decoded_image(
    tiny: str, make_photos: Photos, tmp_path: Path
) -> None:
    """Row by row against Keras itself, called by hand on pixels that Pillow resized."""
    photos = make_photos()
    result = pipeline.extract(
        photos,
        out=tmp_path / "s",
        backbone=tiny,
        weights="random",
        resize="squash",
        engine="tensorflow",
    )
    network = backbones.load(backbones.find(tiny), weights="random", layers=["avg"])
    opened = store.open_store(tmp_path / "s")
    rows = np.arange(result.ok)
    read = store.read_rows(opened, "avg", rows)
    for path, codes in zip(opened.paths(rows), read, strict=True):
        with Image.open(photos / os.fsdecode(path)) as image:
            shrinks = min(image.size) >= 32
            kernel = Image.Resampling.HAMMING if shrinks else Image.Resampling.BICUBIC
            pixels = np.asarray(image.resize((32, 32), kernel))
        np.testing.assert_array_equal(codes, network(pixels[None])["avg"][0])
    names = [os.fsdecode(path).split("/")[0] for path in opened.paths(rows)]
    assert [opened.classes[label] for label in opened.labels] == names


def test_what_it_returns(tiny: str, make_photos: Photos, tmp_path: Path) -> None:
    result = pipeline.extract(
        make_photos(), out=tmp_path / "s", backbone=tiny, weights="random", layers=["top", "conv"]
    )
    assert (result.scanned, result.ok, result.rejected, result.pending) == (24, 24, 0, 0)
    assert result.complete
    assert result.layers == {"top": (8, 8, 8), "conv": (16, 16, 4)}
    assert result.classes == ("class_0", "class_1", "class_2")
    assert sum(result.splits.values()) == 24
    assert (result.computed, result.reused) == (24, 0)


def test_a_second_run_has_nothing_to_do_and_loads_no_network(
    tiny: str, make_photos: Photos, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos = make_photos()
    # A file as fresh as these proves nothing by its times; old ones are not even read again.
    for path in photos.rglob("*.png"):
        os.utime(path, ns=(0, 0))
    monkeypatch.setattr("pipeline.store._writer._FRESH_NS", -(10**18))
    first = pipeline.extract(photos, out=tmp_path / "s", backbone=tiny, weights="random")
    monkeypatch.setattr(backbones, "load", None)
    monkeypatch.setattr("pipeline.images.stream", None)
    again = pipeline.extract(photos, out=tmp_path / "s", backbone=tiny, weights="random")
    assert (again.computed, again.reused) == (0, 24)
    assert again.space_id == first.space_id


def test_renamed_is_a_hit_edited_is_a_miss_deleted_is_gone(
    tiny: str, make_photos: Photos, tmp_path: Path
) -> None:
    photos = make_photos()

    def run() -> pipeline.stages.extract.Extraction:  # type: ignore[name-defined]
        return pipeline.extract(photos, out=tmp_path / "s", backbone=tiny, weights="random")

    run()
    (photos / "class_0" / "000.png").rename(photos / "class_1" / "renamed.png")
    shutil.copy(photos / "class_0" / "001.png", photos / "class_2" / "copy.png")
    Image.new("RGB", (9, 9)).save(photos / "class_0" / "002.png")
    (photos / "class_0" / "003.png").unlink()
    result = run()
    assert result.computed == 1
    assert result.ok == 24
    opened = store.open_store(tmp_path / "s")
    labels = dict(zip(opened.paths(np.arange(24)), opened.labels, strict=True))
    assert labels[b"class_1/renamed.png"] == 1
    assert b"class_0/003.png" not in labels


def test_bad_images_are_rejected_with_reasons_and_cost_nothing_else(
    tiny: str, make_photos: Photos, tmp_path: Path
) -> None:
    photos = make_photos()
    (photos / "class_0" / "empty.jpg").touch()
    whole = (photos / "class_1" / "000.png").read_bytes()
    (photos / "class_1" / "cut.png").write_bytes(whole[:200])
    (photos / "class_2" / "page.jpg").write_text("<html>404</html>")
    result = pipeline.extract(photos, out=tmp_path / "s", backbone=tiny, weights="random")
    assert (result.ok, result.rejected, result.scanned) == (24, 3, 27)
    assert result.rejected > result.rejected_allowed
    assert result.complete
    listed = (tmp_path / "s" / "rejected.csv").read_text()
    for name in ("class_0/empty.jpg", "class_1/cut.png", "class_2/page.jpg"):
        assert name in listed
    again = pipeline.extract(photos, out=tmp_path / "s", backbone=tiny, weights="random")
    assert (again.computed, again.rejected) == (0, 3)


def test_a_failing_disk_leaves_images_pending_and_the_next_run_takes_them(
    tiny: str, make_photos: Photos, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos = make_photos()
    real = os.open

    def fail(path, *args, **kwargs):  # type: ignore[no-untyped-def]
        if os.fsencode(path).endswith(b"005.png"):
            raise OSError(errno.EIO, "Input/output error")
        return real(path, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", fail)
        result = pipeline.extract(photos, out=tmp_path / "s", backbone=tiny, weights="random")
    assert (result.ok, result.pending, result.rejected) == (21, 3, 0)
    assert not result.complete
    with pytest.raises(StoreIncomplete):
        store.open_store(tmp_path / "s")
    again = pipeline.extract(photos, out=tmp_path / "s", backbone=tiny, weights="random")
    assert (again.computed, again.ok, again.complete) == (3, 24, True)


def test_ctrl_c_keeps_what_was_computed(tiny: str, make_photos: Photos, tmp_path: Path) -> None:
    photos = make_photos()

    def press(done: int, total: int) -> None:
        if done >= 10:
            raise KeyboardInterrupt

    options = {"out": tmp_path / "s", "backbone": tiny, "weights": "random", "batch_size": 4}
    with pytest.raises(Interrupted, match="8 of 24 images have their codes; run the same command"):
        pipeline.extract(photos, listener=Listener(progress=press), **options)
    with pytest.raises(StoreIncomplete):
        store.open_store(tmp_path / "s")
    again = pipeline.extract(photos, **options)
    assert (again.computed, again.ok) == (16, 24), "the third batch was not whole"


@pytest.mark.parametrize("stop", [1, 7, 13, 23])
def test_an_interrupted_run_ends_in_the_very_bytes_of_one_that_was_not(
    tiny: str, make_photos: Photos, tmp_path: Path, stop: int
) -> None:
    photos = make_photos()

    def press(done: int, total: int) -> None:
        if done >= stop:
            raise KeyboardInterrupt

    options = {"backbone": tiny, "weights": "random", "batch_size": 4}
    with pytest.raises(Interrupted):
        pipeline.extract(photos, out=tmp_path / "a", listener=Listener(progress=press), **options)
    for name in ("a", "b"):
        pipeline.extract(photos, out=tmp_path / name, **options)
        pipeline.pack(tmp_path / name, tmp_path / f"{name}.h5")
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"size": 40}, "size: 32 there, 40 asked for"),
        ({"layers": ["top"]}, "layers: avg there, top asked for"),
        ({"resize": pipeline.Resize.pad}, "resize: crop there, pad asked for"),
        ({"backbone": "mobilenetv2"}, "backbone: tiny there, mobilenetv2 asked for"),
        ({"dtype": "float16"}, "dtype: float32 there, float16 asked for"),
    ],
)
def test_a_store_never_mixes_spaces(
    tiny: str, make_photos: Photos, tmp_path: Path, change: dict[str, object], field: str
) -> None:
    photos = make_photos()
    options: dict[str, object] = {"out": tmp_path / "s", "backbone": tiny, "weights": "random"}
    pipeline.extract(photos, **options)
    with pytest.raises(SpaceMismatch, match=field):
        pipeline.extract(photos, **{**options, **change})


def test_other_weights_under_the_same_name_are_found_out(
    tiny: str, make_photos: Photos, tmp_path: Path
) -> None:
    from keras import utils

    from tests.tiny import build

    photos, path = make_photos(), tmp_path / "w.weights.h5"
    options = {"out": tmp_path / "s", "backbone": tiny, "weights": str(path)}
    utils.set_random_seed(1)
    build(input_shape=(32, 32, 3)).save_weights(path)
    pipeline.extract(photos, **options)
    utils.set_random_seed(2)
    build(input_shape=(32, 32, 3)).save_weights(path)
    with pytest.raises(SpaceMismatch, match="weights_sha256"):
        pipeline.extract(photos, **options)


def test_a_machine_that_computes_something_else_is_found_out(
    tiny: str, make_photos: Photos, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same weights and versions, and a broken kernel: only the probe can tell."""
    photos = make_photos()
    options = {"out": tmp_path / "s", "backbone": tiny, "weights": "random"}
    pipeline.extract(photos, **options)
    make_photos("more", seed=1)
    for path in (tmp_path / "more").rglob("*.png"):
        path.rename(photos / path.parent.name / f"more{path.name}")
    real = backbones.Network._batch
    monkeypatch.setattr(
        backbones.Network,
        "_batch",
        lambda self, pixels: {name: -codes for name, codes in real(self, pixels).items()},
    )
    with pytest.raises(SpaceMismatch, match="the probe images"):
        pipeline.extract(photos, **options)


def test_a_network_that_gives_nan_has_its_rows_rejected(
    tiny: str, make_photos: Photos, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = backbones.Network._batch

    def poisoned(self, pixels):  # type: ignore[no-untyped-def]
        codes = {name: block.copy() for name, block in real(self, pixels).items()}
        if len(pixels) != 8:  # the probe stays sound
            codes["avg"][2, 0] = np.nan
        return codes

    monkeypatch.setattr(backbones.Network, "_batch", poisoned)
    result = pipeline.extract(
        make_photos(), out=tmp_path / "s", backbone=tiny, weights="random", batch_size=24
    )
    assert (result.ok, result.rejected) == (23, 1)
    assert "NaN" in (tmp_path / "s" / "rejected.csv").read_text()


def test_too_little_room_is_said_before_any_work(
    tiny: str, make_photos: Photos, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.flows.extraction.free_bytes", lambda folder: 100)
    with pytest.raises(ResourceError, match="24 images need up to") as caught:
        pipeline.extract(make_photos(), out=tmp_path / "s", backbone=tiny, weights="random")
    assert caught.value.exit_code == 4


def test_nothing_is_left_behind_by_a_wrong_request(
    tiny: str, make_photos: Photos, tmp_path: Path
) -> None:
    photos = make_photos()
    for wrong, error in (
        ({"layers": ["tpo"]}, BackboneError),
        ({"weights": str(tmp_path / "none.h5")}, BackboneError),
        ({"val": 0.7, "test": 0.5}, SourceError),
        ({"max_rejected": "few"}, SourceError),
        ({"limit": "some"}, SourceError),
    ):
        options = {"backbone": tiny, "weights": "random", **wrong}
        with pytest.raises(error):
            pipeline.extract(photos, out=tmp_path / "s", **options)
        assert not (tmp_path / "s").exists()


def test_identical_images_on_both_sides_of_given_splits_are_told(
    tiny: str, make_photos: Photos, tmp_path: Path
) -> None:
    photos = make_photos()
    for split in ("train", "test"):
        shutil.copytree(photos, tmp_path / "split" / split)
    told: list[str] = []
    pipeline.extract(
        tmp_path / "split",
        out=tmp_path / "s",
        backbone=tiny,
        weights="random",
        listener=Listener(tell=told.append),
    )
    # Of the 24 training images some become validation images: all copies count.
    assert any("byte for byte in train as well" in sentence for sentence in told)


def test_a_class_without_training_images_is_told(
    tiny: str, make_photos: Photos, tmp_path: Path
) -> None:
    photos = make_photos()
    lonely = tmp_path / "split" / "test" / "lonely"
    shutil.copytree(photos, tmp_path / "split" / "train")
    shutil.copytree(photos / "class_0", tmp_path / "split" / "test" / "class_0")
    lonely.mkdir(parents=True)
    Image.new("RGB", (9, 9)).save(lonely / "1.png")
    told: list[str] = []
    pipeline.extract(
        tmp_path / "split",
        out=tmp_path / "s",
        backbone=tiny,
        weights="random",
        listener=Listener(tell=told.append),
    )
    assert "warning: class 'lonely' has no training image" in told


def test_a_store_that_turns_to_other_images_says_what_left_it(
    tiny: str, make_photos: Photos, tmp_path: Path
) -> None:
    options = {"out": tmp_path / "s", "backbone": tiny, "weights": "random"}
    pipeline.extract(make_photos("first"), **options)
    told: list[str] = []
    pipeline.extract(make_photos("second", each=4), listener=Listener(tell=told.append), **options)
    assert any("12 images of this store's last run" in sentence for sentence in told)


def test_the_same_bytes_under_two_labels_are_told(
    tiny: str, make_photos: Photos, tmp_path: Path
) -> None:
    photos = make_photos()
    shutil.copy(photos / "class_0" / "000.png", photos / "class_1" / "copy.png")
    told: list[str] = []
    result = pipeline.extract(
        photos,
        out=tmp_path / "s",
        backbone=tiny,
        weights="random",
        listener=Listener(tell=told.append),
    )
    assert any("1 image with the very same bytes under different" in line for line in told)
    assert (result.ok, result.computed, result.reused) == (25, 24, 1)


def test_the_store_is_named_after_the_source(
    tiny: str, make_photos: Photos, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos = make_photos()
    lines = [f"{path},{path.parent.name}" for path in photos.rglob("*.png")]
    (tmp_path / "list.csv").write_text("path,label\n" + "\n".join(lines))
    monkeypatch.chdir(tmp_path)
    photos.rename(tmp_path / "photos.v2")
    (tmp_path / "photos").symlink_to("photos.v2")
    for source, name in (("photos.v2", "photos.v2"), ("list.csv", "list")):
        result = pipeline.extract(source, backbone=tiny, weights="random")
        assert result.store == f"artifacts/features/{name}"


def test_memory_does_not_hold_the_images(
    tiny: str, make_photos: Photos, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many images there are, only a window of them is under way."""
    alive = itertools.count()
    seen: list[int] = []
    real = store.Writer.append

    def watch(self, row):  # type: ignore[no-untyped-def]
        next(alive)
        seen.append(len(self._buffer.rows))
        return real(self, row)

    monkeypatch.setattr(store.Writer, "append", watch)
    monkeypatch.setattr("pipeline.store._buffer.BYTES", 10 * 8 * 4)
    pipeline.extract(
        make_photos(each=40), out=tmp_path / "s", backbone=tiny, weights="random", batch_size=4
    )
    assert max(seen) <= 10
    # Two batches of 4 fit; a third would be too much.
    assert len(list((tmp_path / "s" / "shards").iterdir())) == 15


def test_codes_need_no_unusual_reader(tiny: str, make_photos: Photos, tmp_path: Path) -> None:
    pipeline.extract(make_photos(), out=tmp_path / "s", backbone=tiny, weights="random")
    [shard] = (tmp_path / "s" / "shards").iterdir()
    with h5py.File(shard) as file:
        assert file["codes/avg"].shape == (24, 8)
        assert file["codes/avg"].fletcher32


def test_the_profile_says_where_the_time_went(
    tiny: str, make_photos: Photos, tmp_path: Path
) -> None:
    photos = make_photos()
    result = pipeline.extract(photos, out=tmp_path / "s", backbone=tiny, weights="random")
    assert set(result.profile) == {"forward", "waiting", "read", "decode", "write"}
    assert all(seconds > 0 for name, seconds in result.profile.items() if name != "waiting")
    assert result.bottleneck in ("forward", "decode", "read", "write")
    again = pipeline.extract(photos, out=tmp_path / "s", backbone=tiny, weights="random")
    assert again.bottleneck is None


# Estimates


def test_an_estimate_counts_what_is_to_come_and_leaves_nothing(
    tiny: str, make_photos: Photos, tmp_path: Path
) -> None:
    result = pipeline.estimate(
        make_photos(), out=tmp_path / "s", backbone=tiny, weights="random", layers="top"
    )
    assert (result.images, result.to_compute, result.tried) == (24, 24, 24)
    assert result.bytes == 24 * 8 * 8 * 8 * 4
    assert result.images_per_second is not None
    assert result.images_per_second > 0
    assert not (tmp_path / "s").exists()


def test_an_estimate_on_a_store_counts_only_the_rest(
    tiny: str, make_photos: Photos, tmp_path: Path
) -> None:
    photos = make_photos()
    options = {"out": tmp_path / "s", "backbone": tiny, "weights": "random"}
    pipeline.extract(photos, **options, limit=10)
    before = {path: path.read_bytes() for path in (tmp_path / "s").rglob("*.h5")}
    result = pipeline.estimate(photos, **options)
    assert 14 <= result.to_compute <= 24  # files this young are read again
    assert {path: path.read_bytes() for path in (tmp_path / "s").rglob("*.h5")} == before


def test_an_estimate_of_a_finished_store_measures_all_the_same(
    tiny: str, make_photos: Photos, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos = make_photos()
    for path in photos.rglob("*.png"):
        os.utime(path, ns=(0, 0))
    monkeypatch.setattr("pipeline.store._writer._FRESH_NS", -(10**18))
    options = {"out": tmp_path / "s", "backbone": tiny, "weights": "random"}
    pipeline.extract(photos, **options)
    result = pipeline.estimate(photos, **options)
    assert (result.to_compute, result.bytes, result.seconds) == (0, 0, 0.0)
    assert result.tried == 24
    assert result.images_per_second > 0


def test_an_estimate_refuses_what_extract_would(
    tiny: str, make_photos: Photos, tmp_path: Path
) -> None:
    photos = make_photos()
    pipeline.extract(photos, out=tmp_path / "s", backbone=tiny, weights="random")
    with pytest.raises(SpaceMismatch, match="layers: avg there, top asked for"):
        pipeline.estimate(photos, out=tmp_path / "s", backbone=tiny, weights="random", layers="top")


# Codes of 16 bits


def test_16_bits_are_those_of_32_rounded(tiny: str, make_photos: Photos, tmp_path: Path) -> None:
    photos, options = make_photos(), {"backbone": tiny, "weights": "random", "layers": "top"}
    for dtype in pipeline.Dtype:
        pipeline.extract(photos, out=tmp_path / dtype.value, dtype=dtype, **options)
    whole, half = (store.open_store(tmp_path / dtype.value) for dtype in pipeline.Dtype)
    codes = store.read_rows(whole, "top", np.arange(24))
    expected = codes.astype(np.float16).astype(np.float32)
    np.testing.assert_array_equal(store.read_rows(half, "top", np.arange(24)), expected)
    assert half.header is not None
    assert whole.header is not None
    assert half.header.space == whole.header.space


def test_heads_and_stores_meet_whatever_their_width(
    tiny: str, make_photos: Photos, tmp_path: Path
) -> None:
    photos, options = make_photos(each=20), {"backbone": tiny, "weights": "random"}
    for dtype in ("float32", "float16"):
        pipeline.extract(photos, out=tmp_path / dtype, dtype=dtype, **options)
    for fitted, scored in (("float16", "float32"), ("float32", "float16")):
        fit = pipeline.fit_head(tmp_path / fitted, kind="softmax", C=1, out=tmp_path / "h")
        report = pipeline.evaluate(fit.head, tmp_path / scored, out=tmp_path / "r").report
        assert report.accuracy > 0.9
    assert pipeline.predict(tmp_path / "h", photos).ok == 60


def test_an_estimate_knows_that_16_bits_take_half(
    tiny: str, make_photos: Photos, tmp_path: Path
) -> None:
    options = {"out": tmp_path / "s", "backbone": tiny, "weights": "random", "layers": "top"}
    result = pipeline.estimate(make_photos(), dtype="float16", **options)
    assert result.bytes == 24 * 8 * 8 * 8 * 2


@pytest.mark.parametrize(("good", "kept"), [(0, 0), (5, 12)])
def test_codes_too_large_for_16_bits_stop_the_run_and_cost_nothing_else(
    tiny: str,
    make_photos: Photos,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    good: int,
    kept: int,
) -> None:
    """Where the probe images (two batches of 4) tell already, there is not even a store."""
    calls = itertools.count()
    real = backbones.Network._batch

    def huge(self, pixels):  # type: ignore[no-untyped-def]
        codes = {name: block.copy() for name, block in real(self, pixels).items()}
        if next(calls) >= good:
            codes["avg"][2, 0] = 70000
        return codes

    photos, out = make_photos(), tmp_path / "s"
    options = {"backbone": tiny, "weights": "random", "batch_size": 4, "engine": "tensorflow"}
    with monkeypatch.context() as patch:
        patch.setattr(backbones.Network, "_batch", huge)
        patch.setattr("pipeline.store._buffer.BYTES", 4 * 8 * 4)
        with pytest.raises(StoreError, match="found 70000 in layer avg; use --dtype float32"):
            pipeline.extract(photos, out=out, dtype="float16", **options)
    assert out.exists() == (kept > 0)
    again = pipeline.extract(photos, out=out, dtype="float16", **options)
    assert (again.ok, again.reused) == (24, kept)


@pytest.fixture
def by_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let codes depend on an image's place in its batch, as TensorFlow's last bits do."""
    real = backbones.load

    def load(*arguments: Any, **options: Any) -> backbones.Network:
        network = real(*arguments, **options)
        forward = network._forward

        def placed(pixels: np.ndarray) -> list[np.ndarray]:
            factors = 1 + np.arange(len(pixels), dtype=np.float32) / 100
            return [
                block * factors.reshape(-1, *(1,) * (block.ndim - 1)) for block in forward(pixels)
            ]

        network._forward = placed
        return network

    monkeypatch.setattr(backbones, "load", load)


@pytest.mark.parametrize("stop", [1, 6, 13, 22, 27])
@pytest.mark.parametrize("views", [1, 3])
@pytest.mark.usefixtures("by_place")
def test_images_have_the_places_in_their_batches_that_they_would_have_had(
    tiny: str, make_photos: Photos, tmp_path: Path, stop: int, views: int
) -> None:
    """Also where images are there twice, side by side or far apart, or cannot be decoded."""
    photos = make_photos()
    for source, copy in (("0/000", "0/000b"), ("0/003", "2/001b"), ("1/004", "1/004b")):
        shutil.copy(photos / f"class_{source}.png", photos / f"class_{copy}.png")
    (photos / "class_1" / "broken.png").write_bytes(b"no image")

    def press(done: int, total: int) -> None:
        if done >= stop:
            raise KeyboardInterrupt

    options = {"backbone": tiny, "weights": "random", "batch_size": 4, "views": views}
    with pytest.raises(Interrupted):
        pipeline.extract(photos, out=tmp_path / "a", listener=Listener(progress=press), **options)
    assert pipeline.verify(tmp_path / "a").damage == ()
    for name in ("a", "b"):
        pipeline.extract(photos, out=tmp_path / name, **options)
        pipeline.pack(tmp_path / name, tmp_path / f"{name}.h5")
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()


def test_what_a_store_had_stays_its_own_until_the_photos_say_otherwise(
    tiny: str, make_photos: Photos, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files that are copied or touched prove nothing by their times."""
    photos, out = make_photos(), tmp_path / "s"
    options = {"out": out, "backbone": tiny, "weights": "random"}
    pipeline.extract(photos, **options)
    before = pipeline.info(out)
    (photos / "class_0" / "000.png").write_bytes((photos / "class_1" / "001.png").read_bytes())
    for path in photos.rglob("*.png"):
        os.utime(path)
    with monkeypatch.context() as patch:
        patch.setattr("pipeline.images.stream", lambda *args, **more: iter([1 / 0]))
        with pytest.raises(ZeroDivisionError):
            pipeline.extract(photos, **options)
    after = pipeline.info(out)
    assert (after["ok"], after["splits"]) == (24, before["splits"])
    assert not after["complete"]
    assert pipeline.verify(out).unfinished
    with pytest.raises(StoreIncomplete, match="did not come to its end"):
        store.open_store(out)
    assert "pipeline extract" in (pipeline.repair(out).command or "")
    again = pipeline.extract(photos, **options)
    assert (again.computed, again.ok) == (0, 24)
    table = store.FolderStore(out).table
    assert table.sha256[0].tobytes() == table.sha256[9].tobytes()


def test_a_store_with_a_damaged_shard_is_refused_until_it_is_repaired(
    tiny: str, make_photos: Photos, tmp_path: Path
) -> None:
    photos, out = make_photos(), tmp_path / "s"
    options = {"backbone": tiny, "weights": "random", "val": 0.3, "test": 0.0, "limit": 20}
    pipeline.extract(photos, out=out, **options)
    [shard] = (out / "shards").iterdir()
    data = bytearray(shard.read_bytes())
    data[data.index(store.read_rows(store.open_store(out), "avg", np.array([3])).tobytes())] ^= 1
    shard.write_bytes(bytes(data))
    with pytest.raises(StoreDamaged, match=rf"`pipeline repair {out}` sets it aside"):
        pipeline.extract(photos, out=out, **options)
    done = pipeline.repair(out)
    assert done.waiting == 20
    assert done.command is not None
    words = shlex.split(done.command)
    assert words[:3] == ["pipeline", "extract", str(photos)]
    assert words[-2:] == ["--out", str(out)]
    for option, value in (
        ("--val", "0.3"),
        ("--test", "0.0"),
        ("--limit", "20"),
        ("--layer", "avg"),
    ):
        assert words[words.index(option) + 1] == value
    again = pipeline.extract(photos, out=out, **options)
    assert (again.computed, again.ok) == (20, 20)
    assert pipeline.repair(out).command is None


def test_links_that_leave_the_source_become_rejected_rows(
    tiny: str, make_photos: Photos, tmp_path: Path
) -> None:
    photos, elsewhere = make_photos(), make_photos("elsewhere", seed=1)
    (photos / "class_0" / "link.png").symlink_to(elsewhere / "class_0" / "000.png")
    options = {"backbone": tiny, "weights": "random"}
    result = pipeline.extract(photos, out=tmp_path / "s", **options)
    assert (result.ok, result.rejected) == (24, 1)
    assert "--follow-links" in (tmp_path / "s" / "rejected.csv").read_text()
    result = pipeline.extract(photos, out=tmp_path / "s", follow_links=True, **options)
    assert (result.ok, result.rejected) == (25, 0)


def test_classes_that_are_spelled_nearly_alike_are_told(
    tiny: str, make_photos: Photos, tmp_path: Path
) -> None:
    """Two Unicode spellings of one name are one class; the rest is for people to judge."""
    photos = make_photos()
    for old, new in (("class_0", "Cat"), ("class_1", "caf\u00e9"), ("class_2", "cafe\u0301")):
        (photos / old).rename(photos / new)
    shutil.copytree(photos / "Cat", photos / "cat")
    told: list[str] = []
    done = pipeline.extract(
        photos,
        out=tmp_path / "s",
        backbone=tiny,
        weights="random",
        listener=Listener(tell=told.append),
    )
    assert done.classes == ("Cat", "caf\u00e9", "cat")
    assert any("the classes 'Cat', 'cat' differ in case or spaces only" in line for line in told)
    assert any("3 classes (Cat 8, caf\u00e9 16, cat 8)" in line for line in told)


def test_shares_that_do_nothing_and_a_store_among_the_photos_are_told(
    tiny: str, make_photos: Photos, tmp_path: Path
) -> None:
    for split in ("training_set", "test_set"):
        make_photos(f"photos/{split}")
    told: list[str] = []
    options = {"backbone": tiny, "weights": "random", "listener": Listener(tell=told.append)}
    out = tmp_path / "photos" / "artifacts" / "s"
    for _ in range(2):  # the second time its own files are there
        done = pipeline.extract(tmp_path / "photos", out=out, test=0.1, **options)
        assert done.splits["test"] == 24
        assert done.classes == ("class_0", "class_1", "class_2")
    assert any("note: --test does nothing here" in line for line in told)
    assert any("is inside of the photos' folder" in line for line in told)


def test_two_sources_of_one_name_do_not_share_a_store_or_a_head(
    tiny: str, make_photos: Photos, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    make_photos("a/photos")
    make_photos("b/photos", seed=1)
    for i, name in enumerate(("bus", "car", "plane")):
        (tmp_path / "b" / "photos" / f"class_{i}").rename(tmp_path / "b" / "photos" / name)
    options = {"backbone": tiny, "weights": "random"}
    pipeline.extract("a/photos", **options)
    with pytest.raises(OutputError, match=r"found none of them in .*b/photos; add them with --add"):
        pipeline.extract("b/photos", **options)
    (tmp_path / "a" / "photos").rename(tmp_path / "moved")
    moved = pipeline.extract("moved", out="artifacts/features/photos", **options)
    assert (moved.computed, moved.ok) == (0, 24), "the same photos may lie anywhere"
    pipeline.fit_head("artifacts/features/photos", kind="centroid")
    pipeline.extract("b/photos", out="other/photos", **options)
    with pytest.raises(OutputError, match=r"3 classes \(class_0, class_1, class_2\); name"):
        pipeline.fit_head("other/photos", kind="centroid")
    told: list[str] = []
    head = "artifacts/heads/photos-centroid"
    fit = pipeline.fit_head(
        "other/photos", kind="centroid", out=head, listener=Listener(tell=told.append)
    )
    assert fit.classes == ("bus", "car", "plane")
    assert any("is replaced in" in line for line in told)


def test_images_that_are_nearly_constant_are_told_and_stay_told(
    tiny: str, make_photos: Photos, tmp_path: Path
) -> None:
    photos = make_photos(each=4)
    for number in range(6):
        Image.new("RGB", (40, 40), (number, 0, 0)).save(photos / "class_0" / f"dark{number}.png")
    said: list[str] = []
    ask = {"backbone": tiny, "weights": "random", "listener": Listener(tell=said.append)}
    pipeline.extract(photos, out=tmp_path / "s", **ask)
    first = [line for line in said if "nearly constant" in line]
    assert first[0].startswith("warning: 6 of 18 images are nearly constant")
    said.clear()
    pipeline.extract(photos, out=tmp_path / "s", **ask)
    assert [line for line in said if "nearly constant" in line] == first


def test_images_that_give_the_same_codes_are_told(
    tiny: str, make_photos: Photos, tmp_path: Path
) -> None:
    """The same pixels in other bytes; copies byte for byte are computed once."""
    photos = make_photos(each=4)
    for path in list((photos / "class_0").iterdir()):
        with Image.open(path) as image:
            image.save(path.with_name(f"again-{path.stem}.bmp"))
    said: list[str] = []
    pipeline.extract(
        photos,
        out=tmp_path / "s",
        backbone=tiny,
        weights="random",
        listener=Listener(tell=said.append),
    )
    assert any(line.startswith("warning: 4 of 16 images gave the very codes") for line in said)


def test_ordinary_photos_are_not_called_alike(
    tiny: str, make_photos: Photos, tmp_path: Path
) -> None:
    said: list[str] = []
    pipeline.extract(
        make_photos(),
        out=tmp_path / "s",
        backbone=tiny,
        weights="random",
        listener=Listener(tell=said.append),
    )
    assert not any("constant" in line or "very codes" in line for line in said)


def _as_on_kaggle(photos: Path, tmp_path: Path) -> Path:
    """Labelled photos in train, photos without a label in test."""
    root = tmp_path / "kaggle"
    shutil.copytree(photos, root / "train")
    (root / "test").mkdir()
    for number, path in enumerate(sorted(photos.rglob("*.png"))[:6]):
        with Image.open(path) as image:
            image.rotate(90).save(root / "test" / f"{number}.png")
    return root


def test_an_unlabelled_test_is_called_so_and_a_labelled_one_is_taken_if_asked_for(
    tiny: str, make_photos: Photos, tmp_path: Path
) -> None:
    root = _as_on_kaggle(make_photos(each=20), tmp_path)
    told: list[str] = []
    ask = {"backbone": tiny, "weights": "random", "listener": Listener(tell=told.append)}
    plain = pipeline.extract(root, out=tmp_path / "plain", **ask)
    assert plain.splits["test"] == plain.unlabelled["test"] == 6
    assert any("--test 0.2 takes a labelled test from train" in line for line in told)
    assert pipeline.info(tmp_path / "plain")["unlabelled"] == {"test": 6}
    with pytest.raises(StoreError, match="found 6 without labels; load split='all'"):
        pipeline.load_codes(tmp_path / "plain", split="test")
    everything = pipeline.load_codes(tmp_path / "plain", split="all")
    assert everything.X.shape[0] == 66
    assert (everything.y == -1).sum() == 6
    assert everything.splits.count("test") == 6
    assert everything.sha256 is not None
    assert len(set(everything.sha256)) == 66
    assert everything.groups is None

    told.clear()
    asked = pipeline.extract(root, out=tmp_path / "asked", test=0.2, **ask)
    assert not any("labelled test" in line or "does nothing" in line for line in told)
    assert asked.unlabelled == {"test": 6}
    labelled = pipeline.load_codes(tmp_path / "asked", split="test")
    assert len(labelled.y) == asked.splits["test"] - 6 > 0
    assert (labelled.y >= 0).all()
    assert set(labelled.paths).isdisjoint(pipeline.load_codes(tmp_path / "asked").paths)


def test_data_frames_and_lists_are_sources(tiny: str, make_photos: Photos, tmp_path: Path) -> None:
    photos = make_photos(each=8)
    paths = sorted(photos.rglob("*.png"))
    labels = [path.parent.name for path in paths]
    ask = {"backbone": tiny, "weights": "random"}
    folder = pipeline.extract(photos, out=tmp_path / "folder", **ask)
    for number, source in enumerate([(paths, labels), {"path": paths, "label": labels}]):
        found = pipeline.extract(source, out=tmp_path / str(number), **ask)
        assert found.classes == folder.classes
        assert found.splits == folder.splits
    assert pipeline.estimate((paths, labels), out=tmp_path / "0", **ask).images == 24
