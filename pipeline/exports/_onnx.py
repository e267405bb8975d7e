"""ONNX."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.exports._content import Content
from pipeline.exports._format import Run
from pipeline.exports._labels import plain

USAGE = """\
import json

import numpy as np
import onnxruntime
from PIL import Image, ImageOps

session = onnxruntime.InferenceSession("{path}")
classes = json.loads(session.get_modelmeta().custom_metadata_map["classes"])
photo = ImageOps.exif_transpose(Image.open("photo.jpg")).convert("RGB")
photo = {squared}
[probabilities] = session.run(["probabilities"], {{"pixels": np.asarray(photo)[None]}})[0]
print(classes[probabilities.argmax()], probabilities.max())
"""
NOTES = """\
Written by Keras and tf2onnx. The names of the classes are in `metadata_props` under `classes`, as
JSON."""


def write(content: Content, path: Path) -> None:
    """Export the model, then give its output a name and the file the classes."""
    import onnx

    content.model(np.zeros((1, *content.model.input_shape[1:]), np.uint8))  # or it is not exported
    with warnings.catch_warnings():  # Keras mends tf2onnx for NumPy 2, which NumPy remarks on
        warnings.simplefilter("ignore")
        content.model.export(str(path), format="onnx", verbose=False)
    model = onnx.load(path)
    _rename_output(model.graph, "probabilities")
    for tensor in (*model.graph.input, *model.graph.output):
        tensor.type.tensor_type.shape.dim[0].dim_param = "batch"
    names = list(map(plain, content.classes))
    onnx.helper.set_model_props(model, {"classes": json.dumps(names)})
    onnx.checker.check_model(model)
    onnx.save(model, path)


def _rename_output(graph: Any, name: str) -> None:
    """Give the only output a name that says what it is."""
    [output] = graph.output
    for node in graph.node:
        node.output[:] = [name if each == output.name else each for each in node.output]
    output.name = name


def load(path: Path) -> Run:
    """Run it by ONNX Runtime on the processor."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return lambda pixels: session.run(["probabilities"], {"pixels": pixels})[0]
