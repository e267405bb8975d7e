from __future__ import annotations

import csv
import io
import os
import subprocess
from pathlib import Path

import pytest

from pipeline.common import files
from pipeline.common.errors import OutputError


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


def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    if not hasattr(os, "mkfifo"):
        pytest.skip("this system has no pipes with names")
    os.mkfifo(tmp_path / "pipe")
    for read in (files.read_json, files.sha256_file, files.read_bytes):
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


@pytest.mark.parametrize(
    ("name", "why"), [("file", "there is a file of that name"), ("file/deep/er", "Not a directory")]
)
def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path, name: str, why: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match=rf"cannot make the folder .*{name} \({why}\); choose "):
        files.make_folder(tmp_path / name)


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


@pytest.mark.parametrize(
    "word", ["plain", "two words", "it's", "", "caf\u00e9", "\udcff'1", "new\nline\\", "\x1b[31m"]
)
def test_a_shell_reads_the_word_that_was_written(word: str) -> None:
    line = files.command_line(["printf", "%s", word])
    assert line.isprintable()
    assert subprocess.run(["bash", "-c", line], stdout=-1, check=True).stdout == os.fsencode(word)


@pytest.mark.parametrize("name", ["store.json", ".x", "a.tmp", ".notes.deadbeef.tmp"])
def test_only_names_that_it_gives_are_temporary(name: str) -> None:
    assert files.final_name(name) == ("notes" if "beef" in name else None)


def test_no_path_is_taken_for_an_option() -> None:
    assert [files.argument(Path(name)) for name in ("-s", "s")] == ["./-s", "s"]
