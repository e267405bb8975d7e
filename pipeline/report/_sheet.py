"""A contact sheet: photos in rows, with a line above each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.report._fonts import drawn, plain_style
from pipeline.report._plots import png_of

_RIGHT, _WRONG, _PLAIN = "#1a7f37", "#c2410c", "#24292f"
_INCH = 1.5  # a photo on the sheet
_LONGEST_TITLE, _LONGEST_WORDS = 90, 24


@dataclass(frozen=True, kw_only=True)
class Tile:
    """
    A photo on a sheet.

    Attributes
    ----------
    pixels : uint8 array of shape (h, w, 3), or None
        None for a photo that cannot be read.
    words : str
        What stands above it; one line.
    right : bool or None
        Whether the answer in `words` is right; None where nobody knows, or there is no answer.
    """

    pixels: NDArray[np.uint8] | None
    words: str
    right: bool | None = None


def sheet_png(rows: Sequence[Sequence[Tile]], *, title: str = "") -> bytes:
    """
    Draw photos in rows.

    Parameters
    ----------
    rows : sequence of sequence of Tile
        At least one photo.
    title : str, optional

    Returns
    -------
    bytes
        A PNG file: words of right answers are green and begin with a tick, those of wrong ones are
        orange and begin with a cross.
    """
    columns = max(map(len, rows))
    with plain_style([title, *(tile.words for tiles in rows for tile in tiles)]):
        figure, axes = _grid(len(rows), columns)
        if title:
            figure.suptitle(drawn(title, _LONGEST_TITLE), fontsize=11, parse_math=False)
        for line, tiles in zip(axes, rows, strict=True):
            for axis in line:
                axis.axis("off")
            for axis, tile in zip(line, tiles, strict=False):
                _draw(axis, tile)
        return png_of(figure)


def _grid(rows: int, columns: int) -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    size = (_INCH * columns + 0.4, (_INCH + 0.35) * rows + 0.5)
    figure = Figure(figsize=size, layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False)


def _draw(axis: Any, tile: Tile) -> None:
    colour = {None: _PLAIN, True: _RIGHT, False: _WRONG}[tile.right]
    mark = {None: "", True: "\N{CHECK MARK} ", False: "\N{MULTIPLICATION X} "}[tile.right]
    axis.set_title(
        mark + drawn(tile.words, _LONGEST_WORDS), fontsize=8, color=colour, parse_math=False
    )
    if tile.pixels is None:
        axis.text(0.5, 0.5, "not to be read", ha="center", va="center", color=_PLAIN, fontsize=8)
        return
    axis.imshow(tile.pixels)
