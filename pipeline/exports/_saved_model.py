"""TensorFlow's SavedModel, with one entry for pixels and one for the bytes of image files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.common.choices import Resize
from pipeline.exports._content import ExportContent
from pipeline.exports._format import Run
from pipeline.exports._labels import NAME, labels_text, plain

_GREY = 127
USAGE = """\
import tensorflow as tf

model = tf.saved_model.load("{path}")
photo = tf.constant([tf.io.read_file("photo.jpg").numpy()])
answer = model.signatures["serving_bytes"](bytes=photo)
best = int(answer["probabilities"][0].numpy().argmax())
print(answer["classes"][0, best].numpy().decode(), float(answer["probabilities"][0, best]))
"""
NOTES = """\
`serving_default` takes `pixels`, uint8 (batch, {size}, {size}, 3). `serving_bytes` takes `bytes`,
the content of JPEG, PNG, GIF or BMP files. Both give `probabilities` and `classes`, each of shape
(batch, classes), as TensorFlow Serving likes it. `serving_bytes` decodes by TensorFlow and scales
with Pillow's kernels. From `pipeline predict` it differs where a photo has an EXIF orientation (it
is not turned), transparency (it is dropped, not laid over white) or a JPEG more than four times the
size (`predict` lets libjpeg leave out what the square cannot show)."""


def write(content: ExportContent, path: Path) -> None:
    """Write the model with two signatures."""
    import tensorflow as tf
    from keras.export import ExportArchive

    model, size = content.model, content.model.input_shape[1]
    names = list(map(plain, content.classes))

    def answer(pixels: Any) -> dict[str, Any]:
        probabilities = model(pixels, training=False)
        classes = tf.repeat(tf.constant([names]), tf.shape(pixels)[0], axis=0)
        return {"probabilities": probabilities, "classes": classes}

    def of_bytes(data: Any) -> dict[str, Any]:
        spec = tf.TensorSpec((size, size, 3), tf.uint8)
        decoded = tf.map_fn(
            lambda each: _square(each, size, content.resize), data, fn_output_signature=spec
        )
        return answer(decoded)

    archive = ExportArchive()
    pixels = tf.TensorSpec((None, size, size, 3), tf.uint8, name="pixels")
    archive.add_endpoint("serving_default", answer, [pixels])
    encoded = tf.TensorSpec((None,), tf.string, name="bytes")
    archive.add_endpoint("serving_bytes", of_bytes, [encoded])
    archive.write_out(str(path), verbose=False)
    (path / NAME).write_text(labels_text(content.classes), encoding="utf-8")


def _square(data: Any, size: int, resize: Resize) -> Any:
    """Decode and scale as the decoder does, as far as TensorFlow can."""
    import tensorflow as tf

    image = _decoded(data)
    shape = tf.shape(image)[:2]
    start, length, target = tf.zeros_like(shape), shape, tf.stack([size, size])
    if resize is Resize.crop:
        length = tf.repeat(tf.reduce_min(shape), 2)
        start = (shape - length) // 2
    if resize is Resize.pad:
        share = tf.cast(shape, tf.float64) / tf.cast(tf.reduce_max(shape), tf.float64)
        target = tf.maximum(tf.cast(tf.round(size * share), tf.int32), 1)
    square = _scaled(image, start, length, target)
    if resize is Resize.pad:
        before = (size - target) // 2
        around = tf.stack([before, size - target - before], axis=1)
        square = tf.pad(square, tf.concat([around, [[0, 0]]], axis=0), constant_values=_GREY)
    return tf.ensure_shape(square, (size, size, 3))


def _decoded(data: Any) -> Any:
    """Decode to RGB; of a JPEG with libjpeg's accurate arithmetic, as Pillow does."""
    import tensorflow as tf

    return tf.cond(
        tf.io.is_jpeg(data),
        lambda: tf.io.decode_jpeg(data, channels=3, dct_method="INTEGER_ACCURATE"),
        lambda: tf.io.decode_image(data, channels=3, expand_animations=False),
    )


def _scaled(image: Any, start: Any, length: Any, target: Any) -> Any:
    """Scale a part by Pillow's kernels: Hamming's window to shrink, bicubic to enlarge."""
    import tensorflow as tf

    shrinks = tf.reduce_all(target <= length)
    down, across = (
        _weights(tf.shape(image)[axis], start[axis], length[axis], target[axis], shrinks)
        for axis in (0, 1)
    )
    lines = tf.round(tf.einsum("xw,hwc->hxc", across, tf.cast(image, tf.float32)))
    scaled = tf.round(tf.einsum("yh,hxc->yxc", down, tf.clip_by_value(lines, 0, 255)))
    return tf.cast(tf.clip_by_value(scaled, 0, 255), tf.uint8)


def _weights(source: Any, start: Any, length: Any, target: Any, shrinks: Any) -> Any:
    """
    Return what each pixel of a line counts for each of the result: (target, source).

    Like Pillow's, a kernel looks beyond the ends of the part, as far as the line goes.
    """
    import tensorflow as tf

    source, start, length, target = (
        tf.cast(number, tf.float32) for number in (source, start, length, target)
    )
    scale = length / target
    centres = start + (tf.range(target) + 0.5) * scale
    x = tf.abs(tf.range(source) + 0.5 - centres[:, None]) / tf.maximum(scale, 1.0)
    angle = np.pi * tf.maximum(x, 1e-6)
    hamming = tf.where(x < 1, tf.sin(angle) / angle * (0.54 + 0.46 * tf.cos(angle)), 0.0)
    near, far = (1.5 * x - 2.5) * x * x + 1, ((2.5 - 0.5 * x) * x - 4) * x + 2
    bicubic = tf.where(x < 1, near, tf.where(x < 2, far, 0.0))
    weights = tf.where(shrinks, hamming, bicubic)
    return weights / tf.reduce_sum(weights, axis=1, keepdims=True)


def load(path: Path) -> Run:
    """Run the entry for pixels."""
    serve = _signature(path, "serving_default")
    return lambda pixels: serve(pixels=pixels)


def load_bytes(path: Path) -> Callable[[list[bytes]], NDArray[np.floating]]:
    """Run the entry for the bytes of image files."""
    serve = _signature(path, "serving_bytes")
    return lambda files: serve(bytes=files)


def _signature(path: Path, name: str) -> Callable[..., NDArray[np.floating]]:
    import tensorflow as tf

    loaded = tf.saved_model.load(str(path))

    def run(**inputs: Any) -> NDArray[np.floating]:
        tensors = {key: tf.constant(value) for key, value in inputs.items()}
        answer: NDArray[np.floating] = loaded.signatures[name](**tensors)["probabilities"].numpy()
        return answer

    return run
