"""A packed file: the whole store as one ordinary HDF5 file, for other tools and from them."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from pipeline.choices import Split
from pipeline.errors import OutputError, ResourceError, StoreDamaged, StoreError, StoreNotFound
from pipeline.files import FULL, HostileFile, in_words, open_hdf5, replacing
from pipeline.store._columns import create_array, write_array
from pipeline.store._dtype import widened
from pipeline.store._header import Header
from pipeline.store._reader import Codes, FolderStore, Rows, first_bytes
from pipeline.store._shard import VIEWS, joined
from pipeline.store._table import SPLITS
from pipeline.store._writer import free_bytes

# Rows read at a time from a packed file: some megabytes for 4096-D codes.
_BLOCK_BYTES = 32 << 20

# Shares for files without splits, the defaults of extract.
_TEST_SHARE, _VAL_SHARE = 0.2, 0.2


def pack(store: FolderStore, path: Path) -> int:
    """
    Write a store as one HDF5 file.

    The file has ``codes/<layer>`` (n, ...), ``labels`` (n,), ``classes``, ``paths`` (n,),
    ``splits`` (n,) and ``sha256`` (n, 32); rows are the images that have codes, in the order of
    the source. The attribute ``header`` holds the space as JSON, ``probe/<layer>`` the codes of
    the probe. Of several views ``codes/<layer>`` has the images' own, ``views/<layer>``
    (n, views - 1, ...) the others. Numbers are as wide as in the store.

    Parameters
    ----------
    store : FolderStore
        A finished store.
    path : Path
        Where to write; must not exist.

    Returns
    -------
    int
        Number of rows.

    Raises
    ------
    OutputError
        If the path is taken or cannot be written.
    ResourceError
        If the disk has too little room; nothing is left behind then.
    """
    if path.exists():
        raise OutputError(f"expected a new file, found {path}; delete it or choose another name")
    rows = np.flatnonzero(store.usable)
    numbers = sum(int(np.prod(shape)) for shape in store.layers.values())
    needed = _dtype(store).itemsize * numbers * store.views * len(rows)
    if needed > (free := free_bytes(path.parent)):
        raise ResourceError(
            f"packing needs {in_words(needed)}, {path.parent} has {in_words(free)} free; "
            "make room or choose another place",
        )
    try:
        with replacing(path) as file:
            careful = _Careful(file)
            with h5py.File(careful, "w") as packed:
                _fill(packed, store, rows, careful.check)
            careful.check()
    except OSError as error:
        if isinstance(error, ResourceError):
            raise
        kind = ResourceError if error.errno in FULL else OutputError
        raise kind(f"cannot write {path} ({error.strerror or error}); nothing was left") from error
    return len(rows)


class _Careful(io.RawIOBase):
    """
    A file that remembers its first failure instead of raising it.

    HDF5 does not survive a failing write: after a full disk the interpreter crashes when the file
    is closed. So HDF5 is told that all is well, what it writes from then on is kept in memory for
    it to read back, and the failure is raised between two blocks of rows.
    """

    def __init__(self, file: io.BufferedRandom) -> None:
        self._file = file
        self._failure: OSError | None = None
        self._position = 0
        self._unwritten: list[tuple[int, bytes]] = []

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        start, size = self._position, len(view)
        self._file.seek(start)
        data = self._file.read(size)
        view[:] = data + bytes(size - len(data))
        for offset, kept in self._unwritten:
            lo, hi = max(start, offset), min(start + size, offset + len(kept))
            if lo < hi:
                view[lo - start : hi - start] = kept[lo - offset : hi - offset]
        self._position += size
        return size

    def write(self, data: Any) -> int:
        size = memoryview(data).nbytes
        if self._failure is None:
            try:
                self._put(data)
            except OSError as error:
                self._failure = error
        if self._failure is not None:
            self._unwritten.append((self._position, bytes(data)))
        self._position += size
        return size

    def _put(self, data: Any) -> None:
        self._file.seek(self._position)
        self._file.write(data)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        if whence == io.SEEK_END:
            offset += self._file.seek(0, io.SEEK_END)
        elif whence == io.SEEK_CUR:
            offset += self._position
        self._position = offset
        return offset

    def tell(self) -> int:
        return self._position

    def truncate(self, size: int | None = None) -> int:
        size = self._position if size is None else size
        if self._failure is None:
            try:
                return self._file.truncate(size)
            except OSError as error:
                self._failure = error
        return size

    def flush(self) -> None:
        if self._failure is None:
            try:
                self._file.flush()
            except OSError as error:
                self._failure = error

    def check(self) -> None:
        """Raise what went wrong, if anything did."""
        self.flush()
        if self._failure is not None:
            raise self._failure


def _dtype(store: FolderStore) -> np.dtype[Any]:
    return np.dtype(store.header.dtype.value if store.header is not None else np.float32)


def _fill(file: h5py.File, store: FolderStore, rows: Rows, check: Callable[[], None]) -> None:
    if store.header is not None:
        file.attrs["header"] = np.bytes_(json.dumps(store.header.to_json(), sort_keys=True))
    classes = [name.encode("utf-8", "surrogateescape") for name in store.classes]
    names = {code: split.value.encode() for split, code in SPLITS.items()}
    splits = [names.get(int(code), b"") for code in store.splits[rows]]
    _write_text(file, "classes", classes)
    _write_text(file, "paths", store.paths(rows))
    write_array(file, "labels", store.labels[rows])
    write_array(file, "sha256", store.table.sha256[rows])
    write_array(file, "splits", np.array(splits, "S5"))
    codes, probe = file.create_group("codes"), file.create_group("probe")
    dtype = _dtype(store)
    for layer, shape in store.layers.items():
        dataset = create_array(codes, layer, (len(rows), *shape), dtype)
        others = None
        if store.views > 1:
            wide = (len(rows), store.views - 1, *shape)
            others = create_array(file.require_group(VIEWS), layer, wide, dtype)
        for positions, block in store.blocks(layer, rows, views=True):
            block = block.astype(dtype, copy=False)
            _write_rows(dataset, positions, block[:, 0])
            if others is not None:
                _write_rows(others, positions, block[:, 1:])
            check()
        kept = store.probe(layer)
        if kept is not None:
            write_array(probe, layer, kept)


def _write_text(file: h5py.File, name: str, values: Sequence[bytes]) -> None:
    """
    Write strings of one length, padded with NUL.

    Strings of any length would lie in HDF5's global heap, which has no checksum, and on which a
    flipped bit can keep HDF5 busy for ever.
    """
    length = max(map(len, values), default=1) or 1
    dtype = h5py.string_dtype("utf-8", length)
    write_array(file, name, np.array(values, dtype).reshape(len(values)))


def _write_rows(dataset: h5py.Dataset, positions: Rows, block: NDArray[Any]) -> None:
    """Write rows in runs of neighbours, as they mostly are."""
    for run in np.split(np.arange(len(positions)), np.flatnonzero(np.diff(positions) != 1) + 1):
        dataset[positions[run[0]] : positions[run[-1]] + 1] = block[run]


class PackedStore:
    """
    A packed file, or any HDF5 file of that layout; see `Store`.

    ``labels`` may be numbers or names; ``classes``, ``paths`` and ``splits`` may be missing.
    Without splits the rows are divided by a hash of their first codes, in the shares that extract
    uses, so that equal rows never fall on both sides.

    Raises
    ------
    StoreNotFound
        If there is no such file.
    StoreError
        If the file has another layout or is not safe to read.
    """

    def __init__(self, path: Path) -> None:
        self.location = path
        try:
            with open_hdf5(path) as file:
                self._read(file)
        except FileNotFoundError as error:
            raise StoreNotFound(f"expected a store or packed file, found no {path}") from error
        except (OSError, KeyError, HostileFile, ValueError, TypeError, AttributeError) as error:
            if isinstance(error, StoreError):
                raise
            said = " ".join(str(error).split())
            raise StoreError(
                f"expected an HDF5 file with codes/<layer> and labels, found {path}: {said}"
            ) from error

    def _read(self, file: h5py.File) -> None:
        header = file.attrs.get("header")
        self.header: Header | None = (
            None if header is None else Header.from_json(json.loads(header))
        )
        self.layers: Mapping[str, tuple[int, ...]] = _layers(file["codes"], self.header)
        self.views = self.header.space.views if self.header is not None else 1
        n = len(file["labels"])
        for layer, shape in self.layers.items():
            if len(file["codes"][layer]) != n:
                raise ValueError(f"codes/{layer} has {len(file['codes'][layer])} rows, labels {n}")
            if self.views > 1:
                _check_views(file[VIEWS][layer], (n, self.views - 1, *shape))
        self.labels, self.classes = _labels(file)
        self._paths = _strings(file["paths"]) if "paths" in file else [b""] * n
        self.usable = np.ones(n, bool)
        self.splits = _splits(_strings(file["splits"])) if "splits" in file else self._divide(file)
        if not len(self._paths) == len(self.splits) == n:
            raise ValueError("paths, splits and labels differ in length")

    def _divide(self, file: h5py.File) -> NDArray[np.uint8]:
        splits = np.empty(len(self.labels), np.uint8)
        dataset = file["codes"][next(iter(self.layers))]
        for piece in _pieces(dataset):
            for i, codes in enumerate(_read(dataset, None, piece)):
                digest = hashlib.sha256(codes.tobytes()).digest()
                share = int.from_bytes(digest[:8], "big") / 2**64
                held_out = Split.test if share < _TEST_SHARE else Split.val
                chosen = held_out if share < _TEST_SHARE + _VAL_SHARE else Split.train
                splits[piece[0] + i] = SPLITS[chosen]
        return splits

    def paths(self, rows: Rows) -> list[bytes]:
        """Return where the images of some rows were; empty where the file does not say."""
        return [self._paths[row] for row in rows]

    def blocks(
        self,
        layer: str,
        rows: Rows,
        *,
        views: bool = False,
        rng: np.random.Generator | None = None,
    ) -> Iterator[tuple[Rows, Codes]]:
        """Read codes some megabytes at a time; see `Store.blocks`."""
        several = views and self.views > 1
        order = np.argsort(rows, kind="stable")
        try:
            with open_hdf5(self.location) as file:
                dataset, others = file["codes"][layer], file[VIEWS][layer] if several else None
                pieces = _pieces(dataset, others)
                for piece in pieces if rng is None else rng.permutation(np.array(pieces)):
                    lo, hi = np.searchsorted(rows[order], piece)
                    if lo < hi:
                        positions = order[lo:hi]
                        codes = _read(dataset, others, piece)[rows[positions] - piece[0]]
                        yield positions, codes[:, None] if views and not several else codes
        except (OSError, KeyError, HostileFile) as error:
            raise StoreDamaged(
                f"{self.location} is damaged ({' '.join(str(error).split())}); pack the store again"
            ) from error

    def hashes(self, rows: Rows) -> NDArray[np.uint64] | None:
        """Return the first 8 bytes of the content hashes of some rows, if the file has them."""
        with open_hdf5(self.location) as file:
            if "sha256" not in file or file["sha256"].shape != (len(self.labels), 32):
                return None
            return first_bytes(file["sha256"][...])[rows]

    def probe(self, layer: str) -> Codes | None:
        """Return the codes of the probe images, if the file has them."""
        try:
            with open_hdf5(self.location) as file:
                if "probe" not in file or layer not in file["probe"]:
                    return None
                codes: Codes = file["probe"][layer][...]
                return codes
        except (OSError, KeyError, HostileFile, TypeError, ValueError) as error:
            raise StoreDamaged(f"{self.location} is damaged; pack the store again") from error


def _layers(codes: h5py.Group, header: Header | None) -> dict[str, tuple[int, ...]]:
    """Name the layers, in the order of the header where there is one."""
    found = {name: tuple(map(int, codes[name].shape[1:])) for name in codes}
    if not found:
        raise ValueError("'codes' is empty")
    for name in found:
        if codes[name].dtype.kind not in "fiu" or 0 in found[name] or not found[name]:
            raise ValueError(f"codes/{name} holds {codes[name].dtype} of shape {found[name]}")
    if header is None:
        return found
    if found != {name: tuple(shape) for name, shape in header.space.layers.items()}:
        raise ValueError("its codes are not the layers that its header names")
    return {name: found[name] for name in header.space.layers}


def _check_views(others: h5py.Dataset, shape: tuple[int, ...]) -> None:
    """Refuse further views that are not those that the header promises."""
    if others.dtype.kind not in "fiu" or others.shape != shape:
        raise ValueError(f"{others.name} holds {others.dtype} of shape {others.shape}")


def _labels(file: h5py.File) -> tuple[NDArray[np.int32], tuple[str, ...]]:
    """Read labels that are numbers (with or without classes) or names."""
    labels = file["labels"]
    if labels.ndim != 1:
        raise ValueError(f"expected labels of shape (n,), found {labels.shape}")
    if labels.dtype.kind not in "OSbiuf":
        raise ValueError(f"expected numbers or names as labels, found {labels.dtype}")
    if labels.dtype.kind in "OS":
        names = [_text(name) for name in _strings(labels)]
        classes = sorted(set(names))
        places = {name: i for i, name in enumerate(classes)}
        return np.array([places[name] for name in names], np.int32), tuple(classes)
    numbers = _whole(labels[...])
    if "classes" in file:
        classes = [_text(name) for name in _strings(file["classes"])]
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


def _strings(dataset: h5py.Dataset) -> list[bytes]:
    if dataset.dtype.kind not in "OS" or dataset.ndim != 1:
        raise ValueError(f"expected names in {dataset.name}, found {dataset.dtype}")
    return [bytes(value) for value in dataset[...].tolist()]


def _text(name: bytes) -> str:
    return name.decode("utf-8", "surrogateescape")


def _splits(names: list[bytes]) -> NDArray[np.uint8]:
    known = {split.value.encode(): code for split, code in SPLITS.items()} | {b"": 0}
    if unknown := set(names) - set(known):
        raise ValueError(f"split {_text(min(unknown))!r} is none of train, val, test")
    return np.array([known[name] for name in names], np.uint8)


def _pieces(dataset: h5py.Dataset, others: h5py.Dataset | None = None) -> list[tuple[int, int]]:
    """Cut rows into pieces of some megabytes: (first, behind the last)."""
    views = 1 if others is None else 1 + others.shape[1]
    row = max(1, 4 * views * int(np.prod(dataset.shape[1:], dtype=np.int64)))
    step = max(1, _BLOCK_BYTES // row)
    return [(start, min(start + step, len(dataset))) for start in range(0, len(dataset), step)]


def _read(dataset: h5py.Dataset, others: h5py.Dataset | None, piece: tuple[int, int]) -> Codes:
    """Read a piece, joined with the further views of its rows if given."""
    part = slice(*map(int, piece))
    block = widened(dataset[part])
    if others is not None:
        block = joined(block, widened(others[part]))
    return block
