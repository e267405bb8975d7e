"""Keras's own file."""

from __future__ import annotations

from pathlib import Path

from pipeline.exports._content import ExportContent
from pipeline.exports._format import Run
from pipeline.exports._labels import add_labels

USAGE = """\
import zipfile

import keras
import numpy as np
from PIL import Image, ImageOps

model = keras.saving.load_model("{path}")
classes = zipfile.ZipFile("{path}").read("labels.txt").decode().splitlines()
photo = ImageOps.exif_transpose(Image.open("photo.jpg")).convert("RGB")
photo = {squared}
probabilities = model.predict_on_batch(np.asarray(photo)[None])[0]
print(classes[probabilities.argmax()], probabilities.max())
"""
NOTES = """\
Built-in layers only: any process with Keras on TensorFlow loads it, in safe mode and without this
package. The names of the classes are in the archive's member `labels.txt`. Keras has no layer that
decodes image files; `--format saved-model` takes their bytes."""


def write(content: ExportContent, path: Path) -> None:
    """Save the model."""
    content.model.save(path)
    add_labels(path, content.classes)


def load(path: Path) -> Run:
    """Load it as a stranger would."""
    import keras

    run: Run = keras.saving.load_model(path).predict_on_batch
    return run
