"""Several heads on the same images: how they differ, and on which photos."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pipeline.report._paired import PairedDifference, paired_difference
from pipeline.report._score import Report
from pipeline.report._template import as_text, rendered


@dataclass(frozen=True, kw_only=True)
class HeadPair:
    """
    Two heads on the same images.

    Attributes
    ----------
    first, second : str
    difference : PairedDifference
        Of the second less the first.
    p_value : float
        McNemar's exact test (Q. McNemar, Psychometrika 12, 1947): how probable so uneven a share
        of the images that only one of them answers right would be if both were equally good.
    """

    first: str
    second: str
    difference: PairedDifference
    p_value: float

    @property
    def sentence(self) -> str:
        """The same in words."""
        low, high = (100 * bound for bound in self.difference.interval)
        return (
            f"{self.second} against {self.first}: {100 * self.difference.value:+.1f} points "
            f"(95 % interval {low:+.1f} to {high:+.1f}; by chance alone {self.p_value:.3f})"
        )


def head_pair(first: str, second: str, right: tuple[ArrayLike, ArrayLike]) -> HeadPair:
    """
    Compare two heads.

    Parameters
    ----------
    first, second : str
        Their names.
    right : tuple of array-like of bool, shape (n,)
        Which images each answers right.

    Returns
    -------
    HeadPair
    """
    from scipy.stats import binomtest

    difference = paired_difference(*right)
    only = difference.gained + difference.lost
    p_value = float(binomtest(difference.gained, only).pvalue) if only else 1.0
    return HeadPair(first=first, second=second, difference=difference, p_value=p_value)


@dataclass(frozen=True, kw_only=True)
class Differing:
    """
    A photo on which heads differ.

    Attributes
    ----------
    path, true : str
    answers : tuple of (str, float, bool)
        For each head: its answer, the score of it, and whether it is right.
    image : bytes or None
        A small JPEG file.
    """

    path: str
    true: str
    answers: tuple[tuple[str, float, bool], ...]
    image: bytes | None = None

    @property
    def data(self) -> str | None:
        """The picture as text."""
        return None if self.image is None else as_text(self.image)


@dataclass(frozen=True, kw_only=True)
class HeadsPage:
    """
    What the page of several heads says.

    Attributes
    ----------
    title : str
    names : sequence of str
        Of the heads.
    reports : sequence of Report
        Of each, on the same images.
    pairs : sequence of HeadPair
    differing : sequence of Differing
    count : int
        On how many images they differ; those beyond `differing` are not on the page.
    notes : sequence of str
    links : mapping of str to str
        The page of each head, by its name.
    """

    title: str
    names: Sequence[str]
    reports: Sequence[Report]
    pairs: Sequence[HeadPair]
    differing: Sequence[Differing]
    count: int
    notes: Sequence[str] = ()
    links: Mapping[str, str] = field(default_factory=dict)

    def html(self) -> str:
        """Return the page; names are escaped by Jinja2."""
        rows: list[tuple[str, Any]] = list(zip(self.names, self.reports, strict=True))
        return rendered("heads.html", page=self, rows=rows)


def differing_first(right: Sequence[NDArray[np.bool_]], answers: ArrayLike) -> NDArray[np.int64]:
    """
    Return which images heads answer differently: first those that only some answer right.

    Parameters
    ----------
    right : sequence of bool arrays of shape (n,)
        Of each head.
    answers : array-like, shape (heads, n)

    Returns
    -------
    int64 array
    """
    table, said = np.stack(right), np.asarray(answers)
    differ = (said != said[0]).any(axis=0)
    rows = np.flatnonzero(differ)
    alike = np.asarray(table.all(axis=0) | ~table.any(axis=0))[rows]
    return np.asarray(rows[np.argsort(alike, kind="stable")])
