"""Stage one as a scikit-learn transformer."""

from __future__ import annotations

import functools
import os
import pickle
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sklearn.base import clone
from sklearn.exceptions import NotFittedError, SkipTestWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.utils import get_tags
from sklearn.utils.estimator_checks import check_estimator
from sklearn.utils.validation import check_is_fitted, validate_data

import pipeline
from pipeline import CNNCodes, backbones, store
from pipeline.common.errors import (
    BackboneError,
    ChoiceError,
    OutputError,
    PipelineError,
    ResourceError,
    SourceError,
    SpaceMismatch,
)
from pipeline.flows import extraction

Photos = Callable[..., Path]
Make = Callable[..., CNNCodes]

ARRAY = np.random.default_rng(0).integers(0, 256, (12, 20, 30, 3), np.uint8)


@pytest.fixture
def paths(make_photos: Photos) -> list[Path]:
    """24 photos of three classes."""
    return sorted(make_photos().rglob("*.png"))


@pytest.fixture
def make(tiny: str, tmp_path: Path) -> Make:
    """Make transformers with the tiny backbone and a store of the test's own."""

    def make(**settings: Any) -> CNNCodes:
        own = {"backbone": tiny, "weights": "random", "store": tmp_path / "s", **settings}
        return CNNCodes(**own)

    return make


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The rows that went through a network, in all calls together."""
    rows: list[int] = []
    real = extraction.computed

    def watch(stream: Any, *, network: Any) -> Iterator[Any]:
        for loaded, codes, ends in real(stream, network=network):
            if codes is not None:
                rows.append(loaded.row)
            yield loaded, codes, ends

    monkeypatch.setattr(extraction, "computed", watch)
    return rows


def labels(paths: list[Path]) -> list[str]:
    return [path.parent.name for path in paths]


# The codes


def test_the_codes_are_those_of_extract(
    make: Make, tiny: str, paths: list[Path], tmp_path: Path
) -> None:
    pipeline.extract(tmp_path / "photos", out=tmp_path / "e", backbone=tiny, weights="random")
    expected = store.FolderStore(tmp_path / "e")
    where = {os.fsdecode(path): row for row, path in enumerate(expected.paths(np.arange(24)))}
    rows = np.array([where[os.fspath(path.relative_to(tmp_path / "photos"))] for path in paths])
    X = make().fit_transform(paths)
    assert X.dtype == np.float32
    np.testing.assert_array_equal(X, store.read_rows(expected, "avg", rows))


def test_photos_get_the_codes_of_extract_and_load_codes(test_data: Path, tmp_path: Path) -> None:
    """The default backbone on real photos."""
    photos = test_data / "clothing"
    pipeline.extract(photos, out=tmp_path / "e", size=96, limit="train=24,test=8")
    for split in ("train", "test"):
        known = pipeline.load_codes(tmp_path / "e", split=split)
        paths = [photos / path for path in known.paths]
        X = CNNCodes(size=96, store=tmp_path / "s").fit_transform(paths)
        assert X.shape == known.X.shape
        np.testing.assert_array_equal(X, known.X)


@pytest.mark.parametrize("how", ["avg", "max", "flat"])
def test_maps_become_vectors_and_are_kept_as_maps(
    make: Make, paths: list[Path], tmp_path: Path, computed: list[int], how: str
) -> None:
    make(layer="top").fit_transform(paths)
    computed.clear()
    codes = make(layer="top", pool=how)
    X = codes.fit_transform(paths)
    assert X.shape == (24, {"avg": 8, "max": 8, "flat": 512}[how])
    assert len(codes.get_feature_names_out()) == X.shape[1]
    assert computed == []
    maps = store.ByContent(tmp_path / "s").header.space.layers
    assert maps == {"top": (8, 8, 8)}


def test_arrays_get_the_codes_of_the_same_pixels_in_a_npz(
    make: Make, tiny: str, tmp_path: Path
) -> None:
    np.savez(tmp_path / "a.npz", x=ARRAY, y=np.arange(12) % 2)
    pipeline.extract(tmp_path / "a.npz", out=tmp_path / "e", backbone=tiny, weights="random")
    expected = store.read_rows(store.FolderStore(tmp_path / "e"), "avg", np.arange(12))
    np.testing.assert_array_equal(make().fit_transform(ARRAY), expected)


def test_arrays_get_the_codes_of_the_same_pixels_in_files(make: Make, tmp_path: Path) -> None:
    names = [tmp_path / f"{i}.png" for i in range(len(ARRAY))]
    for name, pixels in zip(names, ARRAY, strict=True):
        Image.fromarray(pixels).save(name)
    codes = make().fit(ARRAY)
    np.testing.assert_array_equal(codes.transform(ARRAY), codes.transform(names))


@pytest.mark.parametrize("form", ["(n, h, w)", "(n, h, w, 1)", "Fortran order", "mapped", "list"])
def test_forms_of_an_array(make: Make, tmp_path: Path, form: str) -> None:
    grey = ARRAY[..., 0]
    np.save(tmp_path / "grey.npy", grey)
    given = {
        "(n, h, w)": grey,
        "(n, h, w, 1)": grey[..., None],
        "Fortran order": np.asfortranarray(grey),
        "mapped": np.load(tmp_path / "grey.npy", mmap_mode="r"),
        "list": list(grey),
    }[form]
    expected = make().fit_transform(np.repeat(grey[..., None], 3, axis=-1))
    np.testing.assert_array_equal(make().fit_transform(given), expected)


@pytest.mark.parametrize("kind", ["str", "bytes", "Path", "array", "object array", "tuple"])
def test_kinds_of_paths(make: Make, paths: list[Path], kind: str) -> None:
    given = {
        "str": [str(path) for path in paths],
        "bytes": [os.fsencode(path) for path in paths],
        "Path": paths,
        "array": np.array([str(path) for path in paths]),
        "object array": np.array(paths, object),
        "tuple": tuple(paths),
    }[kind]
    np.testing.assert_array_equal(make().fit_transform(given), make().fit_transform(paths))


def test_a_name_that_is_no_text(make: Make, paths: list[Path], tmp_path: Path) -> None:
    strange = os.fsencode(tmp_path) + b"/\xff.png"
    try:
        os.link(paths[0], strange)
    except OSError:
        pytest.skip("this system has no such names")
    X = make().fit_transform([paths[0], strange, os.fsdecode(strange)])
    assert (X[0] == X).all()


def test_rows_come_in_the_order_given_and_as_often(
    make: Make, paths: list[Path], computed: list[int]
) -> None:
    codes = make().fit(paths)
    order = [7, 3, 3, 20, 0, 7]
    few = codes.transform([paths[i] for i in order])
    assert len(computed) == 4
    np.testing.assert_array_equal(few, codes.transform(paths)[order])
    assert len(computed) == 24


def test_relative_paths_are_those_of_the_working_directory(
    make: Make, paths: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = make().fit_transform(paths)
    monkeypatch.chdir(paths[0].parent)
    codes = make().fit(paths)
    np.testing.assert_array_equal(
        codes.transform(["000.png", "../class_1/000.png"]), expected[[0, 8]]
    )


# What cannot be used


def test_unusable_images_are_named_and_the_others_are_kept(
    make: Make, paths: list[Path], tmp_path: Path, computed: list[int]
) -> None:
    (tmp_path / "cut.png").write_bytes(paths[0].read_bytes()[:200])
    (tmp_path / "page.jpg").write_text("<html>404</html>")
    (tmp_path / "empty.jpg").touch()
    bad = [tmp_path / name for name in ("cut.png", "nowhere.jpg", "page.jpg", "empty.jpg")]
    codes = make().fit(paths)
    for _ in range(2):
        with pytest.raises(SourceError) as caught:
            codes.transform([*paths[:3], *bad])
        said = str(caught.value)
        assert said.startswith("expected images that can be used, found 4 of 7 that cannot: ")
        assert f"{tmp_path}/cut.png (" in said
        assert f"{tmp_path}/nowhere.jpg (no such file)" in said
        assert said.endswith("and 1 other; leave them out of X and y")
        assert "\n" not in said
    codes.transform(paths[:3])
    assert len(computed) == 3


@pytest.mark.parametrize(
    ("X", "said"),
    [
        ([], r"found 0 sample\(s\)"),
        (np.zeros((0, 8, 8, 3), np.uint8), r"found 0 sample\(s\)"),
        ("photo.jpg", r"found str of shape \(\); give one column"),
        (np.zeros((5, 784)), r"found 5x784; rows are flat: save X\.reshape\(-1, height, width\)"),
        (np.zeros((5, 8, 8)), r"of dtype uint8, found float64; .* X\.astype\('uint8'\)"),
        (np.zeros((5, 3, 8, 8), np.uint8), "channels come last"),
        (np.zeros((5, 8, 8, 4), np.uint8), "drop the alpha channel"),
        ([np.zeros((8, 8)), np.zeros((9, 9))], "expected images of one shape"),
        (["a.jpg", None], r"found None \(NoneType\) in row 1 of X"),
        ([3.5, 4.5], r"found .*3\.5.* in row 0 of X; give paths"),
        (np.array([["a.jpg", "b.jpg"]]), r"of shape \(1, 2\); give one column of paths"),
        (None, "found NoneType"),
    ],
)
def test_what_is_neither_paths_nor_images(make: Make, X: object, said: str) -> None:
    with pytest.raises(SourceError, match=said) as caught:
        make().fit(X)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("setting", "error"),
    [
        ({"backbone": "vgg61"}, BackboneError),
        ({"layer": "tpo"}, BackboneError),
        ({"layer": ["avg", "top"]}, ChoiceError),
        ({"weights": "none.h5"}, BackboneError),
        ({"size": 3}, BackboneError),
        ({"resize": "stretch"}, ChoiceError),
        ({"pool": "min"}, ChoiceError),
        ({"engine": "abacus"}, ChoiceError),
        ({"precision": "float8"}, ChoiceError),
    ],
)
def test_a_wrong_setting_is_refused_by_fit_not_before(
    make: Make, paths: list[Path], tmp_path: Path, setting: dict[str, Any], error: type[Exception]
) -> None:
    codes = make(**setting)
    with pytest.raises(error) as caught:
        codes.fit(paths)
    assert isinstance(caught.value, PipelineError)
    assert not (tmp_path / "s" / "shards").exists()


def test_a_disk_that_is_full(
    make: Make, paths: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    codes = make().fit(paths)
    monkeypatch.setattr("pipeline.flows.extraction.free_bytes", lambda folder: 100)
    with pytest.raises(ResourceError, match="24 images need up to"):
        codes.transform(paths)


# The store


def test_what_is_known_needs_no_network(
    make: Make, paths: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = make().fit_transform(paths)
    monkeypatch.setattr(backbones, "load", None)
    np.testing.assert_array_equal(make().fit_transform(paths), expected)


def test_a_network_is_loaded_once_for_all_calls(
    make: Make, paths: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    loads: list[object] = []
    real = backbones.load
    monkeypatch.setattr(backbones, "load", lambda *a, **k: loads.append(a) or real(*a, **k))
    codes = make().fit(paths)
    for path in paths[:4]:
        codes.transform([path])
    assert len(loads) == 1


def test_a_store_of_extract_serves_and_keeps_its_labels(
    make: Make, tiny: str, paths: list[Path], tmp_path: Path, computed: list[int]
) -> None:
    """Several layers, numbers of 16 bits: what is there is used as it is, and grows."""
    options: dict[str, Any] = {"backbone": tiny, "weights": "random", "layers": ["avg", "top"]}
    photos = tmp_path / "photos"
    pipeline.extract(photos, out=tmp_path / "s", dtype="float16", limit=20, **options)
    table = (tmp_path / "s" / "table.h5").read_bytes()
    computed.clear()
    for layer in ("top", "avg"):
        X = make(layer=layer).fit_transform(paths)
        assert len(computed) == 4
    assert (tmp_path / "s" / "table.h5").read_bytes() == table
    again = pipeline.extract(photos, out=tmp_path / "s", dtype="float16", **options)
    assert (again.computed, again.ok) == (0, 24)
    every = np.concatenate(
        [pipeline.load_codes(tmp_path / "s", split=split).X for split in pipeline.Split]
    )
    assert sorted(map(tuple, every)) == sorted(map(tuple, X))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"size": 40}, "size: 32 there, 40 asked for"),
        ({"layer": "top"}, "layers: avg there, top asked for"),
        ({"resize": "pad"}, "resize: crop there, pad asked for"),
        ({"weights": "imagenet"}, "weights: random there, imagenet asked for"),
    ],
)
def test_a_store_never_mixes_spaces(
    make: Make, paths: list[Path], change: dict[str, Any], said: str
) -> None:
    make().fit(paths)
    with pytest.raises(SpaceMismatch, match=f"{said}.*; name another folder with store="):
        make(**change).fit(paths)


def test_a_folder_with_other_files_is_not_taken(
    make: Make, paths: list[Path], tmp_path: Path
) -> None:
    with pytest.raises(OutputError, match="found other files"):
        make(store=paths[0].parent).fit(paths)


def test_without_a_store_every_setting_has_one_in_the_cache(
    make: Make, paths: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIPELINE_CACHE", str(tmp_path / "cache"))
    changes: list[dict[str, Any]] = [
        {},
        {"layer": "top"},
        {"size": 40},
        {"resize": "pad"},
        {"engine": "tensorflow"},
        {"precision": "float32"},
    ]
    places = {make(store=None, **change).fit(paths).store_ for change in changes}
    assert len(places) == len(changes)
    assert {Path(place).parent for place in places} == {tmp_path / "cache" / "stores"}
    assert make(store=None, pool="max").fit(paths).store_ in places
    assert make(store=None, batch_size=4).fit(paths).store_ in places


def test_the_cache_may_be_deleted(
    make: Make, paths: list[Path], tmp_path: Path, computed: list[int]
) -> None:
    codes = make().fit(paths)
    expected = codes.transform(paths)
    (tmp_path / "s").rename(tmp_path / "gone")
    np.testing.assert_array_equal(codes.transform(paths), expected)
    assert len(computed) == 48


def test_ctrl_c_keeps_what_was_computed(
    make: Make, paths: list[Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    codes = make(batch_size=4).fit(paths)
    real, count = store.Writer.append, iter(range(100))

    def press(self, row):  # type: ignore[no-untyped-def]
        if next(count) >= 10:
            raise KeyboardInterrupt
        return real(self, row)

    with monkeypatch.context() as patch:
        patch.setattr(store.Writer, "append", press)
        with pytest.raises(KeyboardInterrupt):
            codes.transform(paths)
    assert store.verify_folder(tmp_path / "s").rows == 8  # two whole batches
    assert codes.transform(paths).shape == (24, 8)


# Several at once


def test_who_computes_waits_for_the_lock_and_then_looks_again(
    make: Make, paths: list[Path], tmp_path: Path, computed: list[int]
) -> None:
    codes = make().fit(paths)
    with ThreadPoolExecutor(1) as pool, store.Writer(tmp_path / "s"):
        waiting = pool.submit(codes.transform, paths)
        time.sleep(0.5)
        assert not waiting.done()
    assert waiting.result().shape == (24, 8)
    assert len(computed) == 24


def test_who_reads_waits_for_nobody(make: Make, paths: list[Path], tmp_path: Path) -> None:
    expected = make().fit_transform(paths)
    with store.Writer(tmp_path / "s"):
        np.testing.assert_array_equal(make().fit_transform(paths), expected)


def test_threads_that_begin_together_compute_each_image_once(
    make: Make, paths: list[Path], tmp_path: Path, computed: list[int]
) -> None:
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda _: make().fit_transform(paths), range(4)))
    assert len(computed) == 24
    for X in results:
        np.testing.assert_array_equal(X, results[0])
    assert store.verify_folder(tmp_path / "s").rows == 24


@pytest.mark.slow  # each process starts TensorFlow; the same in one process is below
def test_a_grid_search_in_two_processes_computes_each_image_once(
    paths: list[Path], tmp_path: Path
) -> None:
    model = make_pipeline(
        CNNCodes(size=64, store=tmp_path / "s"), LogisticRegression(max_iter=2000)
    )
    search = GridSearchCV(model, {"logisticregression__C": [0.01, 1]}, cv=3, n_jobs=2)
    search.fit(paths, labels(paths))
    assert search.best_score_ > 0.8
    assert store.verify_folder(tmp_path / "s").rows == 24


# As an estimator


def test_a_grid_search_over_heads_computes_each_image_once(
    make: Make, paths: list[Path], computed: list[int]
) -> None:
    model = make_pipeline(make(), LogisticRegression(max_iter=2000))
    search = GridSearchCV(model, {"logisticregression__C": [0.1, 1, 10]}, cv=4)
    search.fit(paths, labels(paths))
    assert len(computed) == 24
    assert search.predict(paths[:1]).tolist() == ["class_0"]


def test_a_grid_search_over_layers_and_sizes(
    make: Make, paths: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIPELINE_CACHE", str(tmp_path / "cache"))
    model = make_pipeline(make(store=None), LogisticRegression(max_iter=2000))
    grid = {"cnncodes__layer": ["avg", "top"], "cnncodes__size": [32, 40]}
    search = GridSearchCV(model, grid, cv=2, error_score="raise").fit(paths, labels(paths))
    assert len(search.cv_results_["params"]) == 4


def test_folds_of_an_array(make: Make) -> None:
    model = make_pipeline(make(), LogisticRegression(max_iter=2000))
    assert len(cross_val_score(model, ARRAY, np.arange(12) % 2, cv=3)) == 3


def test_a_clone_is_unfitted_and_equal_in_its_settings(make: Make, paths: list[Path]) -> None:
    codes = make(layer="top", pool="max").fit(paths)
    copy = clone(codes)
    assert copy.get_params() == codes.get_params()
    with pytest.raises(NotFittedError):
        copy.transform(paths)


def test_a_pickle_is_small_and_computes_the_same(make: Make, paths: list[Path]) -> None:
    codes = make()
    expected = codes.fit_transform(paths[:20])
    data = pickle.dumps(codes)
    assert len(data) < 20_000
    again = pickle.loads(data)
    np.testing.assert_array_equal(again.transform(paths[:20]), expected)
    np.testing.assert_array_equal(again.transform(paths[20:]), codes.transform(paths[20:]))


def test_a_pickle_on_another_machine_with_other_weights_is_refused(
    make: Make, paths: list[Path], tmp_path: Path
) -> None:
    from keras import utils

    from tests.tiny import build

    weights = tmp_path / "w.weights.h5"
    utils.set_random_seed(1)
    build(input_shape=(32, 32, 3)).save_weights(weights)
    data = pickle.dumps(make(weights=weights).fit(paths))
    utils.set_random_seed(2)
    build(input_shape=(32, 32, 3)).save_weights(weights)
    (tmp_path / "s").rename(tmp_path / "elsewhere")
    with pytest.raises(SpaceMismatch, match=r"the space of fit.*weights_sha256.*fit again"):
        pickle.loads(data).transform(paths)


def test_weights_may_lie_in_the_home_folder(
    make: Make, paths: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.tiny import build

    build(input_shape=(32, 32, 3)).save_weights(tmp_path / "w.weights.h5")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    X = make(weights="~/w.weights.h5").fit_transform(paths)
    np.testing.assert_array_equal(make(weights="~/w.weights.h5").fit_transform(paths), X)


def test_a_machine_that_computes_something_else_is_found_out(
    make: Make, paths: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = pickle.dumps(make().fit(paths))
    (tmp_path / "s").rename(tmp_path / "elsewhere")
    real = backbones.Network._batch
    monkeypatch.setattr(
        backbones.Network,
        "_batch",
        lambda self, pixels: {name: -codes for name, codes in real(self, pixels).items()},
    )
    with pytest.raises(SpaceMismatch, match="the probe images"):
        pickle.loads(data).transform(paths)


def test_settings_that_changed_after_fit_are_refused(make: Make, paths: list[Path]) -> None:
    codes = make().fit(paths)
    with pytest.raises(SpaceMismatch, match="size: 32 there, 40 asked for"):
        codes.set_params(size=40).transform(paths)


def test_names_of_features(make: Make, paths: list[Path]) -> None:
    with pytest.raises(NotFittedError):
        make().get_feature_names_out()
    names = make().fit(paths).get_feature_names_out()
    assert names.tolist() == [f"cnncodes{i}" for i in range(8)]


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_frames_as_output(make: Make, paths: list[Path], library: str) -> None:
    frames = pytest.importorskip(library)
    series = frames.Series([str(path) for path in paths])
    frame = make().set_output(transform=library).fit_transform(series)
    assert isinstance(frame, frames.DataFrame)
    assert list(frame.columns) == [f"cnncodes{i}" for i in range(8)]
    np.testing.assert_array_equal(frame.to_numpy(), make().fit_transform(paths))
    if library == "pandas":
        series.index = range(100, 124)
        assert list(make().set_output(transform="pandas").fit_transform(series).index) == list(
            series.index
        )
        frame = frames.DataFrame({"path": series, "other": series})
        with pytest.raises(SourceError, match="one column of paths"):
            make().fit(frame)


def test_tags(make: Make) -> None:
    tags = get_tags(make())
    assert (tags.input_tags.one_d_array, tags.input_tags.string) == (True, True)
    assert (tags.input_tags.two_d_array, tags.input_tags.three_d_array) == (False, True)
    assert tags.requires_fit
    assert not tags.target_tags.required
    assert tags.transformer_tags.preserves_dtype == []


def test_scikit_learn_itself_has_nothing_to_feed_to_it(make: Make) -> None:
    """
    Its checks are tables of real numbers, which are no images: all but cloning are skipped.

    They are asked below of a subclass that makes images of tables.
    """
    with pytest.warns(SkipTestWarning, match="Can't test estimator CNNCodes"):
        results = check_estimator(make())
    assert {result["status"] for result in results} == {"passed"}


class OfTables(CNNCodes):
    """CNN codes of the tables that scikit-learn's checks feed: each row becomes a grey image."""

    def fit(self, X: Any, y: Any = None) -> OfTables:
        return super().fit(self._images(X, reset=True))  # type: ignore[return-value]

    def transform(self, X: Any) -> Any:
        check_is_fitted(self)
        return super().transform(self._images(X, reset=False))

    def _images(self, X: Any, *, reset: bool) -> Any:
        X = validate_data(self, X, reset=reset)
        return (127.5 + 127.5 * np.tanh(X)).astype(np.uint8)[:, None, :]

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = True
        tags.input_tags.one_d_array = tags.input_tags.three_d_array = False
        tags.input_tags.string = False
        return tags


def test_the_checks_of_scikit_learn_with_tables_as_images(
    tiny: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Every check makes estimators of its own: with one network for all this takes seconds.
    monkeypatch.setattr(backbones, "load", _remembering(backbones.load))
    codes = OfTables(
        backbone=tiny, weights="random", store=tmp_path / "s", resize="squash", engine="tensorflow"
    )
    results = check_estimator(codes, on_fail=None, on_skip=None)  # no check is exempt
    failed = {
        result["check_name"]: repr(result["exception"])
        for result in results
        if result["status"] == "failed"
    }
    assert failed == {}
    assert sum(result["status"] == "passed" for result in results) > 30


def _remembering(load: Callable[..., Any]) -> Callable[..., Any]:
    """Load a network once for each request."""
    known: dict[str, Any] = {}

    @functools.wraps(load)
    def remember(row: Any, **request: Any) -> Any:
        key = repr((row.name, sorted((name, str(value)) for name, value in request.items())))
        if key not in known:
            known[key] = load(row, **request)
        return known[key]

    return remember


def test_the_class_costs_nothing_until_it_is_asked_for() -> None:
    program = (
        "import sys, pipeline; print('sklearn' in sys.modules)\n"
        "pipeline.CNNCodes(); print('sklearn' in sys.modules, 'tensorflow' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["False", "True", "False"]


def test_one_column_of_a_data_frame(tiny: str, make_photos: Callable[..., Path]) -> None:
    pandas = pytest.importorskip("pandas")
    paths = sorted(map(str, make_photos().rglob("*.png")))
    codes = CNNCodes(tiny, weights="random")
    frame = pandas.DataFrame({"path": paths, "other": 0})
    np.testing.assert_array_equal(codes.fit_transform(frame[["path"]]), codes.transform(paths))


def test_images_that_cannot_be_used_are_skipped_if_asked_for(
    tiny: str, make_photos: Callable[..., Path], tmp_path: Path
) -> None:
    """A transformer must give a row for each image: theirs are NaN."""
    paths = sorted(make_photos().rglob("*.png"))
    (tmp_path / "bad.png").write_bytes(b"no image")
    mixed = [paths[0], tmp_path / "bad.png", tmp_path / "gone.png", *paths[1:]]
    with pytest.raises(SourceError, match=r"found 2 of 26 that cannot: .*bad\.png"):
        CNNCodes(tiny, weights="random").fit_transform(mixed)
    codes = CNNCodes(tiny, weights="random", on_error="skip").fit(mixed)
    with pytest.warns(UserWarning, match=r"found 2 of 26 that cannot.* their rows are NaN"):
        found = codes.transform(mixed)
    assert np.isnan(found[1:3]).all()
    good = np.delete(found, [1, 2], axis=0)
    np.testing.assert_array_equal(good, codes.transform(paths))
    with pytest.raises(ChoiceError, match="on_error"):
        CNNCodes(tiny, weights="random", on_error="ignore").fit(paths).transform(paths)
