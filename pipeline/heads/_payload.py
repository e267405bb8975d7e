"""The payload of a head: an HDF5 file whose arrays head.json lists, so that HDF5 need not read it.

`arrays/NAME` are the head's own; beside them are `probe`, `seen`, `novelty/NAME`, and of a
fine-tuned head `tuned/LAYER/...`. Each is one run of bytes; head.json has the dtype, shape and
first byte of each. Heads of earlier versions do not list them and are read by a process of their
own.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import h5py
import numpy as np
from numpy.typing import NDArray

from pipeline.common.files import read_bytes
from pipeline.common.foreign import Foreign
from pipeline.common.hdf5 import hdf5_bytes, open_bytes
from pipeline.common.hostile import HostileFile

_DTYPES = frozenset(("<f2", "<f4", "<f8", "<u8", "|u1"))
# The one array that is no numbers: what skops wrote.
_BYTES = "arrays/skops"
_MOST_AXES = 8


class Payload(NamedTuple):
    """
    The arrays of a head.

    Attributes
    ----------
    arrays : dict of str to array
        What the head learned.
    probe : array or None
    seen, judged, held : sorted uint64 array or None
    held_scores : array of shape (len(held), classes) or None
    tuned : dict of str to array
        Weights of fine-tuned layers.
    novelty : dict of str to array
        Those of `Novelty`; empty where it is not known.
    """

    arrays: dict[str, NDArray[Any]]
    probe: NDArray[Any] | None
    seen: NDArray[np.uint64] | None
    tuned: dict[str, NDArray[Any]]
    judged: NDArray[np.uint64] | None = None
    held: NDArray[np.uint64] | None = None
    held_scores: NDArray[np.float64] | None = None
    novelty: Mapping[str, NDArray[Any]] = MappingProxyType({})


def write(payload: Payload) -> tuple[bytes, dict[str, list[Any]]]:
    """
    Build a payload.

    Returns
    -------
    bytes
        The file.
    dict of str to [dtype, shape, offset]
        Where each array is, for head.json.
    """
    named = {f"arrays/{name}": array for name, array in payload.arrays.items()}
    named |= {f"tuned/{name}": array for name, array in payload.tuned.items()}
    named |= {f"novelty/{name}": array for name, array in payload.novelty.items()}
    named |= {} if payload.probe is None else {"probe": payload.probe}
    named |= {} if payload.seen is None else {"seen": payload.seen}
    named |= {} if payload.judged is None else {"judged": payload.judged}
    if payload.held is not None and payload.held_scores is not None:
        named |= {"held": payload.held, "held_scores": payload.held_scores}
    named = {name: _little_endian(np.asarray(array)) for name, array in named.items()}

    def fill(file: h5py.File) -> None:
        for name, array in named.items():
            file.create_dataset(name, data=array)

    data = hdf5_bytes(fill)
    with open_bytes(data) as file:
        places = {
            name: [array.dtype.str, list(array.shape), file[name].id.get_offset() or 0]
            for name, array in named.items()
        }
    return data, places


def _little_endian(array: NDArray[Any]) -> NDArray[Any]:
    return array.astype(array.dtype.newbyteorder("<"), copy=False)


def read(path: Path, *, sha256: str, places: Any) -> Payload:
    """
    Read a payload after comparing it.

    Parameters
    ----------
    path : Path
    sha256 : str
        Of the whole file.
    places : object
        What head.json says of where the arrays are; None in heads of earlier versions.

    Returns
    -------
    Payload

    Raises
    ------
    OSError
        If the file cannot be read, or is not the one named.
    ValueError
        If the arrays are not where they should be, are no numbers, or are hashes out of order.
    """
    data = read_bytes(path)
    if hashlib.sha256(data).hexdigest() != sha256:
        raise OSError(f"the SHA-256 of {path.name} differs")
    named = _of_earlier(path, len(data)) if places is None else _placed(data, places)
    seen, judged, held = (named.pop(name, None) for name in ("seen", "judged", "held"))
    for hashes in (seen, judged, held):
        _check_hashes(hashes)
    for name, array in named.items():
        if name == _BYTES and array.dtype == np.uint8 and array.ndim == 1:
            continue
        if array.dtype.kind != "f" or not np.isfinite(array).all():
            raise ValueError(f"expected finite floating-point numbers in {name}")
    probe, scores = named.pop("probe", None), named.pop("held_scores", None)
    if (held is None) is not (scores is None) or (
        held is not None and scores is not None and scores.shape[:1] != held.shape
    ):
        raise ValueError("expected the scores of held-out images with their hashes")
    groups: dict[str, dict[str, NDArray[Any]]] = {"arrays": {}, "tuned": {}, "novelty": {}}
    for name, array in named.items():
        group, _, rest = name.partition("/")
        if group not in groups or not rest:
            raise ValueError(f"an unknown array {name!r}")
        groups[group][rest] = array
    arrays, tuned, novelty = groups["arrays"], groups["tuned"], groups["novelty"]
    return Payload(arrays, probe, seen, tuned, judged, held, scores, novelty)


def _check_hashes(hashes: NDArray[Any] | None) -> None:
    """Refuse hashes of images that a card could not be searched by: they are sorted."""
    if hashes is None:
        return
    if hashes.dtype != np.uint64 or hashes.ndim != 1:
        raise ValueError(f"expected hashes of images, found {hashes.dtype} {hashes.shape}")
    if (hashes[1:] < hashes[:-1]).any():
        raise ValueError("expected hashes of images in ascending order, found others")


def _placed(data: bytes, places: Any) -> dict[str, NDArray[Any]]:
    """Take arrays out of bytes where they are said to be."""
    if not isinstance(places, Mapping):
        raise ValueError("expected the places of arrays")
    return {str(name): _array(data, place) for name, place in places.items()}


def _array(data: bytes, place: Any) -> NDArray[Any]:
    dtype, shape, offset = place
    whole = [offset, *shape]
    if dtype not in _DTYPES or len(shape) > _MOST_AXES:
        raise ValueError(f"an array of {dtype!r} and shape {shape}")
    if any(isinstance(number, bool) or not isinstance(number, int) for number in whole):
        raise ValueError(f"an array of shape {shape} at {offset!r}")
    count = math.prod(shape)
    if min(whole) < 0 or offset + count * np.dtype(dtype).itemsize > len(data):
        raise ValueError(f"an array of shape {shape} at {offset}, behind the end of the file")
    array = np.frombuffer(data, dtype, count, offset if count else 0).reshape(shape)
    return array if array.flags.aligned else array.copy()


def _of_earlier(path: Path, size: int) -> dict[str, NDArray[Any]]:
    """Read the payload of an earlier version, whose arrays are not compressed."""
    with Foreign(path) as datasets:
        if sum(entry.bytes for entry in datasets.entries.values()) > size:
            raise HostileFile(f"arrays larger than the file of {size} bytes")
        return {name: datasets.read(name) for name in datasets.entries}
