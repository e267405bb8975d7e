"""Photos with known faults: some under a class that they are not, some twice."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps


class Planted(NamedTuple):
    """Where the photos are, which stand under a wrong class, and which pairs are of one photo."""

    folder: Path
    wrong: frozenset[str]
    pairs: frozenset[frozenset[str]]


def plant(
    source: Path, folder: Path, *, wrong: int = 40, twice: int = 20, seed: int = 0
) -> Planted:
    """
    Copy train/validation/test folders of photos, and plant faults in the copy.

    Training photos are moved into the folder of another class, and others are written once more,
    changed a little, into that of their class in another split.
    """
    shutil.copytree(source, folder, ignore=shutil.ignore_patterns("LICENSE"))
    rng = np.random.default_rng(seed)
    train = sorted(path.relative_to(folder) for path in (folder / "train").rglob("*.jpg"))
    chosen = [train[place] for place in rng.permutation(len(train))[: wrong + twice]]
    classes = sorted(path.name for path in (folder / "train").iterdir())
    moved = [_move(folder, path, classes, rng) for path in chosen[:wrong]]
    pairs = [
        frozenset((str(path), _copy(folder, path, ("validation", "test")[number % 2], number)))
        for number, path in enumerate(chosen[wrong:])
    ]
    return Planted(folder, frozenset(moved), frozenset(pairs))


def _move(folder: Path, path: Path, classes: Sequence[str], rng: np.random.Generator) -> str:
    others = [name for name in classes if name != path.parent.name]
    target = Path("train", others[rng.integers(len(others))], path.name)
    (folder / path).rename(folder / target)
    return str(target)


def _copy(folder: Path, path: Path, split: str, number: int) -> str:
    """Write a photo again: re-encoded, smaller, mirrored, or all of these."""
    photo = ImageOps.exif_transpose(Image.open(folder / path)).convert("RGB")
    way = number % 4
    if way in (1, 3):
        photo = photo.resize((photo.width * 3 // 4, photo.height * 3 // 4))
    if way in (2, 3):
        photo = ImageOps.mirror(photo)
    target = Path(split, path.parent.name, f"copy-{number}.jpg")
    photo.save(folder / target, quality=60)
    return str(target)
