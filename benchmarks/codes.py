"""Codes such as a convnet's ReLU gives: about half of them 0, columns of very different sizes."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np

CLASSES = 10
_LATENT = 64
_AT_ONCE = 1000


def write(path: Path, *, rows: int, width: int, ordered: bool = False) -> Path:
    """
    Write a file as `pipeline pack` does: 70 % train, 10 % val, 20 % test.

    Ten classes in 64 hidden dimensions, seen through a random layer with noise and ReLU; `ordered`
    puts all rows of a class side by side.
    """
    random = np.random.default_rng(0)
    labels = random.integers(0, CLASSES, rows)
    labels = np.sort(labels) if ordered else labels
    centres = 0.55 * random.normal(size=(CLASSES, _LATENT)).astype(np.float32)
    weights = (random.normal(size=(_LATENT, width)) / np.sqrt(_LATENT)).astype(np.float32)
    sizes = np.exp(0.7 * random.normal(size=width)).astype(np.float32)
    share = random.random(rows)
    splits = np.select([share < 0.1, share < 0.3], [b"val", b"test"], b"train").astype("S5")
    with h5py.File(path, "w") as file:
        file["labels"], file["splits"] = labels, splits
        chunk = (max(1, (1 << 18) // (4 * width)), width)
        codes = file.create_dataset(
            "codes/relu", (rows, width), "f4", chunks=chunk, fletcher32=True
        )
        for start in range(0, rows, _AT_ONCE):
            y = labels[start : start + _AT_ONCE]
            hidden = centres[y] + random.standard_normal((len(y), _LATENT), np.float32)
            noise = random.standard_normal((len(y), width), np.float32)
            codes[start : start + len(y)] = np.maximum(hidden @ weights + noise - 0.3, 0) * sizes
    return path
