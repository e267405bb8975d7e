"""
What a user is told who asks for something that is not to be had: one line, and an error's kind.

No network is loaded here. There are the stores that tests of stores make, a head of `data/format-1`
and an HDF5 file as another program writes it.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import h5py
import numpy as np
import pytest
from PIL import Image
from sklearn.svm import SVC

import pipeline
from pipeline import ExportFormat, exports, heads, images, store
from pipeline.common.errors import (
    BackboneError,
    ChoiceError,
    ExportError,
    HeadError,
    Interrupted,
    OutputError,
    PipelineError,
    SourceError,
    SourceNotFound,
    SpaceMismatch,
    StoreDamaged,
    StoreError,
    StoreNotFound,
)
from pipeline.common.steps import Classifier
from pipeline.flows.boundaries import best_of
from pipeline.flows.tuning import check_space
from tests.heads.helpers import streamed
from tests.store.helpers import HEADER, PROBE, make, row, scan

KEPT = Path(__file__).parent / "data" / "format-1"
SVM = KEPT / "heads" / "svm"
Ask = Callable[[], Any]


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in a folder with two photos, a file that is none, and codes of another program."""
    monkeypatch.chdir(tmp_path)
    for label, colour in (("cat", "red"), ("dog", "blue")):
        (tmp_path / "photos" / label).mkdir(parents=True)
        Image.new("RGB", (40, 40), colour).save(tmp_path / "photos" / label / "1.png")
    (tmp_path / "notes.txt").write_bytes(b"\0 no text, and no image")
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.md").write_text("text")
    _codes("foreign.h5", {"fc": 4})


def _codes(name: str, layers: dict[str, int], labels: Any = None) -> None:
    """Write codes of some widths, as another program would."""
    labels = np.arange(60) % 3 if labels is None else labels
    rng = np.random.default_rng(0)
    with h5py.File(name, "w") as file:
        for layer, width in layers.items():
            codes = rng.random((len(labels), width), np.float32)
            file[f"codes/{layer}"] = codes + np.maximum(labels, 0)[:, None].astype(np.float32)
        file["labels"] = labels


def _says(ask: Ask, error: type[PipelineError], said: str) -> None:
    with pytest.raises(error) as caught:
        ask()
    assert type(caught.value) is error
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def _manifest(text: str, **options: Any) -> Any:
    Path("list.csv").write_text(text)
    return images.find("list.csv", **options)


def _archive(**arrays: Any) -> Any:
    np.savez("a.npz", **arrays)
    return images.find("a.npz")


BYTES = np.zeros((3, 8, 8, 3), np.uint8)
NO_NUMBER = np.where(np.arange(3)[:, None, None] == 1, np.nan, 0.5) * np.ones((3, 8, 8))

SOURCES: list[tuple[Ask, str]] = [
    (lambda: images.find("notes.txt"), "found a file of another kind; accepted: "),
    (lambda: images.find("texts"), "found no images there; accepted: "),
    (
        lambda: _manifest("path,label\nphotos/cat/1.png,cat\n", folders="splits"),
        "expected a folder with --folders, found list.csv; leave --folders out",
    ),
    (
        lambda: _manifest("path,label\nphotos/cat/1.png,cat\n", columns="split=fold"),
        "expected a column fold for split in the first line of",
    ),
    (
        lambda: _manifest("path,label\nphotos/cat/1.png,cat\n", columns="labels=class"),
        "expected columns such as path=filename,label=class, with the names path, label",
    ),
    (
        lambda: _manifest("a,b\nphotos/cat/1.png,cat\n"),
        "found a, b; give it a first line with these names, or say which columns they are, "
        "such as --columns path=...,label=...",
    ),
    (
        lambda: images.find({"path": ["a.jpg", "b.jpg"], "label": ["cat"]}),
        "expected as many labels as paths, found 2 paths, 1 labels; make them agree",
    ),
    (
        lambda: images.find({"path": ["a.jpg"], "label": [["cat", "dog"]]}),
        """found several ("['cat', 'dog']"); keep one of them""",
    ),
    (
        lambda: images.find({"file": ["a.jpg"]}),
        "expected columns path,label[,split,group] in the table, found file",
    ),
    (
        lambda: _archive(x=BYTES.astype(np.complex64), y=np.arange(3)),
        "expected numbers in x, found complex64; save it as uint8",
    ),
    (
        lambda: _archive(x=BYTES[..., :2], y=np.arange(3)),
        "expected x of shape (n, height, width) or (n, height, width, 3), found 3x8x8x2",
    ),
    (
        lambda: _archive(x=NO_NUMBER, y=np.arange(3)),
        "found NaN or infinity in x[1]; remove or repair this image",
    ),
    (
        lambda: _archive(x=BYTES, y=np.arange(2)),
        "expected 3 labels in y, one for each image, found shape 2; save images and labels",
    ),
    (
        lambda: _archive(x=BYTES, y=np.array([0, 0.5, 1])),
        "expected whole numbers as labels, found 0.5 in y[1]; save class numbers or names",
    ),
    (
        lambda: images.files(["notes.txt"]),
        "expected a path on each line of notes.txt, found bytes that are no text",
    ),
    (lambda: images.files(["texts"]), "expected images, found 1 other files; name image files"),
    (
        lambda: (Path("list.csv").write_text("path,label\n"), images.files(["list.csv"])),
        "expected a path on each line of list.csv, found none",
    ),
]


@pytest.mark.parametrize(("ask", "said"), SOURCES, ids=[said[:50] for _, said in SOURCES])
def test_of_sources(ask: Ask, said: str) -> None:
    _says(ask, SourceError, said)


@pytest.mark.skipif(sys.platform != "linux", reason="needs a file that gives an error when read")
def test_of_lists_that_cannot_be_read() -> None:
    for name in ("list.txt", "list.csv"):
        Path(name).symlink_to("/proc/self/mem")
        said = f"cannot read {name}: Input/output error; make it readable"
        _says(lambda name=name: images.files([name]), SourceError, said)


@pytest.mark.parametrize(
    ("ask", "said"),
    [
        (lambda: images.find("nowhere"), "found nothing at 'nowhere'; check it"),
        (
            lambda: images.files(["nowhere.jpg"]),
            "expected an image or a folder of images, found nothing at nowhere.jpg; check the path",
        ),
    ],
)
def test_of_sources_that_are_not_there(ask: Ask, said: str) -> None:
    _says(ask, SourceNotFound, said)


def _closed() -> Image.Image:
    """Open a photo, and close its file before Pillow has read it."""
    photo = Image.open("photos/cat/1.png")
    assert photo.fp is not None
    photo.fp.close()
    return photo


@pytest.mark.parametrize(
    ("photo", "said"),
    [
        (lambda: b"no photo", "expected a photo, found these bytes: "),
        (lambda: "notes.txt", "expected a photo, found notes.txt: "),
        (lambda: 3, "expected a photo as a path, bytes, a PIL image or an array, found int"),
        (lambda: Image.new("RGB", (0, 5)), "an image of which the size is 0 x 5 pixels"),
        (_closed, "an image of which the file is damaged: "),
        (lambda: np.zeros((4, 4)), "found float64 of shape (4, 4); bring its values to 0..255"),
        (
            lambda: np.zeros((4, 4, 4), np.uint16),
            "expected colours alone in an array of uint16, found shape (4, 4, 4); leave the opa",
        ),
        pytest.param(
            lambda: "/proc/version",  # a file of 0 bytes that gives some when it is read
            "cannot read /proc/version: changed while it was read",
            marks=pytest.mark.skipif(sys.platform != "linux", reason="needs /proc"),
        ),
    ],
)
def test_of_photos(photo: Callable[[], Any], said: str) -> None:
    _says(lambda: images.pixels_of(photo(), size=8, resize=pipeline.Resize.crop), SourceError, said)


def test_of_photos_for_a_head() -> None:
    said = "expected photos as paths, bytes, PIL images or arrays, found int; open them with"
    _says(lambda: pipeline.load_head(SVM).predict(3), SourceError, said)


REQUESTS: list[tuple[Ask, type[PipelineError], str]] = [
    (
        lambda: pipeline.extract("photos", backbone="vgg16", weights="random", size=16),
        BackboneError,
        "expected a size of at least 32 for vgg16, found 16; its own is 224",
    ),
    (
        lambda: pipeline.extract("photos", backbone="vgg61"),
        BackboneError,
        "found 'vgg61'; nearest: vgg19, vgg16 (`pipeline backbones` lists them)",
    ),
    (
        lambda: pipeline.extract("photos", out=_store(), size=32),
        SpaceMismatch,
        "expected codes of the space of store, found another (backbone: tiny there, ",
    ),
    (
        lambda: pipeline.CNNCodes(layer=["avg"]).fit(["photos/cat/1.png"]),  # type: ignore[arg-type]
        ChoiceError,
        "expected one layer by its name, found ['avg']",
    ),
    (
        lambda: pipeline.CNNCodes(size=0).fit(["photos/cat/1.png"]),
        ChoiceError,
        "expected a whole number of pixels from 1 for size, found 0",
    ),
    (
        lambda: pipeline.load_codes(_store(), split="tarin"),
        ChoiceError,
        "expected split 'train', 'val', 'test' or 'all', found 'tarin'; try 'train'",
    ),
    (
        lambda: (
            _codes("unlabelled.h5", {"fc": 4}, np.full(60, -1)),
            _classes("unlabelled.h5"),
            pipeline.load_codes("unlabelled.h5"),
        ),
        StoreError,
        " without labels; load split='all' for all that have codes",
    ),
    (
        lambda: pipeline.load_codes(_rejected(), split="all"),
        StoreError,
        "expected images with codes in rejected, found none",
    ),
    (
        lambda: pipeline.fit_head(_store(), kind="svm", k=3),
        HeadError,
        "expected k with kind knn only, found kind svm and k 3",
    ),
    (
        lambda: (
            _codes("one.h5", {"fc": 4}, np.zeros(60, int)),
            pipeline.fit_head("one.h5", kind="svm"),
        ),
        HeadError,
        "expected training images of at least two classes in one.h5, found 1 ",
    ),
    (
        lambda: pipeline.fit_head("foreign.h5", kind="svm", layer=["fc", "fc"]),
        HeadError,
        "expected layers that differ, found fc twice; name each with --layer once",
    ),
    (
        lambda: pipeline.fit_head("foreign.h5", joined_with=_store(), kind="svm"),
        StoreError,
        "expected stores of this program to join, found foreign.h5, written by another",
    ),
    (
        lambda: pipeline.fit_head(_store(), joined_with=_without_hashes(), kind="svm"),
        StoreError,
        "found packed.h5, which has no hashes; pack it again, or name the folder that extract made",
    ),
    (
        lambda: pipeline.predict(SVM, "photos", top=0),
        HeadError,
        "expected --top of 1 or more, found 0",
    ),
    (
        lambda: pipeline.fine_tune(SVM, learning_rate="fast"),
        HeadError,
        "expected --learning-rate auto or a number, found 'fast'",
    ),
    (
        lambda: pipeline.pack(_store(), "foreign.h5"),
        OutputError,
        "expected a new file, found foreign.h5; delete it or choose another name",
    ),
    (
        lambda: pipeline.fit_head("foreign.h5", kind="centroid", out="notes.txt/head"),
        OutputError,
        "cannot write notes.txt/head (Not a directory); choose another place",
    ),
    (
        lambda: pipeline.relabel(_store()),
        SourceError,
        "expected a manifest or classes to rename, found neither; give one",
    ),
    (
        lambda: pipeline.relabel(_store(), rename={"black": "white"}),
        SourceError,
        "expected classes to rename among 'a', 'b', found 'black'; correct the name",
    ),
    (
        lambda: pipeline.relabel(_store(), rename={"a": ""}),
        SourceError,
        "expected a new name for each class, found an empty one; give one",
    ),
    (
        lambda: pipeline.verify("notes.txt"),
        StoreError,
        "found notes.txt, which is no HDF5",
    ),
]


def _store() -> Path:
    make(Path("store"), list(range(20)))
    return Path("store")


def _rejected() -> Path:
    """Make a store of one image, which cannot be used."""
    with store.Writer(Path("rejected")) as writer:
        writer.create(HEADER, PROBE)
        writer.append(row(1, reason="damaged"))
        writer.finish(scan([1]))
    return Path("rejected")


def _classes(name: str) -> None:
    """Name classes, so that -1 is no label."""
    with h5py.File(name, "r+") as file:
        file["classes"] = np.array(["a", "b"], "S1")


def _without_hashes() -> Path:
    """Take the hashes out of a packed file, as tools for HDF5 can."""
    store.pack(store.open_store(_store()), Path("packed.h5"))
    with h5py.File("packed.h5", "r+") as file:
        del file["sha256"], file.attrs["sealed"]
    return Path("packed.h5")


@pytest.mark.parametrize(
    ("ask", "error", "said"), REQUESTS, ids=[said[:50] for *_, said in REQUESTS]
)
def test_of_requests(ask: Ask, error: type[PipelineError], said: str) -> None:
    _says(ask, error, said)


def test_of_codes_that_a_head_was_not_made_for() -> None:
    head = pipeline.fit_head("foreign.h5", kind="centroid", out="head").head
    _codes("wider.h5", {"fc": 5})
    said = "expected codes of shape (4,) in layer 'fc' for head head, found (5,); fit a head on wid"
    _says(lambda: pipeline.evaluate(head, "wider.h5"), SpaceMismatch, said)
    said = "expected a store with the layer block2b_add:avg for head"
    _says(lambda: pipeline.evaluate(SVM, _store()), SpaceMismatch, said)


def test_of_a_default_place_that_another_head_has() -> None:
    """Two stores of one name have one default place; a head of other classes is not replaced."""
    pipeline.fit_head("foreign.h5", kind="centroid")
    Path("else").mkdir()
    _codes("else/foreign.h5", {"fc": 4}, np.arange(60) % 2)
    said = "with 3 classes (0, 1, 2); name another place with --out, or this one to replace it"
    _says(lambda: pipeline.fit_head("else/foreign.h5", kind="centroid"), OutputError, said)


def test_of_what_is_asked_of_heads_in_python(monkeypatch: pytest.MonkeyPatch) -> None:
    X, y = np.eye(8, dtype=np.float32), np.arange(8) % 4
    for parameters, said in (
        ({"C": [1]}, "expected C as a number or 'auto', found [1]"),
        ({"C": "large"}, "expected --C auto or a number from 1e-12 to 1e+12, found 'large'"),
        ({"c": 1.0}, "found 'c'; did you mean C"),
    ):
        _says(lambda asked=parameters: heads.build(pipeline.HeadKind.svm, **asked), HeadError, said)
    svm = heads.build(pipeline.HeadKind.svm)
    _says(lambda: svm.fit(X, np.zeros(8)), HeadError, "found 1 class; add images of another class")
    _says(
        lambda: svm.fit(X, y[:7]), HeadError, "one label for each of the 8 training codes, found 7"
    )
    ovo = heads.EstimatorHead(SVC(decision_function_shape="ovo"))
    _says(
        lambda: ovo.fit(np.repeat(X, 5, 0), np.repeat(y, 5)),
        HeadError,
        "a score for each of 4 classes of SVC, found 6; choose decision_function_shape='ovr'",
    )
    forest = heads.EstimatorHead(SVC()).fit(np.repeat(X, 5, 0), np.repeat(y, 5))
    for head, kind in (
        (heads.build(pipeline.HeadKind.ridge), "a ridge head"),
        (ovo, "a classifier"),
    ):
        said = f"expected the codes of {kind}"
        _says(lambda head=head: head.fit(streamed(X), y), HeadError, said)
    monkeypatch.setitem(sys.modules, "skops.io", None)
    said = "expected the package skops, which keeps classifiers of scikit-learn's, found none; run"
    _says(forest.arrays, HeadError, said)


def test_of_stores_that_are_damaged_or_of_a_later_version(tmp_path: Path) -> None:
    folder = tmp_path / "made"
    make(folder, [1, 2], shards=2)
    assert store.pack(store.FolderStore(folder), Path("packed.h5")) == 2
    header, probe = ((folder / name).read_bytes() for name in ("store.json", "probe.h5"))
    (folder / "store.json").write_bytes(header.replace(b'"format": 1', b'"format": 9'))
    said = "expected a store of format 1, found 9 in "
    _says(lambda: store.open_store(folder), StoreError, said)
    _says(lambda: store.open_store(folder), StoreError, "update with `pip install --upgrade")
    (folder / "store.json").write_bytes(header)
    _says(lambda: store.open_store(folder).probe("other"), StoreDamaged, "lacks layer 'other'")
    (folder / "probe.h5").write_bytes(probe[:-1] + b"?")
    said = "its SHA-256 is not the one in store.json); `pipeline repair "
    _says(lambda: store.open_store(folder).probe("fc"), StoreDamaged, said)
    (folder / "probe.h5").unlink()
    said = "probe.h5 is damaged (it is missing); `pipeline repair "
    _says(lambda: store.open_store(folder).probe("fc"), StoreDamaged, said)
    shard = min((folder / "shards").iterdir())
    shard.write_bytes(shard.read_bytes()[:-9])
    (folder / "set-aside").write_text("in the way")
    said = "set-aside, found a file; move it away and try again"
    _says(lambda: store.repair(folder), OutputError, said)
    Path("packed.h5").write_bytes(Path("packed.h5").read_bytes()[:-9])
    said = "pack the store again, or restore a copy"
    _says(lambda: store.open_store(Path("packed.h5")), StoreDamaged, said)


def test_of_places_that_take_no_files(monkeypatch: pytest.MonkeyPatch) -> None:
    with store.Writer(Path("new")) as writer:
        _says(lambda: writer.space, StoreNotFound, "new is not a store yet")

    def read_only(*_: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system", "somewhere")

    make(Path("s"), [1])
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", read_only)
        said = "cannot write somewhere (Read-only file system); what was committed is kept: mend"
        _says(lambda: make(Path("s"), [1, 2]), OutputError, said)
    (Path("s") / "LOCK").unlink(missing_ok=True)
    (Path("s") / "LOCK").mkdir()
    said = "cannot write to s (LOCK in it is no file); choose another place with --out"
    _says(lambda: make(Path("s"), [1]), OutputError, said)


def test_of_trainings_that_were_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("pipeline.flows.boundaries._best_of", stop)
    training: Any = SimpleNamespace(folder=Path("tuned"))
    ask = partial(best_of, ["conv"], stop, training)
    _says(ask, Interrupted, "interrupted before the first epoch was done; run the same command")
    Path("tuned").mkdir()
    heads.unfinished(Path("tuned"), "conv").write_bytes(b"an epoch")
    _says(ask, Interrupted, "what was learned up to the last whole epoch is kept; run the same")


def test_of_stores_of_another_program_to_train_from() -> None:
    tail: Any = SimpleNamespace(start="fc")
    said = "expected a store made by extract, found foreign.h5, of another program"
    foreign = store.open_store(Path("foreign.h5"))
    _says(lambda: check_space(heads.load(SVM), foreign, tail), StoreError, said)


def test_of_packages_that_are_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.exports._onnx.find_spec", lambda _: None)
    monkeypatch.setattr("pipeline.exports._onnx._exported", lambda *_: None)
    step = Classifier(estimator=None, slope=None, n_features=4)
    content = exports.ExportContent(classes=("a", "b"), steps=[step])
    said = "expected skl2onnx, which converts classifiers of scikit-learn's, found none; run: pip"
    _says(lambda: exports.TABLE[ExportFormat.onnx].write(content, Path("m")), ExportError, said)
