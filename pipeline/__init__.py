"""Cache CNN codes of your images once, then train heads on them in seconds."""

from __future__ import annotations

from pipeline._version import __version__

TYPE_CHECKING = False  # typing's own costs milliseconds in which Ctrl-C would show a traceback
if TYPE_CHECKING:
    from typing import Any

    from pipeline.common.choices import (
        Activation,
        Augment,
        ClassWeight,
        Dtype,
        Engine,
        ExportFormat,
        Folders,
        HeadKind,
        Optimizer,
        Pool,
        Precision,
        Preset,
        Quantize,
        Resize,
        Schedule,
        Scores,
        Split,
    )
    from pipeline.common.errors import (
        BackboneError,
        ChoiceError,
        ExportError,
        HeadDamaged,
        HeadError,
        HeadLocked,
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
    from pipeline.common.listener import Listener
    from pipeline.flows.cnn_codes import CNNCodes
    from pipeline.stages.audit import audit
    from pipeline.stages.compare import compare
    from pipeline.stages.compare_heads import compare_heads
    from pipeline.stages.demo import demo
    from pipeline.stages.estimate import estimate
    from pipeline.stages.evaluate import evaluate
    from pipeline.stages.export import export
    from pipeline.stages.extract import extract
    from pipeline.stages.fine_tune import fine_tune
    from pipeline.stages.fit_head import fit_head
    from pipeline.stages.group import group
    from pipeline.stages.info import info
    from pipeline.stages.learning_curve import learning_curve
    from pipeline.stages.load_codes import load_codes
    from pipeline.stages.load_head import load_head
    from pipeline.stages.pack import pack
    from pipeline.stages.predict import predict
    from pipeline.stages.relabel import relabel
    from pipeline.stages.repair import repair
    from pipeline.stages.show import show
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
    "Folders",
    "HeadDamaged",
    "HeadError",
    "HeadKind",
    "HeadLocked",
    "HeadNotFound",
    "Interrupted",
    "Listener",
    "Optimizer",
    "OutputError",
    "PipelineError",
    "Pool",
    "Precision",
    "Preset",
    "Quantize",
    "Resize",
    "ResourceError",
    "Schedule",
    "Scores",
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
    "audit",
    "compare",
    "compare_heads",
    "demo",
    "estimate",
    "evaluate",
    "export",
    "extract",
    "fine_tune",
    "fit_head",
    "group",
    "info",
    "learning_curve",
    "load_codes",
    "load_head",
    "pack",
    "predict",
    "relabel",
    "repair",
    "show",
    "verify",
]

# Where each name lives; it is imported when it is first used.
_PLACES = {
    **dict.fromkeys(
        (
            "Activation",
            "Augment",
            "ClassWeight",
            "Dtype",
            "Engine",
            "ExportFormat",
            "Folders",
            "HeadKind",
            "Optimizer",
            "Pool",
            "Precision",
            "Preset",
            "Quantize",
            "Resize",
            "Schedule",
            "Scores",
            "Split",
        ),
        "common.choices",
    ),
    **dict.fromkeys(
        (
            "BackboneError",
            "ChoiceError",
            "ExportError",
            "HeadDamaged",
            "HeadError",
            "HeadLocked",
            "HeadNotFound",
            "Interrupted",
            "OutputError",
            "PipelineError",
            "ResourceError",
            "SourceError",
            "SourceNotFound",
            "SpaceMismatch",
            "StoreDamaged",
            "StoreError",
            "StoreIncomplete",
            "StoreLocked",
            "StoreNotFound",
            "WeightsNotFound",
        ),
        "common.errors",
    ),
    "Listener": "common.listener",
    "CNNCodes": "flows.cnn_codes",
    "audit": "stages.audit",
    "compare": "stages.compare",
    "compare_heads": "stages.compare_heads",
    "demo": "stages.demo",
    "estimate": "stages.estimate",
    "evaluate": "stages.evaluate",
    "export": "stages.export",
    "extract": "stages.extract",
    "fine_tune": "stages.fine_tune",
    "fit_head": "stages.fit_head",
    "group": "stages.group",
    "info": "stages.info",
    "learning_curve": "stages.learning_curve",
    "load_codes": "stages.load_codes",
    "load_head": "stages.load_head",
    "pack": "stages.pack",
    "predict": "stages.predict",
    "relabel": "stages.relabel",
    "repair": "stages.repair",
    "show": "stages.show",
    "verify": "stages.verify",
}


def __getattr__(name: str) -> Any:
    """Import what is asked for, so that `import pipeline` stays light."""
    if name not in _PLACES:
        raise AttributeError(f"module 'pipeline' has no attribute '{name}'")
    from importlib import import_module

    return getattr(import_module(f"pipeline.{_PLACES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
