"""A loaded backbone: pixels in, codes out."""

from __future__ import annotations

import atexit
import shutil
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.backbones import _exported, _openvino, _tensorflow
from pipeline.backbones._backbone import Backbone
from pipeline.backbones._cut import connect, cut, needs_top, shared
from pipeline.backbones._engines import choose_engine
from pipeline.backbones._exported import Exported, NetworkOutput
from pipeline.backbones._overlap import Meter
from pipeline.backbones._probing import agrees, checked, too_far
from pipeline.backbones._sharing import once
from pipeline.backbones._weights import Weights
from pipeline.common.choices import Engine, Precision
from pipeline.common.errors import ResourceError
from pipeline.common.files import in_words
from pipeline.common.lazy import import_keras
from pipeline.common.memory import available_bytes, ran_out, smaller_batch
from pipeline.common.space import Space


class Network:
    """
    A backbone with weights, compiled for batches of one size; made by `load`.

    Attributes
    ----------
    backbone : Backbone
        The row of the table.
    size : int
        Edge of the square input in pixels.
    batch_size : int
        How many images are in one batch.
    parallel : int
        How many batches are best computed at once.
    layers : tuple of str
        The requests, as they were typed.
    shapes : mapping of str to tuple of int
        For each request, the shape of one image's codes.
    pooling : mapping of str to str
        For each request, ``"none"``, ``"avg"`` or ``"max"``.
    weights : Weights
        Where the weights came from.
    weights_sha256 : mapping of str to str
        For each request, the hash of all weights between the pixels and its codes.
    engine, precision : str
        What computes: ``"tensorflow"`` or ``"openvino"``, ``"float32"`` or ``"bfloat16"``.
    reference : mapping of str to float32 array
        TensorFlow's float32 codes of the probe images, where these were given.
    probed : mapping of str to float32 array
        Its own codes of the probe images, likewise.
    notes : tuple of str
        Sentences worth telling the user.
    versions : mapping of str to str
        Of tensorflow, keras and numpy, and of openvino where it computes.
    """

    def __init__(
        self,
        backbone: Backbone,
        outputs: Mapping[str, NetworkOutput],
        forward: Callable[[NDArray[np.uint8]], list[NDArray[np.float32]]],
        *,
        size: int,
        batch_size: int,
        weights: Weights,
        engine: Engine = Engine.tensorflow,
        precision: Precision = Precision.float32,
        parallel: int = 1,
    ) -> None:
        self.backbone = backbone
        self.size = size
        self.batch_size = batch_size
        self.parallel = parallel
        self.weights = weights
        self.engine = engine.value
        self.precision = precision.value
        self.layers = tuple(outputs)
        self.shapes = {key: out.shape for key, out in outputs.items()}
        self.pooling = {key: out.pooling for key, out in outputs.items()}
        self.weights_sha256 = {key: out.weights_sha256 for key, out in outputs.items()}
        libraries = ["tensorflow", "keras", "numpy"]
        libraries += ["openvino"] if engine is Engine.openvino else []
        self.versions = {name: version(name) for name in libraries}
        self.reference: Mapping[str, NDArray[np.float32]] = {}
        self.probed: Mapping[str, NDArray[np.float32]] = {}
        self.notes: tuple[str, ...] = ()
        self._forward = forward
        self._pool = ThreadPoolExecutor(parallel, thread_name_prefix="network")
        self._busy = Meter()

    @property
    def seconds(self) -> float:
        """The time during which it was computing, up to now."""
        return self._busy.seconds

    def space(self, reading: Mapping[str, Any]) -> Space:
        """
        Say what the numbers of this network mean.

        Parameters
        ----------
        reading : mapping of str to object
            How image files become pixels: the fields of `Space` that a network does not know.

        Returns
        -------
        Space
        """
        return Space(
            backbone=self.backbone.name,
            weights_sha256=self.weights_sha256,
            layers=self.shapes,
            pooling=self.pooling,
            size=self.size,
            preprocessing=self.backbone.preprocessing.value,
            **reading,
        )

    def __call__(self, pixels: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
        """
        Compute the codes of some images.

        Whatever their number, the network sees full batches (zeros are added to the last),
        because kernels chosen for another batch size give other last bits.

        Parameters
        ----------
        pixels : uint8 array of shape (b, size, size, 3)
            Upright RGB; it is not changed.

        Returns
        -------
        dict of str to float32 array of shape (b, ...)
            The codes of each requested layer.

        Raises
        ------
        ValueError
            If the pixels have another dtype or shape.
        """
        image = (self.size, self.size, 3)
        if pixels.dtype != np.uint8 or pixels.shape[1:] != image or not len(pixels):
            raise ValueError(f"expected uint8 (b, {image}), found {pixels.dtype} {pixels.shape}")
        step = self.batch_size
        codes = [self.submit(pixels[i : i + step]) for i in range(0, len(pixels), step)]
        blocks = [block.result() for block in codes]
        return {name: np.concatenate([block[name] for block in blocks]) for name in self.layers}

    def submit(self, pixels: NDArray[np.uint8]) -> Future[dict[str, NDArray[np.float32]]]:
        """
        Begin to compute the codes of at most one batch.

        Parameters
        ----------
        pixels : uint8 array of shape (b, size, size, 3)
            With b from 1 to `batch_size`.

        Returns
        -------
        Future
            Of what calling the network with these pixels returns.
        """
        return self._pool.submit(self._batch, pixels)

    def _computed(self, pixels: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
        try:
            return self._forward(pixels)
        except Exception as error:
            if ran_out(error):
                raise _out_of_memory(self.batch_size) from error
            raise

    def _batch(self, pixels: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
        count = len(pixels)
        if count < self.batch_size:
            padding = np.zeros((self.batch_size - count, *pixels.shape[1:]), np.uint8)
            pixels = np.concatenate([pixels, padding])
        with self._busy.running():
            codes = self._computed(pixels)
        return {layer: block[:count] for layer, block in zip(self.layers, codes, strict=True)}


def _out_of_memory(batch_size: int) -> ResourceError:
    return ResourceError(
        f"out of memory with a batch of {batch_size} images ({in_words(available_bytes())} free); "
        f"{smaller_batch(batch_size)}, and run it again"
    )


def load(
    backbone: Backbone,
    *,
    weights: str = "imagenet",
    layers: Sequence[str],
    size: int | None = None,
    batch_size: int | None = None,
    engine: Engine = Engine.tensorflow,
    precision: Precision = Precision.auto,
    probe: NDArray[np.uint8] | None = None,
) -> Network:
    """
    Build a backbone with its weights and compile it up to the layers asked for.

    Parameters
    ----------
    backbone : Backbone
        A row of the table, see `find`.
    weights : str, default "imagenet"
        ``"imagenet"``, ``"random"`` (the same numbers in every process), or the path of a Keras
        ``.weights.h5`` or a classic ``.h5`` file, with the classifier or without.
    layers : sequence of str
        Where to cut: ``NAME``, ``avg``, ``NAME:avg`` or ``NAME:max``; at least one.
    size : int, optional
        Edge of the square input in pixels; the backbone's own by default.
    batch_size : int, optional
        How many images are in one batch; fewer are filled up with zeros. The engine's own by
        default: 32 for TensorFlow, 4 for OpenVINO.
    engine : Engine, default Engine.tensorflow
        What computes. ``auto`` takes OpenVINO on a processor, where it is installed.
    precision : Precision, default Precision.auto
        ``auto`` is bfloat16 where what computes does so by itself: a processor with OpenVINO,
        a GPU with TensorFlow.
    probe : uint8 array of shape (n, size, size, 3), optional
        Images by which OpenVINO, and TensorFlow in bfloat16, are compared with TensorFlow in
        float32; they are used only with these, and only if they pass.

    Returns
    -------
    Network

    Raises
    ------
    WeightsNotFound
        If the weights are neither on this machine nor within reach.
    BackboneError
        If a layer is unknown, the size too small, the weights are of another network, or the
        engine is not to be had.
    """
    size = backbone.size if size is None else size
    requests = checked(backbone, layers, size=size, batch_size=batch_size)
    request = _Request(backbone, weights, requests, size, batch_size)
    chosen, note = choose_engine(engine)
    notes = [note] if note else []
    if chosen is Engine.openvino and probe is not None:
        network = _on_openvino(request, precision, probe, notes)
        if network is not None:
            return network
        precision = Precision.float32
    network = _on_tensorflow(request, precision, probe, notes)
    network.notes = tuple(notes)
    return network


class _Request(NamedTuple):
    """A checked request: layers by their text, each with its name and pooling."""

    backbone: Backbone
    weights: str
    layers: Mapping[str, tuple[str, str]]
    size: int
    batch_size: int | None


def _on_tensorflow(
    request: _Request,
    precision: Precision,
    probe: NDArray[np.uint8] | None,
    notes: list[str],
) -> Network:
    """Build the network for TensorFlow: in bfloat16 where that is asked for and does no harm."""
    model, outputs, origin = _build_model(request)
    network = _compiled(request, model, outputs, origin)
    if probe is None:
        return network
    network.reference = network.probed = network(probe)
    low = precision is Precision.bfloat16
    if low or (precision is Precision.auto and _tensorflow.computes_bfloat16()):
        copy = _tensorflow.in_bfloat16(model)
        candidate = _compiled(request, copy, outputs, origin, precision=Precision.bfloat16)
        candidate.reference = network.reference
        if agrees(candidate, probe):
            return candidate
        notes.append(too_far(candidate))
    return network


def _compiled(
    request: _Request,
    model: Any,
    outputs: dict[str, NetworkOutput],
    origin: Weights,
    *,
    precision: Precision = Precision.float32,
) -> Network:
    """Compile a built model for TensorFlow."""
    batch_size, size = request.batch_size or _tensorflow.BATCH_SIZE, request.size

    def compiled() -> Callable[[NDArray[np.uint8]], list[NDArray[np.float32]]]:
        preprocessing = request.backbone.preprocessing
        return _tensorflow.compile_forward(model, preprocessing, batch_size=batch_size, size=size)

    forward = once("forward", (model, request.backbone.preprocessing, batch_size, size), compiled)
    return Network(
        request.backbone,
        outputs,
        forward,
        size=size,
        batch_size=batch_size,
        weights=origin,
        precision=precision,
    )


def _build_model(request: _Request) -> tuple[Any, dict[str, NetworkOutput], Weights]:
    """Build a Keras model from the pixels to the layers asked for, weights included."""
    import_keras()
    backbone, size = request.backbone, request.size
    top = needs_top(backbone, [name for name, _ in request.layers.values()], size=size)
    model, origin = shared(backbone, request.weights, top=top, size=size)

    def connected() -> tuple[Any, dict[str, NetworkOutput]]:
        tensors, outputs = cut(backbone, model, request.layers)
        return connect(model.inputs[0], tensors), outputs

    return *once("cut", (model, *request.layers.items()), connected), origin


def _on_openvino(
    request: _Request, precision: Precision, probe: NDArray[np.uint8], notes: list[str]
) -> Network | None:
    """Take or make the exported network; None if it does not compute what TensorFlow does."""
    folder = _exported.place(
        request.backbone,
        weights=request.weights,
        layers=tuple(request.layers),
        size=request.size,
        probe=probe,
    )
    exported = _exported.read(folder) if folder is not None else None
    if exported is None:
        exported = _export(request, folder, probe)
    shape = {"size": request.size, "batch_size": request.batch_size or _openvino.BATCH_SIZE}
    for candidate in _openvino.precisions(precision):
        compiled = _openvino.compile_forward(exported.model, precision=candidate, **shape)
        network = Network(
            request.backbone,
            exported.outputs,
            compiled.forward,
            weights=exported.weights,
            engine=Engine.openvino,
            precision=candidate,
            parallel=compiled.parallel,
            **shape,
        )
        network.reference = exported.reference
        if agrees(network, probe):
            network.notes = tuple(notes)
            return network
        notes.append(too_far(network))
    notes.append("fell back to TensorFlow")
    return None


def _export(request: _Request, folder: Path | None, probe: NDArray[np.uint8]) -> Exported:
    """Export a network to the cache, or, where that cannot be, to a folder of this process."""
    model, outputs, origin = _build_model(request)
    preprocessing = request.backbone.preprocessing

    def export(path: Path) -> None:
        _openvino.export(model, preprocessing, path, size=request.size)

    content: dict[str, Any] = {
        "export": export,
        "outputs": outputs,
        "weights": origin,
        "reference": _compiled(request, model, outputs, origin)(probe),
    }
    if folder is not None:
        with suppress(OSError):
            return _exported.write(folder, **content)
    own = Path(mkdtemp(prefix="pipeline-"))
    atexit.register(shutil.rmtree, own, ignore_errors=True)
    return _exported.write(own / "network", **content)
