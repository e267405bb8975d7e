"""Keras on TensorFlow, and OpenVINO, imported late and quietly: rooms that need them ask here."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pipeline.errors import BackboneError


def import_keras() -> None:
    """
    Import Keras on TensorFlow without a word on stderr.

    Raises
    ------
    BackboneError
        If Keras was set to another backend, image layout or precision.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if "keras" not in sys.modules:
        os.environ["KERAS_BACKEND"] = "tensorflow"  # over the user's keras.json
    with _no_import_noise():
        import keras
    found = (
        keras.backend.backend(),
        keras.backend.image_data_format(),
        keras.config.dtype_policy().name,
    )
    if found != ("tensorflow", "channels_last", "float32"):
        raise BackboneError(
            f"expected Keras with tensorflow, channels_last and float32, found {', '.join(found)}; "
            "unset KERAS_BACKEND and look into ~/.keras/keras.json"
        )


def import_openvino() -> Any:
    """
    Import OpenVINO without its telemetry.

    Its converter reports its use to the makers, from a child process that would also hold the
    lock of a store; without the package for that it goes on in silence.
    """
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    import openvino

    return openvino


@contextmanager
def _no_import_noise() -> Iterator[None]:
    """
    Keep stderr clean while TensorFlow's libraries are loaded.

    They write two notices to the descriptor itself before TF_CPP_MIN_LOG_LEVEL is obeyed.
    """
    try:
        kept = -1 if "tensorflow" in sys.modules else os.dup(2)
    except OSError:  # started without stderr
        kept = -1
    if kept < 0:
        yield
        return
    sys.stderr.flush()
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
