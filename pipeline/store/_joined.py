"""Several stores of the same images as one: rows are found in each by their content hash."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.common.errors import StoreError
from pipeline.common.space import Space
from pipeline.store._reader import Codes, Rows, Store, read_together

# What decides which pixels a network sees: one decoded image must serve the networks of all stores.
_READING = (
    "size",
    "resize",
    "kernel",
    "colour",
    "alpha",
    "exif",
    "depth16",
    "views",
    "augment",
    "augment_seed",
)


class JoinedStore(Store):
    """
    Several stores of the same images, see `Store`: the codes of all, the rest of the first.

    An image that one of them has no codes of is not usable. Labels, splits and groups are those
    of the first. So are the names of its layers; those of another are named ``BACKBONE/LAYER``, or
    ``BACKBONE-3/LAYER`` where the third store has the backbone of the second.

    Parameters
    ----------
    stores : sequence of Store
        At least two; fastest where all have their rows in about the same order, as stores of one
        source do.

    Attributes
    ----------
    places : mapping of str to (int, str)
        For each layer, which of the stores has it, and under which name.

    Raises
    ------
    StoreError
        If nobody knows what the codes of one mean, they read images differently, or no image is
        in all of them.
    """

    def __init__(self, stores: Sequence[Store]) -> None:
        first = stores[0]
        self._stores = tuple(stores)
        self.location, self.header, self.views = first.location, first.header, first.views
        self.classes, self.labels, self.splits = first.classes, first.labels, first.splits
        spaces = [_space_of(each) for each in stores]
        for other, space in zip(stores[1:], spaces[1:], strict=True):
            _check_reading(first, spaces[0], other, space)
        names = [space.backbone for space in spaces]
        self.places = {
            _key(names, number, layer): (number, layer)
            for number, each in enumerate(stores)
            for layer in each.layers
        }
        self.layers = {
            key: stores[number].layers[layer] for key, (number, layer) in self.places.items()
        }
        self._rows = [_found(first, other) for other in stores]
        self.usable = first.usable & np.all([rows >= 0 for rows in self._rows], axis=0)
        self.left_out = int(first.usable.sum() - self.usable.sum())
        if not self.usable.any():
            there = ", ".join(str(other.location) for other in stores[1:])
            raise StoreError(
                f"expected stores of the same images, found no image of {first.location} in "
                f"{there}; extract the same photos into each"
            )

    @property
    def stores(self) -> tuple[Store, ...]:
        """The stores that this one is joined of."""
        return self._stores

    def source_of(self, layer: str) -> int:
        """Return which of them has a layer."""
        return self.places[layer][0]

    def paths(self, rows: Rows) -> list[bytes]:
        """Return where the images of some rows were."""
        return self.stores[0].paths(rows)

    def together(
        self,
        layers: Sequence[str],
        rows: Rows,
        *,
        views: bool = False,
        rng: np.random.Generator | None = None,
    ) -> Iterator[tuple[Rows, dict[str, Codes]]]:
        """Read codes of several layers, in the pieces of the first store that is asked."""
        own: dict[int, dict[str, str]] = {}
        for key in layers:
            number, layer = self.places[key]
            own.setdefault(number, {})[layer] = key
        leading, *others = sorted(own)
        pieces = self.stores[leading].together(
            list(own[leading]), self._rows[leading][rows], views=views, rng=rng
        )
        for positions, codes in pieces:
            found = {own[leading][layer]: block for layer, block in codes.items()}
            for number in others:
                wanted = self._rows[number][rows[positions]]
                read = read_together(self.stores[number], list(own[number]), wanted, views=views)
                found |= {own[number][layer]: block for layer, block in read.items()}
            yield positions, found

    def hashes(self, rows: Rows) -> NDArray[np.uint64] | None:
        """Return the first 8 bytes of the content hashes of some rows."""
        return self.stores[0].hashes(rows)

    def sha256(self, rows: Rows) -> NDArray[np.uint8] | None:
        """Return the content hashes of some rows."""
        return self.stores[0].sha256(rows)

    def groups(self, rows: Rows) -> list[bytes] | None:
        """Return the groups of some rows, if the source had any."""
        return self.stores[0].groups(rows)

    def probe(self, layer: str) -> Codes | None:
        """Return the codes of the probe images, if they are known."""
        number, own = self.places[layer]
        return self.stores[number].probe(own)


def _key(backbones: Sequence[str], number: int, layer: str) -> str:
    """Name a layer of one of the stores; see `JoinedStore`."""
    if number == 0:
        return layer
    name = backbones[number]
    again = name in backbones[1:number]
    return f"{name}-{number + 1}/{layer}" if again else f"{name}/{layer}"


def _space_of(store: Store) -> Space:
    if store.header is None:
        raise StoreError(
            f"expected stores of this program to join, found {store.location}, written by another; "
            "extract its photos"
        )
    return store.header.space


def _check_reading(first: Store, mine: Space, other: Store, theirs: Space) -> None:
    """See that one decoded image is what both networks are shown."""
    differences = [
        f"{name}: {getattr(mine, name)} against {getattr(theirs, name)}"
        for name in _READING
        if getattr(mine, name) != getattr(theirs, name)
    ]
    if differences:
        raise StoreError(
            f"expected stores that read images in the same way, found {first.location} and "
            f"{other.location} ({'; '.join(differences)}); extract one of them again with the "
            "other's options, such as --size"
        )


def _found(first: Store, other: Store) -> Rows:
    """Return for each row of the first the row of the same content in another, -1 for none."""
    if other is first:
        return np.arange(len(first.labels))
    known, wanted = _contents(other), _contents(first)
    rows = np.flatnonzero(other.usable)
    rows = rows[np.argsort(known[rows], kind="stable")]
    if not len(rows):
        return np.full(len(wanted), -1)
    places = np.searchsorted(known[rows], wanted).clip(max=len(rows) - 1)
    return np.where(known[rows][places] == wanted, rows[places], -1)


def _contents(store: Store) -> NDArray[np.bytes_]:
    """Return the content hashes of all rows as values that can be sorted."""
    hashes = store.sha256(np.arange(len(store.labels)))
    if hashes is None:
        raise StoreError(
            f"expected a store that knows the contents of its images, found {store.location}, "
            "which has no hashes; pack it again, or name the folder that extract made"
        )
    return np.ascontiguousarray(hashes).view("S32").ravel()
