"""The codes that an audit looks at: of each content one row, of length 1, and no more than fit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline import heads, store
from pipeline.common.choices import Split
from pipeline.common.errors import StoreError, counted
from pipeline.flows.layers import choose_parts
from pipeline.flows.originals import spread

MOST_ROWS = 50_000  # every row is compared with every other
_MOST_BYTES = 1 << 30  # of codes


@dataclass(frozen=True, kw_only=True, eq=False)
class Audited:
    """
    Rows of a store and the directions of their codes.

    Attributes
    ----------
    opened : Store
    rows : int64 array of shape (n,)
        One of each content.
    units : float32 array of shape (n, d)
        Codes divided by their lengths.
    widths : tuple of int
        Numbers of each layer.
    copies : tuple of (int, int)
        Rows of the same bytes: one that may go, and the one that stays.
    notes : tuple of str
        What was not looked at.
    """

    opened: store.Store
    rows: NDArray[np.int64]
    units: NDArray[np.float32]
    widths: tuple[int, ...]
    copies: tuple[tuple[int, int], ...]
    notes: tuple[str, ...]

    @property
    def labels(self) -> NDArray[np.int64]:
        """Labels of the rows; -1 where there is none."""
        return self.opened.labels[self.rows].astype(np.int64)

    @property
    def splits(self) -> NDArray[np.int64]:
        """Splits of the rows, as the store numbers them."""
        return self.opened.splits[self.rows].astype(np.int64)


def audited(
    opened: store.Store, layer: str | Sequence[str] | None, *, most_rows: int = MOST_ROWS
) -> Audited:
    """
    Read the codes of a store that an audit looks at.

    Parameters
    ----------
    opened : Store
    layer : str, sequence of str, or None
        As `choose_parts` takes it.
    most_rows : int
        How many rows are looked at; those of validation and test first.

    Returns
    -------
    Audited

    Raises
    ------
    StoreError
        If no image has codes, or there is no such layer.
    """
    parts = choose_parts(opened, layer, None)
    usable = np.flatnonzero(opened.usable)
    if not len(usable):
        raise StoreError(
            f"expected images with codes in {opened.location}, found none; extract photos into it"
        )
    notes: list[str] = []
    copies: list[tuple[int, int]] = []
    ordered = usable[np.argsort(-stays(opened, usable), kind="stable")]
    hashes = opened.sha256(ordered)
    if hashes is None:
        notes.append("files of the same bytes are not told: the store has no hashes")
        rows = usable
    else:
        rows, copies = _contents(ordered, hashes)
    widths = tuple(part.width for part in parts)
    most = max(2, min(most_rows, _MOST_BYTES // (4 * sum(widths))))
    if len(rows) > most:
        notes.append(
            f"codes of {most} of {counted(len(rows), 'image')} were compared, those of validation "
            "and test first; files of the same bytes are found among all"
        )
        rows = _some(opened, rows, most)
    return Audited(
        opened=opened,
        rows=rows,
        units=units_of(opened, parts, rows),
        widths=widths,
        copies=tuple(copies),
        notes=tuple(notes),
    )


def stays(opened: store.Store, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Say how much there is for keeping each of some rows: test images most, training least."""
    return opened.splits[rows].astype(np.int64)  # whose numbers rise in that order


def _contents(
    ordered: NDArray[np.int64], hashes: NDArray[np.uint8]
) -> tuple[NDArray[np.int64], list[tuple[int, int]]]:
    """Take the first row of each content, and pair all others with it."""
    keys = np.ascontiguousarray(hashes).view(f"V{hashes.shape[1]}").ravel()
    _, first, which = np.unique(keys, return_index=True, return_inverse=True)
    kept = ordered[first[which]]
    others = kept != ordered
    pairs = zip(ordered[others].tolist(), kept[others].tolist(), strict=True)
    return np.sort(ordered[first]), list(pairs)


def _some(opened: store.Store, rows: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    """Choose rows: at most half of them held-out ones, and others from all over."""
    held_out = stays(opened, rows) > store.SPLITS[Split.train]
    first = spread(rows[held_out], max(most // 2, most - int((~held_out).sum())))
    return np.sort(np.concatenate([first, spread(rows[~held_out], most - len(first))]))


def units_of(
    opened: store.Store, parts: Sequence[heads.Part], rows: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Read codes divided by their lengths into memory; see `unit_blocks`."""
    units = np.empty((len(rows), sum(part.width for part in parts)), np.float32)
    for positions, block in unit_blocks(opened, parts, rows):
        units[positions] = block
    return units


def unit_blocks(
    opened: store.Store, parts: Sequence[heads.Part], rows: NDArray[np.int64]
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
    """
    Read codes piece by piece, divided by their lengths.

    Yields
    ------
    positions : int64 array of shape (m,)
        Places in `rows`.
    units : float32 array of shape (m, d)

    Raises
    ------
    StoreError
        If a number is not finite.
    """
    for positions, codes in opened.together([part.layer for part in parts], rows):
        block = heads.vectors(parts, codes)
        if not np.isfinite(block).all():
            raise StoreError(
                f"expected finite numbers in {opened.location}, found NaN or infinity; extract "
                "again"
            )
        yield positions, heads.units(block)
