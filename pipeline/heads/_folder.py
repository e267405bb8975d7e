"""The folder of a head: who writes into it, and what else may lie there."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pipeline.common.errors import HeadLocked, OutputError
from pipeline.common.files import (
    check_place,
    final_name,
    make_folder,
)
from pipeline.common.locks import NAME, Locked, locked

JSON = "head.json"
# Held while one is trained there; NAME is held while one is saved.
TRAINING = "LOCK.training"


_UNFINISHED = "unfinished"


# Payloads of heads replaced, and what a process that was killed left behind.
_OURS = re.compile(r"curves\.png|unfinished(-[0-9a-f]{12})?\.h5|weights-[0-9a-f]{12}\.h5")


@contextmanager
def writing(directory: Path, *, seconds: float = 0.0, name: str = NAME) -> Iterator[None]:
    """
    Be the only one who writes to the folder of a head.

    Parameters
    ----------
    directory : Path
        Made where missing, and removed again if nothing is in it in the end.
    seconds : float, default 0.0
        How long to wait for others.
    name : str
        Of the lock: saving has one, and training for hours another.

    Raises
    ------
    HeadLocked
        If another process does.
    """
    new = not directory.exists()
    make_folder(directory)
    try:
        with locked(directory, seconds=seconds, name=name) as lock:
            try:
                yield
            finally:
                with suppress(OSError):  # not even a lock file stays
                    lock.unlink()
                    if new:
                        directory.rmdir()
    except Locked as holder:
        raise HeadLocked(
            f"expected to be alone in {directory}, found it locked by {holder}; wait until that "
            "run ends or choose another --out"
        ) from None


def unfinished(directory: Path, start: str) -> Path:
    """Name the file in which a training of the layers above `start` writes how far it has come."""
    return directory / f"{_UNFINISHED}-{hashlib.sha256(start.encode()).hexdigest()[:12]}.h5"


def is_ours(name: str) -> bool:
    """Whether a file beside head.json is one that only this program makes."""
    final = final_name(name)
    return final == JSON or _OURS.fullmatch(final or name) is not None


def check_target(directory: Path) -> None:
    """
    See beforehand, when a fit has cost nothing yet, that a head can be saved here.

    Raises
    ------
    OutputError
        If there is something else than a head, or nothing can be written there.
    """
    if directory.is_dir():
        strangers = {entry.name for entry in directory.iterdir()}
        strangers -= {NAME, TRAINING}
        if not strangers or JSON in strangers or any(map(is_ours, strangers)):
            return
    elif not directory.exists():
        folders = (directory, *directory.parents)
        check_place(next(each for each in folders if each.parent.exists()))
        return
    raise OutputError(
        f"expected a new folder or a head to replace, found {directory}; choose another --out"
    )
