"""Images far from all others, and classes with too few images."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipeline import store
from pipeline.common.choices import Split
from pipeline.flows.audited import Audited
from pipeline.flows.duplicates import Neighbours
from pipeline.flows.findings import Finding, Kind

_FAR = 3.5  # B. Iglewicz and D. Hoaglin, How to Detect and Handle Outliers, 1993
_NORMAL = 1.4826  # deviations of a normal distribution in its median absolute deviations
_LEAST = 10  # training images of a class; below these there is no usual distance either


def outliers(audited: Audited, near: Neighbours) -> list[Finding]:
    """
    Find rows whose nearest neighbours are far, compared with others of their class.

    Returns
    -------
    list of Finding
        Numbers are deviations from the class's median of the mean distance to the neighbours.
    """
    if not near.distances.shape[1]:
        return []
    distances = near.distances.mean(axis=1)
    deviations = np.zeros(len(distances))
    labels = audited.labels
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        if len(rows) >= _LEAST:
            deviations[rows] = _deviations(distances[rows])
    far = np.flatnonzero(deviations > _FAR)
    order = far[np.argsort(-deviations[far], kind="stable")]
    return [
        Finding(
            kind=Kind.outlier,
            rows=(int(audited.rows[place]),),
            number=float(deviations[place]),
            reason=f"its {near.distances.shape[1]} nearest images are {distances[place]:.2f} away "
            f"in the mean, {deviations[place]:.1f} deviations more than usual in its class",
        )
        for place in order.tolist()
    ]


def _deviations(values: NDArray[np.float32]) -> NDArray[np.float64]:
    middle = np.median(values)
    usual = _NORMAL * np.median(np.abs(values - middle))
    return np.asarray((values - middle) / max(float(usual), 1e-6), np.float64)


def small_classes(opened: store.Store) -> list[Finding]:
    """Find classes with fewer than ten training images; where nothing has a split, all count."""
    there = opened.usable & (opened.labels >= 0)
    if (opened.splits[there] > 0).any():
        there &= opened.splits == store.SPLITS[Split.train]
    counts = np.bincount(opened.labels[there], minlength=len(opened.classes))
    return [
        Finding(
            kind=Kind.small,
            number=int(counts[label]),
            reason=f"{opened.classes[label]}: {counts[label]} training images, fewer than {_LEAST}",
        )
        for label in np.argsort(counts, kind="stable").tolist()
        if counts[label] < _LEAST
    ]
