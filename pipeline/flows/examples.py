"""What heads learn from: rows of a store, with their labels, in memory or read as they are used."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline import heads, store
from pipeline.common.choices import HeadKind, Split
from pipeline.common.errors import HeadError

# Scores of held-out images that are kept with a head: 8 MB.
_MOST_KEPT = 1 << 20
# The kinds with a C, which learn the validation rows too in the end unless told otherwise.
REGULARISED = (HeadKind.svm, HeadKind.softmax, HeadKind.ridge)


@dataclass(frozen=True, kw_only=True)
class Examples:
    """
    The images of a store that a head learns from and is judged by.

    Attributes
    ----------
    opened : Store
    parts : tuple of Part
        The layers whose codes are learned from; those of several stand side by side.
    train, val : int64 arrays
        Rows of the store.
    classes : tuple of str
        Those with training images.
    views : int
        How many views of a training image are learned from.
    """

    opened: store.Store
    parts: tuple[heads.Part, ...]
    train: NDArray[np.int64]
    val: NDArray[np.int64]
    classes: tuple[str, ...]
    views: int

    @property
    def widths(self) -> tuple[int, ...]:
        """Numbers per image that a head sees of each layer."""
        return tuple(part.width for part in self.parts)

    @property
    def width(self) -> int:
        """Numbers per image that a head sees."""
        return sum(self.widths)

    @property
    def size(self) -> heads.Size:
        """How much there is to learn."""
        return heads.Size(
            train=len(self.train) * self.views,
            val=len(self.val),
            width=self.width,
            classes=len(self.classes),
        )

    @property
    def y(self) -> NDArray[np.int64]:
        """Labels of the training rows, each view one."""
        return np.repeat(self.labels(self.train), self.views)

    @property
    def y_val(self) -> NDArray[np.int64]:
        """Labels of the validation images."""
        return self.labels(self.val)

    @property
    def groups(self) -> NDArray[np.int64] | None:
        """Numbers of the training rows' groups; rows without one are each by themselves."""
        numbers = group_numbers(self.opened.groups(self.train), self.train)
        return None if numbers is None else np.repeat(numbers, self.views)

    def without_validation(self) -> Examples:
        """Leave the validation images out, so that folds of the training images judge."""
        return replace(self, val=self.val[:0], views=1)

    def codes(self, plan: heads.Plan) -> tuple[heads.CodeRows, heads.CodeRows | None]:
        """Return the codes of the training rows and of the validation images, if there are any."""
        train = self._codes(self.train, self.views, in_memory=plan.in_memory)
        val = self._codes(self.val, 1, in_memory=plan.val_in_memory) if len(self.val) else None
        return train, val

    def choose(self, count: int, *, seed: int) -> NDArray[np.int64]:
        """Choose up to so many training images of each class: places in `train`, in order."""
        rng, labels = np.random.default_rng(seed), self.labels(self.train)
        chosen = [
            rng.permutation(np.flatnonzero(labels == label))[:count]
            for label in range(len(self.classes))
        ]
        return np.sort(np.concatenate(chosen))

    def fewer(self, count: int, *, seed: int) -> Examples:
        """Keep up to so many training images of each class."""
        return replace(self, train=self.train[self.choose(count, seed=seed)])

    @property
    def counts(self) -> NDArray[np.int64]:
        """How many training images each class has."""
        return np.bincount(self.labels(self.train), minlength=len(self.classes))

    def labels(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the labels of some rows of the store: places in `classes`, -1 for others."""
        places = {name: place for place, name in enumerate(self.classes)}
        numbers = np.array([places.get(name, -1) for name in self.opened.classes])
        return numbers[self.opened.labels[rows]]

    def _codes(self, rows: NDArray[np.int64], views: int, *, in_memory: bool) -> heads.CodeRows:
        def read(
            wanted: NDArray[np.int64], rng: np.random.Generator | None
        ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
            return self._read(rows, views, wanted, rng)

        everything = np.arange(len(rows) * views)
        if not in_memory:
            return heads.Streamed(read, everything, width=self.width)
        X = np.empty((len(everything), self.width), np.float32)
        for places, codes in read(everything, None):
            X[places] = codes
        return heads.InMemory(X)

    def _read(
        self,
        rows: NDArray[np.int64],
        views: int,
        wanted: NDArray[np.int64],
        rng: np.random.Generator | None,
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
        """Yield places in `wanted`, which counts views of rows, and their vectors."""
        images, of_image = np.unique(wanted // views, return_inverse=True)
        order = np.argsort(of_image, kind="stable")
        bounds = np.searchsorted(of_image[order], np.arange(len(images) + 1))
        layers = [part.layer for part in self.parts]
        several = self.opened.together(layers, rows[images], views=views > 1, rng=rng)
        for positions, codes in several:
            places = np.concatenate([order[bounds[p] : bounds[p + 1]] for p in positions])
            if views > 1:
                which = np.repeat(np.arange(len(positions)), np.diff(bounds)[positions])
                own = which, wanted[places] % views
                codes = {name: block[own] for name, block in codes.items()}
            yield places, heads.vectors(self.parts, codes)


def group_numbers(
    groups: Sequence[bytes] | None, alone: NDArray[np.int64]
) -> NDArray[np.int64] | None:
    """
    Number the groups of some rows; a row without one is a group by itself.

    Parameters
    ----------
    groups : sequence of bytes or None
        Of each row its group, empty where it has none.
    alone : int64 array of shape (n,)
        A number of each row, which no other has.

    Returns
    -------
    int64 array of shape (n,), or None
        None where no row has a group.
    """
    if groups is None or not any(groups):
        return None
    each = [group or f"row {row}".encode() for group, row in zip(groups, alone, strict=True)]
    return np.asarray(np.unique(each, return_inverse=True)[1], np.int64)


def examples(opened: store.Store, parts: Sequence[heads.Part]) -> Examples:
    """
    Find what there is to learn from.

    Parameters
    ----------
    opened : Store
    parts : sequence of Part
        Its layers whose codes are learned from.

    Raises
    ------
    HeadError
        If fewer than two classes have training images.
    """
    train, val = store.rows_of(opened, Split.train), store.rows_of(opened, Split.val)
    labels = np.unique(opened.labels[train])
    if len(labels) < 2:
        found = ", ".join(opened.classes[label] for label in labels) or "none"
        raise HeadError(
            f"expected training images of at least two classes in {opened.location}, found "
            f"{len(labels)} ({found}); extract a source with a folder for each class"
        )
    val = val[np.isin(opened.labels[val], labels)]
    return Examples(
        opened=opened,
        parts=tuple(parts),
        train=train,
        val=val,
        classes=tuple(opened.classes[label] for label in labels),
        # Without validation images a head is judged by folds, which must not part the views of
        # an image.
        views=opened.views if len(val) else 1,
    )


def card_of(
    used: Examples, head: heads.Head, *, judged: Sequence[str], **others: Any
) -> heads.Card:
    """
    Write down everything that using a head later depends on.

    Parameters
    ----------
    used : Examples
    head : Head
    judged : sequence of str
        What the validation images were used for, where the head was not fitted on them.
    **others
        Fields of the card that differ.
    """
    opened, (first, *also) = used.opened, used.parts
    both = head.parameters["fitted_on"] != "train"
    fitted = np.concatenate([used.train, used.val]) if both else used.train
    judging = used.val if judged and not both else used.val[:0]
    header = opened.header
    known: dict[str, Any] = {
        "classes": used.classes,
        "layer": first.layer,
        "pool": first.pool,
        "shape": first.shape,
        "also": tuple(also),
        "probe": _probe(opened, used.parts),
    }
    if header is not None:
        known |= vars(_origin(header))
    further = opened.stores[1:]
    known |= {
        "further": tuple(_origin(each.header) for each in further if each.header is not None),
        "scores": {"validation": head.validation_},
        "seed": head.seed,
        "trained_on": {"store": str(opened.location.absolute()), **_with(further)},
        "seen": _sorted(opened.hashes(fitted)),
    }
    known |= others
    if len(judging):
        known["judged"] = _sorted(opened.hashes(judging))
        known["trained_on"] = {**known["trained_on"], "judged": list(judged)}
    elif head.held_out_ is not None and head.held_out_.scores.size <= _MOST_KEPT:
        known |= _held(used, head.held_out_)
        how = (head.validation_ or {}).get("how", "")
        about = {"held_out": how, "held_out_for": list(judged)}
        known["trained_on"] = {**known["trained_on"], **about}
    return heads.Card(**known)


def _origin(header: store.Header) -> heads.Origin:
    """Say what computed the codes of a store."""
    return heads.Origin(
        space=header.space,
        weights=dict(header.weights),
        batch_size=header.batch_size,
        engine=header.engine,
        precision=header.precision,
        versions=dict(header.versions),
    )


def _with(further: Sequence[store.Store]) -> dict[str, list[str]]:
    return {"with": [str(each.location.absolute()) for each in further]} if further else {}


def _probe(opened: store.Store, parts: Sequence[heads.Part]) -> NDArray[np.float32] | None:
    """Return the codes of the probe images as a card keeps them, if they are known."""
    if len(parts) == 1:
        return opened.probe(parts[0].layer)
    probes = {part.layer: opened.probe(part.layer) for part in parts}
    known = {name: codes for name, codes in probes.items() if codes is not None}
    return heads.vectors(parts, known) if len(known) == len(probes) else None


def held_images(used: Examples, held: heads.HeldOut) -> NDArray[np.int64] | None:
    """Return the rows of the store that were held out, in the order of their scores."""
    first = len(used.train) * used.views  # each view of a training image is a row
    if (held.rows >= first).all():
        return used.val[held.rows - first]
    return used.train[held.rows] if used.views == 1 and not len(used.val) else None


def _held(used: Examples, held: heads.HeldOut) -> dict[str, Any]:
    """Return hashes and scores of the images that were held out, for a card."""
    images = held_images(used, held)
    hashes = None if images is None else used.opened.hashes(images)
    if hashes is None:
        return {}
    order = np.argsort(hashes, kind="stable")
    return {"held": hashes[order], "held_scores": held.scores[order]}


def deviation(scores: Sequence[float]) -> float | None:
    """
    Return the standard deviation of a sample of scores.

    None for less than two, and where less than three agree: of two that tie, 0 would be said of
    what is not known.
    """
    if len(scores) < 2 or (len(scores) < 3 and len(set(scores)) == 1):
        return None
    return float(np.std(scores, ddof=1))


def _sorted(hashes: NDArray[np.uint64] | None) -> NDArray[np.uint64] | None:
    return None if hashes is None else np.unique(hashes)
