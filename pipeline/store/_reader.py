"""Reading a store: the same questions to a folder of shards and to a packed file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pipeline.common.choices import SPLITS, Split
from pipeline.common.errors import StoreDamaged, StoreError, StoreIncomplete, nearest
from pipeline.common.space import Space
from pipeline.store._buffer import ROWS
from pipeline.store._header import SHARDS, Header, read_header, read_probe
from pipeline.store._rows import Status, Table, first_bytes
from pipeline.store._shard import read_codes
from pipeline.store._shard_file import damaged
from pipeline.store._table import StoredTable, lost_table, read_table

Rows = NDArray[np.int64]
Codes = NDArray[np.float32]


class Store(Protocol):
    """
    Codes with their labels, wherever they lie.

    Attributes
    ----------
    location : Path
    header : Header or None
        None for a file that another program wrote: nobody knows its space.
    layers : mapping of str to tuple of int
        For each layer, the shape of one image's codes.
    views : int
        How many copies of each image have codes; the first is the image itself.
    classes : tuple of str
    labels : int32 array of shape (n,)
        Index into `classes`; -1 for an image without a label.
    splits : uint8 array of shape (n,)
        0 none, 1 train, 2 val, 3 test.
    usable : bool array of shape (n,)
        Rows that have codes.
    left_out : int
        Of joined stores, how many images with codes in the first have none in another.
    """

    location: Path
    header: Header | None
    layers: Mapping[str, tuple[int, ...]]
    views: int
    classes: tuple[str, ...]
    labels: NDArray[np.int32]
    splits: NDArray[np.uint8]
    usable: NDArray[np.bool_]
    left_out: int = 0

    @property
    def stores(self) -> tuple[Store, ...]:
        """The stores that this one is joined of: itself alone, unless it is a `JoinedStore`."""
        return (self,)

    def source_of(self, layer: str) -> int:
        """Return which of `stores` has a layer."""
        return 0

    def paths(self, rows: Rows) -> list[bytes]:
        """Return where the images of some rows were."""

    def blocks(
        self,
        layer: str,
        rows: Rows,
        *,
        views: bool = False,
        rng: np.random.Generator | None = None,
    ) -> Iterator[tuple[Rows, Codes]]:
        """
        Read codes piece by piece, so that memory does not grow with the number of rows.

        Parameters
        ----------
        layer : str
        rows : int64 array of shape (n,)
        views : bool, default False
            Whether to read all views of each image.
        rng : Generator, optional
            Puts the pieces in random order.

        Yields
        ------
        positions : int64 array of shape (m,)
            Places in `rows`.
        codes : float32 array of shape (m, ...)
            Of the images themselves; with `views` of all their views, of shape (m, views, ...).
        """
        for positions, codes in self.together([layer], rows, views=views, rng=rng):
            yield positions, codes[layer]

    def together(
        self,
        layers: Sequence[str],
        rows: Rows,
        *,
        views: bool = False,
        rng: np.random.Generator | None = None,
    ) -> Iterator[tuple[Rows, dict[str, Codes]]]:
        """
        Read the codes of several layers at once: each piece has the same rows of all of them.

        Parameters
        ----------
        layers : sequence of str
        rows, views, rng
            As for `blocks`.

        Yields
        ------
        positions : int64 array of shape (m,)
            Places in `rows`.
        codes : dict of str to float32 array of shape (m, ...)
            For each layer, as `blocks` gives them.
        """

    def hashes(self, rows: Rows) -> NDArray[np.uint64] | None:
        """Return the first 8 bytes of the content hashes of some rows, if they are known."""

    def sha256(self, rows: Rows) -> NDArray[np.uint8] | None:
        """Return the content hashes of some rows, of shape (n, 32), if they are known."""

    def groups(self, rows: Rows) -> list[bytes] | None:
        """Return the groups of some rows, if the source had any."""

    def probe(self, layer: str) -> Codes | None:
        """Return the codes of the probe images, if they are known."""


def name_of(store: Store) -> str:
    """Return what heads and reports made from a store are named after."""
    path = store.location.absolute()
    return path.stem if path.is_file() else path.name


def rows_of(store: Store, split: Split) -> Rows:
    """Return the labelled rows of a split that have codes, in order."""
    chosen = store.usable & (store.labels >= 0) & (store.splits == SPLITS[split])
    return np.flatnonzero(chosen)


def read_rows(store: Store, layer: str, rows: Rows, *, views: bool = False) -> Codes:
    """
    Read the codes of some rows into memory.

    Returns
    -------
    float32 array of shape (len(rows), ...)
        With `views` of shape (len(rows), views, ...).
    """
    return read_together(store, [layer], rows, views=views)[layer]


def read_together(
    store: Store, layers: Sequence[str], rows: Rows, *, views: bool = False
) -> dict[str, Codes]:
    """
    Read the codes of some rows in several layers into memory, in one pass.

    Returns
    -------
    dict of str to float32 array of shape (len(rows), ...)
        For each layer; with `views` of shape (len(rows), views, ...).
    """
    leading = (len(rows), store.views) if views else (len(rows),)
    found = {layer: np.empty((*leading, *store.layers[layer]), np.float32) for layer in layers}
    for positions, codes in store.together(layers, rows, views=views):
        for layer, block in codes.items():
            found[layer][positions] = block
    return found


def choose_layer(store: Store, layer: str | None) -> str:
    """
    Check the name of a layer; without one take the first.

    Raises
    ------
    StoreError
        If the store has no such layer.
    """
    if layer is None:
        return next(iter(store.layers))
    if layer not in store.layers:
        raise StoreError(
            f"expected one of the layers of {store.location} "
            f"({nearest(layer, store.layers, count=5)}), found '{layer}'; "
            f"cache it with `pipeline extract ... --layer {layer.rpartition('/')[2]}` into another "
            "store"
        )
    return layer


class FolderStore(Store):
    """A store as extract writes it; see `Store`."""

    def __init__(self, folder: Path) -> None:
        self.location = folder
        self.header: Header | None = (header := read_header(folder))
        self.space: Space = header.space
        self.layers = header.space.layers
        self.views = header.space.views
        self._header = header
        table = read_table(folder)
        self.table = _complete(folder, table)
        self.classes = self.table.classes
        self.labels = self.table.labels
        self.splits = self.table.splits
        self.usable = self.table.status == Status.ok

    def paths(self, rows: Rows) -> list[bytes]:
        """Return where the images of some rows were."""
        return [self.table.paths[row] for row in rows]

    def together(
        self,
        layers: Sequence[str],
        rows: Rows,
        *,
        views: bool = False,
        rng: np.random.Generator | None = None,
    ) -> Iterator[tuple[Rows, dict[str, Codes]]]:
        """Read codes of several layers shard by shard; see `Store.together`."""
        several = views and self.views > 1
        shard = self.table.shard[rows]
        order = np.argsort(shard, kind="stable")
        bounds = np.flatnonzero(np.diff(shard[order])) + 1
        pieces = np.split(order, bounds) if len(rows) else []
        if rng is not None:
            pieces = [pieces[place] for place in rng.permutation(len(pieces))]
        # Where many images have the same bytes, there may be far more rows than codes.
        cut = (part for piece in pieces for part in _cut(piece))
        for positions in cut:
            path = self.location / SHARDS / self.table.shards[shard[positions[0]]]
            own = self.table.row[rows[positions]]
            codes = read_codes(path, layers, own, header=self._header, views=several)
            for layer, block in codes.items():
                shape = (self.views, *self.layers[layer]) if several else self.layers[layer]
                if block.shape[1:] != shape:
                    raise damaged(path, f"codes of shape {block.shape[1:]}")
            alone = views and not several
            yield positions, {name: c[:, None] if alone else c for name, c in codes.items()}

    def hashes(self, rows: Rows) -> NDArray[np.uint64] | None:
        """Return the first 8 bytes of the content hashes of some rows."""
        every = [first_bytes(sha256) for (sha256,) in self.table.pieces("sha256")]
        return np.concatenate([np.empty(0, np.uint64), *every])[rows]

    def sha256(self, rows: Rows) -> NDArray[np.uint8]:
        """Return the content hashes of some rows."""
        return self.table.sha256[rows]

    def groups(self, rows: Rows) -> list[bytes] | None:
        """Return the groups of some rows, if the source had any."""
        groups = self.table.groups
        return None if groups is None else [groups[row] for row in rows]

    def probe(self, layer: str) -> Codes | None:
        """Return the codes of the probe images."""
        return probe_of(self.location, layer)


def _cut(positions: Rows) -> Iterator[Rows]:
    """Cut a piece that is longer than a shard of today."""
    return (positions[start : start + ROWS] for start in range(0, len(positions), ROWS))


def probe_of(folder: Path, layer: str) -> Codes:
    """Return the codes that the probe images have in one layer of a store."""
    probe = read_probe(folder)
    if layer not in probe:
        raise StoreDamaged(f"the probe of {folder} lacks layer '{layer}'")
    return probe[layer]


def _complete(folder: Path, table: StoredTable | None) -> StoredTable:
    again = "run the same extract command again: it goes on where it stopped"
    if table is None:
        if (lost := lost_table(folder)) is not None:
            raise lost
        raise StoreIncomplete(f"expected a finished store, found {folder} just begun; {again}")
    if pending := table.count(Status.pending):
        raise StoreIncomplete(
            f"expected a finished store, found {pending} of {len(table)} images of {folder} "
            f"without codes; {again}"
        )
    if table.unfinished:
        raise StoreIncomplete(
            f"expected a finished store, found {folder}, where the last extract did not come to "
            f"its end; {again}"
        )
    return table


def contents(folder: Path) -> tuple[Header, Table | None]:
    """Read what a store says of itself, finished or not."""
    return read_header(folder), read_table(folder)
