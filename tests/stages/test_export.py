"""A head leaves the house: the file says what predict says, or there is no file."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image

import pipeline
from pipeline import ExportFormat, HeadKind, Listener, exports, heads
from pipeline.common.errors import (
    ExportError,
    HeadError,
    OutputError,
    ResourceError,
    WeightsNotFound,
)


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is written by default lands in a folder of its own."""
    monkeypatch.chdir(tmp_path)


def _fit(store: Path, kind: HeadKind, **options: object) -> str:
    more = {"epochs": 2, "hidden": (8,)} if kind is HeadKind.mlp else {}
    return pipeline.fit_head(store, kind=kind, out=f"{kind.value}-head", **more, **options).head


@pytest.mark.parametrize("format", list(ExportFormat))
def test_a_file_says_what_predict_says(svm: Path, format: ExportFormat) -> None:
    result = pipeline.export(svm, format=format)
    assert result.images == 32
    assert result.max_difference <= result.tolerance == 1e-4
    assert result.top1_agreement == 1
    assert result.bytes > 0
    assert result.latency_ms > 0
    assert Path(result.path).exists()
    assert Path(result.model_card).is_file()
    assert Path(result.path).parent == Path("artifacts/exports")
    left = {path.name for path in Path("artifacts/exports").iterdir()}
    assert left <= {Path(result.path).name, Path(result.model_card).name}


@pytest.mark.parametrize("kind", [kind for kind in HeadKind if kind is not HeadKind.svm])
def test_any_head_leaves_as_tflite(cached: Path, kind: HeadKind) -> None:
    assert pipeline.export(_fit(cached, kind), format="tflite").max_difference <= 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("kind", list(HeadKind))
@pytest.mark.parametrize("format", list(ExportFormat))
def test_any_head_leaves_in_any_format(cached: Path, format: ExportFormat, kind: HeadKind) -> None:
    head = _fit(cached, kind)
    assert pipeline.export(head, format=format).max_difference <= 1e-4


@pytest.mark.parametrize("pool", ["avg", "max", "flat"])
def test_maps_are_pooled_inside_the_file(cached: Path, pool: str) -> None:
    head = _fit(cached, HeadKind.softmax, layer="top", pool=pool)
    assert pipeline.export(head, format="keras").max_difference <= 1e-4


def test_tflite_in_eight_bits(svm: Path) -> None:
    result = pipeline.export(svm, format="tflite", quantize="int8")
    assert result.quantize == "int8"
    assert Path(result.path).name == "svm-int8.tflite", "that of another precision stays"
    assert 1e-4 < result.max_difference <= result.tolerance


def test_a_saved_model_takes_image_files_too(svm: Path) -> None:
    result = pipeline.export(svm, format="saved-model")
    assert result.max_difference_bytes is not None
    assert result.max_difference < result.max_difference_bytes < 0.05
    assert pipeline.export(svm, format="keras").max_difference_bytes is None


@pytest.mark.parametrize("format", list(ExportFormat))
def test_the_card_runs_as_it_stands(svm: Path, cached: Path, format: ExportFormat) -> None:
    result = pipeline.export(svm, format=format, out=f"m{exports.TABLE[format].suffix}")
    text = Path(result.model_card).read_text()
    for fact in (
        "tiny",
        "validation accuracy",
        "class_1",
        f"--format {format.value}",
        "32, photos",
    ):
        assert fact in text or format is ExportFormat.joblib
    [code] = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    Image.open(next(Path("photos/class_1").iterdir())).save("photo.jpg", quality=98)
    stranger = "" if format is ExportFormat.joblib else "import sys; sys.modules['pipeline'] = None"
    done = subprocess.run(
        [sys.executable, "-c", f"{stranger}\n{code}"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "class_1" in done.stdout


def test_what_stands_there_is_refused_before_any_work(svm: Path) -> None:
    Path("mine.keras").write_text("mine")
    with pytest.raises(OutputError, match=r"found mine\.keras; delete it, or choose another"):
        pipeline.export("no head at all", format="keras", out="mine.keras")
    assert Path("mine.keras").read_text() == "mine"
    Path("other.keras.md").write_text("mine")
    with pytest.raises(OutputError, match=r"found other\.keras\.md"):
        pipeline.export(svm, format="keras", out="other.keras")


def test_a_file_needs_its_ending(svm: Path) -> None:
    with pytest.raises(OutputError, match=r"type --out model\.onnx"):
        pipeline.export(svm, format="onnx", out="model")


def test_a_file_that_says_something_else_is_deleted(
    svm: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = exports.TABLE[ExportFormat.keras]

    def upside_down(path: Path) -> exports.Run:
        return lambda pixels: row.load(path)(pixels)[:, ::-1]

    table = {**exports.TABLE, row.name: replace(row, load=upside_down)}
    monkeypatch.setattr("pipeline.exports.TABLE", table)
    with pytest.raises(ExportError, match="in the keras file, which was deleted; choose another"):
        pipeline.export(svm, format="keras", out="m.keras")
    assert not list(Path().glob("*m.keras*")) + list(Path().glob(".*"))


@pytest.mark.parametrize(
    ("broken", "raised", "said"),
    [
        (KeyboardInterrupt("stop"), KeyboardInterrupt, "stop"),
        (OSError(28, "No space left on device"), ResourceError, "make room"),
        (RuntimeError("writer: No space left on device"), ResourceError, "make room"),
        (ValueError("no such\noperation"), ExportError, "ValueError: no such operation"),
    ],
)
def test_whatever_happens_nothing_is_left(
    svm: Path,
    monkeypatch: pytest.MonkeyPatch,
    broken: BaseException,
    raised: type[BaseException],
    said: str,
) -> None:
    def write(content: exports.ExportContent, path: Path) -> None:
        path.write_bytes(b"half")
        raise broken

    row = replace(exports.TABLE[ExportFormat.keras], write=write)
    monkeypatch.setattr("pipeline.exports.TABLE", {row.name: row})
    with pytest.raises(raised, match=said):
        pipeline.export(svm, format="keras", out="m.keras")
    assert not list(Path().glob("*m.keras*")) + list(Path().glob(".*"))


def test_without_the_photos_the_probe_images_do(svm: Path) -> None:
    shutil.rmtree("photos")
    said: list[str] = []
    result = pipeline.export(svm, format="keras", listener=Listener(tell=said.append))
    assert result.images == 8
    assert "probe images" in result.compared_on
    assert len(said) == 1
    assert "are gone" in Path(result.model_card).read_text()


def test_eight_bits_need_the_photos(svm: Path) -> None:
    shutil.rmtree("photos")
    with pytest.raises(ExportError, match="or with --quantize dynamic"):
        pipeline.export(svm, format="tflite", quantize="int8")


def test_the_store_may_be_gone_too(svm: Path, cached: Path) -> None:
    shutil.rmtree(cached)
    assert pipeline.export(svm, format="keras").images == 8
    assert pipeline.export(svm, format="joblib").compared_on == "codes of the bundled probe images"


def test_images_in_an_archive_are_found_again(tiny: str) -> None:
    rng = np.random.default_rng(0)
    y = np.arange(60) % 2
    x = rng.integers(0, 100, (60, 32, 32, 3)) + 100 * y[:, None, None, None]
    np.savez("digits.npz", x_train=x.astype(np.uint8), y_train=y)
    store = pipeline.extract("digits.npz", out="s", backbone=tiny, weights="random").store
    result = pipeline.export(_fit(Path(store), HeadKind.softmax), format="keras")
    assert result.compared_on == "photos of the head's store"


def test_codes_of_another_program_leave_for_notebooks_only() -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(90) % 3
    with h5py.File("foreign.h5", "w") as file:
        file["codes/fc"] = rng.random((90, 6), np.float32) + labels[:, None]
        file["labels"] = labels
    head = _fit(Path("foreign.h5"), HeadKind.softmax)
    with pytest.raises(HeadError, match="a head that knows its backbone"):
        pipeline.export(head, format="onnx")
    assert pipeline.export(head, format="joblib").compared_on == "codes of the head's store"
    Path("foreign.h5").unlink()
    assert pipeline.export(head, format="joblib", out="b.joblib").compared_on == "random codes"


def test_margins_are_no_probabilities(svm: Path) -> None:
    saved = heads.load(svm)
    saved.head.calibration_ = None
    heads.save(Path("margins"), saved.head, saved.card)
    with pytest.raises(HeadError, match="use --kind softmax for probabilities"):
        pipeline.export("margins", format="onnx")


def test_weights_that_moved(tiny: str, make_photos: Callable[..., Path]) -> None:
    from tests.tiny import build

    build(input_shape=(32, 32, 3)).save_weights("w.weights.h5")
    pipeline.extract(make_photos(each=24), out="s", backbone=tiny, weights="w.weights.h5")
    head = _fit(Path("s"), HeadKind.softmax)
    Path("w.weights.h5").rename("moved.weights.h5")
    with pytest.raises(WeightsNotFound, match="--weights"):
        pipeline.export(head, format="keras")
    result = pipeline.export(head, format="keras", weights="moved.weights.h5")
    assert "--weights moved.weights.h5" in Path(result.model_card).read_text()


@pytest.mark.parametrize("format", ["tflite", pytest.param("keras", marks=pytest.mark.slow)])
def test_the_default_backbone(test_data: Path, format: str) -> None:
    source = test_data / "clothing"
    few = {"limit": "train=30,val=20,test=20", "size": 96}
    pipeline.extract(source, out="s", engine="tensorflow", **few)
    head = _fit(Path("s"), HeadKind.svm)
    result = pipeline.export(head, format=format)
    assert result.max_difference < 1e-5
    assert result.bytes < 15e6


@pytest.mark.parametrize("format", list(ExportFormat))
def test_a_head_on_several_layers_leaves_in_any_format(joined: Path, format: ExportFormat) -> None:
    result = pipeline.export(joined, format=format)
    assert result.images == 32
    assert result.max_difference <= 1e-4


def test_the_card_of_joined_layers_runs_as_it_stands(joined: Path, cached: Path) -> None:
    result = pipeline.export(joined, format="joblib", out="m.joblib")
    text = Path(result.model_card).read_text()
    assert "| layer | avg+top:max |" in text
    [code] = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "class_1" in done.stdout


def test_joined_layers_without_their_store(joined: Path, cached: Path) -> None:
    shutil.rmtree(cached)
    result = pipeline.export(joined, format="joblib")
    assert result.compared_on == "codes of the bundled probe images"
    shutil.rmtree("photos")
    assert pipeline.export(joined, format="keras").images == 8
