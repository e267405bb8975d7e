"""Curves of scores as SVG for a page: each class against the rest, and what a score is worth."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.report._certainty import BINS, accuracy_by_share, bins_of
from pipeline.report._fonts import plain_style, shortened
from pipeline.report._plots import draw_epochs
from pipeline.report._score import Report
from pipeline.report._scored import ScoredRows

_GREY = "#808080"  # stands for the colour of the text of a page, light or dark
# Told apart by all readers: P. Tol, "bright".
_COLOURS = ("#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377")
_DRAWN = 6  # classes with a curve of their own
_POINTS = 200  # of a curve: a screen shows no more
_LONGEST_NAME = 28


class Curve(NamedTuple):
    """A class against the rest: a line, and the area below it."""

    name: str
    x: NDArray[np.float64]
    y: NDArray[np.float64]
    area: float


def curve_svgs(rows: ScoredRows, report: Report) -> dict[str, str]:
    """
    Draw what is known of the scores of a split.

    Parameters
    ----------
    rows : ScoredRows
    report : Report
        Of these rows.

    Returns
    -------
    dict of str to str
        Title and SVG: ROC, precision and recall of the classes with the smallest F1, each
        against the rest (only classes with and without images have one), of probabilities the
        reliability diagram, and the accuracy where the least certain images are refused.
    """
    svgs = {}
    curves = _curves(rows, report)
    for title, of in curves.items():
        if of:
            svgs[title] = _lines_svg(title, of)
    if report.score_kind == "probability":
        svgs["Reliability"] = _reliability_svg(rows)
    svgs["Refusing the least certain"] = _answered_svg(rows)
    return svgs


def history_svg(history: Mapping[str, Sequence[float]], *, kept: int | None) -> str:
    """Draw accuracy and loss against epochs; `kept` is the epoch whose weights the head has."""
    with plain_style():
        figure, axes = figure_of(2)
        draw_epochs(axes, history, kept=kept)
        return svg_of(figure)


def _curves(rows: ScoredRows, report: Report) -> dict[str, list[Curve]]:
    from sklearn.metrics import (
        average_precision_score,
        precision_recall_curve,
        roc_auc_score,
        roc_curve,
    )

    known = range(rows.scores.shape[1])
    both = [i for i in known if 0 < report.classes[i].support < report.images]
    roc, precise = [], []
    for number in sorted(both, key=lambda i: report.classes[i].f1)[:_DRAWN]:
        truth, score = rows.true == number, np.asarray(rows.scores[:, number])
        name = shortened(report.classes[number].name, _LONGEST_NAME)
        x, y, _ = roc_curve(truth, score)
        roc.append(Curve(name, *_thinned(x, y), float(roc_auc_score(truth, score))))
        precision, recall, _ = precision_recall_curve(truth, score)
        area = float(average_precision_score(truth, score))
        precise.append(Curve(name, *_thinned(recall, precision), area))
    return {"ROC": roc, "Precision and recall": precise}


def _thinned(
    x: NDArray[np.float64], y: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    places = np.unique(np.linspace(0, len(x) - 1, min(len(x), _POINTS)).astype(int))
    return x[places], y[places]


def _lines_svg(title: str, curves: Sequence[Curve]) -> str:
    words = {
        "ROC": ("others taken for the class", "of the class found"),
        "Precision and recall": ("of the class found (recall)", "right among these (precision)"),
    }[title]
    with plain_style():
        figure, (axis,) = figure_of(1)
        for curve, colour in zip(curves, _COLOURS, strict=False):
            axis.plot(curve.x, curve.y, color=colour, label=f"{curve.name} {curve.area:.3f}")
        axis.set_xlabel(words[0])
        axis.set_ylabel(words[1])
        axis.set_xlim(-0.02, 1.02)
        axis.set_ylim(-0.02, 1.02)
        legend = axis.legend(frameon=False, fontsize=8)
        for text in legend.get_texts():
            text.set_parse_math(False)
        return svg_of(figure)


def _reliability_svg(rows: ScoredRows) -> str:
    """Draw the share of right answers against the score that they had, in 15 bins."""
    best, right = rows.best.astype(np.float64), rows.right
    bins = bins_of(best)
    counts = np.bincount(bins, minlength=BINS)
    seen = counts > 0
    score = np.bincount(bins, weights=best, minlength=BINS)[seen] / counts[seen]
    share = np.bincount(bins, weights=right, minlength=BINS)[seen] / counts[seen]
    with plain_style():
        figure, (axis,) = figure_of(1)
        axis.plot([0, 1], [0, 1], color=_GREY, linestyle=":", label="as good as it says")
        sizes = 12 + 160 * counts[seen] / counts.max()
        axis.plot(score, share, color=_COLOURS[0], linewidth=1)
        axis.scatter(score, share, s=sizes, color=_COLOURS[0], label="images by their best score")
        axis.set_xlabel("best score of an image")
        axis.set_ylabel("share of these that are right")
        axis.set_xlim(-0.02, 1.02)
        axis.set_ylim(-0.02, 1.02)
        axis.legend(frameon=False, fontsize=8, loc="upper left")
        return svg_of(figure)


def _answered_svg(rows: ScoredRows) -> str:
    """Draw the accuracy against the share of the images that are answered."""
    orders = {"by score": rows.best.astype(np.float64)}
    if rows.typical is not None:
        orders["by score and distance"] = rows.typical
    with plain_style():
        figure, (axis,) = figure_of(1)
        for (name, order), colour in zip(orders.items(), _COLOURS, strict=False):
            shares, accuracies = accuracy_by_share(rows.right, order)
            axis.plot(*_thinned(shares, accuracies), color=colour, label=name)
        axis.axvline(0.95, color=_GREY, linestyle=":", label="5 % refused")
        axis.set_xlabel("share of the images that are answered")
        axis.set_ylabel("accuracy on these")
        axis.set_xlim(0, 1.02)
        axis.legend(frameon=False, fontsize=8, loc="lower left")
        return svg_of(figure)


def figure_of(columns: int) -> tuple[Any, list[Any]]:
    """Make a figure without a background; its grey becomes the colour of the page's text."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.4 * columns, 3.4))
    # Ticks and labels have a known size here: finding it out takes half of the drawing.
    left = 0.6 / (4.4 * columns)
    figure.subplots_adjust(left=left, right=0.98, bottom=0.15, top=0.92, wspace=0.25)
    figure.patch.set_alpha(0)
    axes = []
    for number in range(columns):
        axis = figure.add_subplot(1, columns, number + 1)
        axis.patch.set_alpha(0)
        axis.spines[["top", "right"]].set_visible(False)
        for spine in axis.spines.values():
            spine.set_color(_GREY)
        axis.tick_params(colors=_GREY, labelsize=8)
        axis.xaxis.label.set_color(_GREY)
        axis.yaxis.label.set_color(_GREY)
        axis.title.set_color(_GREY)
        axes.append(axis)
    return figure, axes


@contextmanager
def _any_letters() -> Iterator[None]:
    """Let letters pass that matplotlib has no font for: a browser draws them."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph", UserWarning)
        yield


def svg_of(figure: Any) -> str:
    """Write a figure as an element of a page: text stays text, in the page's colour."""
    import matplotlib as mpl

    for axis in figure.axes:
        if axis.get_legend() is not None:
            for text in axis.get_legend().get_texts():
                text.set_color(_GREY)
    out = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "page"}), _any_letters():
        figure.savefig(out, format="svg", transparent=True, metadata={"Date": None})
    text = out.getvalue()
    return text[text.index("<svg") :].replace(_GREY, "currentColor")
