"""The networks of the benchmark, with weights that need no download."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from pipeline.backbones import Backbone, find
from pipeline.backbones._build import build
from pipeline.backbones._weights import load_imagenet, randomize

BACKBONES = ("mobilenetv2", "efficientnet-lite0", "resnet50", "vgg16")
BUNDLED = "efficientnet-lite0"


def keras_model(backbone: str, weights: str) -> tuple[Backbone, Any]:
    """Build a network as Keras has it, with weights from a file or those of the package."""
    row = find(backbone)
    if weights == "imagenet":
        return row, load_imagenet(row, top=False, size=row.size)[0]
    model = build(row, top=False, size=row.size)
    model.load_weights(weights)
    return row, model


def save_weights(folder: str) -> None:
    """Write seeded weights where Keras would download trained ones: the work is the same."""
    for name in BACKBONES:
        if name != BUNDLED:
            row = find(name)
            model = build(row, top=False, size=row.size)
            randomize(model)
            model.save_weights(Path(folder) / f"{name}.weights.h5")


if __name__ == "__main__":
    save_weights(*sys.argv[1:])
