"""The folder of a store: one writer at a time, and nothing but a store."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from pipeline.common.errors import OutputError, ResourceError, StoreLocked
from pipeline.common.files import FULL, final_name, make_folder
from pipeline.common.locks import NAME as LOCK
from pipeline.common.locks import Locked, locked
from pipeline.store._header import (
    FILE,
    PROBE,
    SHARDS,
    shard_names,
)
from pipeline.store._table import FILE as TABLE
from pipeline.store._table import REJECTED

_FILES = frozenset((FILE, PROBE, TABLE, REJECTED))


@contextmanager
def explained(folder: Path) -> Iterator[None]:
    """Turn a failing disk into the one line that says what is kept and what to do."""
    try:
        yield
    except ResourceError:
        raise
    except OSError as error:
        kind = ResourceError if error.errno in FULL else OutputError
        place = error.filename2 or error.filename or folder
        raise kind(
            f"cannot write {os.fsdecode(place)} ({error.strerror or error}); what was committed is "
            "kept: mend that and run the same command again"
        ) from error


@contextmanager
def alone(folder: Path, *, advice: str = "choose another place with --out") -> Iterator[None]:
    """
    Take the lock of a store, or of a folder that is to become one.

    What was made for that and holds nothing in the end is taken away again.

    Raises
    ------
    StoreLocked
        If another process writes to it.
    OutputError
        If the folder cannot be made, or holds other files.
    """
    made = [path for path in (folder, *folder.absolute().parents) if not path.exists()]
    with ExitStack() as stack:
        stack.callback(_remove_empty, made)
        _check_folder(folder)
        was_there = (folder / LOCK).exists()
        try:
            lock = stack.enter_context(locked(folder))
        except Locked as holder:
            raise StoreLocked(
                f"expected to be alone in {folder}, found it locked by {holder}; "
                f"wait until that run ends or {advice}"
            ) from None
        except OSError as error:
            raise OutputError(f"cannot write to {folder} ({error.strerror}); {advice}") from error
        try:
            yield
        finally:
            with suppress(OSError):  # whatever hinders it matters less than why we leave
                if not was_there and os.listdir(folder) == [LOCK]:
                    lock.unlink()  # while it is held


def _remove_empty(folders: list[Path]) -> None:
    """Remove folders, innermost first, as long as there is nothing in them."""
    with suppress(OSError):
        for folder in folders:
            folder.rmdir()


def _check_folder(folder: Path) -> None:
    """Make the folder of a store; refuse one that holds something else."""
    try:
        make_folder(folder)
        strangers = [entry for entry in os.listdir(folder) if not _is_ours(entry)]
    except (OSError, OutputError) as error:
        if isinstance(error, ResourceError):
            raise
        why = getattr(error, "strerror", None) or getattr(error.__cause__, "strerror", None)
        raise OutputError(
            f"expected a folder for the store, cannot use {folder} ({why}); "
            "choose another with --out"
        ) from error
    if strangers and FILE not in strangers and not shard_names(folder / SHARDS):
        raise OutputError(
            f"expected an empty or new folder or a store, found other files in {folder} "
            f"({min(strangers)}, ...); choose another with --out"
        )


def _is_ours(entry: str) -> bool:
    """Whether a file may be what a killed run left of a store that it had just begun."""
    return entry in (LOCK, PROBE) or final_name(entry) in _FILES


def _is_leftover(path: Path) -> bool:
    """Whether a killed run left this of a file of a store that it had not finished."""
    final = final_name(path.name)
    return final in _FILES or (final is not None and path.parent.name == SHARDS)
