"""How much memory there is, and how much this process has taken."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipeline.common.errors import ChoiceError, ResourceError
from pipeline.common.files import in_words

_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]?)(i?)b?\s*", re.IGNORECASE)
# glibc, C++, OpenVINO, TensorFlow, the dynamic linker and Python, in this order.
_RAN_OUT = re.compile(
    r"cannot allocate memory|bad_alloc|failed to allocate|OOM when allocating|"
    r"failed to map segment|can't start new thread|out of memory",
    re.IGNORECASE,
)
# Where a control group (a container, a batch job) caps its processes.
_GROUP = Path("/sys/fs/cgroup")
# Of what is free, what may be planned with: estimates err, and other programs take memory too.
_SHARE = 0.8


def parse_bytes(text: str | int) -> int:
    """
    Read a size such as ``2GB``, ``512 MiB`` or a number of bytes.

    Raises
    ------
    ChoiceError
        If it is none, or not above 0.
    """
    found = _SIZE.fullmatch(str(text))
    if found is None or isinstance(text, bool) or float(found[1]) <= 0:
        raise ChoiceError(f"expected a size such as 2GB for --memory, found {text!r}")
    power = " kmgt".index(found[2].lower() or " ")
    return int(float(found[1]) * (1024 if found[3] else 1000) ** power)


def memory_limit(asked: str | int | None) -> int:
    """Return the bytes that were asked for; without a word, most of what is free."""
    return int(_SHARE * available_bytes()) if asked is None else parse_bytes(asked)


def available_bytes() -> int:
    """Return what a process may take before others suffer, or its control group's limit."""
    return max(0, int(min(_of_machine(), *_of_groups())))


def resident_bytes() -> int:
    """Return what this process has in memory."""
    return int(_of_process().rss)


def address_space_bytes() -> int:
    """Return what this process has mapped, in memory or not."""
    return int(_of_process().vms)


def check_room(what: str, *, resident: float, mapped: float, advice: str) -> None:
    """
    Refuse what would take more memory than there is, before the system ends the process.

    Parameters
    ----------
    what : str
        What needs it, for the message.
    resident : float
        Bytes that it takes at the least.
    mapped : float
        Bytes of address space that it wants, where that is limited (``ulimit -v``): libraries
        written in C++ crash where they do not get it.
    advice : str
        What to do.

    Raises
    ------
    ResourceError
        If there is less.
    """
    if resident > (free := available_bytes()):
        raise ResourceError(
            f"{what} needs about {in_words(resident)} of memory, {in_words(free)} are free; "
            f"{advice}"
        )
    if mapped > (allowed := _allowed_address_space()):
        raise ResourceError(
            f"{what} needs about {in_words(mapped)} of address space, `ulimit -v` leaves "
            f"{in_words(max(0, allowed))}; raise that limit, or {advice}"
        )


def smaller_batch(batch_size: int) -> str:
    """Say how a forward pass takes less memory."""
    less = f"--batch-size {max(1, batch_size // 4)} or " if batch_size > 1 else ""
    return f"use {less}a smaller --size"


def ran_out(error: BaseException) -> bool:
    """Whether an error is some library's word for too little memory."""
    if isinstance(error, MemoryError) or type(error).__name__ == "ResourceExhaustedError":
        return True
    return isinstance(error, Exception) and _RAN_OUT.search(str(error)) is not None


def _allowed_address_space() -> float:
    """Return what this process may still map."""
    try:
        import resource
    except ImportError:  # Windows
        return math.inf
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    return math.inf if limit == resource.RLIM_INFINITY else limit - address_space_bytes()


def _of_process() -> Any:
    """Return what psutil knows of the memory of this process."""
    import psutil  # takes 20 ms, which `pipeline --help` does without

    return psutil.Process().memory_info()


def _of_machine() -> int:
    """Return what is free on the machine, as if there were no control groups."""
    import psutil

    return int(psutil.virtual_memory().available)


def _of_groups() -> Iterator[float]:
    """
    Yield what each control group leaves to this process: its own, and those around it.

    psutil knows nothing of them.
    """
    yield math.inf
    # The kernel's Documentation/admin-guide: cgroup-v2.rst and cgroup-v1/memory.rst.
    second = ("memory.max", "memory.current", "inactive_file")
    first = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
    for folder, names in (
        (_GROUP, second),
        (_GROUP / "unified", second),
        (_GROUP / "memory", first),
    ):
        own = _own_group("memory" if names is first else "")
        for group in (own, *own.parents):
            limit, used = (_number(folder / group / name) for name in names[:2])
            if limit is not None:
                # Files that were read count as used, and are let go when somebody needs memory.
                yield limit - (used or 0) + _stat(folder / group / "memory.stat", names[2])


def _own_group(controller: str) -> Path:
    """Return the control group of this process, relative to where the controller is mounted."""
    try:
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers == controller:
                return Path(path.lstrip("/"))
    except (OSError, ValueError):
        pass
    return Path()


def _stat(path: Path, name: str) -> int:
    try:
        for line in path.read_text().splitlines():
            key, _, value = line.partition(" ")
            if key == name:
                return int(value)
    except (OSError, ValueError):
        pass
    return 0


def _number(path: Path) -> int | None:
    """Return the number in a file of the kernel; None for ``max`` and where there is none."""
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None
