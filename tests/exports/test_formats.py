"""Every format: written, run again by its own runtime, the same probabilities and the classes."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from dataclasses import replace

import numpy as np
import pytest

from pipeline.common.choices import ExportFormat, Quantize
from pipeline.common.errors import ExportError
from pipeline.exports import TABLE, ExportContent, compare
from pipeline.exports._tflite import load

from .conftest import CLASSES, layers, neighbours

PIXELS = [row for row in TABLE.values() if not row.takes_codes]
HEADS = {"knn": neighbours, "mlp": lambda rng: layers(rng, "elu", "log_sigmoid")}


def _write(row, content: ExportContent, folder):
    path = folder / f"model{row.suffix}"
    if not row.suffix:
        path.mkdir()
    row.write(content, path)
    return path


@pytest.mark.parametrize("kind", HEADS)
@pytest.mark.parametrize("row", PIXELS, ids=lambda row: row.name.value)
def test_a_file_says_what_the_model_says(row, kind, content, pixels, rng, tmp_path):
    made = content(HEADS[kind](rng))
    path = _write(row, made, tmp_path)
    found = row.load(path)(pixels)
    np.testing.assert_allclose(found, made.model(pixels).numpy(), atol=1e-5)
    assert sorted(tmp_path.iterdir()) == [path]


def _in_the_archive(path):
    return zipfile.ZipFile(path).read("labels.txt").decode().splitlines()


def _in_metadata(path):
    import onnxruntime

    session = onnxruntime.InferenceSession(path)
    assert [each.name for each in session.get_inputs()] == ["pixels"]
    return json.loads(session.get_modelmeta().custom_metadata_map["classes"])


def _in_rt_info(path):
    import openvino

    model = openvino.Core().read_model(path / "model.xml")
    assert model.get_rt_info(["model_info", "labels"]).astype(str) == "été two_words c"
    return json.loads(model.get_rt_info(["model_info", "classes"]).astype(str))


def _in_the_answer(path):
    import tensorflow as tf

    loaded = tf.saved_model.load(str(path))
    answer = loaded.signatures["serving_default"](pixels=tf.zeros((2, 6, 6, 3), tf.uint8))
    return [name.decode() for name in answer["classes"][1].numpy()]


CLASSES_IN = {
    ExportFormat.keras: _in_the_archive,
    ExportFormat.tflite: _in_the_archive,
    ExportFormat.onnx: _in_metadata,
    ExportFormat.openvino: _in_rt_info,
    ExportFormat.saved_model: _in_the_answer,
}


@pytest.mark.parametrize("row", PIXELS, ids=lambda row: row.name.value)
def test_the_names_of_the_classes_are_in_the_file(row, content, rng, tmp_path):
    path = _write(row, content(layers(rng)), tmp_path)
    assert CLASSES_IN[row.name](path) == list(CLASSES)


def test_keras_loads_it_in_a_process_that_does_not_know_this_package(content, rng, tmp_path):
    path = _write(TABLE[ExportFormat.keras], content(neighbours(rng)), tmp_path)
    program = (
        "import sys; sys.modules['pipeline'] = None\n"
        "import keras, numpy as np\n"
        f"model = keras.saving.load_model({str(path)!r}, safe_mode=True)\n"
        "print(model(np.zeros((1, 6, 6, 3), np.uint8)).shape)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.strip() == "(1, 3)", done.stderr


@pytest.mark.parametrize("quantize", [Quantize.dynamic, Quantize.int8])
def test_tflite_in_eight_bits(content, pixels, rng, tmp_path, quantize):
    row = TABLE[ExportFormat.tflite]
    made = content(layers(rng, *["relu"] * 3), quantize=quantize, samples=pixels)
    found = compare(row.load(_write(row, made, tmp_path))(pixels), made.model(pixels).numpy())
    assert found.within(row.tolerance[quantize])


def test_tflite_in_eight_bits_computes_in_them(content, pixels, rng, tmp_path):
    from ai_edge_litert.interpreter import Interpreter

    row = TABLE[ExportFormat.tflite]
    made = content(layers(rng, "relu"), quantize=Quantize.int8, samples=pixels)
    interpreter = Interpreter(str(_write(row, made, tmp_path)))
    dtypes = [detail["dtype"] for detail in interpreter.get_tensor_details()]
    assert dtypes.count(np.int8) > dtypes.count(np.float32)


def test_a_file_that_ends_its_runtime_is_refused(tmp_path, content, pixels, rng, monkeypatch):
    monkeypatch.setattr("pipeline.exports._tflite._TRIAL", "import os; os.abort()")
    made = content(layers(rng), quantize=Quantize.dynamic)
    with pytest.raises(ExportError, match=r"\(exit code -6\); choose --quantize none"):
        _write(TABLE[ExportFormat.tflite], made, tmp_path)


def test_tflite_takes_one_image_after_the_other(content, pixels, rng, tmp_path):
    path = _write(TABLE[ExportFormat.tflite], content(layers(rng)), tmp_path)
    run = load(path)
    np.testing.assert_array_equal(run(pixels)[3:4], run(pixels[3:4]))


def test_the_table_has_every_choice():
    assert list(TABLE) == list(ExportFormat)
    for row in TABLE.values():
        assert Quantize.none in row.tolerance
        assert bool(row.packages) == bool(row.extra)


def test_only_tflite_is_quantized():
    TABLE[ExportFormat.tflite].check(Quantize.int8)
    with pytest.raises(ExportError, match="only --format tflite"):
        TABLE[ExportFormat.onnx].check(Quantize.int8)


def test_a_package_that_is_missing_is_named():
    row = replace(TABLE[ExportFormat.onnx], packages=("onnx", "no_such_package"))
    with pytest.raises(ExportError, match=r"no no_such_package; run: pip install .*\[onnx\]"):
        row.check(Quantize.none)
