"""The OpenVINO engine: the same network, exported by Keras and compiled for this processor."""

from __future__ import annotations

import math
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from queue import SimpleQueue
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.backbones._preprocessing import Preprocessing, from_pixels
from pipeline.common.choices import Precision
from pipeline.common.lazy import import_openvino
from pipeline.common.memory import check_room, smaller_batch

BATCH_SIZE = 4
"""Images in one batch where the user leaves it to us."""

_HINTS = {Precision.float32: "f32", Precision.bfloat16: "bf16"}


class Compiled(NamedTuple):
    """A compiled network, and how many of its batches are best computed at once."""

    forward: Callable[[NDArray[np.uint8]], list[NDArray[np.float32]]]
    parallel: int


def installed() -> bool:
    """Whether the engine can be used here."""
    return find_spec("openvino") is not None


def computes_bfloat16() -> bool:
    """Whether the processor multiplies in bfloat16 by itself; elsewhere it would be slower."""
    openvino = import_openvino()
    capabilities: list[str] = openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return "BF16" in capabilities


def precisions(asked: Precision) -> tuple[Precision, ...]:
    """Return what to try, in this order."""
    if asked is not Precision.auto:
        return (asked,)
    native = (Precision.bfloat16,) if computes_bfloat16() else ()
    return (*native, Precision.float32)


def export(model: Any, preprocessing: Preprocessing, path: Path, *, size: int) -> None:
    """
    Write a network as OpenVINO's intermediate representation, preprocessing included.

    Parameters
    ----------
    model : keras.Model
        With one output or a list of them.
    preprocessing : Preprocessing
        What it expects to be done to the pixels.
    path : Path
        The ``.xml`` file; the numbers go to a ``.bin`` beside it.
    size : int
        Edge of the input in pixels.
    """
    import_openvino()
    whole = from_pixels(model, preprocessing, size=size)
    whole.export(str(path), format="openvino", verbose=False)


def _largest_step(model: Any, *, width: int) -> int:
    """Return the bytes that go in and out of the largest operation of a reshaped network."""

    def numbers(ports: Any) -> int:
        return sum(math.prod(port.get_shape()) for port in ports)

    return width * max(
        numbers(operation.outputs()) + numbers(operation.inputs())
        for operation in model.get_ops()
        if operation.get_type_name() != "Constant"
    )


def compile_forward(path: Path, *, batch_size: int, size: int, precision: Precision) -> Compiled:
    """
    Compile an exported network for batches of one size.

    Parameters
    ----------
    path : Path
        What `export` wrote.
    batch_size, size : int
        The only batch and the only edge that the function accepts.
    precision : Precision
        float32 or bfloat16.

    Returns
    -------
    Compiled
        Its function maps uint8 (batch_size, size, size, 3) to one float32 array for each output.
    """
    openvino = import_openvino()
    core = openvino.Core()
    model = core.read_model(path)
    model.reshape([batch_size, size, size, 3])
    needed = _largest_step(model, width=2 if precision is Precision.bfloat16 else 4)
    check_room(
        f"a batch of {batch_size} images",
        resident=needed,
        mapped=2.5 * needed,
        advice=smaller_batch(batch_size),
    )
    # Each core computes a batch of its own, small enough for its cache: on two cores MobileNetV2
    # in bfloat16 goes from 875 images/s (one batch of 32 over both) to 1115 (two of 4). Not
    # pinned, so that the threads that decode find a core as well.
    options = {
        "PERFORMANCE_HINT": "THROUGHPUT",
        "INFERENCE_PRECISION_HINT": _HINTS[precision],
        "ENABLE_CPU_PINNING": False,
    }
    compiled = core.compile_model(model, "CPU", options)
    parallel = int(compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS"))
    requests: SimpleQueue[Any] = SimpleQueue()
    for _ in range(parallel):
        requests.put(compiled.create_infer_request())
    count = len(model.outputs)

    def forward(pixels: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
        request = requests.get()
        try:
            request.infer([np.ascontiguousarray(pixels)], share_inputs=True)
            # The tensors belong to the request, which writes over them next time.
            return [request.get_output_tensor(i).data.copy() for i in range(count)]
        finally:
            requests.put(request)

    # What OpenVINO's binding makes at its first call, it makes under a lock of C++ while it wants
    # Python's: two threads that are first at the same time wait for each other for ever.
    forward(np.zeros((batch_size, size, size, 3), np.uint8))
    return Compiled(forward, parallel)
