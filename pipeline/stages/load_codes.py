"""Codes and labels as arrays, for notebooks and for estimators that are not ours."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline import heads, store
from pipeline.choices import Pool, Split, choose


@dataclass(frozen=True, kw_only=True, eq=False)
class Codes:
    """
    The labelled rows of a split.

    Attributes
    ----------
    X : float32 array of shape (n, d)
        The codes; of shape (n, h, w, c) for a layer of maps that was not pooled.
    y : int32 array of shape (n,)
        Labels.
    classes : tuple of str
        What the labels mean.
    paths : tuple of str
        Where the images were, relative to the source.
    """

    X: NDArray[np.float32]
    y: NDArray[np.int32]
    classes: tuple[str, ...]
    paths: tuple[str, ...]


def load_codes(
    store_path: str | Path,
    *,
    split: Split | str = Split.train,
    layer: str | None = None,
    pool: Pool | str | None = None,
    views: bool = False,
) -> Codes:
    """
    Read cached codes into memory.

    Parameters
    ----------
    store_path : str or Path
        A store or a packed file.
    split : Split or str, default Split.train
        Which rows.
    layer : str, optional
        Which codes; by default the first layer of the store.
    pool : Pool or str, optional
        How maps become vectors; by default they stay maps.
    views : bool, default False
        Whether each view of an image is a row; those of one image follow each other.

    Returns
    -------
    Codes

    Raises
    ------
    StoreError
        If the store cannot be read or lacks the layer.

    Examples
    --------
    >>> import pipeline
    >>> train = pipeline.load_codes("artifacts/features/photos")  # doctest: +SKIP
    >>> LinearSVC().fit(train.X, train.y)  # doctest: +SKIP
    """
    opened = store.open_store(Path(store_path))
    layer = store.choose_layer(opened, layer)
    rows = store.rows_of(opened, choose(Split, split, what="split"))
    X = store.read_rows(opened, layer, rows, views=views).reshape(-1, *opened.layers[layer])
    rows = np.repeat(rows, opened.views if views else 1)
    return Codes(
        X=heads.pool(X, choose(Pool, pool, what="pool")) if pool is not None else X,
        y=opened.labels[rows],
        classes=opened.classes,
        paths=tuple(os.fsdecode(path) for path in opened.paths(rows)),
    )
