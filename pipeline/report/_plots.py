"""Confusion matrix and learning curves as PNG images."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from textwrap import wrap
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.report._curve import CurvePoint
from pipeline.report._score import MOST_CLASSES, MOST_PAIRS, Report, most_confused

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_DPI = 120
_COUNTED_CLASSES = 25  # with more, numbers in cells are too small to read
_LONGEST_NAME = 24
_LONGEST_TITLE = 80
_NUMBERED = "classes by number, in the order of confusion.csv"
_LINE = 0.2  # inches that a further line of a title takes
_WIDEST_NOTE, _LONGEST_NOTE = 60, 300
_NOTED = "#666666"
_TRAIN, _VALIDATION = "#4477aa", "#ee6677"  # told apart by all readers: P. Tol, "bright"


@contextmanager
def plain_style() -> Iterator[None]:
    """Draw the same on all machines, whatever the user's own matplotlib settings and fonts."""
    import matplotlib.style

    with matplotlib.style.context("default"), warnings.catch_warnings():
        # Matplotlib's own font has no Chinese, for example: these letters become boxes.
        warnings.filterwarnings("ignore", "Glyph", UserWarning)
        yield


@plain_style()
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
        A PNG file. Colour is the share of the true class; numbers are images. For more than 100
        classes bars of the pairs that are confused most often, since no screen shows such a matrix.
    """
    right = f"{report.accuracy:.1%} of {report.images} images right"
    title = f"{shortened(title, _LONGEST_TITLE)}\n{right}" if title else right
    title = "\n".join(
        [
            title,
            *(
                line
                for note in notes
                for line in wrap(shortened(note, _LONGEST_NOTE), _WIDEST_NOTE)
            ),
        ]
    )
    if len(report.classes) > MOST_CLASSES:
        return _pairs_png(report, title)
    counts = np.array(report.confusion)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    names = [short_name(name) for name in report.names]
    if _need_numbers(names):
        names = [str(number) for number in range(1, len(names) + 1)]
        title += "\n" + _NUMBERED
    k = len(names)
    cell = max(0.17, min(0.6, 8 / k))
    text = max(5.0, min(10.0, cell * 22))
    height = max(4.2, cell * k + 2.2) + _LINE * max(0, title.count("\n") - 1)
    figure, axes = _figure(max(4.8, cell * k + 2.6), height)
    image = axes.imshow(shares, vmin=0, vmax=1, cmap="Blues", interpolation="nearest")
    # Text between dollar signs is no formula here.
    labels: dict[str, Any] = {"fontsize": text, "parse_math": False}
    axes.set_xticks(range(k), names, rotation=90 if k > 3 else 0, **labels)
    axes.set_yticks(range(k), names, **labels)
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class")
    axes.set_title(title, fontsize=11, parse_math=False)
    if k <= _COUNTED_CLASSES:
        _write_counts(axes, counts, shares, text)
    bar = figure.colorbar(image, ax=axes, fraction=0.046, pad=0.03)
    bar.set_label("share of the true class")
    bar.outline.set_visible(False)
    return png_of(figure)


def _pairs_png(report: Report, title: str) -> bytes:
    """Draw the pairs of classes that are taken for each other most often."""
    from matplotlib.ticker import MaxNLocator

    pairs = most_confused(report, MOST_PAIRS)
    height = 1.6 + 0.26 * max(1, len(pairs)) + _LINE * max(0, title.count("\n") - 1)
    figure, axes = _figure(8.0, height)
    shown = [short_name(name) for name in report.names]
    if _need_numbers(shown):
        shown = [str(number) for number in range(1, len(shown) + 1)]
        title += "\n" + _NUMBERED
    drawn = dict(zip(report.names, shown, strict=True))
    names = [f"{drawn[true]} taken for {drawn[pred]}" for true, pred, _ in pairs]
    places = range(len(pairs))
    axes.barh(places, [images for *_, images in pairs], color=_VALIDATION, height=0.7)
    axes.set_yticks(places, names, fontsize=8, parse_math=False)
    axes.invert_yaxis()
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.set_xlabel("images" if pairs else "no image was taken for another class")
    what = f"the most frequent errors among {len(report.classes)} classes"
    axes.set_title(f"{title}\n{what}", fontsize=11, parse_math=False)
    axes.grid(axis="x", color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    return png_of(figure)


@plain_style()
def curves_png(
    history: Mapping[str, Sequence[float]],
    *,
    title: str = "",
    kept: int | None = None,
    before: float | None = None,
) -> bytes:
    """
    Draw accuracy and loss against epochs.

    Parameters
    ----------
    history : mapping of str to sequence of float
        ``accuracy``, ``loss`` and, where there was validation, ``val_accuracy``, ``val_loss``.
    title : str, optional
        Which head on what.
    kept : int, optional
        The epoch whose weights the head has; 0 is from before the first.
    before : float, optional
        Validation accuracy of the head that was trained further.

    Returns
    -------
    bytes
        A PNG file.
    """
    figure, left = _figure(9.0, 3.8, columns=2)
    axes = [left, figure.axes[1]]
    draw_epochs(axes, history, kept=kept, before=before)
    for axis in axes:
        axis.grid(color="#dddddd", linewidth=0.6)
        axis.spines[["top", "right"]].set_visible(False)
    if title:
        figure.suptitle(shortened(title, _LONGEST_TITLE), fontsize=11, parse_math=False)
    return png_of(figure)


def draw_epochs(
    axes: Sequence[Axes],
    history: Mapping[str, Sequence[float]],
    *,
    kept: int | None = None,
    before: float | None = None,
) -> None:
    """Draw accuracy and loss against epochs, on one of two axes each; see `curves_png`."""
    from matplotlib.ticker import MaxNLocator

    for axis, name in zip(axes, ("accuracy", "loss"), strict=True):
        for key, label, colour in (
            (name, "train", _TRAIN),
            (f"val_{name}", "validation", _VALIDATION),
        ):
            if values := history.get(key):
                epochs = range(1, len(values) + 1)
                # A single epoch is a point, which a line would not show.
                marker = "o" if len(values) <= _COUNTED_CLASSES else None
                axis.plot(epochs, values, color=colour, marker=marker, markersize=3.5, label=label)
        axis.set_xlabel("epoch")
        axis.set_title(name, fontsize=11)
        axis.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axis.set_xlim(0.5, len(history[name]) + 0.5)
        if kept:
            axis.axvline(kept, color=_NOTED, linestyle=":", label=f"kept: epoch {kept}")
        if before is not None and name == "accuracy":
            axis.axhline(before, color=_NOTED, linestyle="--", label="validation before")
        if axis.lines:
            axis.legend(frameon=False)


@plain_style()
def learning_curve_png(
    points: Sequence[CurvePoint], *, title: str = "", sentence: str = ""
) -> bytes:
    """
    Draw training and validation accuracy against images per class.

    Parameters
    ----------
    points : sequence of CurvePoint
    title : str, optional
        Which head on what.
    sentence : str, optional
        What the curve says, below the title.

    Returns
    -------
    bytes
        A PNG file. Bars are one deviation over the seeds to either side; a point of one seed has
        none.
    """
    from matplotlib.ticker import NullFormatter

    figure, axes = _figure(6.4, 4.2)
    sizes = [point.images_per_class for point in points]
    axes.plot(
        sizes,
        [point.train_accuracy for point in points],
        color=_TRAIN,
        marker="o",
        markersize=3.5,
        label="train",
    )
    axes.errorbar(
        sizes,
        [point.val_accuracy for point in points],
        yerr=[np.nan if point.val_deviation is None else point.val_deviation for point in points],
        color=_VALIDATION,
        marker="o",
        markersize=3.5,
        capsize=3,
        label="validation",
    )
    axes.set_xscale("log")
    axes.set_xticks(sizes, [str(size) for size in sizes])
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("training images per class, at the most")
    axes.set_ylabel("accuracy")
    lines = [shortened(title, _LONGEST_TITLE), *wrap(shortened(sentence, _LONGEST_NOTE), 76)]
    axes.set_title("\n".join(filter(None, lines)), fontsize=9, parse_math=False)
    axes.grid(color="#dddddd", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="lower right")
    return png_of(figure)


def short_name(name: str, most: int = _LONGEST_NAME) -> str:
    """Shorten a name, and show bytes that are no text, and control characters, as boxes."""
    return shortened(name, most)


def shortened(text: str, most: int) -> str:
    """Cut a text to so many letters; what cannot be printed becomes a box."""
    text = text.encode(errors="replace").decode()
    text = "".join(
        letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text
    )
    return text if len(text) <= most else text[: most - 1] + "…"


def _need_numbers(names: Sequence[str]) -> bool:
    """Whether names cannot be told apart as they are drawn: cut, or of letters without a glyph."""
    from matplotlib.font_manager import FontProperties, findfont, get_font

    known = get_font(findfont(FontProperties())).get_charmap()
    drawn = ["".join(letter if ord(letter) in known else "\0" for letter in each) for each in names]
    return any("\0" in name for name in drawn) or len(set(drawn)) < len(drawn)


def _figure(width: float, height: float, columns: int = 1) -> tuple[Figure, Axes]:
    """Make a figure without pyplot, which keeps every figure alive and looks for a screen."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=_DPI, layout="constrained")
    FigureCanvasAgg(figure)
    for i in range(columns):
        figure.add_subplot(1, columns, i + 1)
    return figure, figure.axes[0]


def _write_counts(axes: Axes, counts: NDArray[np.int64], shares: NDArray[Any], size: float) -> None:
    for (row, column), images in np.ndenumerate(counts):
        if images:
            colour = "white" if shares[row, column] > 0.5 else "black"
            axes.text(
                column, row, str(images), ha="center", va="center", color=colour, fontsize=size
            )


def png_of(figure: Figure) -> bytes:
    data = io.BytesIO()
    # Without metadata the same numbers give the same bytes.
    figure.savefig(data, format="png", bbox_inches="tight", metadata={"Software": None})
    return data.getvalue()
