"""Which engine computes, where the user leaves the choice to us."""

from __future__ import annotations

import shutil
from pathlib import Path

from pipeline.backbones import _openvino
from pipeline.common.choices import Engine
from pipeline.common.errors import BackboneError
from pipeline.common.lazy import import_keras


def choose_engine(engine: Engine) -> tuple[Engine, str]:
    """
    Choose the engine: a GPU belongs to TensorFlow, a processor to OpenVINO if it is installed.

    Parameters
    ----------
    engine : Engine
        What was asked for.

    Returns
    -------
    engine : Engine
        Never ``auto``.
    note : str
        What the user should know; empty if nothing.

    Raises
    ------
    BackboneError
        If OpenVINO was asked for and is not installed.
    """
    note = ""
    if engine is Engine.auto:
        engine, note = _best()
    if engine is Engine.openvino and not _openvino.installed():
        raise BackboneError(
            "expected openvino to be installed for this engine, found it is not; "
            "type `pip install 'bottleneck-pipeline[openvino]'`"
        )
    return engine, note


def _best() -> tuple[Engine, str]:
    """Look for a GPU without TensorFlow first, since importing it takes seconds."""
    note = ""
    if shutil.which("nvidia-smi") or Path("/dev/nvidia0").exists():
        import_keras()
        import tensorflow as tf

        if tf.config.list_physical_devices("GPU"):
            return Engine.tensorflow, ""
        note = (
            "warning: this machine has a GPU that TensorFlow does not see; "
            "type `pip install 'bottleneck-pipeline[gpu]'`"
        )
    if _openvino.installed():
        return Engine.openvino, note
    hint = (
        "hint: `pip install 'bottleneck-pipeline[openvino]'` computes codes two to three times "
        "as fast on a processor"
    )
    return Engine.tensorflow, note or hint
