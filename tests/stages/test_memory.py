"""How much memory an image takes while it is extracted: what is kept of it, in bytes."""

from __future__ import annotations

import gc
import itertools
import os
import tracemalloc
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

import pipeline
from pipeline import backbones, images
from pipeline.backbones._weights import Weights
from pipeline.common.choices import Resize
from tests.tiny import TINY

FEW, SHORT, LONG = 16, 1_000, 3_000


@pytest.fixture(autouse=True)
def _small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shrink what is in memory at a time, however many images there are."""
    monkeypatch.setattr("pipeline.common.names.BLOCK", 64)
    monkeypatch.setattr("pipeline.common.seal._PIECE", 1 << 16)
    monkeypatch.setattr("pipeline.backbones._overlap._LONGEST", 64)
    monkeypatch.setattr("pipeline.common.mapped._SMALL", 0)
    # The files are new: without this, their times would prove nothing.
    monkeypatch.setattr("pipeline.store._writer._FRESH_NS", 0)


@pytest.fixture(autouse=True)
def _no_weights(tiny: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Compute without a network, whose loading takes more than all that is measured."""
    output = SimpleNamespace(shape=(3,), pooling="none", weights_sha256="0" * 64)

    def mean(pixels: np.ndarray) -> list[np.ndarray]:
        return [pixels.mean((1, 2)).astype(np.float32)]

    def load(self: object, tell: object) -> backbones.Network:
        network = backbones.Network(
            TINY, {"avg": output}, mean, size=32, batch_size=8, weights=Weights(source="random")
        )
        codes = network(images.probe_pixels(size=32, resize=Resize.crop))
        network.reference = network.probed = codes
        return network

    monkeypatch.setattr("pipeline.flows.codes_config.CodesConfig.load", load)


def _links(folder: Path, count: int) -> Path:
    """Make many files of ten contents."""
    for label in range(2):
        (folder / f"class_{label}").mkdir(parents=True)
    for number, name in enumerate(("a.png", "b.png", "c.png", "d.png")):
        pixels = np.full((8, 8, 3), 60 * number, np.uint8)
        Image.fromarray(pixels).save(folder / name)
    originals = itertools.cycle(sorted(folder.glob("*.png")))
    for number in range(count):
        original = next(originals)
        os.link(original, folder / f"class_{number % 2}" / f"{number:06d}.png")
    return folder


def _array(path: Path, count: int) -> Path:
    """Make an archive of many images of four contents."""
    x = np.tile(np.arange(4, dtype=np.uint8).repeat(64).reshape(4, 8, 8), (count // 4, 1, 1))
    np.savez(path, x=x, y=np.arange(count) % 2)
    return path


def _peaks(run: Callable[[], object]) -> list[int]:
    """Run twice, and return the most memory that each of these runs took beyond what was there."""
    peaks = []
    for _ in range(2):
        gc.collect()
        tracemalloc.start()
        try:
            run()
            peaks.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
    return peaks


@pytest.mark.parametrize("make", [_links, _array])
def test_an_image_takes_less_than_100_bytes(
    make: Callable[[Path, int], Path], tiny: str, tmp_path: Path
) -> None:
    """In the first run and in one that finds nothing to do."""

    def run(count: int) -> None:
        source = tmp_path / f"{count}.npz"
        pipeline.extract(source, out=source.with_suffix(".store"), backbone=tiny, weights="random")

    for count in (FEW, SHORT, LONG):
        make(tmp_path / f"{count}.npz", count)
    run(FEW)  # loads what is loaded once
    peaks = [_peaks(partial(run, count)) for count in (SHORT, LONG)]
    slopes = [(after - before) / (LONG - SHORT) for before, after in zip(*peaks, strict=True)]
    assert max(slopes) < 100, slopes
