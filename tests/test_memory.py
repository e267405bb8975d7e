from __future__ import annotations

from pathlib import Path

import pytest

from pipeline import memory
from pipeline.errors import ChoiceError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2GB", 2_000_000_000),
        ("2 gb", 2_000_000_000),
        ("1.5G", 1_500_000_000),
        ("2GiB", 2 * 2**30),
        ("512 MiB", 512 * 2**20),
        ("100kB", 100_000),
        ("4096", 4096),
        (4096, 4096),
    ],
)
def test_sizes_as_people_write_them(text: str | int, expected: int) -> None:
    assert memory.parse_bytes(text) == expected


@pytest.mark.parametrize("text", ["", "GB", "2 parsecs", "-1GB", "0", True, "1e9", "nan"])
def test_what_is_no_size_is_named(text: str) -> None:
    with pytest.raises(ChoiceError, match="expected a size such as 2GB for --memory, found"):
        memory.parse_bytes(text)


def test_a_process_takes_less_than_there_is() -> None:
    assert 10 << 20 < memory.resident_bytes() < 1 << 40
    assert 0 < memory.available_bytes() < 1 << 50


def test_a_control_group_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_GROUP", tmp_path)
    (tmp_path / "memory.max").write_text("3000000\n")
    (tmp_path / "memory.current").write_text("1000000\n")
    assert memory.available_bytes() == 2_000_000
    (tmp_path / "memory.max").write_text("max\n")
    assert memory.available_bytes() > 2_000_000
