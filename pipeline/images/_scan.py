"""What is in a folder: images, further folders, and what is left out."""

from __future__ import annotations

import heapq
import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from pipeline.common.errors import SourceError
from pipeline.common.names import BLOCK, Names

from . import _formats
from ._text import decoded, printable

# Made by macOS archives and Synology disks: thumbnails and metadata of the pictures beside them;
# and by file systems: what was deleted or lost.
_SIDECAR_FOLDERS = frozenset(
    (b"__MACOSX", b"@eaDir", b"lost+found", b"System Volume Information", b"$RECYCLE.BIN")
)
# Files by which a folder is a store, a head or a report of this program: the pictures in it and
# below are no photos.
_OURS = (
    frozenset((b"store.json", b"probe.h5")),
    frozenset((b"store.json", b"shards")),
    frozenset((b"report.json", b"confusion.png")),
    frozenset((b"learning_curve.json", b"learning_curve.png")),
    frozenset((b"head.json", b"weights-")),
)
_MERGED = 64  # lists that are put in order together
_MARKS = frozenset[bytes]().union(*_OURS)


@dataclass
class Listing:
    """
    Names of folders and images, sorted by their bytes; and of all else the number, by kind.

    `leaving` are those of the images that are links to a place outside the source; `nowhere` links
    to something that is not there, by whose name it was no image; `ours` says whether the folder is
    a store, a head or a report of this program.
    """

    folders: list[bytes] = field(default_factory=list)
    images: Names = field(default_factory=lambda: Names.of(()))
    leaving: list[bytes] = field(default_factory=list)
    nowhere: list[bytes] = field(default_factory=list)
    ours: bool = False
    ignored: Counter[str] = field(default_factory=Counter)


def look(path: bytes, *, inside: bytes | None) -> Listing:
    """
    List one folder.

    Parameters
    ----------
    path : bytes
    inside : bytes or None
        The real path of the folder that links must not leave; None for links to anywhere.

    Raises
    ------
    SourceError
        If the folder cannot be listed, or links to another one that is outside.
    """
    try:
        return _list(path, inside)
    except OSError as error:
        raise _unlisted(path, error) from error


def list_folder(path: bytes, *, inside: bytes | None) -> Listing:
    """
    List a folder of classes, or of splits.

    Raises
    ------
    SourceError
        As `look`, and if a link in it leads to what is not there, which may be a class, or it is a
        result of this program.
    """
    listing = look(path, inside=inside)
    if listing.ours:
        raise SourceError(
            f"expected photos in {printable(path)}, found a store, a head or a report of this "
            "program; name the folder of the photos"
        )
    if listing.nowhere:
        link = os.path.join(path, listing.nowhere[0])
        raise SourceError(
            f"expected folders and images in {printable(path)}, found {printable(link)}, a link to "
            f"{printable(os.readlink(link))}, which is not there; bring that back, or remove the "
            "link"
        )
    return listing


def unwrapped(
    root: bytes, folder: bytes, *, inside: bytes | None, idle: Callable[[str], bool] | None = None
) -> bytes:
    """
    Go down folders that only repeat their own name, as some archives do when they are unpacked.

    Parameters
    ----------
    root, folder : bytes
    inside : bytes or None
        As for `look`.
    idle : callable, optional
        Tells of the name of a folder that is alone whether it says nothing either.

    Returns
    -------
    bytes
        The folder to look into, relative to `root`.
    """
    while True:
        path = os.path.join(root, folder) if folder else root
        here = look(path, inside=inside)
        own = os.path.basename(path.rstrip(b"/")).lower()
        if here.images or len(here.folders) != 1:
            return folder
        [only] = here.folders
        if only.lower() != own and not (idle is not None and idle(decoded(only))):
            return folder
        folder = join(folder, here.folders[0])


def boundary(root: str | bytes, *, follow_links: bool) -> bytes | None:
    """Return what links must not leave, for `list_folder` and `walk`."""
    return None if follow_links else os.path.realpath(os.fsencode(root))


def walk(root: bytes, folder: bytes, *, inside: bytes | None) -> Listing:
    """
    List all images below a folder; their names are relative to `root`, with ``/`` between.

    Symbolic links are followed where they stay inside, but no folder is visited twice, nor the
    root again.

    Raises
    ------
    SourceError
        If a folder cannot be listed, or is outside.
    """
    found, parts = Listing(), list[Names]()
    visited = {_identity(root)} if folder else set()
    waiting = [folder]
    while waiting:
        here = waiting.pop()
        path = os.path.join(root, here)
        try:
            identity = _identity(path)
            if identity in visited:
                found.ignored["folders linked again"] += 1
                continue
            visited.add(identity)
            listing = _list(path, inside)
        except FileNotFoundError:  # removed while we look
            continue
        except OSError as error:
            raise _unlisted(path, error) from error
        if listing.ours:
            found.ignored["results of this program"] += 1
            continue
        waiting += [join(here, name) for name in listing.folders]
        parts.append(Names.of(join(here, name) for name in listing.images))
        found.leaving += [join(here, name) for name in listing.leaving]
        found.ignored += listing.ignored
    found.images = _in_order(parts)
    return found


def _in_order(parts: list[Names]) -> Names:
    """Join lists that are each in order to one that is; few are open at a time."""
    while len(parts) > 1:
        some, parts = parts[:_MERGED], parts[_MERGED:]
        parts.append(Names.of(heapq.merge(*some)))
    return parts[0] if parts else Names.of(())


def _unlisted(path: bytes, error: OSError) -> SourceError:
    return SourceError(
        f"cannot list the folder {printable(path)}: {error.strerror or error}; "
        "make it readable, or move it out of the source, and run this again"
    )


def _identity(path: bytes) -> tuple[int, int]:
    found = os.stat(path)
    return found.st_dev, found.st_ino


def join(folder: bytes, name: bytes) -> bytes:
    """Name an entry of a folder, relative to what the folder is relative to; of the top, itself."""
    return folder + b"/" + name if folder else name


def _list(path: bytes, inside: bytes | None) -> Listing:
    """List one folder, or raise OSError."""
    listing, marks = Listing(), set()
    images, parts = list[bytes](), list[Names]()
    with os.scandir(path) as entries:
        for entry in entries:
            mark = b"weights-" if entry.name.startswith(b"weights-") else entry.name
            if mark in _MARKS:
                marks.add(mark)
            if entry.name.startswith(b"."):
                listing.ignored["hidden"] += 1
            elif _is_folder(entry):
                if _leaves(entry, inside):
                    raise SourceError(
                        f"expected folders inside the source, found {printable(entry.path)}, a "
                        f"link to {printable(os.path.realpath(entry.path))}; add --follow-links "
                        "to read what it leads to, or remove the link"
                    )
                if entry.name in _SIDECAR_FOLDERS:
                    listing.ignored[entry.name.decode()] += 1
                else:
                    listing.folders.append(entry.name)
            elif _is_image(entry):
                images.append(entry.name)
                if len(images) == BLOCK:
                    parts.append(Names.of(sorted(images)))
                    images = []
                if _leaves(entry, inside):
                    listing.leaving.append(entry.name)
            elif _leads_nowhere(entry):
                listing.nowhere.append(entry.name)
                listing.ignored["links to what is not there"] += 1
            else:
                listing.ignored[_kind(entry.name)] += 1
    listing.folders.sort()
    listing.images = _in_order([*parts, Names.of(sorted(images))])
    listing.ours = any(ours <= marks for ours in _OURS)
    return listing


def _leaves(entry: os.DirEntry[bytes], inside: bytes | None) -> bool:
    """Whether an entry is a link to a place that is not inside a folder."""
    if inside is None or not entry.is_symlink():
        return False
    target = os.path.realpath(entry.path)
    return os.path.commonpath([inside, target]) != inside


def _leads_nowhere(entry: os.DirEntry[bytes]) -> bool:
    """Whether an entry is a link to what is not there, such as a folder of another disk."""
    if not entry.is_symlink():
        return False
    try:
        entry.stat()
    except OSError as error:
        return isinstance(error, FileNotFoundError)  # and no loop of links
    return False


def _is_folder(entry: os.DirEntry[bytes]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a loop of symbolic links
        return False


def _is_image(entry: os.DirEntry[bytes]) -> bool:
    """Judge by the extension; where it says nothing by the first bytes, which costs a read."""
    if _formats.has_image_extension(entry.name):
        return True
    if not _formats.may_be_image(entry.name):
        return False
    try:
        if not entry.is_file():  # never wait for a FIFO
            return False
        with open(entry.path, "rb", buffering=0) as file:
            return _formats.is_image(file.read(_formats.SNIFFED))
    except OSError:
        return False


def _kind(name: bytes) -> str:
    extension = _formats.extension(name)
    return "." + printable(extension) if extension else "no extension"
