"""The confusion matrix as a PNG image, or, of many classes, the errors that occur most often."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import wrap
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.report._fonts import drawn, plain_style
from pipeline.report._page import order_of
from pipeline.report._plots import LINE, LONGEST_NOTE, LONGEST_TITLE, VALIDATION, figure_of, png_of
from pipeline.report._score import MOST_CLASSES, MOST_PAIRS, Report, most_confused

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_SORTED_FROM = 26  # classes: of fewer one sees all errors in any order
_LONGEST_NAME = 24
_SMALLEST_TEXT, _LARGEST_TEXT = 6.0, 10.0  # points
_SMALLEST_CELL, _LARGEST_CELL = 0.22, 0.6  # inches
_WIDEST_NOTE = 60
_LEAST = 0.15  # of the colour, so that a single wrong image of many is seen
_SIDE_BY_SIDE = 24  # letters of all names
_MOST_COUNTED = 2000  # cells with their number: letters take most of the time
_NUMBERED = "classes by number, in the order of confusion.csv"
_SORTED = "classes that are taken for each other stand together"
_HATCHED = "hatched: no images of the class here, so that nothing is known of it"


def confusion_png(report: Report, *, title: str = "", notes: Sequence[str] = ()) -> bytes:
    """
    Draw the confusion matrix.

    Parameters
    ----------
    report : Report
        Of two classes or more.
    title : str, optional
        What was scored on what.
    notes : sequence of str, optional
        What must be known before the scores are trusted; written above the matrix.

    Returns
    -------
    bytes
        A PNG file. Colour is the share of the true class, blue of right answers and orange of
        wrong ones; numbers are images, in the 2000 cells with the most. Rows of classes without
        images are hatched. More than 25 classes are in the order of `order_of`. For more than 100
        classes bars of the pairs that are confused most often, since no screen shows such a matrix.
    """
    with plain_style([title, *notes, *report.names]):
        lines = [drawn(title, LONGEST_TITLE)] if title else []
        lines.append(f"{report.accuracy:.1%} of {report.images} images right")
        for note in notes:
            lines += wrap(drawn(note, LONGEST_NOTE), _WIDEST_NOTE)
        names = [drawn(name, _LONGEST_NAME) for name in report.names]
        if len(set(names)) < len(names):  # cut, they are the same
            names = [str(number) for number in range(1, len(names) + 1)]
            lines.append(_NUMBERED)
        if len(names) > MOST_CLASSES:
            return _pairs(report, lines, names)
        return _matrix(report, lines, names)


def _matrix(report: Report, lines: list[str], names: Sequence[str]) -> bytes:
    k = len(names)
    order = list(range(k))
    if k >= _SORTED_FROM:
        order = order_of(report)
        lines.append(_SORTED)
    counts = np.array(report.confusion)[np.ix_(order, order)]
    if not counts.sum(axis=1).all():
        lines.append(_HATCHED)
    cell, text = _sizes(k, len(str(counts.max())))
    height = max(4.2, cell * k + 2.2) + LINE * (len(lines) - 2)
    figure, axes = figure_of(max(4.8, cell * k + 3.0), height)
    _colours(axes, counts, height)
    # Text between dollar signs is no formula here.
    labels: dict[str, Any] = {"fontsize": text, "parse_math": False}
    named = [names[number] for number in order]
    longest = max(map(len, named))
    axes.set_xticks(range(k), named, rotation=0 if k * longest <= _SIDE_BY_SIDE else 90, **labels)
    axes.set_yticks(range(k), named, **labels)
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class")
    figure.suptitle("\n".join(lines), fontsize=11, parse_math=False)
    _write_counts(axes, counts, text)
    return png_of(figure)


def _sizes(k: int, digits: int) -> tuple[float, float]:
    """Return the side of a cell in inches, and the points of the text in it: the largest fits."""
    cell = max(_SMALLEST_CELL, min(_LARGEST_CELL, 8 / k))
    text = max(_SMALLEST_TEXT, min(_LARGEST_TEXT, cell * 22))
    return max(cell, 0.02 + digits * 0.64 * text / 72), text  # a digit is 0.64 of its height wide


def _shares(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    return np.asarray(counts / np.maximum(counts.sum(axis=1, keepdims=True), 1))


def _colours(axes: Axes, counts: NDArray[np.int64], height: float) -> None:
    """Colour the cells that have images; hatch rows that have none."""
    from matplotlib import colormaps
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import ListedColormap

    k = len(counts)
    right = np.eye(k, dtype=bool)
    for where, name, words in (
        (~right, "Oranges", "wrong"),
        (right, "Blues", "right"),
    ):
        scale = ListedColormap(colormaps[name](np.linspace(_LEAST, 1, 256)))
        shown = np.ma.masked_where(~where | (counts == 0), _shares(counts))
        axes.imshow(shown, vmin=0, vmax=1, cmap=scale, interpolation="nearest")
        bar = axes.figure.colorbar(
            ScalarMappable(cmap=scale),
            ax=axes,
            shrink=min(1.0, 4 / height),
            aspect=18,
            pad=0.3 / height,
        )
        bar.ax.set_title(words, fontsize=8)
        bar.outline.set_visible(False)
        if words == "right":
            bar.set_ticks([])
        else:
            bar.set_label("share of the true class")
    for row in np.flatnonzero(counts.sum(axis=1) == 0):
        axes.axhspan(row - 0.5, row + 0.5, facecolor="#eeeeee", edgecolor="#999999", hatch="////")
    between = np.arange(1, k) - 0.5
    for lines in (axes.hlines, axes.vlines):
        lines(between, -0.5, k - 0.5, color="#e4e4e4", linewidth=0.5)


def _write_counts(axes: Axes, counts: NDArray[np.int64], size: float) -> None:
    strong = _shares(counts) > 0.5
    cells = np.argwhere(counts)
    for row, column in cells[np.argsort(-counts[counts > 0], kind="stable")][:_MOST_COUNTED]:
        axes.text(
            column,
            row,
            str(counts[row, column]),
            ha="center",
            va="center",
            color="white" if strong[row, column] else "black",
            fontsize=size,
            in_layout=False,  # it fits; measuring each would take longer than all the rest
        )


def _pairs(report: Report, lines: Sequence[str], names: Sequence[str]) -> bytes:
    """Draw the pairs of classes that are taken for each other most often."""
    from matplotlib.ticker import MaxNLocator

    pairs = most_confused(report, MOST_PAIRS)
    title = [*lines, f"the most frequent errors among {len(names)} classes"]
    height = 1.6 + 0.26 * max(1, len(pairs)) + LINE * (len(title) - 2)
    figure, axes = figure_of(8.0, height)
    shown = dict(zip(report.names, names, strict=True))
    words = [f"{shown[true]} taken for {shown[pred]}" for true, pred, _ in pairs]
    places = range(len(pairs))
    axes.barh(places, [images for *_, images in pairs], color=VALIDATION, height=0.7)
    axes.set_yticks(places, words, fontsize=8, parse_math=False)
    axes.invert_yaxis()
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.set_xlabel("images" if pairs else "no image was taken for another class")
    axes.set_title("\n".join(title), fontsize=11, parse_math=False)
    axes.grid(axis="x", color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    return png_of(figure)
