"""The header of a store, `store.json`: the space, and beside it what made the numbers."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from pipeline.choices import Dtype
from pipeline.errors import StoreDamaged, StoreError, StoreNotFound
from pipeline.files import (
    HostileFile,
    hdf5_bytes,
    open_hdf5,
    read_json,
    sha256_file,
    write_durably,
    write_json,
)
from pipeline.space import Space
from pipeline.store._columns import write_array

FILE = "store.json"
PROBE = "probe.h5"
FORMAT = 1

Codes = Mapping[str, NDArray[np.float32]]


@dataclass(frozen=True, kw_only=True)
class Header:
    """
    What is true of every row of a store.

    Attributes
    ----------
    space : Space
        What a number means.
    weights : mapping
        Where the weights came from: ``source``, and ``file_sha256`` where there is a file.
    batch_size : int
        Images in one forward pass; the last batch is padded to it.
    engine, precision : str
        What computed the codes.
    versions : mapping of str to str
        Of the libraries at the time.
    dtype : Dtype
        How wide the stored numbers are; stores from before there was a choice have 32 bits.
    """

    space: Space
    weights: Mapping[str, Any]
    batch_size: int
    engine: str
    precision: str
    versions: Mapping[str, str]
    dtype: Dtype = Dtype.float32

    def to_json(self) -> dict[str, Any]:
        """Return the header as plain JSON values, `space_id` included."""
        return {
            "format": FORMAT,
            "space": self.space.to_json(),
            "space_id": self.space.space_id,
            "weights": dict(self.weights),
            "batch_size": self.batch_size,
            "engine": self.engine,
            "precision": self.precision,
            "dtype": self.dtype.value,
            "versions": dict(self.versions),
        }

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> Header:
        """
        Rebuild a header from `to_json`.

        Raises
        ------
        ValueError
            If fields are missing or impossible, or the space is not the one that `space_id` names.
        """
        space = Space.from_json(plain["space"])
        if space.space_id != plain["space_id"]:
            raise ValueError("its space is not the one that space_id was computed from")
        header = cls(
            space=space,
            weights=dict(plain["weights"]),
            batch_size=int(plain["batch_size"]),
            engine=str(plain["engine"]),
            precision=str(plain["precision"]),
            versions=dict(plain["versions"]),
            dtype=Dtype(plain.get("dtype", Dtype.float32)),
        )
        if header.batch_size < 1 or not isinstance(header.weights["source"], str):
            raise ValueError("its batch size or its weights are impossible")
        return header


def write_header(folder: Path, header: Header, probe: Codes) -> None:
    """Write the probe's codes, then the header that makes the folder a store."""

    def fill(file: h5py.File) -> None:
        for layer, codes in probe.items():
            write_array(file, layer, codes)

    data = hdf5_bytes(fill)
    write_durably(folder / PROBE, data)
    plain = header.to_json() | {"probe_sha256": hashlib.sha256(data).hexdigest()}
    write_json(folder / FILE, plain)


def read_header(folder: Path) -> Header:
    """
    Read the header of a store.

    Raises
    ------
    StoreNotFound
        If there is none.
    StoreDamaged
        If it is not what was written.
    StoreError
        If a later version of this program wrote it.
    """
    path = folder / FILE
    try:
        plain = read_json(path)
        if plain.get("format", 0) > FORMAT:
            raise StoreError(
                f"expected a store of format {FORMAT}, found {plain['format']} in {path}; "
                "update with `pip install --upgrade bottleneck-pipeline`"
            )
        return Header.from_json(plain)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise StoreNotFound(_not_a_store(folder)) from error
    except StoreError:
        raise
    except PermissionError as error:
        raise StoreError(f"cannot read {path} (permission denied); make it readable") from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        said = " ".join(str(error).split())
        raise StoreDamaged(f"{path} is damaged ({said}); extract into a new folder") from error


def _not_a_store(folder: Path) -> str:
    """Say what is there instead, and what was probably meant."""
    usual = Path("artifacts") / "features" / folder.name
    if (folder / "head.json").exists():
        found, advice = "a head", "give the store that it was fitted on"
    elif folder.is_file():
        found, advice = "a file", "give the folder of the store"
    elif (usual / FILE).exists():
        found, advice = f"no {FILE}", f"perhaps {usual} is meant"
    elif folder.exists():
        found = f"no {FILE}"
        advice = f"if these are images, `pipeline extract {folder}` makes a store of them"
    else:
        found, advice = "nothing", "`pipeline extract PHOTOS` makes one"
    return f"expected a feature store in {folder}, found {found}; {advice}"


def read_probe(folder: Path) -> dict[str, NDArray[np.float32]]:
    """
    Read the probe's codes.

    Returns
    -------
    dict of str to float32 array of shape (images, ...)

    Raises
    ------
    StoreDamaged
        If they are missing or not those that were written.
    """
    path = folder / PROBE
    try:
        expected = json.loads((folder / FILE).read_bytes())["probe_sha256"]
        if sha256_file(path) != expected:
            raise StoreDamaged(f"{path} is damaged; extract into a new folder")
        with open_hdf5(path) as file:
            return {layer: file[layer][...] for layer in file}
    except (OSError, KeyError, HostileFile) as error:
        raise StoreDamaged(f"{path} cannot be read ({error}); extract into a new folder") from error
