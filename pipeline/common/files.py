"""Bytes on disk: durable writes, hashes, canonical JSON."""

from __future__ import annotations

import csv
import errno
import hashlib
import io
import json
import os
import re
import secrets
import shlex
import shutil
import stat
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from pipeline.common.errors import OutputError, ResourceError

_FORMULA = ("=", "+", "-", "@", "\t", "\r")


# What an operating system says when a disk, a quota or a file is at its limit, or fails.
FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO})

_FULL = 64 * 1024  # bytes free on a disk that somebody has just filled


def read_bytes(path: Path) -> bytes:
    """
    Read a whole file.

    Raises
    ------
    FileNotFoundError
        If nothing is there.
    OSError
        If it is no file, or cannot be read.
    """
    check_regular(path)
    return path.read_bytes()


def sha256_file(path: Path) -> str:
    """Return the SHA-256 of a file's bytes in hex."""
    check_regular(path)
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_regular(path: Path) -> None:
    """
    Refuse what is no file: opening a pipe would wait for ever.

    Raises
    ------
    FileNotFoundError
        If nothing is there.
    OSError
        If it is a folder, a pipe or a device.
    """
    if not stat.S_ISREG(path.stat().st_mode):
        raise OSError(f"{path} is not a regular file")


def dangling(path: Path) -> Path | None:
    """Find the link that leads nowhere in a path: its last name, or a folder or two above that."""
    links = (each for each in (path, path.parent, path.parent.parent) if each.is_symlink())
    return next((link for link in links if not link.exists()), None)


def is_absent(path: Path, error: OSError) -> bool:
    """
    Whether a failure to open or list means that nothing is there.

    A link that leads nowhere is something: perhaps its disk is not there this time.

    Parameters
    ----------
    path : Path
    error : OSError
        What the attempt ended with.
    """
    return isinstance(error, FileNotFoundError) and dangling(path) is None


def canonical_json(value: object) -> bytes:
    """Encode a value as the one JSON text that its hash is taken from."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def write_json(path: Path, value: object) -> None:
    """Replace a JSON file atomically and durably."""
    write_durably(path, json.dumps(value, indent=2, allow_nan=False).encode() + b"\n")


def read_json(path: Path) -> Any:
    """
    Read a JSON object.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the bytes are not a JSON object.
    """
    value = json.loads(read_bytes(path).decode())
    if not isinstance(value, dict):
        raise ValueError(f"expected a JSON object in {path}")
    return value


def cache_directory() -> Path:
    """Return the user's folder of what can be made again; ``PIPELINE_CACHE`` names another."""
    if own := os.environ.get("PIPELINE_CACHE"):
        return Path(own)
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "bottleneck-pipeline"


def sync_directory(path: Path) -> None:
    """Make the names in a directory durable (a rename is not, before this)."""
    if os.name == "nt":  # Windows cannot open a directory; its renames are journalled
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def replacing(path: Path) -> Iterator[io.BufferedRandom]:
    """
    Write a file aside; when the block ends well, sync it and rename it to its final name.

    Whatever goes wrong, the file that stood there before stays and no temporary file is left.

    Parameters
    ----------
    path : Path
        The final name; its folder must exist.

    Yields
    ------
    binary file
        Open for reading and writing.
    """
    aside = _aside(path)
    try:
        with _begin(aside, path) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, path)
        sync_directory(path.parent)
    except OSError as error:
        if error.errno not in FULL:
            raise
        raise _no_room(path, error) from error
    finally:
        with suppress(OSError):  # whatever hinders it matters less than what was or went wrong
            aside.unlink(missing_ok=True)


def check_place(path: Path) -> None:
    """
    See beforehand, when nothing has been computed yet, that a file can be written.

    Parameters
    ----------
    path : Path
        What it will be called; what stands there is not touched.

    Raises
    ------
    OutputError
        If its folder is not there or takes no files.
    ResourceError
        If the disk is full.
    """
    aside = _aside(path)
    try:
        _begin(aside, path).close()
        aside.unlink()
    except OSError as error:
        if error.errno in FULL:
            raise _no_room(path, error) from error
        raise _no_place(path, error) from error


def _aside(path: Path) -> Path:
    """Name what a file is called until it is whole; `final_name` knows it again."""
    # It must fit where the final name does, and a name has 255 bytes at the most.
    return path.with_name(f".{path.name[:200]}.{secrets.token_hex(4)}.tmp")


_TEMPORARY = re.compile(r"\.(.+)\.[0-9a-f]{8}\.tmp", re.DOTALL)


def final_name(name: str) -> str | None:
    """Return what a file that `replacing` writes is to be called; None for any other file."""
    found = _TEMPORARY.fullmatch(name)
    return None if found is None else found[1]


@contextmanager
def building(path: Path) -> Iterator[Path]:
    """
    Give a temporary folder beside a place that something is made for, and take it away again.

    What other programs' writers leave in it can be looked at, then moved to its place by
    `put_in_place`.

    Parameters
    ----------
    path : Path
        The final name; its folder must exist.

    Raises
    ------
    ResourceError
        If the disk is full, by whatever name a library says so.
    """
    try:
        aside = Path(tempfile.mkdtemp(dir=path.parent, prefix=".building-"))
    except OSError as error:
        raise _no_place(path, error) from error
    try:
        yield aside
    except Exception as error:
        if _is_full(aside, error):
            raise _no_room(path, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))) from error
        raise
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _is_full(folder: Path, error: Exception) -> bool:
    """Whether a library gave up for want of room; not every one says so."""
    if isinstance(error, OSError) and error.errno in FULL:
        return True
    return os.strerror(errno.ENOSPC) in str(error) or shutil.disk_usage(folder).free < _FULL


def put_in_place(made: Path, path: Path) -> None:
    """Give a finished file or folder its final name, durably; nothing may stand there."""
    for file in made.rglob("*") if made.is_dir() else (made,):
        if file.is_file():
            with file.open("r+b") as open_file:
                os.fsync(open_file.fileno())
    os.rename(made, path)
    sync_directory(path.parent)


def _begin(aside: Path, path: Path) -> io.BufferedRandom:
    try:
        return open(aside, "x+b")
    except (FileNotFoundError, NotADirectoryError, PermissionError) as error:
        raise _no_place(path, error) from error


def _no_place(path: Path, error: OSError) -> OutputError:
    return OutputError(f"cannot write {path} ({error.strerror}); choose another place")


def _no_room(path: Path, error: OSError) -> ResourceError:
    advice = "look after the disk" if error.errno == errno.EIO else "make room"
    return ResourceError(
        f"cannot write {path} ({error.strerror}; {in_words(free_bytes(path.parent))} free); "
        f"nothing that was there is lost: {advice} and run the same command again"
    )


def make_folder(path: Path, *, option: str = "--out") -> None:
    """
    Make a folder and those above it, durably, where they are missing.

    Parameters
    ----------
    path : Path
    option : str, default "--out"
        What names another place, for the message.

    Raises
    ------
    OutputError
        If that cannot be.
    """
    missing = [each for each in (path, *path.absolute().parents) if not each.exists()]
    try:
        for each in reversed(missing):
            each.mkdir(exist_ok=True)
            sync_directory(each.absolute().parent)
        if not path.is_dir():
            raise FileExistsError(errno.EEXIST, "there is a file of that name")
    except OSError as error:
        if error.errno in FULL:
            raise _no_room(path, error) from error
        raise OutputError(
            f"cannot make the folder {path} ({error.strerror}); choose another place with {option}"
        ) from error


def free_bytes(folder: Path) -> int:
    """Free bytes on the file system that a folder, existing or not, is or will be on."""
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    return shutil.disk_usage(existing).free


def write_durably(path: Path, data: bytes) -> None:
    """Replace a file by these bytes, atomically and durably."""
    with replacing(path) as file:
        file.write(data)


def in_words(count: float) -> str:
    """Write a number of bytes as a person would say it, such as ``"1.4 GB"``."""
    for unit in ("bytes", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"


def argument(path: Path) -> str:
    """Write a path so that no command takes it for an option."""
    return f"./{path}" if str(path).startswith("-") else str(path)


def command_line(words: Iterable[str]) -> str:
    r"""
    Write words as a command that bash and zsh read as it stands.

    Names on disk may have bytes that are no text, or that would move a cursor: these are written
    as ``$'\377'``.
    """
    return " ".join(
        shlex.quote(word) if word.isprintable() else f"$'{_escaped(word)}'" for word in words
    )


def _escaped(word: str) -> str:
    """Write what is not plain text as three octal digits, whatever follows."""
    return "".join(
        chr(byte) if 32 <= byte < 127 and byte not in b"'\\" else f"\\{byte:03o}"
        for byte in os.fsencode(word)
    )


def csv_text(rows: Iterable[Sequence[object]], *, ends: str = "\n") -> str:
    """
    Write rows as CSV that a spreadsheet shows as it is; `ends` stands at the end of each.

    Text that a spreadsheet would run as a formula gets a single quote in front (OWASP's "CSV
    injection"): names of files and classes may come from strangers.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator=ends)
    for row in rows:
        writer.writerow(
            f"'{cell}" if isinstance(cell, str) and cell.startswith(_FORMULA) else cell
            for cell in row
        )
    return text.getvalue()
