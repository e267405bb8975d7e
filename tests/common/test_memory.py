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
        ("0.5 MB", 500_000),
        ("1", 1),
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


def test_without_a_word_most_of_what_is_free_is_planned_with(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(memory, "available_bytes", lambda: 10_000_000)
    assert memory.memory_limit(None) == 8_000_000
    assert memory.memory_limit("3MB") == 3_000_000


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
    (tmp_path / "memory.current").write_text("9000000\n")
    assert memory.available_bytes() == 0, "above its limit, until the system takes some back"
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


def test_the_own_group_is_found_whatever_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in `/proc/self/cgroup`; names of groups may have colons."""
    groups = "4:cpuset,cpu:/else\n3:memory:/old/job\n0::/new/job:1\n"
    real = Path.read_text

    def read_text(path: Path, *options: str) -> str:
        return groups if path == Path("/proc/self/cgroup") else real(path, *options)

    monkeypatch.setattr(Path, "read_text", read_text)
    monkeypatch.setattr(memory, "_GROUP", tmp_path)
    second, first = tmp_path / "new/job:1", tmp_path / "memory/old/job"
    for folder, name in ((second, "memory.max"), (first, "memory.limit_in_bytes")):
        folder.mkdir(parents=True)
        (folder / name).write_text("7000000\n")
        assert memory.available_bytes() == 7_000_000
        (folder / name).unlink()
        assert memory.available_bytes() > 7_000_000


def test_what_does_not_fit_is_refused_with_advice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "available_bytes", lambda: 2_000_000)
    memory.check_room("a batch", resident=2e6, mapped=0, advice="use less")
    with pytest.raises(
        ResourceError, match=r"a batch needs about 3\.0 MB of memory, 2\.0 MB are free; use less"
    ):
        memory.check_room("a batch", resident=3e6, mapped=0, advice="use less")


@pytest.mark.parametrize(("limit", "left"), [(5_000_000, r"2\.0 MB"), (1_000_000, "0 bytes")])
def test_a_limit_on_address_space_counts_too(
    monkeypatch: pytest.MonkeyPatch, limit: int, left: str
) -> None:
    """Of the soft limit, what the process has mapped is gone."""
    resource = pytest.importorskip("resource", reason="this system has no limits")
    monkeypatch.setattr(resource, "getrlimit", lambda _: (limit, resource.RLIM_INFINITY))
    monkeypatch.setattr(memory, "address_space_bytes", lambda: 3_000_000)
    with pytest.raises(
        ResourceError,
        match=rf"2\.5 MB of address space, `ulimit -v` leaves {left}; raise that limit, or use",
    ):
        memory.check_room("a batch", resident=0, mapped=2.5e6, advice="use less")
    if limit > 3_000_000:
        memory.check_room("a batch", resident=0, mapped=2e6, advice="use less")
    monkeypatch.setattr(resource, "getrlimit", lambda _: (resource.RLIM_INFINITY, limit))
    memory.check_room("a batch", resident=0, mapped=1e15, advice="use less")


@pytest.mark.parametrize(
    ("size", "advice"),
    [
        (32, "use --batch-size 8 or a smaller --size"),
        (2, "use --batch-size 1 or a smaller --size"),
        (1, "use a smaller --size"),
    ],
)
def test_a_smaller_batch_is_a_quarter(size: int, advice: str) -> None:
    assert memory.smaller_batch(size) == advice


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
        (type("Stop", (BaseException,), {})("out of memory"), False),
        (KeyboardInterrupt(), False),
    ],
)
def test_the_words_of_libraries_for_too_little_memory(error: BaseException, known: bool) -> None:
    assert memory.ran_out(error) is known
