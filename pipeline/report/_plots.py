"""Curves of training as PNG images, and what all pictures share."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from pipeline.report._fonts import drawn, plain_style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_DPI = 120
LONGEST_TITLE, LONGEST_NOTE = 80, 400
LINE = 0.2  # inches that a further line of a title takes
_MARKED = 25  # epochs: the points of more are no longer told apart
NOTED = "#666666"
TRAIN, VALIDATION = "#4477aa", "#ee6677"  # told apart by all readers: P. Tol, "bright"


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
    with plain_style([title]):
        figure, left = figure_of(9.0, 3.8, columns=2)
        axes = [left, figure.axes[1]]
        draw_epochs(axes, history, kept=kept, before=before)
        for axis in axes:
            axis.grid(color="#dddddd", linewidth=0.6)
            axis.spines[["top", "right"]].set_visible(False)
        if title:
            figure.suptitle(drawn(title, LONGEST_TITLE), fontsize=11, parse_math=False)
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
            (name, "train", TRAIN),
            (f"val_{name}", "validation", VALIDATION),
        ):
            if values := history.get(key):
                epochs = range(1, len(values) + 1)
                # A single epoch is a point, which a line would not show.
                marker = "o" if len(values) <= _MARKED else None
                axis.plot(epochs, values, color=colour, marker=marker, markersize=3.5, label=label)
        axis.set_xlabel("epoch")
        axis.set_title(name, fontsize=11)
        axis.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axis.set_xlim(0.5, len(history[name]) + 0.5)
        if kept:
            axis.axvline(kept, color=NOTED, linestyle=":", label=f"kept: epoch {kept}")
        if before is not None and name == "accuracy":
            label = "validation before" if kept != 0 else "validation before: kept"
            axis.axhline(before, color=NOTED, linestyle="--", label=label)
        if axis.lines:
            axis.legend(frameon=False)


def figure_of(width: float, height: float, columns: int = 1) -> tuple[Figure, Axes]:
    """Make a figure without pyplot, which keeps every figure alive and looks for a screen."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=_DPI, layout="constrained")
    FigureCanvasAgg(figure)
    for i in range(columns):
        figure.add_subplot(1, columns, i + 1)
    return figure, figure.axes[0]


def png_of(figure: Figure) -> bytes:
    data = io.BytesIO()
    # Without metadata the same numbers give the same bytes.
    figure.savefig(data, format="png", bbox_inches="tight", metadata={"Software": None})
    return data.getvalue()
