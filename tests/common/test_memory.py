from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.common import memory
from pipeline.common.errors import ChoiceError, ResourceError


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
    (tmp_path / "memory.stat").write_text("anon 400000\ninactive_file 600000\n")
    assert memory.available_bytes() == 2_600_000, "files that were read can be let go"
    (tmp_path / "memory.max").write_text("max\n")
    assert memory.available_bytes() > 2_600_000


def test_a_control_group_of_the_first_kind_counts_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "_GROUP", tmp_path)
    monkeypatch.setattr(memory, "_own_group", lambda controller: Path("docker") / "abc")
    outer = tmp_path / "memory" / "docker"
    for folder, limit, used in ((outer, 3_000_000, 500_000), (outer / "abc", 9_000_000, 100_000)):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "memory.limit_in_bytes").write_text(f"{limit}\n")
        (folder / "memory.usage_in_bytes").write_text(f"{used}\n")
    assert memory.available_bytes() == 2_500_000


def test_what_does_not_fit_is_refused_with_advice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "available_bytes", lambda: 2_000_000)
    memory.check_room("a batch", resident=1e6, mapped=0, advice="use less")
    with pytest.raises(
        ResourceError, match=r"a batch needs about 3\.0 MB of memory, 2\.0 MB are free; use less"
    ):
        memory.check_room("a batch", resident=3e6, mapped=0, advice="use less")


def test_a_limit_on_address_space_counts_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_allowed_address_space", lambda: 5_000_000)
    with pytest.raises(
        ResourceError, match=r"`ulimit -v` leaves 5\.0 MB; raise that limit, or use less"
    ):
        memory.check_room("a batch", resident=0, mapped=6e6, advice="use less")


@pytest.mark.parametrize(
    ("error", "known"),
    [
        (MemoryError(), True),
        (OSError(12, "Cannot allocate memory"), True),
        (RuntimeError("Exception from src/inference: std::bad_alloc"), True),
        (RuntimeError("can't start new thread"), True),
        (ImportError("libx.so: failed to map segment from shared object"), True),
        (type("ResourceExhaustedError", (Exception,), {})("OOM when allocating tensor"), True),
        (RuntimeError("shapes differ"), False),
        (KeyboardInterrupt(), False),
    ],
)
def test_the_words_of_libraries_for_too_little_memory(error: BaseException, known: bool) -> None:
    assert memory.ran_out(error) is known
