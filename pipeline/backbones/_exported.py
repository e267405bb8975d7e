"""Exported networks in the user's cache directory, so that a later run needs no TensorFlow."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline._version import __version__
from pipeline.backbones._backbone import Backbone
from pipeline.backbones._weights import Weights
from pipeline.common.files import (
    cache_directory,
    canonical_json,
    read_json,
    sha256_file,
    write_durably,
    write_json,
)
from pipeline.common.hdf5 import hdf5_bytes, open_hdf5
from pipeline.common.hostile import HostileFile

if TYPE_CHECKING:
    import h5py

MODEL = "model.xml"
_ABOUT = "about.json"
_REFERENCE = "reference.h5"


@dataclass(frozen=True, kw_only=True)
class NetworkOutput:
    """
    What is known of one output of a network.

    Attributes
    ----------
    shape : tuple of int
        Of one image's codes.
    pooling : str
        ``"none"``, ``"avg"`` or ``"max"``.
    weights_sha256 : str
        Of all weights between the pixels and the codes.
    """

    shape: tuple[int, ...]
    pooling: str
    weights_sha256: str


@dataclass(frozen=True, kw_only=True)
class Exported:
    """
    An exported network.

    Attributes
    ----------
    model : Path
        The ``.xml`` file.
    outputs : mapping of str to NetworkOutput
        In the order of the network's outputs.
    weights : Weights
        Where its weights came from.
    reference : mapping of str to float32 array
        TensorFlow's float32 codes of the probe images.
    """

    model: Path
    outputs: Mapping[str, NetworkOutput]
    weights: Weights
    reference: Mapping[str, NDArray[np.float32]]


def place(
    backbone: Backbone,
    *,
    weights: str,
    layers: Sequence[str],
    size: int,
    probe: NDArray[np.uint8],
) -> Path | None:
    """
    Say where the export of a request is kept.

    Everything that the files depend on is in the name: the row, the weights by the hash of their
    file, the layers in order, the size, the probe, and the versions of what exports.

    Returns
    -------
    Path or None
        None for random weights, which nobody needs twice.
    """
    if weights == "random":
        return None
    path = Path(weights).expanduser()
    request = {
        "backbone": backbone.name,
        "weights": sha256_file(path) if path.is_file() else weights,
        "layers": list(layers),
        "size": size,
        "probe": hashlib.sha256(probe.tobytes()).hexdigest(),
        "versions": [__version__, version("keras"), version("tensorflow"), version("openvino")],
    }
    return cache_directory() / hashlib.sha256(canonical_json(request)).hexdigest()[:32]


def read(folder: Path) -> Exported | None:
    """Return what is kept in a folder; None if it is not there or not as it was written."""
    try:
        about = read_json(folder / _ABOUT)
        if any(sha256_file(folder / name) != sha for name, sha in about["files"].items()):
            return None
        with open_hdf5(folder / _REFERENCE) as file:
            reference = {layer: file[layer][...] for layer in about["outputs"]}
        outputs = {
            layer: NetworkOutput(**{**plain, "shape": tuple(plain["shape"])})
            for layer, plain in about["outputs"].items()
        }
        return Exported(
            model=folder / MODEL,
            outputs=outputs,
            weights=Weights(**about["weights"]),
            reference=reference,
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, HostileFile):
        return None


def write(
    folder: Path,
    *,
    export: Callable[[Path], None],
    outputs: Mapping[str, NetworkOutput],
    weights: Weights,
    reference: Mapping[str, NDArray[np.float32]],
) -> Exported:
    """
    Export a network into a folder: aside first, then renamed as a whole.

    Parameters
    ----------
    folder : Path
        Replaced if it is there.
    export : callable
        Given a path, writes the ``.xml`` and the ``.bin``.
    outputs, weights, reference
        As in `Exported`.

    Raises
    ------
    OSError
        If the cache directory cannot be written; the caller may do without.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".export-"))
    try:
        export(aside / MODEL)

        def fill(file: h5py.File) -> None:
            for layer, codes in reference.items():
                file[layer] = codes

        write_durably(aside / _REFERENCE, hdf5_bytes(fill))
        names = [MODEL, Path(MODEL).with_suffix(".bin").name, _REFERENCE]
        about: dict[str, Any] = {
            "files": {name: sha256_file(aside / name) for name in names},
            "outputs": {layer: asdict(output) for layer, output in outputs.items()},
            "weights": weights.to_json(),
        }
        write_json(aside / _ABOUT, about)
        shutil.rmtree(folder, ignore_errors=True)
        aside.rename(folder)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return Exported(model=folder / MODEL, outputs=outputs, weights=weights, reference=reference)
