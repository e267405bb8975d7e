"""Photos to look at: of a source, of a store, or of a table of answers."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from pipeline import images, report, store
from pipeline.common.choices import Resize
from pipeline.common.errors import SourceError, StoreError, counted
from pipeline.common.listener import Tell
from pipeline.flows.answers import Prediction
from pipeline.flows.extraction import WORKERS
from pipeline.flows.originals import location_of, source_of, spread, with_places
from pipeline.flows.sources import SourceOptions, find_source

T = TypeVar("T")

_EDGE = 160  # pixels
_COLUMNS, _ROWS = 6, 12
# Columns of tables that predict and evaluate write; the second name is evaluate's.
_ANSWERS = ("label", "predicted")


class SheetPhotos(NamedTuple):
    """
    Photos to look at.

    Attributes
    ----------
    rows : list of list of Tile
    shown : int
        How many photos.
    of : int
        Out of how many.
    title : str
    """

    rows: list[list[report.Tile]]
    shown: int
    of: int
    title: str


def is_answers(path: Path) -> bool:
    """Whether a file is a table that predict or evaluate has written."""
    if path.suffix.lower() != ".csv" or not path.is_file():
        return False
    with path.open(newline="", encoding="utf-8", errors="surrogateescape") as file:
        header = next(csv.reader(file), [])
    return "path" in header and "score" in header and any(name in header for name in _ANSWERS)


def of_source(source: str | Path, how: SourceOptions, tell: Tell) -> SheetPhotos:
    """Take photos of each class of a source, at equal distances."""
    found = find_source(source, how, tell)
    rows = _chosen(found.labels)
    tiles = _tiles(found, [row for each in rows for row in each], Resize.pad)
    words = _names(found.classes, found.labels)
    return _sheet(rows, tiles, words, len(found), f"{found.layout} in {found.location}")


def of_store(opened: store.Store) -> SheetPhotos:
    """
    Take photos of each class of a store, as its network saw them.

    Raises
    ------
    StoreError
        If it does not say where its photos are.
    SourceError
        If they are gone.
    """
    kept = with_places(opened)
    labels = np.where(opened.usable, opened.labels, -2)
    rows = _chosen(labels)
    wanted = np.array([row for each in rows for row in each], np.int64)
    source, places = source_of(kept, opened.paths(wanted))
    if not places:
        raise SourceError(
            f"expected the photos of {opened.location} where they were, found none of them; put "
            "them back"
        )
    resize = Resize(kept.space.resize)
    found = _tiles(source, sorted(places.values()), resize)
    tiles = {int(wanted[place]): found[row] for place, row in places.items() if row in found}
    words = _names(opened.classes, labels)
    return _sheet(rows, tiles, words, int(opened.usable.sum()), str(opened.location))


def of_answers(table: Path, *, root: Path | None) -> SheetPhotos:
    """
    Take photos with their answers, in the order of the table.

    Parameters
    ----------
    table : Path
        As predict or evaluate writes it.
    root : Path or None
        What its paths are relative to; by default the working directory, the folder of the table,
        or that of the store's photos, where the first photo is found.

    Raises
    ------
    SourceError
        If it has no rows, or none of the photos is there.
    """
    with table.open(newline="", encoding="utf-8", errors="surrogateescape") as file:
        lines = list(islice(csv.DictReader(file), _COLUMNS * _ROWS))
    if not lines:
        raise SourceError(f"expected photos with answers in {table}, found no row")
    place = _root_of(table, [line["path"] for line in lines], root)
    paths = [str(place / line["path"]) for line in lines]
    there = [number for number, path in enumerate(paths) if os.path.isfile(path)]
    source = images.files([paths[number] for number in there], lists=False)
    tiles = _tiles(source, range(len(source)), Resize.pad)
    pixels = {there[row]: found for row, found in tiles.items()}
    cells = [
        report.Tile(pixels=pixels.get(number), words=_answer(line), right=_is_right(line))
        for number, line in enumerate(lines)
    ]
    return SheetPhotos(_cut(cells), len(cells), len(cells), str(table))


def of_predictions(source: images.Source, predictions: Sequence[Prediction]) -> SheetPhotos:
    """Take the first photos with the answers that they have just got."""
    first = predictions[: _COLUMNS * _ROWS]
    pixels = _tiles(source, range(len(first)), Resize.pad)
    cells = [
        report.Tile(pixels=pixels.get(row), words=_said(each.label, each.score, each.reason))
        for row, each in enumerate(first)
    ]
    title = f"{counted(len(cells), 'photo')} of {len(predictions)}"
    return SheetPhotos(_cut(cells), len(cells), len(predictions), title)


def _said(label: str | None, score: float | None, reason: str | None) -> str:
    if label is None:
        return reason or "no answer"
    return label if score is None else f"{label} {score:.2f}"


def _answer(line: Mapping[str, str]) -> str:
    score = line.get("score") or None
    name = line.get("label") or line.get("predicted")
    words = _said(name, None if score is None else float(score), line.get("reason"))
    true = line.get("true")
    return words if true is None or true == name else f"{words} ({true})"


def _is_right(line: Mapping[str, str]) -> bool | None:
    true = line.get("true")
    return None if true is None else true == (line.get("predicted") or line.get("label"))


def _root_of(table: Path, paths: Sequence[str], root: Path | None) -> Path:
    """Find the folder below which the photos of a table are."""
    tried = [root] if root is not None else [Path(), table.parent, *_stores_photos(table.parent)]
    for place in tried:
        if any((place / path).is_file() for path in paths):
            return place
    raise SourceError(
        f"expected the photos of {table}, found none of the first {len(paths)}, such as "
        f"{images.printable(paths[0])}; name their folder with --root"
    )


def _stores_photos(folder: Path) -> list[Path]:
    """Return where the photos of the store are that a report is on."""
    try:
        plain = json.loads((folder / "report.json").read_text(encoding="utf-8"))
        opened = store.open_store(Path(plain["store"]))
    except (OSError, ValueError, KeyError, StoreError):
        return []
    if not isinstance(opened, store.FolderStore):
        return []
    return [Path(location_of(opened))]


def _chosen(labels: NDArray[np.integer]) -> list[list[int]]:
    """Choose rows of each class at equal distances; of less than two classes, of all."""
    present = [int(label) for label in np.unique(labels) if label >= 0]
    if len(present) < 2:
        rows = np.flatnonzero(labels == present[0] if present else labels >= -1)
        return _cut(spread(rows, _COLUMNS * _ROWS).tolist())
    return [spread(np.flatnonzero(labels == label), _COLUMNS).tolist() for label in present[:_ROWS]]


def _cut(cells: list[T]) -> list[list[T]]:
    """Cut into lines of a sheet."""
    return [cells[start : start + _COLUMNS] for start in range(0, len(cells), _COLUMNS)]


def _names(classes: Sequence[str], labels: NDArray[np.integer]) -> Callable[[int], str]:
    """Return what says the class of a row."""
    return lambda row: classes[labels[row]] if labels[row] >= 0 else "no label"


def _tiles(
    source: images.Source, rows: Sequence[int], resize: Resize
) -> dict[int, NDArray[np.uint8]]:
    """Decode some rows; those that cannot be used are left out."""
    stream = images.stream(
        source,
        rows,
        size=_EDGE,
        resize=resize,
        workers=WORKERS,
    )
    with closing(stream):
        return {each.row: each.pixels for each in stream if each.pixels is not None}


def _sheet(
    rows: Sequence[Sequence[int]],
    tiles: Mapping[int, NDArray[np.uint8]],
    words: Callable[[int], str],
    count: int,
    where: str,
) -> SheetPhotos:
    laid = [[report.Tile(pixels=tiles.get(row), words=words(row)) for row in each] for each in rows]
    shown = sum(map(len, laid))
    title = f"{counted(shown, 'photo')} of {count}: {images.printable(where)}"
    return SheetPhotos(laid, shown, count, title)
