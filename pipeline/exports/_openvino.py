"""OpenVINO's intermediate representation: a folder with a ``.xml`` and a ``.bin``."""

from __future__ import annotations

import json
from pathlib import Path

from pipeline.common.lazy import import_openvino
from pipeline.exports._content import ExportContent
from pipeline.exports._format import Run
from pipeline.exports._labels import NAME, labels_text, plain

MODEL = "model.xml"
USAGE = """\
import json

import numpy as np
import openvino
from PIL import Image, ImageOps

core = openvino.Core()
model = core.read_model("{path}/model.xml")
classes = json.loads(model.get_rt_info(["model_info", "classes"]).astype(str))
run = core.compile_model(model, "CPU", {{"INFERENCE_PRECISION_HINT": "f32"}})
photo = ImageOps.exif_transpose(Image.open("photo.jpg")).convert("RGB")
photo = {squared}
probabilities = run(np.asarray(photo)[None])["probabilities"][0]
print(classes[probabilities.argmax()], probabilities.max())
"""
NOTES = """\
Compared with `INFERENCE_PRECISION_HINT` f32; without the hint, processors that multiply in bfloat16
do so. The names of the classes are in `labels.txt`, in the model's `rt_info` under `model_info` /
`classes` as JSON, and under `labels` as OpenVINO's Model API reads them (blanks become
underscores)."""


def write(content: ExportContent, path: Path) -> None:
    """Export the model, then give its output a name and the file the classes."""
    openvino = import_openvino()
    raw = path / "raw.xml"
    content.model.export(str(raw), format="openvino", verbose=False)
    model = openvino.Core().read_model(raw)
    model.outputs[0].tensor.set_names({"probabilities"})
    names = list(map(plain, content.classes))
    model.set_rt_info("Classification", ["model_info", "model_type"])
    model.set_rt_info(" ".join("_".join(name.split()) for name in names), ["model_info", "labels"])
    model.set_rt_info(json.dumps(names), ["model_info", "classes"])
    openvino.save_model(model, path / MODEL, compress_to_fp16=False)
    del model  # it reads from the files that go now
    for file in (raw, raw.with_suffix(".bin")):
        file.unlink()
    (path / NAME).write_text(labels_text(content.classes), encoding="utf-8")


def load(path: Path) -> Run:
    """Run it on the processor, in 32 bits."""
    core = import_openvino().Core()
    hints = {"INFERENCE_PRECISION_HINT": "f32"}
    model = core.compile_model(core.read_model(path / MODEL), "CPU", hints)
    return lambda pixels: model(pixels)["probabilities"]
