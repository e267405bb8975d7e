"""Codes and labels as arrays, for notebooks and for estimators that are not ours."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline import heads, store
from pipeline.common.choices import Pool, Split, choose
from pipeline.common.errors import ChoiceError, StoreError
from pipeline.flows.layers import choose_parts, open_stores


@dataclass(frozen=True, kw_only=True, eq=False)
class Codes:
    """
    Rows of a store.

    Attributes
    ----------
    X : float32 array of shape (n, d)
        The codes; of shape (n, h, w, c) for a layer of maps that was not pooled.
    y : int32 array of shape (n,)
        Labels; -1 for an image without one.
    classes : tuple of str
        What the labels mean.
    paths : tuple of str
        Where the images were, relative to the source.
    splits : tuple of str
        ``"train"``, ``"val"``, ``"test"``, or empty.
    sha256 : tuple of str, or None
        Of the images' bytes, in hex; None where a packed file does not say.
    groups : tuple of str, or None
        None where the source had none.
    """

    X: NDArray[np.float32]
    y: NDArray[np.int32]
    classes: tuple[str, ...]
    paths: tuple[str, ...]
    splits: tuple[str, ...]
    sha256: tuple[str, ...] | None
    groups: tuple[str, ...] | None


def load_codes(
    store_path: str | Path,
    *,
    joined_with: str | Path | Sequence[str | Path] = (),
    split: Split | str = Split.train,
    layer: str | Sequence[str] | None = None,
    pool: Pool | str | None = None,
    views: bool = False,
) -> Codes:
    """
    Read cached codes into memory.

    Parameters
    ----------
    store_path : str or Path
        A store or a packed file.
    joined_with : str, Path, or sequence of these, optional
        Further stores of the same images, see `fit_head`.
    split : Split or str, default Split.train
        Which labelled rows; ``"all"`` for all that have codes, with labels or without.
    layer : str or sequence of str, optional
        Which codes; by default the first layer of the store. Of several layers, and of one given
        as ``LAYER:POOL``, the vectors that `fit_head` gives a head.
    pool : Pool or str, optional
        How maps become vectors; by default those of one layer stay maps.
    views : bool, default False
        Whether each view of an image is a row; those of one image follow each other.

    Returns
    -------
    Codes

    Raises
    ------
    StoreError
        If the store cannot be read, lacks a layer, or has no such rows.
    HeadError
        If a layer is named twice, or vectors should be pooled as maps are.

    Examples
    --------
    >>> import pipeline
    >>> train = pipeline.load_codes("artifacts/features/photos", split="train")
    >>> train.X.shape, train.y.shape
    ((35, 24), (35,))
    >>> train.classes
    ('blue', 'green', 'red')
    """
    opened = open_stores(store_path, joined_with)
    rows = _rows(opened, split)
    if layer is None or (isinstance(layer, str) and layer in opened.layers):
        X = _plain(opened, store.choose_layer(opened, layer), pool, rows, views=views)
    else:
        X = _vectors(opened, choose_parts(opened, layer, pool), rows, views=views)
    rows = np.repeat(rows, opened.views if views else 1)
    sha256, groups = opened.sha256(rows), opened.groups(rows)
    names = {number: name.value for name, number in store.SPLITS.items()}
    return Codes(
        X=X,
        y=opened.labels[rows],
        classes=opened.classes,
        paths=tuple(os.fsdecode(path) for path in opened.paths(rows)),
        splits=tuple(names.get(int(number), "") for number in opened.splits[rows]),
        sha256=None if sha256 is None else tuple(row.tobytes().hex() for row in sha256),
        groups=None if groups is None else tuple(os.fsdecode(group) for group in groups),
    )


def _plain(
    opened: store.Store,
    layer: str,
    pool: Pool | str | None,
    rows: NDArray[np.int64],
    *,
    views: bool,
) -> NDArray[np.float32]:
    """Read the codes of one layer, as they are unless a pooling is given."""
    codes = store.read_rows(opened, layer, rows, views=views).reshape(-1, *opened.layers[layer])
    return codes if pool is None else heads.pool(codes, choose(Pool, pool, what="pool"))


def _vectors(
    opened: store.Store, parts: Sequence[heads.Part], rows: NDArray[np.int64], *, views: bool
) -> NDArray[np.float32]:
    """Read what a head on these layers takes, piece by piece: maps are larger than vectors."""
    width = sum(part.width for part in parts)
    X = np.empty((len(rows), opened.views if views else 1, width), np.float32)
    layers = [part.layer for part in parts]
    for positions, codes in opened.together(layers, rows, views=views):
        X[positions] = heads.vectors(parts, codes).reshape(len(positions), -1, width)
    return X.reshape(-1, width)


def _rows(opened: store.Store, split: Split | str) -> NDArray[np.int64]:
    """Choose rows; an empty choice is an error, not an empty array."""
    if split == "all":
        rows = np.flatnonzero(opened.usable)
    else:
        names = ", ".join(f"'{each.value}'" for each in Split)
        if split not in set(Split):
            raise ChoiceError(f"expected split {names} or 'all', found {split!r}; try 'train'")
        rows = store.rows_of(opened, chosen := Split(split))
    if len(rows):
        return rows
    if split == "all":
        raise StoreError(f"expected images with codes in {opened.location}, found none")
    there = opened.usable & (opened.splits == store.SPLITS[chosen])
    found = f"{int(there.sum())} without labels" if there.any() else "none"
    raise StoreError(
        f"expected labelled images in split '{chosen.value}' of {opened.location}, found {found}; "
        "load split='all' for all that have codes"
    )
