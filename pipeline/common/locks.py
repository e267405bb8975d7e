"""Locks between processes, held by the kernel: they end with the process that holds them."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

NAME = "LOCK"


class Locked(Exception):
    """Another process has the lock; the text says which, as far as it told."""


@contextmanager
def locked(folder: Path, *, seconds: float = 0.0, name: str = NAME) -> Iterator[Path]:
    """
    Be the only one who writes to a folder.

    Parameters
    ----------
    folder : Path
        Must exist. The lock is a file in it; whoever wants that gone deletes it while it is held:
        who waited for it looks again what the name leads to.
    seconds : float, default 0.0
        How long to wait for others.
    name : str, default "LOCK"
        Of the file.

    Yields
    ------
    Path
        The lock file.

    Raises
    ------
    Locked
        If another process has the lock.
    OSError
        If there is no such folder, or no file can be made in it.
    """
    import filelock

    path = folder / name
    if os.path.lexists(path) and not path.is_file():  # opening a pipe would wait for ever
        raise FileExistsError(errno.EEXIST, f"{name} in it is no file")
    # What hinders us is said here; the library takes some of it for another's lock.
    path.open("ab").close()
    # One lock for each call: a second one in the same process must be refused like any other.
    lock = filelock.FileLock(path, timeout=seconds, is_singleton=False, thread_local=False)
    try:
        lock.acquire()
    except filelock.Timeout:
        raise Locked(_holder(path)) from None
    try:
        if not isinstance(lock, filelock.SoftFileLock):  # whose file says that already
            _say_who(path)
        yield path
    finally:
        lock.release(force=True)


def _holder(path: Path) -> str:
    with suppress(OSError):
        return path.read_bytes()[:200].decode(errors="replace").strip() or "another process"
    return "another process"


def _say_who(path: Path) -> None:
    """Write down who holds the lock; on a full disk nobody is told, but it holds."""
    with suppress(OSError), path.open("r+b") as file:
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}".encode())
