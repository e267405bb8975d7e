"""HDF5 of other programs, read in a process of its own."""

from __future__ import annotations

import os
from pathlib import Path

import h5py
import numpy as np
import pytest

from pipeline.common import hdf5, hostile, seal
from pipeline.common.foreign import Foreign, open_datasets

ENDLESS = Path(__file__).parents[1] / "data" / "hdf5" / "endless.h5"


def write(path: Path, **members: object) -> Path:
    with h5py.File(path, "w") as file:
        for name, value in members.items():
            file[name.replace("__", "/")] = value
    return path


def test_it_reads_what_h5py_reads(tmp_path: Path) -> None:
    X = np.random.default_rng(0).random((50, 3, 2)).astype(np.float32)
    path = write(tmp_path / "x.h5", codes__a=X, labels=np.arange(50), one=7.0)
    with h5py.File(path, "a") as file:
        file.create_dataset("names", data=["café", "", "x"] * 3, dtype=h5py.string_dtype())
        file["fixed"] = np.array([b"ab", b"c"], "S3")
        file.create_dataset("none", shape=(0, 4))
        file.attrs["header"] = "text"
        file.attrs["number"] = 3
    with Foreign(path) as datasets:
        np.testing.assert_array_equal(datasets.read("codes/a"), X)
        np.testing.assert_array_equal(datasets.read("codes/a", 10, 12), X[10:12])
        np.testing.assert_array_equal(datasets.read("codes/a", 48, 99), X[48:])
        assert datasets.read("labels").tolist() == list(range(50))
        assert datasets.read("one") == 7.0
        assert datasets.read("names").tolist() == ["café".encode(), b"", b"x"] * 3
        assert datasets.read("fixed").tolist() == [b"ab", b"c"]
        assert datasets.read("none").shape == (0, 4)
        assert datasets.attributes == {"header": "text", "number": None}
        assert hdf5.names_in(datasets, "codes") == ["a"]
        datasets.look()


def test_a_file_on_which_hdf5_never_ends_is_given_up() -> None:
    with pytest.raises(OSError, match="does not come to an end"):
        Foreign(ENDLESS)


def test_a_file_that_wants_too_much_memory_is_refused(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        few = {"chunks": (2 << 20,), "compression": "gzip", "compression_opts": 1}
        x = file.create_dataset("x", (72 << 20,), "f8", **few)
        for start in range(0, len(x), 2 << 20):
            x[start : start + (2 << 20)] = 0
    with (
        Foreign(tmp_path / "x.h5") as datasets,
        pytest.raises(hostile.HostileFile, match=r"604\.0 MB to be read at once"),
    ):
        datasets.read("x")


def test_what_is_no_hdf5_and_what_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "x.h5").write_bytes(b"GIF89a")
    with pytest.raises(OSError, match="signature"):
        Foreign(tmp_path / "x.h5")
    with pytest.raises(FileNotFoundError):
        Foreign(tmp_path / "y.h5")


def test_no_process_is_left_behind(tmp_path: Path) -> None:
    path = write(tmp_path / "x.h5", a=[1])
    datasets = Foreign(path)
    child = datasets._child.pid
    del datasets
    with pytest.raises(ProcessLookupError):
        os.kill(child, 0)


def test_a_crash_is_an_error_and_the_next_question_too(tmp_path: Path) -> None:
    datasets = Foreign(write(tmp_path / "x.h5", a=[1, 2]))
    os.kill(datasets._child.pid, 11)
    with pytest.raises(OSError, match="crashes on it"):
        datasets.read("a")
    with pytest.raises(OSError, match="has ended"):
        datasets.read("a")


def test_links_and_filters_are_refused_there_too(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["x"] = h5py.ExternalLink("/etc/passwd", "/")
    with pytest.raises(hostile.HostileFile, match="ExternalLink"):
        Foreign(tmp_path / "x.h5")


def test_a_sealed_file_needs_no_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.h5"
    path.write_bytes(hdf5.sealed_bytes(lambda file: file.__setitem__("a", [1, 2])))
    with monkeypatch.context() as patch:
        patch.setattr("subprocess.Popen", None)
        with open_datasets(path) as datasets:
            assert datasets.read("a").tolist() == [1, 2]
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(
        seal.BrokenSeal, match=r"its seal is gone: .* delete its attribute 'sealed'"
    ):
        open_datasets(path)
    with h5py.File(path, "a") as file:
        del file.attrs["sealed"]
    with open_datasets(path) as datasets:
        assert datasets.read("a").tolist() == [1, 2]
