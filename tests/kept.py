"""
A network and data in which all sums are exact, and what makes the files in `data/commit-b4b7c07`.

Pixels are multiples of 32, and weights are small integers divided by powers of two: codes and
scores have few enough bits that float32 holds them whole, in whatever order a processor adds them
up. So files that were written once can be compared bit by bit anywhere.
"""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import sklearn

import pipeline
from pipeline import backbones, exports, heads
from pipeline.backbones import Backbone, Preprocessing

EXACT = Backbone(
    name="exact",
    builder="tests.kept:build",
    size=8,
    minimum_size=8,
    preprocessing=Preprocessing.none,
    parameters=0,
    layers={"conv": (4, 4, 4), "top": (2, 2, 8), "avg": (8,)},
    final_map="top",
)
# The same under another name, for a head on the codes of two backbones.
ALSO_EXACT = replace(EXACT, name="also-exact")
TABLE = {**backbones.TABLE, EXACT.name: EXACT, ALSO_EXACT.name: ALSO_EXACT}

LDA = "sklearn.discriminant_analysis.LinearDiscriminantAnalysis"
FORMATS = ("keras", "saved-model", "tflite", "onnx", "openvino", "joblib")


def build(include_top: bool = False, weights: str | None = None, input_shape: Any = None) -> Any:
    """Build it as keras.applications would; its weights are -1, 0 and 1, divided."""
    from keras import Model, layers

    x = pixels = layers.Input(input_shape)
    for name, filters, share in (("conv", 4, 32), ("top", 8, 4)):
        layer = layers.Conv2D(filters, 2, strides=2, activation="relu", name=name)
        x = layer(x)
        kernel, bias = layer.get_weights()
        random = np.random.default_rng(filters)
        layer.set_weights([random.integers(-1, 2, kernel.shape) / share, bias])
    return Model(pixels, x)


def photos() -> dict[str, Any]:
    """Draw 27 images to train and 9 to test, in three classes that differ by colour."""
    random, y = np.random.default_rng(0), np.arange(36) % 3
    x = random.integers(0, 5, (36, 8, 8, 3))
    x[np.arange(36), :, :, y] += 2
    x = (32 * x).astype(np.uint8)
    return {"x_train": x[:27], "y_train": y[:27], "x_test": x[27:], "y_test": y[27:]}


def make(folder: Path) -> None:
    """Write a store, a packed file, heads, exported files, and what is read from them."""
    backbones._table.TABLE = TABLE  # type: ignore[attr-defined]
    folder.mkdir(parents=True)
    os.chdir(folder)
    np.savez_compressed("photos.npz", **photos())
    # What is named "imagenet" is as the builder leaves it.
    common = {"weights": "imagenet", "engine": "tensorflow", "precision": "float32"}
    layers = ["avg", "conv"]
    views = {"views": 2, "augment": "flip"}
    pipeline.extract("photos.npz", out="store", backbone="exact", layers=layers, **views, **common)
    pipeline.extract("photos.npz", out="other", backbone="also-exact", **views, **common)
    pipeline.pack("store", "packed.h5")
    for kind in ("svm", "softmax", "ridge", "knn", "centroid"):
        pipeline.fit_head("store", kind=kind, layer="avg", out=f"heads/{kind}")
    mlp = {"hidden": (4,), "epochs": 20, "learning_rate": 0.01}
    pipeline.fit_head("store", kind="mlp", layer="avg", out="heads/mlp", **mlp)
    pipeline.fit_head("store", kind=LDA, layer="avg", out="heads/lda")
    pipeline.fit_head("store", kind="svm", layer=["avg", "conv:max"], out="heads/joined")
    both = {"joined_with": "other", "layer": ["avg", "also-exact/avg"]}
    pipeline.fit_head("store", kind="softmax", out="heads/stores", **both)
    tuning = {"epochs": 2, "learning_rate": 1e-3, "batch_size": 8}
    pipeline.fine_tune("heads/softmax", start="conv", out="heads/tuned", **tuning)
    for head in sorted(Path("heads").iterdir()):
        _make_exact(head)
    for form in FORMATS:
        suffix = exports.TABLE[pipeline.ExportFormat(form)].suffix
        pipeline.export("heads/svm", format=form, out=f"exports/{form}/svm{suffix}")
    np.savez_compressed("expected.npz", **_expected())
    shutil.rmtree("other")
    for name in ("*.md", "curves.png", "LOCK"):
        for file in Path().rglob(name):
            file.unlink()
    shutil.make_archive(str(folder), "zip", folder)


def _make_exact(folder: Path) -> None:
    """Round what a head has learned, so that its scores are exact where no root is taken."""
    saved = heads.load(folder)
    head, tuned = saved.head, saved.tuned
    arrays = {name: np.asarray(array) for name, array in head.arrays().items()}
    if saved.head.kind.value in ("knn", "centroid", "sklearn"):
        return
    for name, array in arrays.items():
        arrays[name] = _power_of_two(array) if name == "scale" else _rounded(array, 64)
    if "mean" in arrays:  # bias is what follows
        weights = (arrays["coef"].astype(np.float64) / arrays["scale"]).T
        arrays["bias"] = arrays["intercept"] - arrays["mean"] @ weights
    exact = type(head).from_arrays(head.parameters, arrays)
    exact.history_, exact.validation_ = head.history_, head.validation_
    exact.calibration_ = head.calibration_
    if exact.calibration_ is not None:
        slope = 2.0 ** round(np.log2(exact.calibration_["slope"]))
        exact.calibration_ = exact.calibration_ | {"slope": slope}
    if tuned is not None:
        tuned = {name: _rounded(array, 16) for name, array in tuned.items()}
    heads.save(folder, exact, saved.card, tuned=tuned)


def _rounded(array: Any, parts: int) -> Any:
    return (np.round(np.asarray(array) * parts) / parts).astype(array.dtype)


def _power_of_two(scale: Any) -> Any:
    return np.full_like(scale, 2.0 ** round(np.log2(np.median(scale))))


def _expected() -> dict[str, Any]:
    """Return codes, scores and probabilities as this version reads and computes them."""
    found: dict[str, Any] = {"scikit-learn": np.array(sklearn.__version__)}
    for split in ("train", "val", "test"):
        for layer in ("avg", "conv"):
            codes = pipeline.load_codes("store", split=split, layer=layer, views=True)
            found[f"codes/{split}/{layer}"] = codes.X
        codes = pipeline.load_codes("store", split=split)
        found[f"labels/{split}"] = codes.y
        found[f"paths/{split}"] = np.array(codes.paths)
        found[f"sha256/{split}"] = np.array(codes.sha256)
    x = photos()["x_test"]
    for folder in sorted(Path("heads").iterdir()):
        classifier = pipeline.load_head(folder)
        found[f"scores/{folder.name}"] = classifier.decision_function(x)
        found[f"probabilities/{folder.name}"] = classifier.predict_proba(x)
    for form in FORMATS:
        row = exports.TABLE[pipeline.ExportFormat(form)]
        inputs = found["codes/test/avg"][::2] if row.takes_codes else x
        run = row.load(Path(f"exports/{form}/svm{row.suffix}"))
        found[f"exports/{form}"] = np.asarray(run(inputs))
    return found


if __name__ == "__main__":
    make(Path(sys.argv[1]))
