"""Bytes on disk: durable writes, hashes, canonical JSON, and HDF5 that cannot lie."""

from __future__ import annotations

import csv
import errno
import hashlib
import io
import json
import os
import secrets
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import OutputError, ResourceError

if TYPE_CHECKING:
    import h5py

# Ids that HDF5 itself defines (https://docs.hdfgroup.org, "Filters in HDF5"): all three are part
# of every build, so that reading a file never loads a plugin.
_DEFLATE, _SHUFFLE, _FLETCHER32 = 1, 2, 3
_FILTERS = {_DEFLATE: "deflate", _SHUFFLE: "shuffle", _FLETCHER32: "fletcher32"}
# The most that deflate can shrink a run of equal bytes (zlib's technical notes: 1032 to 1).
_DEFLATE_LIMIT = 1032
# Tools that make an HDF5 file hold up to this many objects; a model's weights have some thousand.
_MOST_OBJECTS = 100_000
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


# What an operating system says when a disk, a quota or a file is at its limit, or fails.
FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO})

_FULL = 64 * 1024  # bytes free on a disk that somebody has just filled


class HostileFile(ValueError):
    """An HDF5 file reaches outside itself, needs a plugin, or claims more than it can hold."""


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
    check_regular(path)
    value = json.loads(path.read_bytes().decode())
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
    # The aside name must fit where the final one does, and a name has 255 bytes at the most.
    aside = path.with_name(f".{path.name[:200]}.{secrets.token_hex(4)}.tmp")
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
        raise _no_room(path, error.strerror) from error
    finally:
        aside.unlink(missing_ok=True)


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
            raise _no_room(path, os.strerror(errno.ENOSPC)) from error
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


def _no_room(path: Path, why: str | None) -> ResourceError:
    return ResourceError(
        f"cannot write {path} ({why}; {in_words(shutil.disk_usage(path.parent).free)} free); "
        "nothing that was there is lost: make room and run the same command again"
    )


def make_folder(path: Path) -> None:
    """
    Make a folder and those above it, where they are missing.

    Raises
    ------
    OutputError
        If that cannot be.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"cannot make the folder {path} ({error.strerror}); choose another place with --out"
        ) from error


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


def csv_text(rows: Iterable[Sequence[object]]) -> str:
    """
    Write rows as CSV that a spreadsheet shows as it is.

    Text that a spreadsheet would run as a formula gets a single quote in front (OWASP's "CSV
    injection"): names of files and classes may come from strangers.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    for row in rows:
        writer.writerow(
            f"'{cell}" if isinstance(cell, str) and cell.startswith(_FORMULA) else cell
            for cell in row
        )
    return text.getvalue()


def hdf5_bytes(fill: Callable[[h5py.File], None]) -> bytes:
    """
    Build a small HDF5 file in memory.

    HDF5 never syncs, and a full disk inside it ends the interpreter; bytes in memory can be
    written and synced by ourselves.

    Parameters
    ----------
    fill : callable
        Given the open file, writes what belongs in it.

    Returns
    -------
    bytes
        The whole file.
    """
    import h5py

    memory = io.BytesIO()
    with h5py.File(memory, "w") as file:
        fill(file)
    return memory.getvalue()


def open_hdf5(path: Path) -> h5py.File:
    """
    Open an HDF5 file for reading after a look at what it claims.

    Parameters
    ----------
    path : Path
        The file; it is never locked and never written.

    Returns
    -------
    h5py.File
        To be closed by the caller.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    HostileFile
        If the file has soft or external links, external or virtual storage, filters that HDF5
        itself does not bring, or shapes that its bytes cannot hold.
    OSError
        If it is not an HDF5 file, or a damaged one.
    """
    import h5py

    check_regular(path)
    file = h5py.File(path, "r", locking=False)
    try:
        _inspect(file)
    except RuntimeError as error:  # h5py's word for damaged metadata
        file.close()
        raise OSError(f"{path} cannot be read as HDF5: {error}") from error
    except BaseException:
        file.close()
        raise
    return file


def _inspect(file: h5py.File) -> None:
    """Refuse what a well-meant file never has; nothing is read but metadata."""
    import h5py

    seen = 0
    groups: list[h5py.Group] = [file]
    visited = set()
    while groups:
        group = groups.pop()
        address = h5py.h5o.get_info(group.id).addr
        if address in visited:
            continue
        visited.add(address)
        for name in group:
            seen += 1
            if seen > _MOST_OBJECTS:
                raise HostileFile(f"more than {_MOST_OBJECTS} objects")
            link = group.get(name, getlink=True)
            if not isinstance(link, h5py.HardLink):
                raise HostileFile(f"'{name}' is a {type(link).__name__}, not data of this file")
            member = group[name]
            if isinstance(member, h5py.Group):
                groups.append(member)
            elif isinstance(member, h5py.Dataset):
                _inspect_dataset(member)


def _inspect_dataset(dataset: h5py.Dataset) -> None:
    """Refuse storage outside the file, unknown filters and impossible shapes."""
    creation = dataset.id.get_create_plist()
    if creation.get_external_count():
        raise HostileFile(f"'{dataset.name}' keeps its numbers in another file")
    if dataset.is_virtual:
        raise HostileFile(f"'{dataset.name}' is a view into other files")
    filters = {creation.get_filter(i)[0] for i in range(creation.get_nfilters())}
    if unknown := filters - set(_FILTERS):
        known = ", ".join(_FILTERS.values())
        raise HostileFile(
            f"'{dataset.name}' needs HDF5 filter {min(unknown)}; accepted are {known}"
        )
    claimed = dataset.size * dataset.dtype.itemsize if dataset.size else 0
    # A few bytes of slack: small datasets may live inside the metadata.
    held = dataset.id.get_storage_size() * (_DEFLATE_LIMIT if _DEFLATE in filters else 1)
    if claimed > held + 65536 and creation.get_layout() != 0:
        raise HostileFile(f"'{dataset.name}' claims {claimed} bytes and holds {held}")
