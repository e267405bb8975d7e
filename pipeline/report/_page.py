"""The report as one HTML file that fetches nothing: scores, curves, and the photos behind them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.report._score import Report, most_confused
from pipeline.report._template import as_text, page_file, rendered

# More classes than these have no matrix on the page: no screen shows one.
MOST_DRAWN = 300
_PAIRS = 30


@dataclass(frozen=True, kw_only=True)
class Photo:
    """
    A photo on the page.

    Attributes
    ----------
    path : str
    true, predicted : int
        Classes by number.
    score : float
        Of the predicted class.
    image : int or None
        Which of the small images; None where there is none.
    neighbours : tuple of (int, float)
        Places of the nearest training photos among `PagePhotos.training`, and how alike they are.
    """

    path: str
    true: int
    predicted: int
    score: float
    image: int | None = None
    neighbours: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True, kw_only=True)
class PagePhotos:
    """
    The photos on the page.

    Attributes
    ----------
    photos : tuple of Photo
        Scored ones.
    training : tuple of Photo
        Neighbours of wrong ones; their predicted class is their true one.
    images : tuple of bytes
        Small JPEG files.
    dots : tuple of (float, float, int)
        A map of the codes: places in the plane, and which of `photos`.
    dots_by : str
        How the map was made.
    notes : tuple of str
        What is not shown, and why.
    """

    photos: tuple[Photo, ...] = ()
    training: tuple[Photo, ...] = ()
    images: tuple[bytes, ...] = ()
    dots: tuple[tuple[float, float, int], ...] = ()
    dots_by: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Page:
    """
    What the page says.

    Attributes
    ----------
    title : str
    report : Report
    score_kind : str
    notes : tuple of str
        What must be known before the scores are trusted.
    charts : mapping of str to str
        Title and SVG.
    facts : mapping of str to str
        How the scores came about: commands, versions, space.
    photos : PagePhotos
    """

    title: str
    report: Report
    notes: tuple[str, ...] = ()
    charts: Mapping[str, str] = field(default_factory=dict)
    facts: Mapping[str, str] = field(default_factory=dict)
    photos: PagePhotos = PagePhotos()

    def html(self) -> str:
        """Return the page; names are escaped by Jinja2, and in the data by JSON."""
        return rendered(
            "report.html",
            page=self,
            report=self.report,
            classes=sorted(self.report.classes, key=lambda each: (each.recall, each.name)),
            confused=most_confused(self.report, _PAIRS),
            script=page_file("report.js"),
            data=_json(self._data()),
            absent=any(not each.support for each in self.report.classes),
            drawn=2 <= len(self.report.classes) <= MOST_DRAWN,
        )

    def _data(self) -> dict[str, Any]:
        photos = self.photos
        return {
            "classes": list(self.report.names),
            "order": order_of(self.report) if len(self.report.classes) <= MOST_DRAWN else [],
            "pairs": self.report.pairs,
            "photos": [_row(photo) for photo in photos.photos],
            "training": [_row(photo) for photo in photos.training],
            "images": [as_text(image) for image in photos.images],
            "dots": photos.dots,
        }


def order_of(report: Report) -> list[int]:
    """
    Put classes that are taken for each other side by side.

    Returns
    -------
    list of int
        All classes, in the order of the leaves of a tree of average linkage over the shares of
        images that they exchange (scipy's ``optimal_ordering``: Z. Bar-Joseph, D. K. Gifford and
        T. S. Jaakkola, Fast optimal leaf ordering for hierarchical clustering, 2001).
    """
    from scipy.cluster.hierarchy import leaves_list, linkage
    from scipy.spatial.distance import squareform

    k = len(report.classes)
    if k < 3:
        return list(range(k))
    counts: NDArray[np.float64] = np.array(report.confusion, np.float64)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    alike = np.minimum(shares + shares.T, 1.0)
    np.fill_diagonal(alike, 1.0)
    tree = linkage(squareform(1 - alike, checks=False), "average", optimal_ordering=True)
    return [int(place) for place in leaves_list(tree)]


def _row(photo: Photo) -> list[Any]:
    plain = asdict(photo)
    score = round(photo.score, 4)
    near = [[place, round(how, 3)] for place, how in photo.neighbours]
    return [plain["path"], photo.true, photo.predicted, score, photo.image, near]


def _json(data: Mapping[str, Any]) -> Any:
    """Write data into a script element: nothing in it ends the element or begins another."""
    from markupsafe import Markup

    text = json.dumps(data, separators=(",", ":"))
    for letter in "<>&\u2028\u2029":
        text = text.replace(letter, f"\\u{ord(letter):04x}")
    return Markup(text)


def shown_of(
    report: Report,
    true: NDArray[np.int64],
    predicted: NDArray[np.int64],
    best: NDArray[np.float32],
    *,
    each_wrong: int,
    each_right: int,
    most: int,
) -> NDArray[np.int64]:
    """
    Choose rows whose photos are shown: the worst errors, and the most uncertain right answers.

    Parameters
    ----------
    report : Report
    true, predicted : int64 arrays of shape (n,)
    best : float32 array of shape (n,)
        Score of the predicted class.
    each_wrong, each_right : int
        How many of a cell of the confusion matrix, at the most.
    most : int
        How many in all.

    Returns
    -------
    int64 array of shape (m,)
        Wrong ones first, of each cell those with the highest scores; then right ones, of each
        class those with the lowest.
    """
    wrong = true != predicted
    order = np.lexsort((np.where(wrong, -best, best), predicted, true))
    cell = true[order] * len(report.classes) + predicted[order]
    starts = np.r_[True, cell[1:] != cell[:-1]]
    place = np.arange(len(order)) - np.maximum.accumulate(
        np.where(starts, np.arange(len(order)), 0)
    )
    kept = place < np.where(wrong[order], each_wrong, each_right)
    rows, ranks = order[kept], place[kept]
    # All first ones of their cells, then all second ones: no cell takes the place of others.
    first = np.lexsort((ranks, ~wrong[rows]))
    return np.asarray(rows[first][:most])
