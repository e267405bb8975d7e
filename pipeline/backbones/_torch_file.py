"""Arrays out of a legacy PyTorch file, without PyTorch and without its pickles' powers."""

from __future__ import annotations

import pickle
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, NoReturn

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

# torch/serialization.py, `_legacy_save`: five pickles (magic number, protocol, machine, the
# objects, the keys of the storages), then each storage as an int64 count and its items.
_MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001
_DTYPES: dict[str, np.dtype[Any]] = {
    "FloatStorage": np.dtype("<f4"),
    "LongStorage": np.dtype("<i8"),
}


class _Tensor(NamedTuple):
    """Where in which storage a tensor's numbers are."""

    key: str
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class _Storage(NamedTuple):
    """A run of numbers that tensors look into."""

    key: str
    dtype: np.dtype[Any]
    length: int


class _Unpickler(pickle.Unpickler):
    """An unpickler that admits the four names a file of float tensors needs."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__(file)
        self.storages: dict[str, _Storage] = {}

    def find_class(self, module: str, name: str) -> Callable[..., Any]:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _rebuild_tensor
        if module == "torch" and name in _DTYPES:
            return _StorageType(name)
        raise ValueError(f"'{module}.{name}' has no place in a file of weights")

    def persistent_load(self, identity: Any) -> _Storage:
        word, kind, key, _, count, view = identity
        if word != "storage" or view is not None or not isinstance(kind, _StorageType):
            raise ValueError("expected plain storages")
        storage = _Storage(str(key), _DTYPES[kind.name], int(count))
        if self.storages.setdefault(storage.key, storage) != storage:
            raise ValueError(f"storage {storage.key} is described twice")
        return storage


class _StorageType:
    """Stands for `torch.FloatStorage` and its like; only ever named, never called."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, *_: Any) -> NoReturn:
        raise ValueError(f"torch.{self.name} is not to be called")


def _rebuild_tensor(storage: _Storage, offset: int, shape: Any, strides: Any, *_: Any) -> _Tensor:
    """Stand in for torch's function; refuse what reaches outside its storage."""
    shape, strides = tuple(map(int, shape)), tuple(map(int, strides))
    if len(shape) != len(strides) or min((offset, *shape, *strides)) < 0:
        raise ValueError(f"impossible tensor: shape {shape}, strides {strides}")
    last = offset + sum((n - 1) * step for n, step in zip(shape, strides, strict=True))
    if 0 in shape or last >= storage.length:
        raise ValueError(f"a tensor of shape {shape} reaches outside its storage")
    return _Tensor(storage.key, offset, shape, strides)


def read_torch_file(path: Path) -> dict[str, NDArray[Any]]:
    """
    Read the tensors of a legacy PyTorch checkpoint (`torch.save` before version 1.6).

    Parameters
    ----------
    path : Path
        The file, whose bytes the caller has already checked against a known hash.

    Returns
    -------
    dict of str to ndarray
        Each tensor under its name, in its own shape; views into the file's storages.

    Raises
    ------
    ValueError
        If the file is anything but a dictionary of float32 and int64 tensors.
    """
    with path.open("rb") as file:
        if _load(file) != _MAGIC or _load(file) != _PROTOCOL:
            raise ValueError(f"{path} is not a legacy PyTorch file")
        if _load(file).get("little_endian") is not True:
            raise ValueError(f"{path} was not written on a little-endian machine")
        unpickler = _Unpickler(file)
        tensors = unpickler.load()
        storages = {key: _read_storage(file, unpickler.storages[key]) for key in _load(file)}
    return {
        name: _view(storages[tensor.key], tensor)
        for name, tensor in tensors.items()
        if isinstance(tensor, _Tensor)
    }


def _load(file: BinaryIO) -> Any:
    """Read the next pickle of plain values."""
    return _Unpickler(file).load()


def _read_storage(file: BinaryIO, storage: _Storage) -> NDArray[Any]:
    """Read a storage whose length must be the one that was announced."""
    count = int.from_bytes(file.read(8), "little")
    data = file.read(storage.length * storage.dtype.itemsize)
    if count != storage.length or len(data) != count * storage.dtype.itemsize:
        raise ValueError(f"storage {storage.key} holds {count} numbers, not {storage.length}")
    return np.frombuffer(data, storage.dtype)


def _view(storage: NDArray[Any], tensor: _Tensor) -> NDArray[Any]:
    """Look at a storage through a tensor's shape and strides (checked when they were read)."""
    strides = tuple(step * storage.itemsize for step in tensor.strides)
    return as_strided(storage[tensor.offset :], tensor.shape, strides, writeable=False)
