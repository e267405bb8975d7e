"""TensorFlow Lite, now LiteRT: for phones."""

from __future__ import annotations

import shutil
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.common.choices import Quantize
from pipeline.common.errors import ExportError
from pipeline.exports._content import ExportContent
from pipeline.exports._format import Run
from pipeline.exports._labels import add_labels

USAGE = """\
import zipfile

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from PIL import Image, ImageOps

interpreter = Interpreter("{path}")
run = interpreter.get_signature_runner("serving_default")
classes = zipfile.ZipFile("{path}").read("labels.txt").decode().splitlines()
photo = ImageOps.exif_transpose(Image.open("photo.jpg")).convert("RGB")
photo = {squared}
probabilities = run(pixels=np.asarray(photo)[None])["probabilities"][0]
print(classes[probabilities.argmax()], probabilities.max())
"""
NOTES = """\
It takes one image at a time, as uint8 pixels, and gives float32, however it is quantized. Every
operation is built into LiteRT. The names of the classes are in the associated file `labels.txt`."""

_TRIAL = """\
import sys
import numpy as np
from ai_edge_litert.interpreter import Interpreter
run = Interpreter(sys.argv[1]).get_signature_runner("serving_default")
shape = run.get_input_details()["pixels"]["shape"]
for seed in range(3):
    run(pixels=np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8))
"""


def write(content: ExportContent, path: Path) -> None:
    """Convert the model for one image at a time."""
    import tensorflow as tf

    saved = path.with_suffix(".saved")
    _serve_one(content.model, saved)
    converter = tf.lite.TFLiteConverter.from_saved_model(str(saved))
    if content.quantize is not Quantize.none:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if content.quantize is Quantize.int8 and content.samples is not None:
        converter.representative_dataset = _one_by_one(content.samples)
    with warnings.catch_warnings():  # TensorFlow's own use of its own old interpreter
        warnings.simplefilter("ignore")
        path.write_bytes(converter.convert())
    shutil.rmtree(saved)
    add_labels(path, content.classes)
    if content.quantize is not Quantize.none:
        _try_out(path)


def _try_out(path: Path) -> None:
    """
    Run a file in a process of its own first.

    LiteRT 2.3 corrupts its memory with some files of 8 bits that TensorFlow 2.21 writes, and ends
    the process that runs them.
    """
    done = subprocess.run([sys.executable, "-c", _TRIAL, str(path)], capture_output=True)
    if done.returncode != 0:
        raise ExportError(
            f"expected a file of 8 bits that LiteRT runs, found one that ends it (exit code "
            f"{done.returncode}); choose --quantize {Quantize.none.value}"
        )


def _serve_one(model: Any, path: Path) -> None:
    """Write what the converter reads."""
    import tensorflow as tf
    from keras.export import ExportArchive

    def serve(pixels: Any) -> dict[str, Any]:
        return {"probabilities": model(pixels, training=False)}

    archive = ExportArchive()
    one = tf.TensorSpec((1, *model.input_shape[1:]), tf.uint8, name="pixels")
    archive.add_endpoint("serving_default", serve, [one])
    archive.write_out(str(path), verbose=False)


def _one_by_one(samples: NDArray[np.uint8]) -> Any:
    """Hand out images in the way that the converter asks for them."""

    def images() -> Iterator[dict[str, NDArray[np.uint8]]]:
        for image in samples:
            yield {"pixels": image[None]}

    return images


def load(path: Path) -> Run:
    """Run it by LiteRT's interpreter."""
    from ai_edge_litert.interpreter import Interpreter

    run = Interpreter(str(path)).get_signature_runner("serving_default")

    def probabilities(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        return np.concatenate([run(pixels=image[None])["probabilities"] for image in pixels])

    return probabilities
