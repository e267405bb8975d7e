"""Images that are files: read whole, hashed by nobody yet, never waited for."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Generator, Iterable
from dataclasses import dataclass
from functools import partial

from ._source import Content, Read, Source, Stat, Unreadable

MOST_BYTES = 256 * 2**20
# What another try will not change. Everything else (EIO, ESTALE, ETIMEDOUT, EMFILE, ...) may be
# gone the next time.
_LASTING = {
    errno.EACCES: "permission denied",
    errno.EPERM: "permission denied",
    errno.ELOOP: "a loop of symbolic links",
    errno.EISDIR: "a folder, not a file",
    errno.ENXIO: "a socket or a device, not a file",
    errno.ENAMETOOLONG: "the path is too long",
    errno.ENOTDIR: "no such file",
}
# Without O_NONBLOCK, opening a FIFO waits for a writer; without O_BINARY, Windows changes bytes.
_FLAGS = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)


@dataclass(frozen=True, kw_only=True, eq=False)
class FileSource(Source):
    """
    Images in files of their own.

    Attributes
    ----------
    listed : bool
        Whether the paths come from a list, not from a look at the folders: then a file that is
        missing was never there.
    leaving : frozenset of bytes
        Paths of links that lead out of the source, and are not followed.
    """

    listed: bool = False
    leaving: frozenset[bytes] = frozenset()

    def stat(self, row: int) -> Stat | None:
        try:
            return _stat(os.stat(self._path(row)))
        except OSError:
            return None

    def contents(self, rows: Iterable[int]) -> Generator[tuple[int, Read], None, None]:
        for row in rows:
            if self.paths[row] in self.leaving:
                yield row, _refuse_link
            else:
                yield row, partial(_read, self._path(row), self.listed)

    def _path(self, row: int) -> bytes:
        return os.path.join(os.fsencode(self.location), self.paths[row])


def _refuse_link() -> Content:
    raise Unreadable("a link that leads out of the source (--follow-links)", transient=False)


def _stat(found: os.stat_result) -> Stat:
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _read(path: bytes, listed: bool) -> Content:
    """Read a whole file, or say why not."""
    try:
        with open(path, "rb", buffering=0, opener=_open) as file:
            found = os.fstat(file.fileno())  # of what is read, not of what the path names by now
            if not stat.S_ISREG(found.st_mode):
                raise Unreadable("a FIFO, socket or device, not a file", transient=False)
            if found.st_size > MOST_BYTES:
                raise Unreadable(
                    f"too large: {found.st_size} bytes, of {MOST_BYTES} at most", transient=False
                )
            data = file.read(found.st_size + 1)
    except FileNotFoundError:
        lasting = listed or os.path.islink(path)
        reason = "no such file" if lasting else "vanished since the folder was listed"
        raise Unreadable(reason, transient=not lasting) from None
    except OSError as error:
        reason = _LASTING.get(error.errno or 0) or f"cannot be read: {error.strerror or error}"
        raise Unreadable(reason, transient=error.errno not in _LASTING) from None
    if len(data) != found.st_size:
        raise Unreadable("changed while it was read", transient=True)
    return Content(data, _stat(found))


def _open(path: str, flags: int) -> int:
    return os.open(path, flags | _FLAGS)
