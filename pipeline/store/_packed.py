"""A packed file: the whole store as one ordinary HDF5 file, for other tools and from them."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.common.choices import SPLITS, Split
from pipeline.common.errors import (
    StoreDamaged,
    StoreError,
    StoreNotFound,
)
from pipeline.common.foreign import open_datasets
from pipeline.common.hdf5 import Datasets, SealedDatasets, has_signature, names_in
from pipeline.common.hostile import HostileFile
from pipeline.common.listener import Progress
from pipeline.common.seal import BrokenSeal
from pipeline.common.text import one_line
from pipeline.store._dtype import widened
from pipeline.store._header import Header, unreadable
from pipeline.store._reader import Codes, Rows, Store
from pipeline.store._rows import first_bytes
from pipeline.store._shard import VIEWS, joined

# Rows read at a time from a packed file: some megabytes for 4096-D codes.
_BLOCK_BYTES = 8 << 20
# What is read whole when a file is opened, and what it may claim in a small file.
_COLUMNS = ("labels", "classes", "paths", "splits", "sha256", "groups")
_LARGEST_COLUMN = 64 << 20
_LARGEST_ROW = 256 << 20
# HDF5 may begin at byte 0, 512, 1024, 2048, ... of a file.
_SEARCHED = 1 << 16

# Shares for files without splits, the defaults of extract.
_TEST_SHARE, _VAL_SHARE = 0.2, 0.2


class PackedStore(Store):
    """
    A packed file, or any HDF5 file of that layout; see `Store`.

    ``labels`` may be numbers or names; ``classes``, ``paths`` and ``splits`` may be missing.
    Without splits the rows are divided by a hash of their first codes, in the shares that extract
    uses, so that equal rows never fall on both sides.

    A file with a seal is compared with it piece by piece, as it is read; any other is read by a
    process of its own, with limits.

    Attributes
    ----------
    sealed : bool
        Whether the file has a seal.

    Raises
    ------
    StoreNotFound
        If there is no such file.
    StoreDamaged
        If the file is not what was written, or HDF5 cannot read it.
    StoreError
        If the file has another layout, is not safe to read, or cannot be read this time.
    """

    def __init__(self, path: Path) -> None:
        self.location = path
        with self._explained():
            self._datasets = open_datasets(path)
            self.sealed = isinstance(self._datasets, SealedDatasets)
            self._read()

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Say in one line what is wrong with the file, and whose fault it is."""
        try:
            yield
        except StoreError:
            raise
        except FileNotFoundError as error:
            raise StoreNotFound(
                f"expected a store or packed file, found no {self.location}"
            ) from error
        except OSError as error:
            raise _unusable(self.location, error) from error
        except (KeyError, HostileFile, ValueError, TypeError, RecursionError) as error:
            said = " ".join(str(error).split())
            raise StoreError(
                f"expected an HDF5 file with codes/<layer> and labels, found {self.location}: "
                f"{said}"
            ) from error

    def _read(self) -> None:
        datasets = self._datasets
        for name in _COLUMNS:
            _check_column(datasets, name, most=max(_LARGEST_COLUMN, self.location.stat().st_size))
        header = datasets.attributes.get("header")
        self.header: Header | None = (
            None if header is None else Header.from_json(json.loads(header))
        )
        self.layers: Mapping[str, tuple[int, ...]] = _layers(datasets, self.header)
        self.views = self.header.space.views if self.header is not None else 1
        n = datasets.entries["labels"].shape[0] if datasets.entries["labels"].shape else 0
        for layer, shape in self.layers.items():
            rows = datasets.entries[f"codes/{layer}"].shape[0]
            if rows != n:
                raise ValueError(f"codes/{layer} has {rows} rows, labels {n}")
            if self.views > 1:
                _check_views(datasets, layer, (n, self.views - 1, *shape))
        self.labels, self.classes = _labels(datasets)
        self._paths = _strings(datasets, "paths") if "paths" in datasets.entries else [b""] * n
        self.usable = np.ones(n, bool)
        self.splits = (
            _splits(_strings(datasets, "splits"))
            if "splits" in datasets.entries
            else self._divide()
        )
        if not len(self._paths) == len(self.splits) == n:
            raise ValueError("paths, splits and labels differ in length")

    def _divide(self) -> NDArray[np.uint8]:
        splits = np.empty(len(self.labels), np.uint8)
        layer = next(iter(self.layers))
        for start, stop in self._pieces([layer], views=False):
            for i, codes in enumerate(self._codes(layer, start, stop, views=False)):
                digest = hashlib.sha256(codes.tobytes()).digest()
                share = int.from_bytes(digest[:8], "big") / 2**64
                held_out = Split.test if share < _TEST_SHARE else Split.val
                chosen = held_out if share < _TEST_SHARE + _VAL_SHARE else Split.train
                splits[start + i] = SPLITS[chosen]
        return splits

    def paths(self, rows: Rows) -> list[bytes]:
        """Return where the images of some rows were; empty where the file does not say."""
        return [self._paths[row] for row in rows]

    def together(
        self,
        layers: Sequence[str],
        rows: Rows,
        *,
        views: bool = False,
        rng: np.random.Generator | None = None,
    ) -> Iterator[tuple[Rows, dict[str, Codes]]]:
        """Read codes of several layers some megabytes at a time; see `Store.together`."""
        several = views and self.views > 1
        order = np.argsort(rows, kind="stable")
        pieces = self._pieces(layers, views=several)
        for start, stop in pieces if rng is None else rng.permutation(np.array(pieces)).tolist():
            lo, hi = np.searchsorted(rows[order], (start, stop))
            if lo < hi:
                positions = order[lo:hi]
                own, alone = rows[positions] - start, views and not several
                codes = {}
                for layer in layers:
                    with self._explained():
                        block = self._codes(layer, start, stop, views=several)
                    codes[layer] = block[own][:, None] if alone else block[own]
                yield positions, codes

    def _pieces(self, layers: Sequence[str], *, views: bool) -> list[tuple[int, int]]:
        """Cut rows into pieces of some megabytes: (first, behind the last)."""
        numbers = sum(math.prod(self.layers[layer]) for layer in layers)
        row = 4 * (self.views if views else 1) * numbers
        step, n = max(1, _BLOCK_BYTES // max(1, row)), len(self.labels)
        return [(start, min(start + step, n)) for start in range(0, n, step)]

    def _codes(self, layer: str, start: int, stop: int, *, views: bool) -> Codes:
        """Read a piece, joined with the further views of its rows if asked for."""
        block = widened(self._datasets.read(f"codes/{layer}", start, stop))
        if views:
            block = joined(block, widened(self._datasets.read(f"{VIEWS}/{layer}", start, stop)))
        return block

    def hashes(self, rows: Rows) -> NDArray[np.uint64] | None:
        """Return the first 8 bytes of the content hashes of some rows, if the file has them."""
        found = self.sha256(rows)
        return None if found is None else first_bytes(found)

    def sha256(self, rows: Rows) -> NDArray[np.uint8] | None:
        """Return the content hashes of some rows, if the file has them."""
        entry = self._datasets.entries.get("sha256")
        if entry is None or entry.shape != (len(self.labels), 32) or entry.kind != "u":
            return None
        with self._explained():
            return self._datasets.read("sha256").astype(np.uint8)[rows]

    def groups(self, rows: Rows) -> list[bytes] | None:
        """Return the groups of some rows, if the file has them."""
        entry = self._datasets.entries.get("groups")
        if entry is None or entry.shape != (len(self.labels),) or entry.kind != "S":
            return None
        with self._explained():
            groups = _strings(self._datasets, "groups")
        return [groups[row] for row in rows]

    def probe(self, layer: str) -> Codes | None:
        """Return the codes of the probe images, if the file has them."""
        if f"probe/{layer}" not in self._datasets.entries:
            return None
        with self._explained():
            return widened(self._datasets.read(f"probe/{layer}"))

    def look(self, progress: Progress) -> list[str]:
        """
        Read everything once.

        Parameters
        ----------
        progress : callable
            Called with (datasets done, datasets in all).

        Returns
        -------
        list of str
            One line for each dataset that is not what was written.
        """
        damage = []
        entries = self._datasets.entries
        for done, (name, entry) in enumerate(entries.items(), start=1):
            n = entry.shape[0] if entry.shape else 1
            step = max(1, _BLOCK_BYTES // max(1, entry.bytes // max(1, n)))
            try:
                for start in range(0, n, step):
                    self._datasets.read(name, start, start + step)
            except (OSError, ValueError) as error:
                damage.append(f"{name} of {self.location} is damaged ({one_line(error)})")
            progress(done, len(entries))
        return damage


def _unusable(path: Path, error: OSError) -> StoreError:
    """Say that a file cannot be read: this time, as HDF5, or because its bytes have changed."""
    if error.errno is not None:
        return unreadable(path, error)
    with path.open("rb") as file:
        if not isinstance(error, BrokenSeal) and not has_signature(file.read(_SEARCHED)):
            return StoreError(
                f"expected a store or an HDF5 file with codes/<layer> and labels, found {path}, "
                "which is no HDF5"
            )
    return StoreDamaged(
        f"{path} is damaged ({one_line(error)}); pack the store again, or restore a copy"
    )


def _check_column(datasets: Datasets, name: str, *, most: int) -> None:
    """Refuse a column, which is read whole, that claims more than such a file would have."""
    entry = datasets.entries.get(name)
    if entry is not None and entry.bytes > most:
        raise HostileFile(f"'{name}' claims {entry.bytes} bytes")


def _layers(datasets: Datasets, header: Header | None) -> dict[str, tuple[int, ...]]:
    """Name the layers, in the order of the header where there is one."""
    entries = {name: datasets.entries[f"codes/{name}"] for name in names_in(datasets, "codes")}
    if not entries:
        raise ValueError("there are no 'codes'")
    found = {name: entry.shape[1:] for name, entry in entries.items()}
    for name, entry in entries.items():
        if entry.kind not in "fiu" or 0 in found[name] or not found[name]:
            raise ValueError(f"codes/{name} holds {entry.dtype} of shape {found[name]}")
        if 4 * math.prod(found[name]) > _LARGEST_ROW:
            raise HostileFile(f"codes/{name} claims rows of shape {found[name]}")
    if header is None:
        return found
    if found != {name: tuple(shape) for name, shape in header.space.layers.items()}:
        raise ValueError("its codes are not the layers that its header names")
    return {name: found[name] for name in header.space.layers}


def _check_views(datasets: Datasets, layer: str, shape: tuple[int, ...]) -> None:
    """Refuse further views that are not those that the header promises."""
    others = datasets.entries[f"{VIEWS}/{layer}"]
    if others.kind not in "fiu" or others.shape != shape:
        raise ValueError(f"{VIEWS}/{layer} holds {others.dtype} of shape {others.shape}")


def _labels(datasets: Datasets) -> tuple[NDArray[np.int32], tuple[str, ...]]:
    """Read labels that are numbers (with or without classes) or names."""
    entry = datasets.entries["labels"]
    if len(entry.shape) != 1:
        raise ValueError(f"expected labels of shape (n,), found {entry.shape}")
    if entry.kind not in "Sbiuf":
        raise ValueError(f"expected numbers or names as labels, found {entry.dtype}")
    if entry.kind == "S":
        names = [_text(name) for name in _strings(datasets, "labels")]
        classes = sorted(set(names))
        places = {name: i for i, name in enumerate(classes)}
        return np.array([places[name] for name in names], np.int32), tuple(classes)
    numbers = _whole(datasets.read("labels"))
    if "classes" in datasets.entries:
        classes = [_text(name) for name in _strings(datasets, "classes")]
        if len(set(classes)) < len(classes):
            raise ValueError("two classes have the same name")
        if len(numbers) and not (numbers.min() >= -1 and numbers.max() < len(classes)):
            raise ValueError(f"labels point outside the {len(classes)} classes")
        return numbers.astype(np.int32), tuple(classes)
    values = np.unique(numbers)
    return np.searchsorted(values, numbers).astype(np.int32), tuple(map(str, values))


def _whole(labels: NDArray[Any]) -> NDArray[np.int64]:
    """Take numbers as labels only if they are whole and fit."""
    if len(labels) and not (np.abs(labels.astype(np.float64)) < 2**53).all():
        raise ValueError("labels are not finite, or too large")
    numbers = labels.astype(np.int64)
    if (numbers != labels).any():
        raise ValueError("labels are not whole numbers")
    return numbers


def _strings(datasets: Datasets, name: str) -> list[bytes]:
    entry = datasets.entries[name]
    if entry.kind != "S" or len(entry.shape) != 1:
        raise ValueError(f"expected names in {name}, found {entry.dtype}")
    texts: list[bytes] = datasets.read(name).tolist()
    return texts


def _text(name: bytes) -> str:
    return name.decode("utf-8", "surrogateescape")


def _splits(names: list[bytes]) -> NDArray[np.uint8]:
    known = {split.value.encode(): code for split, code in SPLITS.items()} | {b"": 0}
    if unknown := set(names) - set(known):
        raise ValueError(f"split {_text(min(unknown))!r} is none of train, val, test")
    return np.array([known[name] for name in names], np.uint8)
