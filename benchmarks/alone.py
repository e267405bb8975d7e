"""What each part does when it has the machine to itself: each engine, and the decoder."""

from __future__ import annotations

import json
import os
import sys
import time
from collections import deque

import numpy as np

from pipeline import backbones, images
from pipeline.common.choices import Engine, Precision, Resize

SECONDS = 3.0


def main(backbone: str, weights: str, photos: str, *engines: str) -> None:
    """Print images per second of decoding on all cores and of each `engine:precision`."""
    row = backbones.find(backbone)
    rates = {"decode": decode(photos, row.size)}
    for name in engines:
        engine, precision = name.split()
        network = backbones.load(
            row,
            weights=weights,
            layers=["avg"],
            engine=Engine(engine),
            precision=Precision(precision),
            probe=images.probe_pixels(size=row.size, resize=Resize.crop),
        )
        rates[name] = compute(network)
    print(json.dumps(rates))


def decode(photos: str, size: int) -> float:
    """Read and decode as extract does, with a thread for each core."""
    source = images.find(photos)
    options = {"size": size, "resize": Resize.crop, "workers": os.cpu_count() or 1}
    started = time.monotonic()
    rows = range(min(len(source), 1000))
    deque(images.stream(source, rows, known=lambda digest: False, **options), maxlen=0)
    return len(rows) / (time.monotonic() - started)


def compute(network: backbones.Network) -> float:
    """Feed full batches, always as many at once as the network likes."""
    random = np.random.default_rng(0)
    shape = (network.batch_size, network.size, network.size, 3)
    batch = random.integers(0, 256, shape).astype(np.uint8)
    waiting = deque(network.submit(batch) for _ in range(2 * network.parallel))
    started, count = time.monotonic(), 0
    while (seconds := time.monotonic() - started) < SECONDS:
        waiting.popleft().result()
        count += network.batch_size
        waiting.append(network.submit(batch))
    return count / seconds


if __name__ == "__main__":
    main(*sys.argv[1:])
