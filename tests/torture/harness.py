"""The real command line in a forked process, with a network that costs nothing.

A fault costs milliseconds this way: Python and the package are imported once.
"""

from __future__ import annotations

import hashlib
import os
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

import pipeline.cli
from pipeline import backbones
from pipeline.backbones._exported import NetworkOutput
from pipeline.backbones._network import Network
from pipeline.backbones._weights import Weights
from pipeline.common.choices import Engine, Precision

LAYERS = ("--size", "32", "--layer", "a", "--layer", "b")
_WIDTH = 16


def load(backbone: Any, *, layers: Any, size: int, probe: Any = None, **rest: Any) -> Network:
    """Stand in for `backbones.load`: codes are random projections of the pixels."""
    matrix = np.random.default_rng(0).standard_normal((size * size * 3, _WIDTH)) / 50

    def forward(pixels: np.ndarray) -> list[np.ndarray]:
        projected = pixels.reshape(len(pixels), -1) @ matrix
        # As of TensorFlow, the last bits depend on the place in the batch.
        projected *= 1 + np.arange(len(pixels))[:, None] * 1e-7
        return [np.maximum(projected / (i + 1), 0).astype(np.float32) for i in range(len(layers))]

    outputs = {
        layer: NetworkOutput(
            shape=(_WIDTH,),
            pooling="avg",
            weights_sha256=hashlib.sha256(layer.encode()).hexdigest(),
        )
        for layer in layers
    }
    network = Network(
        backbone,
        outputs,
        forward,
        size=size,
        batch_size=8,
        weights=Weights(source="imagenet", file_sha256=None),
        engine=Engine.tensorflow,
        precision=Precision.float32,
        parallel=1,
    )
    if probe is not None:
        network.reference = network.probed = network(probe)
    return network


def prepare(*, shard_bytes: int = 1024) -> None:
    """Put the network in place of real ones, and let shards be small."""
    backbones.load = load  # type: ignore[assignment]
    import pipeline.store._buffer

    pipeline.store._buffer.BYTES = shard_bytes


def make_photos(folder: Path, count: int, *, classes: int = 3) -> Path:
    """Write small pictures in class folders."""
    for i in range(count):
        numbers = np.random.default_rng(i)
        path = folder / f"class_{i % classes}" / f"{i:05d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = numbers.normal(60 + 60 * (i % classes), 40, (40, 40, 3)).clip(0, 255)
        Image.fromarray(pixels.astype(np.uint8)).save(path)
    return folder


class Ended(NamedTuple):
    """How a process ended; `code` is None for one that had to be killed."""

    code: int | None
    out: str
    err: str
    seconds: float

    @property
    def clean(self) -> bool:
        """Whether it ended by itself, with a documented code and without a traceback."""
        said = self.out + self.err
        faults = ("Traceback", "this is a bug", "Fatal Python")
        return self.code in (0, 1, 3, 4, 5, 130) and not any(word in said for word in faults)


def run(
    *arguments: object, before: Callable[[], None] | None = None, seconds: float = 30.0
) -> Ended:
    """Run a command of the pipeline in a forked process."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        started = time.monotonic()
        child = os.fork()
        if child == 0:
            _be_the_command(list(map(os.fsdecode, map(str, arguments))), before, out, err)
        code = _wait(child, started + seconds)
        took = time.monotonic() - started
        for file in (out, err):
            file.seek(0)
        said = [file.read().decode(errors="replace") for file in (out, err)]
    return Ended(code, *said, took)


def _be_the_command(arguments: list[str], before: Any, out: Any, err: Any) -> None:
    code = 98
    try:
        os.dup2(out.fileno(), 1)
        os.dup2(err.fileno(), 2)
        sys.stdout = os.fdopen(1, "w", closefd=False)
        sys.stderr = os.fdopen(2, "w", closefd=False)
        sys.argv = ["pipeline", *arguments]
        if before is not None:
            before()
        try:
            pipeline.cli.main()
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else 0
        except BaseException:
            traceback.print_exc()
            code = 99
        sys.stdout.flush()
        sys.stderr.flush()
        threading._shutdown()  # type: ignore[attr-defined]
    finally:
        os._exit(code)


def _wait(child: int, deadline: float) -> int | None:
    while time.monotonic() < deadline:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.002)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None


def call(function: Callable[[], Any], *, seconds: float = 30.0) -> tuple[str, str]:
    """
    Call a function in a forked process.

    Returns
    -------
    how : str
        ``"same"`` or ``"other"``, for what the function says; the name of a typed error;
        ``"crash"``, ``"hang"`` or ``"bug"``.
    text : str
        Of the error.
    """
    with tempfile.TemporaryFile() as out:
        child = os.fork()
        if child == 0:
            text = "bug\n"
            try:
                text = ("same\n" if function() else "other\n") + ""
            except pipeline.PipelineError as error:
                text = f"{type(error).__name__}\n{error}"
            except BaseException:
                text = f"bug\n{traceback.format_exc()}"
            finally:
                out.write(text.encode())
                out.flush()
                os._exit(0)
        code = _wait(child, time.monotonic() + seconds)
        out.seek(0)
        how, _, text = out.read().decode().partition("\n")
    if code is None:
        return "hang", ""
    return (how, text) if code == 0 else ("crash", str(code))


def told(fault: str, tried: int, bad: int) -> None:
    """Print how many faults of a class were tried and survived, for the table of all."""
    print(f"== {fault}: {tried} tried, {tried - bad} survived", flush=True)
