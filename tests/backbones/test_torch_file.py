"""The reader of PyTorch's old format, on files written by hand."""

from __future__ import annotations

import io
import os
import pickle
import sys
import types
from collections import OrderedDict

import numpy as np
import pytest

from pipeline.backbones._torch_file import read_torch_file

_NUMBERS = np.arange(12, dtype="<f4")


class _Persistent(pickle.Pickler):
    """Writes storages the way torch.save did before version 1.6."""

    def persistent_id(self, item):
        return item.identity if isinstance(item, _Stored) else None


class _Stored:
    def __init__(self, identity):
        self.identity = identity


@pytest.fixture
def torch_names(monkeypatch):
    """Importable stand-ins for the names that such a file mentions."""
    torch, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")

    def _rebuild_tensor_v2(*_):
        raise AssertionError("only ever pickled by name")

    for name in ("FloatStorage", "DoubleStorage"):
        setattr(torch, name, type(name, (), {"__module__": "torch", "__qualname__": name}))
    _rebuild_tensor_v2.__module__ = "torch._utils"
    _rebuild_tensor_v2.__qualname__ = "_rebuild_tensor_v2"
    utils._rebuild_tensor_v2 = _rebuild_tensor_v2
    monkeypatch.setitem(sys.modules, "torch", torch)
    monkeypatch.setitem(sys.modules, "torch._utils", utils)
    return torch, _rebuild_tensor_v2


class _Reduced:
    def __init__(self, function, arguments):
        self.reduced = function, arguments

    def __reduce__(self):
        return self.reduced


def _write(path, torch_names, *, offset=0, shape=(3, 4), strides=(4, 1), kind="FloatStorage"):
    torch, rebuild = torch_names
    stored = _Stored(("storage", getattr(torch, kind), "7", "cpu", 12, None))
    tensor = _Reduced(rebuild, (stored, offset, shape, strides, False, OrderedDict()))
    _save(path, OrderedDict(weight=tensor))


def _save(path, value):
    with path.open("wb") as file:
        for head in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}):
            pickle.dump(head, file, protocol=2)
        buffer = io.BytesIO()
        _Persistent(buffer, protocol=2).dump(value)
        file.write(buffer.getvalue())
        pickle.dump(["7"], file, protocol=2)
        file.write(len(_NUMBERS).to_bytes(8, "little") + _NUMBERS.tobytes())


def test_tensors_keep_their_shapes_and_strides(tmp_path, torch_names) -> None:
    _write(tmp_path / "a.pth", torch_names)
    np.testing.assert_array_equal(
        read_torch_file(tmp_path / "a.pth")["weight"], _NUMBERS.reshape(3, 4)
    )
    _write(tmp_path / "b.pth", torch_names, offset=1, shape=(4, 2), strides=(1, 4))
    np.testing.assert_array_equal(
        read_torch_file(tmp_path / "b.pth")["weight"], [[1, 5], [2, 6], [3, 7], [4, 8]]
    )


@pytest.mark.parametrize(
    "wrong",
    [
        {"shape": (4, 4)},
        {"offset": 1},
        {"offset": -1},
        {"strides": (5, 1)},
        {"strides": (-4, 1)},
        {"shape": (2, 2, 2)},
        {"kind": "DoubleStorage"},
    ],
    ids=str,
)
def test_tensors_that_reach_outside_their_storage_are_refused(tmp_path, torch_names, wrong) -> None:
    _write(tmp_path / "a.pth", torch_names, **wrong)
    with pytest.raises(ValueError, match=r"impossible|outside|no place"):
        read_torch_file(tmp_path / "a.pth")


def test_nothing_is_run_that_a_pickle_names(tmp_path) -> None:
    marker = tmp_path / "marker"
    _save(tmp_path / "a.pth", OrderedDict(weight=_Reduced(os.mkdir, (str(marker),))))
    with pytest.raises(ValueError, match="has no place in a file of weights"):
        read_torch_file(tmp_path / "a.pth")
    assert not marker.exists()


def test_a_cut_file_is_refused(tmp_path, torch_names) -> None:
    _write(tmp_path / "a.pth", torch_names)
    data = (tmp_path / "a.pth").read_bytes()
    (tmp_path / "a.pth").write_bytes(data[:-8])
    with pytest.raises(ValueError, match="numbers"):
        read_torch_file(tmp_path / "a.pth")
