"""ONNX."""

from __future__ import annotations

import json
import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.common.errors import ExportError
from pipeline.common.steps import Classifier
from pipeline.exports._content import ExportContent
from pipeline.exports._format import Run
from pipeline.exports._labels import plain
from pipeline.exports._sklearn import calibrated

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


def write(content: ExportContent, path: Path) -> None:
    """Export the model, then give its output a name and the file the classes."""
    import onnx

    last = content.steps[-1]
    if isinstance(last, Classifier):
        model = _with_classifier(_exported(content, path, "codes"), last, len(content.classes))
    else:
        model = _exported(content, path, "probabilities")
    names = list(map(plain, content.classes))
    onnx.helper.set_model_props(model, {"classes": json.dumps(names)})
    onnx.checker.check_model(model)
    onnx.save(model, path)


def _exported(content: ExportContent, path: Path, output: str) -> Any:
    """Let Keras write its model; give it batches of any size, and its output a name."""
    import onnx

    content.model(np.zeros((1, *content.model.input_shape[1:]), np.uint8))  # or it is not exported
    with warnings.catch_warnings():  # Keras mends tf2onnx for NumPy 2, which NumPy remarks on
        warnings.simplefilter("ignore")
        content.model.export(str(path), format="onnx", verbose=False)
    model = onnx.load(path)
    _rename_output(model.graph, output)
    for tensor in (*model.graph.input, *model.graph.output):
        tensor.type.tensor_type.shape.dim[0].dim_param = "batch"
    return model


def _with_classifier(codes: Any, last: Classifier, classes: int) -> Any:
    """Put a classifier of scikit-learn's, converted by skl2onnx, behind a graph of codes."""
    import onnx
    from onnx import compose

    if find_spec("skl2onnx") is None:
        raise ExportError(
            "expected skl2onnx, which converts classifiers of scikit-learn's, found none; run: pip "
            "install 'bottleneck-pipeline[sklearn]'"
        )
    from skl2onnx import to_onnx
    from skl2onnx.common.data_types import FloatTensorType

    opset = next(each.version for each in codes.opset_import if each.domain in ("", "ai.onnx"))
    opsets = {"": opset, "ai.onnx.ml": 3}
    estimator = calibrated(last, classes)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        converted = to_onnx(
            estimator,
            initial_types=[("codes", FloatTensorType([None, last.n_features]))],
            options={"zipmap": False},
            target_opset=opsets,
        )
    # Both name the least that their own nodes need; what was asked for suits both.
    for model in (codes, converted):
        del model.opset_import[:]
        model.opset_import.extend(onnx.helper.make_opsetid(*each) for each in opsets.items())
    converted.ir_version = codes.ir_version
    converted = compose.add_prefix(converted, "head_")
    merged = compose.merge_models(
        codes,
        converted,
        io_map=[("codes", "head_codes")],
        outputs=["head_probabilities"],
    )
    _rename_output(merged.graph, "probabilities")
    return onnx.shape_inference.infer_shapes(merged)


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
