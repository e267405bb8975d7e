"""The learning curve as a picture: accuracy by images per class, and what would reach more."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import wrap
from typing import TYPE_CHECKING

import numpy as np

from pipeline.report._charts import figure_of as chart_of
from pipeline.report._charts import svg_of
from pipeline.report._curve import CurvePoint, CurveReading
from pipeline.report._fonts import drawn, plain_style
from pipeline.report._plots import (
    LONGEST_NOTE,
    LONGEST_TITLE,
    NOTED,
    TRAIN,
    VALIDATION,
    figure_of,
    png_of,
)
from pipeline.report._power_law import FURTHEST, Desired

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def learning_curve_png(
    points: Sequence[CurvePoint], *, title: str = "", reading: CurveReading | None = None
) -> bytes:
    """
    Draw training and validation accuracy against images per class.

    Parameters
    ----------
    points : sequence of CurvePoint
    title : str, optional
        Which head on what.
    reading : CurveReading, optional
        What the curve says: below the title in words, and the desired accuracy as a line.

    Returns
    -------
    bytes
        A PNG file. Bars are one deviation over the seeds to either side; a point of one seed has
        none.
    """
    with plain_style([title]):
        figure, axes = figure_of(6.4, 4.2)
        _draw(axes, points, None if reading is None else reading.desired)
        said = "" if reading is None else reading.sentence
        lines = [drawn(title, LONGEST_TITLE), *wrap(drawn(said, LONGEST_NOTE), 76)]
        axes.set_title("\n".join(filter(None, lines)), fontsize=9, parse_math=False)
        axes.grid(color="#dddddd", linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
        return png_of(figure)


def learning_curve_svg(points: Sequence[CurvePoint], reading: CurveReading) -> str:
    """Draw the same for a page, light or dark; its words stand beside it."""
    with plain_style():
        figure, (axes,) = chart_of(1)
        _draw(axes, points, reading.desired)
        return svg_of(figure)


def _draw(axes: Axes, points: Sequence[CurvePoint], desired: Desired | None) -> None:
    from matplotlib.ticker import NullFormatter, NullLocator

    sizes = [point.images_per_class for point in points]
    line = {"marker": "o", "markersize": 3.5}
    trained = [point.train_accuracy for point in points]
    axes.plot(sizes, trained, color=TRAIN, label="train", **line)  # type: ignore[arg-type]
    axes.errorbar(
        sizes,
        [point.val_accuracy for point in points],
        yerr=[np.nan if point.val_deviation is None else point.val_deviation for point in points],
        color=VALIDATION,
        capsize=3,
        label="validation",
        **line,  # type: ignore[arg-type]
    )
    axes.set_xscale("log")
    ticks = list(sizes)
    if desired is not None:
        axes.axhline(desired.accuracy, color=NOTED, linestyle="--", label="desired")
        if (end := _draw_law(axes, points[-1], desired)) is not None:
            ticks.append(end)
    # A label needs a tenth of an order of magnitude; that of all images is always there.
    kept = [tick for tick in ticks if tick in ticks[-2:] or 1.25 * tick < sizes[-1]]
    axes.set_xticks(kept, [f"{tick:,}" for tick in kept])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("training images per class, at the most")
    axes.set_ylabel("accuracy")
    axes.legend(frameon=False, loc="lower right", fontsize=9)


def _draw_law(axes: Axes, last: CurvePoint, desired: Desired) -> int | None:
    """Draw how the law goes on, up to where it reaches what is desired; return where that is."""
    law = desired.law
    if law is None:
        return None
    furthest = desired.images or FURTHEST * law.images
    images = np.geomspace(law.images, furthest, 50)
    each = last.images_per_class / last.images
    axes.plot(
        images * each, law.accuracy(images), color=VALIDATION, linestyle=":", label="power law"
    )
    return round(furthest * each)
