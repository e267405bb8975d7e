"""The formats: one row each."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from pipeline.common.choices import ExportFormat, Quantize
from pipeline.exports import _joblib, _keras, _onnx, _openvino, _saved_model, _tflite
from pipeline.exports._format import EXACT, Format, Tolerance

_ROWS = (
    Format(
        name=ExportFormat.keras,
        suffix=".keras",
        write=_keras.write,
        load=_keras.load,
        usage=_keras.USAGE,
        notes=_keras.NOTES,
        tolerance={Quantize.none: EXACT},
    ),
    Format(
        name=ExportFormat.saved_model,
        write=_saved_model.write,
        load=_saved_model.load,
        load_bytes=_saved_model.load_bytes,
        usage=_saved_model.USAGE,
        notes=_saved_model.NOTES,
        tolerance={Quantize.none: EXACT},
    ),
    Format(
        name=ExportFormat.tflite,
        suffix=".tflite",
        packages=("ai_edge_litert",),
        extra="tflite",
        write=_tflite.write,
        load=_tflite.load,
        usage=_tflite.USAGE,
        notes=_tflite.NOTES,
        tolerance={
            Quantize.none: EXACT,
            # Lite0 on clothing photos, six kinds of heads: 0.055 to 0.10 and 0.10 to 0.14.
            Quantize.dynamic: Tolerance(max_difference=0.2, top1_agreement=0.9),
            Quantize.int8: Tolerance(max_difference=0.25, top1_agreement=0.9),
        },
    ),
    Format(
        name=ExportFormat.onnx,
        suffix=".onnx",
        packages=("onnx", "tf2onnx", "onnxruntime"),
        extra="onnx",
        classifiers=True,
        write=_onnx.write,
        load=_onnx.load,
        usage=_onnx.USAGE,
        notes=_onnx.NOTES,
        tolerance={Quantize.none: EXACT},
    ),
    Format(
        name=ExportFormat.openvino,
        packages=("openvino",),
        extra="openvino",
        write=_openvino.write,
        load=_openvino.load,
        usage=_openvino.USAGE,
        notes=_openvino.NOTES,
        tolerance={Quantize.none: EXACT},
    ),
    Format(
        name=ExportFormat.joblib,
        suffix=".joblib",
        takes_codes=True,
        classifiers=True,
        write=_joblib.write,
        load=_joblib.load,
        usage=_joblib.USAGE,
        notes=_joblib.NOTES,
        tolerance={Quantize.none: EXACT},
    ),
)

TABLE: Mapping[ExportFormat, Format] = MappingProxyType({row.name: row for row in _ROWS})
"""The formats by name."""
