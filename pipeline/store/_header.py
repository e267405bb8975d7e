"""The header of a store, `store.json`: the space, and beside it what made the numbers."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from pipeline.common.choices import Dtype
from pipeline.common.errors import StoreDamaged, StoreError, StoreNotFound
from pipeline.common.files import (
    argument,
    canonical_json,
    command_line,
    dangling,
    is_absent,
    read_bytes,
    read_json,
    write_durably,
    write_json,
)
from pipeline.common.hdf5 import open_bytes, sealed_bytes
from pipeline.common.hostile import HostileFile
from pipeline.common.space import Space
from pipeline.store._columns import write_array

FILE = "store.json"
PROBE = "probe.h5"
SHARDS = "shards"
DIGITS_IN_NAME = 32  # of the SHA-256 of a shard
FORMAT = 1

_FIELDS = frozenset(
    ("format", "space", "space_id", "weights", "batch_size", "engine", "precision", "versions")
)
# What `write_header` adds, and `dtype`, which stores from before there was a choice lack.
_FURTHER = frozenset(("dtype", "probe_sha256", "checksum"))

_SHARD_NAME = re.compile(rf"[0-9]+-[0-9a-f]{{{DIGITS_IN_NAME}}}\.h5")

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
        if missing := _FIELDS - set(plain):
            raise ValueError(f"it lacks {min(missing)}")
        if unknown := set(plain) - _FIELDS - _FURTHER:
            raise ValueError(f"it has an unknown field {min(unknown)!r}")
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

    data = sealed_bytes(fill)
    write_durably(folder / PROBE, data)
    plain = header.to_json() | {"probe_sha256": hashlib.sha256(data).hexdigest()}
    write_json(folder / FILE, plain | {"checksum": _checksum(plain)})


def _checksum(plain: Mapping[str, Any]) -> str:
    """Return the SHA-256 of all fields but itself."""
    others = {name: value for name, value in plain.items() if name != "checksum"}
    return hashlib.sha256(canonical_json(others)).hexdigest()


def read_header(folder: Path) -> Header:
    """
    Read the header of a store.

    Raises
    ------
    StoreNotFound
        If there is none.
    StoreDamaged
        If it is not what was written, or lost while shards are there.
    StoreError
        If a later version of this program wrote it, or it cannot be read this time.
    """
    return Header.from_json(_read(folder))


def _read(folder: Path) -> dict[str, Any]:
    """Read store.json and see that it is what was written."""
    path = folder / FILE
    try:
        plain: dict[str, Any] = read_json(path)
        if isinstance(plain.get("format"), int) and plain["format"] > FORMAT:
            raise StoreError(
                f"expected a store of format {FORMAT}, found {plain['format']} in {path}; "
                "update with `pip install --upgrade bottleneck-pipeline`"
            )
        # Stores from before there were checksums have none.
        if "checksum" in plain and plain["checksum"] != _checksum(plain):
            raise ValueError("its checksum differs")
        Header.from_json(plain)
        return plain
    except StoreError:
        raise
    except OSError as error:
        if isinstance(error, NotADirectoryError) or is_absent(path, error):
            raise _missing(folder) from error
        raise (broken if error.errno is None else unreadable)(path, error) from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise broken(path, error) from error


def _missing(folder: Path) -> StoreError:
    """Say that there is no store.json, and whether there was one."""
    if not shard_names(folder / SHARDS):
        return StoreNotFound(_not_a_store(folder))
    return StoreDamaged(
        f"{folder / FILE} is missing, and {SHARDS}/ has codes; {repair_command(folder)} makes it "
        "again"
    )


def shard_names(folder: Path) -> list[str]:
    """
    List the committed shards in order; files being written are not among them.

    Parameters
    ----------
    folder : Path
        The ``shards`` folder of a store; one that is not there (yet) has none.

    Raises
    ------
    StoreDamaged
        If something that is no folder has its name.
    StoreError
        If it cannot be listed this time: that is no empty folder.
    """
    try:
        return sorted(filter(_SHARD_NAME.fullmatch, os.listdir(folder)))
    except NotADirectoryError as error:
        raise broken(folder, error, mends="sets it aside") from error
    except OSError as error:
        if is_absent(folder, error):
            return []
        raise unreadable(folder, error) from error


def repair_command(folder: Path) -> str:
    """Write down what repairs a store, to be typed as it stands."""
    return f"`{command_line(['pipeline', 'repair', argument(folder)])}`"


def unreadable(path: Path, error: OSError) -> StoreError:
    """Say that a file of a store cannot be read this time, which says nothing of its bytes."""
    # What h5py calls strerror has the path in it.
    said = (os.strerror(error.errno) if error.errno else str(error)).lower()
    if (link := dangling(path)) is not None:
        said = f"{link} is a link to {os.readlink(link)}, which is not there"
    return StoreError(f"cannot read {path} this time ({said}); mend that and try again")


def broken(
    path: Path, error: object, *, mends: str = "makes it again where shards carry it"
) -> StoreDamaged:
    """Say that a file beside the shards is damaged, and how it is made again."""
    said = " ".join(str(error).split())
    return StoreDamaged(f"{path} is damaged ({said}); {repair_command(path.parent)} {mends}")


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
    StoreError
        If they cannot be read this time.
    """
    path = folder / PROBE
    expected = _read(folder).get("probe_sha256")
    try:
        data = read_bytes(path)
    except OSError as error:
        if is_absent(path, error):
            raise broken(path, "it is missing") from error
        raise (broken if error.errno is None else unreadable)(path, error) from error
    if hashlib.sha256(data).hexdigest() != expected:
        raise broken(path, "its SHA-256 is not the one in store.json")
    try:
        with open_bytes(data) as file:
            return {layer: file[layer][...] for layer in file}
    except (OSError, KeyError, RuntimeError, HostileFile) as error:
        raise broken(path, error) from error
