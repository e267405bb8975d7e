"""Every format against the head that it was made of (`make bench-exports`)."""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

PAGE = Path(__file__).parent.parent / "docs" / "exports.md"
KINDS = ("svm", "softmax", "ridge", "centroid", "knn", "mlp")
FORMATS = (
    "keras",
    "saved-model",
    "onnx",
    "openvino",
    "tflite",
    "tflite dynamic",
    "tflite int8",
    "joblib",
)
_REFUSED = re.compile(r"a difference of (\S+) and (\d+)%")
_ENDED = re.compile(r"one that ends it")
TEXT = """# Exports

What a file of each format says, against what `predict` says by TensorFlow in float32: the largest
difference between two probabilities, and the share of 32 held-out photos (925 photos of clothing,
ten classes) whose best class is the same. `pipeline export` measures this for every file that it
writes, and keeps none beyond the tolerance: 0.0001 in 32 bits, 0.2 for `dynamic`, 0.25 for `int8`;
at least 95 %, in 8 bits 90 %, must keep their best class. *refused* marks files that did not pass.
`joblib` takes codes, all others uint8 pixels. Made by `make bench-exports` on {processors}
processors (load {load} at the end); milliseconds are of one image in the format's own runtime.

{tables}

Eight bits throughout (`int8`) cannot tell nearest neighbours apart, and neither way of 8 bits suits
weights that were not trained to classify, as in the second and third table. `saved-model` also
takes the bytes of image files; the second of its differences is of that entry, whose decoder is
TensorFlow's.
Codes of random weights nearly coincide, so that a centroid head multiplies their cosines by a large
slope, and with it last digits: TFLite and OpenVINO in 32 bits are refused there by a hair.
"""
HEADER = """## {name}

| head | format | largest difference | same best class | MB | ms |
|---|---|---|---|---|---|
"""


class Case(NamedTuple):
    """A backbone with its weights, in words for the page."""

    name: str
    backbone: str
    weights: str
    layer: str


def pipeline(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run the command as a user does."""
    command = [sys.executable, "-m", "pipeline", *map(str, arguments), "--json"]
    return subprocess.run(command, capture_output=True, text=True)


def checked(*arguments: object) -> None:
    """Run a command that must succeed."""
    done = pipeline(*arguments)
    if done.returncode != 0:
        sys.exit(done.stderr)


def row(kind: str, head: Path, form: str, folder: Path) -> str:
    """Export once, and write a row of the table."""
    name, _, quantize = form.partition(" ")
    ending = "" if name in ("saved-model", "openvino") else f".{name}"
    out = folder / f"{head.name}-{form.replace(' ', '-')}{ending}"
    done = pipeline(
        "export", head, "--format", name, "--out", out, "--quantize", quantize or "none"
    )
    if done.returncode == 0:
        found = json.loads(done.stdout)
        largest = f"{found['max_difference']:.1e}"
        if found["max_difference_bytes"] is not None:
            largest += f"; {found['max_difference_bytes']:.1e}"
        cells = [largest, f"{found['top1_agreement']:.0%}", f"{found['bytes'] / 1e6:.1f}"]
        cells += [f"{found['latency_ms']:.1f}"]
    elif refused := _REFUSED.search(done.stderr):
        cells = [f"refused: {float(refused[1]):.1e}", f"{refused[2]}%", "", ""]
    elif _ENDED.search(done.stderr):
        cells = ["refused: LiteRT crashes", "", "", ""]
    else:
        sys.exit(done.stderr)
    return " | ".join(["", kind, form, *cells, ""]).strip() + "\n"


def rows(case: Case, photos: str, folder: Path) -> Iterator[str]:
    """Extract, fit, and export everything."""
    store = folder / case.backbone
    options = ["--backbone", case.backbone, "--weights", case.weights, "--layer", case.layer]
    checked("extract", photos, "--out", store, *options)
    for kind in KINDS:
        head = folder / f"{case.backbone}-{kind}"
        more = ["--epochs", 20] if kind == "mlp" else []
        checked("fit-head", store, "--kind", kind, "--out", head, *more)
        for form in FORMATS:
            yield row(kind, head, form, folder)


def main() -> None:
    """Measure everything and write it to docs/exports.md."""
    parser = argparse.ArgumentParser()
    parser.add_argument("photos")
    parser.add_argument("--vgg16", help="a weights file")
    asked = parser.parse_args()
    cases = [Case("EfficientNet-Lite0", "efficientnet-lite0", "imagenet", "avg")]
    if asked.vgg16:
        name = "VGG16, weights of an edge detector"
        cases.append(Case(name, "vgg16", asked.vgg16, "block5_pool:avg"))
    cases.append(Case("MobileNetV2, random weights", "mobilenetv2", "random", "avg"))
    tables: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        for case in cases:
            tables.append(HEADER.format(name=case.name))
            for line in rows(case, asked.photos, Path(folder)):
                print(line, end="", flush=True)
                tables[-1] += line
    text = TEXT.format(
        processors=os.cpu_count(),
        load=f"{os.getloadavg()[0]:.1f}",
        tables="\n".join(tables).rstrip(),
    )
    PAGE.write_text(text)


if __name__ == "__main__":
    main()
