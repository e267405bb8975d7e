"""The table of groups: what `relabel` and `extract` take, so that groups become classes."""

from __future__ import annotations

import csv
import io
import os
from pathlib import Path

from pipeline import store
from pipeline.common.errors import OutputError
from pipeline.common.files import command_line, is_absent, read_json, replacing, sha256_file
from pipeline.flows.grouping import Groups
from pipeline.flows.originals import location_of

FILE, ABOUT = "groups.csv", "groups.json"
_AT_ONCE = 4096  # rows


def names_of(groups: Groups) -> list[str]:
    """Name the groups so that they sort in their order: ``group-01`` is the largest."""
    digits = max(2, len(str(len(groups.sizes))))
    return [f"group-{number:0{digits}d}" for number in range(1, len(groups.sizes) + 1)]


def check_table(folder: Path) -> None:
    """
    See that the table that stands there, if any, is one that nobody has changed since.

    Raises
    ------
    OutputError
        If it has been changed, such as by somebody who named the groups.
    """
    try:
        now = sha256_file(folder / FILE)
    except OSError as error:
        if is_absent(folder / FILE, error):
            return
        now = None
    try:
        written = read_json(folder / ABOUT).get("sha256")
    except (OSError, ValueError):
        written = None
    if now is None or now != written:
        raise OutputError(
            f"expected {folder / FILE} as it was written, found it changed; use it with `pipeline "
            "relabel`, move it away, or choose another folder with --out"
        )


def write_table(folder: Path, opened: store.Store, groups: Groups) -> str:
    """
    Write the path of each image, its group as its label, and the distance from the centre.

    Paths are absolute where the store says where its photos are; rows of a store without paths are
    named by their numbers.

    Returns
    -------
    str
        SHA-256 of what was written, in hex.
    """
    base = location_of(opened) if isinstance(opened, store.FolderStore) else ""
    folder_of_photos = os.path.abspath(os.fsencode(base)) if os.path.isdir(base) else b""
    names = names_of(groups)
    with replacing(folder / FILE) as file:
        file.write(b"path,label,distance\n")
        for start in range(0, len(groups.rows), _AT_ONCE):
            block = slice(start, start + _AT_ONCE)
            rows = groups.rows[block]
            text = io.StringIO()
            writer = csv.writer(text, lineterminator="\n")
            for row, path, group, distance in zip(
                rows.tolist(),
                opened.paths(rows),
                groups.of[block].tolist(),
                groups.distances[block].tolist(),
                strict=True,
            ):
                place = os.fsdecode(os.path.join(folder_of_photos, path)) if path else f"row {row}"
                writer.writerow([place, names[group], f"{distance:.4f}"])
            file.write(text.getvalue().encode("utf-8", "surrogateescape"))
        file.flush()
        return sha256_file(Path(file.name))


def naming_commands(path: str | Path, folder: Path, opened: store.Store) -> list[str]:
    """Return what gives the groups of a store names and learns them; labels of a file are fixed."""
    if not isinstance(opened, store.FolderStore):
        return []
    renamed = ["--rename", "group-01=NAME"]
    return [
        command_line(["pipeline", "relabel", str(path), str(folder / FILE), *renamed]),
        command_line(["pipeline", "fit-head", str(path), "--kind", "svm"]),
    ]
