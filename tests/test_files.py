from __future__ import annotations

import csv
import io
import os
from pathlib import Path

import h5py
import numpy as np
import pytest

from pipeline import files
from pipeline.errors import OutputError


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "x"
    files.write_durably(path, b"old")

    def fail() -> None:
        with files.replacing(path) as file:
            file.write(b"half of the n")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert path.read_bytes() == b"old"
    files.write_durably(path, b"new")
    assert path.read_bytes() == b"new"
    assert [entry.name for entry in tmp_path.iterdir()] == ["x"]


def test_canonical_json_is_the_same_for_the_same_content() -> None:
    assert files.canonical_json({"b": 1, "a": [1.5, "é"]}) == b'{"a":[1.5,"\\u00e9"],"b":1}'
    with pytest.raises(ValueError, match="not JSON compliant"):
        files.canonical_json(float("nan"))


def test_a_spreadsheet_runs_nothing_from_our_tables() -> None:
    rows = [["path", "label"], ["=cmd()", "@x"], ['a,b\n"c"', -1.5]]
    text = files.csv_text(rows)
    assert list(csv.reader(io.StringIO(text))) == [
        ["path", "label"],
        ["'=cmd()", "'@x"],
        ['a,b\n"c"', "-1.5"],
    ]


def _external_storage(file: h5py.File, secret: Path) -> None:
    file.create_dataset("x", (4,), "u1", external=[(str(secret), 0, 4)])


def _external_link(file: h5py.File, secret: Path) -> None:
    file["x"] = h5py.ExternalLink(str(secret), "/")


def _soft_link(file: h5py.File, secret: Path) -> None:
    file["deep/x"] = h5py.SoftLink("/y")


def _virtual(file: h5py.File, secret: Path) -> None:
    layout = h5py.VirtualLayout((4,), "u1")
    layout[:] = h5py.VirtualSource(str(secret), "x", (4,))
    file.create_virtual_dataset("x", layout)


def _enormous(file: h5py.File, secret: Path) -> None:
    file.create_dataset("x", (1 << 40,), "f4", chunks=(1 << 20,))


def _bomb(file: h5py.File, secret: Path) -> None:
    file.create_dataset("x", (1 << 40,), "f4", chunks=(1 << 20,), compression="gzip")


def _filter(file: h5py.File, secret: Path) -> None:
    file.create_dataset("x", data=np.zeros(100), chunks=(10,), compression="lzf")


@pytest.mark.parametrize(
    "hostile",
    [_external_storage, _external_link, _soft_link, _virtual, _enormous, _bomb, _filter],
)
def test_hdf5_that_reaches_out_or_lies_is_refused_before_anything_is_read(
    tmp_path: Path, hostile
) -> None:  # type: ignore[no-untyped-def]
    secret = tmp_path / "secret"
    secret.write_bytes(b"root")
    with h5py.File(tmp_path / "x.h5", "w") as file:
        hostile(file, secret)
    with pytest.raises(files.HostileFile):
        files.open_hdf5(tmp_path / "x.h5")


def test_ordinary_hdf5_is_read(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["plain"] = np.arange(5)
        file.create_dataset("zipped", data=np.zeros(10_000), compression="gzip", shuffle=True)
        file.create_dataset("checked", data=np.zeros(10_000), chunks=True, fletcher32=True)
        file.create_dataset("names", data=["a", "b"], dtype=h5py.string_dtype())
        file.create_dataset("none", shape=(0, 3))
        file["twice"] = file["plain"]
    with files.open_hdf5(tmp_path / "x.h5") as file:
        assert file["twice"][:].tolist() == [0, 1, 2, 3, 4]


def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    if not hasattr(os, "mkfifo"):
        pytest.skip("this system has no pipes with names")
    os.mkfifo(tmp_path / "pipe")
    for read in (files.read_json, files.sha256_file, files.open_hdf5):
        with pytest.raises(OSError, match="not a regular file"):
            read(tmp_path / "pipe")


@pytest.mark.parametrize(
    ("count", "words"),
    [(0, "0 bytes"), (999, "999 bytes"), (1000, "1.0 kB"), (2.5e6, "2.5 MB"), (3e12, "3000.0 GB")],
)
def test_bytes_in_words(count: float, words: str) -> None:
    assert files.in_words(count) == words


def test_what_others_write_is_moved_to_its_place_whole(tmp_path: Path) -> None:
    for name in ("file", "folder"):
        with files.building(tmp_path / name) as aside:
            (aside / "folder").mkdir()
            (aside / "folder" / "part").write_bytes(b"1")
            (aside / "file").write_bytes(b"2")
            files.put_in_place(aside / name, tmp_path / name)
    assert (tmp_path / "folder" / "part").read_bytes() == b"1"
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["file", "folder"]


@pytest.mark.parametrize("error", [KeyboardInterrupt("stop"), ValueError("stop")])
def test_what_ends_early_leaves_nothing(tmp_path: Path, error: BaseException) -> None:
    def fail() -> None:
        with files.building(tmp_path / "x") as aside:
            (aside / "x").write_bytes(b"half")
            raise error

    with pytest.raises(type(error), match="stop"):
        fail()
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="cannot write"), files.building(tmp_path / "no" / "x"):
        pass


def test_all_that_is_cached_lies_in_one_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for own, base, expected in (
        (str(tmp_path / "own"), "", tmp_path / "own"),
        ("", str(tmp_path / "base"), tmp_path / "base" / "bottleneck-pipeline"),
        ("", "", Path.home() / ".cache" / "bottleneck-pipeline"),
    ):
        monkeypatch.setenv("PIPELINE_CACHE", own)
        monkeypatch.setenv("XDG_CACHE_HOME", base)
        assert files.cache_directory() == expected
