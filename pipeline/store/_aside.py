"""Files that are set aside, of which nothing is lost."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

from pipeline.common.errors import OutputError
from pipeline.common.files import make_folder, replacing

SET_ASIDE = "set-aside"


def make_aside(aside: Path) -> None:
    if os.path.lexists(aside) and not aside.is_dir():
        raise OutputError(f"expected a folder {aside}, found a file; move it away and try again")
    make_folder(aside)


def _free_name(folder: Path, name: str) -> Path:
    """Choose a name that nothing in a folder has, not even a link that leads nowhere."""
    target, number = folder / name, 1
    while os.path.lexists(target):
        number += 1
        target = folder / f"{name}.{number}"
    return target


def move(path: Path, target: Path) -> None:
    """Rename a file; to another file system it is copied first."""
    try:
        os.rename(path, target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        if path.is_symlink() or path.is_dir():
            shutil.move(path, target)
        elif path.is_file():
            copy(path, target)
            path.unlink()
        else:
            raise OutputError(
                f"expected a file in {path}, found a pipe or a device, which cannot go to another "
                "file system; delete it and run the same command again"
            ) from error


def copy(path: Path, target: Path) -> None:
    with path.open("rb") as file, replacing(target) as copy:
        shutil.copyfileobj(file, copy)
