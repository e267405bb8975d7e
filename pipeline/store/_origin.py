"""What a shard says of the store that it was written for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np
from numpy.typing import NDArray

from pipeline.common.files import canonical_json
from pipeline.store._columns import write_array
from pipeline.store._header import Codes, Header
from pipeline.store._shard_file import open_shard

_PROBE_BYTES = 1 << 20  # of the probe's codes in a shard, at the most


class RowOrigin(NamedTuple):
    """
    What a shard says of its store.

    Attributes
    ----------
    header : Header
    images : int
        How many probe images there are.
    probe : dict of int to mapping of str to float32 array
        For each probe image that the shard carries, its codes in each layer.
    """

    header: Header
    images: int
    probe: dict[int, dict[str, NDArray[np.float32]]]


def write_origin(file: h5py.File, header: Header, probe: Codes, number: int) -> None:
    """Write what store.json and probe.h5 say, so that these can be made again from shards."""
    text = np.frombuffer(canonical_json(header.to_json()), np.uint8)
    write_array(file, "header", text)
    group = file.create_group("probe")
    places = carried(probe, number)
    group.attrs["images"] = len(next(iter(probe.values()))) if probe else 0
    write_array(group, "places", np.array(places, np.int32))
    codes = group.create_group("codes")
    for layer, block in probe.items():
        write_array(codes, layer, block[places])


def carried(probe: Codes, number: int) -> list[int]:
    """
    Choose the probe images whose codes a shard carries.

    All of them, as long as that is a small part of a shard; of large maps as many as are, by
    turns, so that a few shards in a row have all.

    Parameters
    ----------
    probe : mapping of str to array of shape (images, ...)
    number : int
        Of the shard.

    Returns
    -------
    list of int
    """
    images = len(next(iter(probe.values()))) if probe else 0
    if not images:
        return []
    one = sum(block.nbytes for block in probe.values()) // images
    count = min(images, max(1, _PROBE_BYTES // max(1, one)))
    return sorted((number * count + place) % images for place in range(count))


def read_origin(path: Path) -> RowOrigin | None:
    """
    Read what a sound shard says of its store.

    Returns
    -------
    RowOrigin or None
        None for a shard from before shards carried this.

    Raises
    ------
    StoreDamaged
        If the shard is not what was written.
    """
    with open_shard(path) as file:
        if "header" not in file:
            return None
        header = Header.from_json(json.loads(file["header"][...].tobytes()))
        group = file["probe"]
        blocks = {layer: group["codes"][layer][...] for layer in group["codes"]}
        places = group["places"][...].tolist()
        codes = {
            place: {layer: block[i] for layer, block in blocks.items()}
            for i, place in enumerate(places)
        }
        return RowOrigin(header, int(group.attrs["images"]), codes)
