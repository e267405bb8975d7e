"""Cache CNN codes of your images once, then train heads on them in seconds."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from pipeline._version import __version__
from pipeline.choices import (
    Activation,
    Augment,
    ClassWeight,
    Dtype,
    Engine,
    ExportFormat,
    HeadKind,
    Optimizer,
    Pool,
    Precision,
    Preset,
    Quantize,
    Resize,
    Split,
)
from pipeline.errors import (
    BackboneError,
    ChoiceError,
    ExportError,
    HeadDamaged,
    HeadError,
    HeadNotFound,
    Interrupted,
    OutputError,
    PipelineError,
    ResourceError,
    SourceError,
    SourceNotFound,
    SpaceMismatch,
    StoreDamaged,
    StoreError,
    StoreIncomplete,
    StoreLocked,
    StoreNotFound,
    WeightsNotFound,
)

if TYPE_CHECKING:
    from pipeline.stages.cnn_codes import CNNCodes
    from pipeline.stages.compare import compare
    from pipeline.stages.demo import demo
    from pipeline.stages.evaluate import evaluate
    from pipeline.stages.export import export
    from pipeline.stages.extract import estimate, extract
    from pipeline.stages.fine_tune import fine_tune
    from pipeline.stages.fit_head import fit_head
    from pipeline.stages.info import info
    from pipeline.stages.learning_curve import learning_curve
    from pipeline.stages.load_codes import load_codes
    from pipeline.stages.pack import pack
    from pipeline.stages.predict import predict
    from pipeline.stages.verify import verify

__all__ = [
    "Activation",
    "Augment",
    "BackboneError",
    "CNNCodes",
    "ChoiceError",
    "ClassWeight",
    "Dtype",
    "Engine",
    "ExportError",
    "ExportFormat",
    "HeadDamaged",
    "HeadError",
    "HeadKind",
    "HeadNotFound",
    "Interrupted",
    "Optimizer",
    "OutputError",
    "PipelineError",
    "Pool",
    "Precision",
    "Preset",
    "Quantize",
    "Resize",
    "ResourceError",
    "SourceError",
    "SourceNotFound",
    "SpaceMismatch",
    "Split",
    "StoreDamaged",
    "StoreError",
    "StoreIncomplete",
    "StoreLocked",
    "StoreNotFound",
    "WeightsNotFound",
    "__version__",
    "compare",
    "demo",
    "estimate",
    "evaluate",
    "export",
    "extract",
    "fine_tune",
    "fit_head",
    "info",
    "learning_curve",
    "load_codes",
    "pack",
    "predict",
    "verify",
]

_STAGES = {
    "CNNCodes": "cnn_codes",
    "compare": "compare",
    "demo": "demo",
    "estimate": "extract",
    "evaluate": "evaluate",
    "export": "export",
    "extract": "extract",
    "fine_tune": "fine_tune",
    "fit_head": "fit_head",
    "info": "info",
    "learning_curve": "learning_curve",
    "load_codes": "load_codes",
    "pack": "pack",
    "predict": "predict",
    "verify": "verify",
}


def __getattr__(name: str) -> Any:
    """Import a stage when it is first used, so that `import pipeline` stays light."""
    if name in _STAGES:
        return getattr(import_module(f"pipeline.stages.{_STAGES[name]}"), name)
    raise AttributeError(f"module 'pipeline' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted(__all__)
