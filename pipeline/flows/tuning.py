"""What fine-tuning learns from: the codes below some layers, these layers, and a head on them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline import backbones, heads, images, store
from pipeline.common.choices import ClassWeight, HeadKind, Pool, Precision
from pipeline.common.errors import HeadError, SpaceMismatch, StoreError, counted
from pipeline.common.listener import Progress
from pipeline.common.space import Space
from pipeline.flows import places
from pipeline.flows.classifier import space_of
from pipeline.flows.command import extract_command
from pipeline.flows.examples import Examples, card_of, examples
from pipeline.flows.influence import CALIBRATED
from pipeline.flows.layers import named, part
from pipeline.flows.originals import Originals


@dataclass(frozen=True, kw_only=True)
class Task:
    """A head, a store, the layers between them, and what these learn from."""

    saved: heads.SavedHead
    opened: store.Store
    tail: backbones.Tail
    views: images.Views | None

    @property
    def photos(self) -> bool:
        """Whether the photos themselves are learned from."""
        return self.tail.start == backbones.INPUT

    @cached_property
    def examples(self) -> Examples:
        """Which rows of the store are learned from."""
        if not self.photos:
            return examples(self.opened, [part(self.opened, self.tail.start, Pool.flat)])
        first = part(self.opened, next(iter(self.opened.layers)), Pool.flat)
        found = examples(self.opened, [first])
        return replace(found, views=1)

    def check_classes(self) -> None:
        """Raise HeadError unless the store has training images of just the head's classes."""
        known, found = self.saved.card.classes, self.examples.classes
        if known != found:
            missing = ", ".join(name for name in known if name not in found) or "none of these"
            others = ", ".join(name for name in found if name not in known) or "no others"
            raise HeadError(
                f"expected training images of the classes of head {self.saved.directory}, found "
                f"that {self.opened.location} lacks {missing} and has {others}; fit a head on "
                "codes of this store's images first"
            )

    def left_out(self) -> str | None:
        """Say when the head was fitted on images that are not learned from here."""
        used, seen = self.examples, self.saved.card.part
        here = self.opened.hashes(np.concatenate([used.train, used.val]))
        if seen is None or here is None:
            return None
        missing = int((~np.isin(seen, here)).sum())
        if not missing:
            return None
        return (
            f"warning: {counted(missing, 'image')} that the head was fitted on took other sides of "
            f"the split in {self.opened.location}, or are not there; extract with the --val, "
            "--test and --limit of the head's store to learn from the same"
        )

    @property
    def size(self) -> heads.Size:
        """How much there is to learn."""
        return replace(self.examples.size, width=int(np.prod(self.tail.shape)))

    @property
    def identity(self) -> str:
        """What decides the result beside the settings of the training."""
        used, tail, digest = self.examples, self.tail, hashlib.sha256()
        for rows in (used.train, used.val):
            hashes = self.opened.hashes(rows)
            digest.update((rows if hashes is None else hashes).tobytes())
        about = [tail.start, tail.stop, tail.precision, dict(tail.weights_sha256), self.views]
        return repr([*about, digest.hexdigest(), self.saved.head.kind.value, self.saved.card.pool])

    def prepare(self, plan: heads.Plan, progress: Progress) -> tuple[heads.Material, heads.Head]:
        """Find the codes, and fit the head anew on those of the training images alone."""
        used = self.examples
        train, val, plain = self._codes(plan)
        vectors = heads.through(self.tail, plain, self.saved.card.pooling, progress=progress)
        before = heads.through(self.tail, val, self.saved.card.pooling) if val is not None else None
        y_val = used.y_val if val is not None else None
        own = heads.build(self.saved.head.kind, seed=self.saved.card.seed, **_again(self.saved))
        fitted = own.fit(vectors, used.y, X_val=before, y_val=y_val)
        material = heads.Material(
            train=train,
            y=used.y,
            val=val,
            y_val=y_val,
            before=before,
            room=plan.room,
            how=self.saved.card.pooling,
            views=used.views,
        )
        return material, fitted

    def _codes(
        self, plan: heads.Plan
    ) -> tuple[heads.CodeRows, heads.CodeRows | None, heads.CodeRows]:
        """Return what is trained on, what judges, and what is trained on without augmentation."""
        used = self.examples
        if not self.photos:
            train, val = used.codes(plan)
            return train, val, train
        plain = self._of_photos(used.train, None)
        judge = self._of_photos(used.val, None) if len(used.val) else None
        return self._of_photos(used.train, self.views), judge, plain

    def _of_photos(self, rows: NDArray[np.int64], views: images.Views | None) -> heads.CodeRows:
        originals = Originals(self.opened, rows)  # looked up once, not in every epoch

        def read(
            wanted: NDArray[np.int64], rng: np.random.Generator | None
        ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
            own = None
            if views is not None and rng is not None:  # other copies in every epoch
                own = replace(views, seed=int(rng.integers(2**32)))
            for positions, pixels in originals.blocks(wanted, views=own, rng=rng):
                chosen = pixels[:, -1] if own is not None else pixels
                yield positions, chosen.reshape(len(chosen), -1).astype(np.float32)

        width = int(np.prod(self.tail.shape))
        return heads.Streamed(read, np.arange(len(rows)), width=width)

    def card(self, tuned: heads.Head, *, head: str | Path, tried: Sequence[str]) -> heads.Card:
        """Describe the new head, which is the best of those from several boundaries."""
        used, card, start = self.examples, self.saved.card, self.tail.start
        others: dict[str, Any] = {"layer": start, "shape": self.tail.shape, "pool": card.pool}
        others |= {"tuned_to": self.tail.stop, "weights": dict(card.weights)}
        if self.photos:
            others |= {"probe": None}
        about: dict[str, Any] = {
            "store": str(self.opened.location.absolute()),
            "head": str(head),
            "from": start,
        }
        if len(tried) > 1:
            about |= {"tried": list(tried)}
        chosen = ["boundary"] * (len(tried) > 1) + ["epoch"]
        judged = [f"chose its {' and its '.join(chosen)}"]
        judged += [CALIBRATED] * (tuned.calibration_ is not None)
        return card_of(used, tuned, judged=judged, **others, trained_on=about)


def check_layers(saved: heads.SavedHead) -> None:
    """Refuse a head on several layers: the layers to train would have to end in all of them."""
    card = saved.card
    if card.also:
        raise HeadError(
            f"expected a head on one layer, found {saved.directory} on {named(card.inputs)}; fit "
            f"one with `pipeline fit-head STORE --layer {card.inputs[0].name}` and fine-tune that"
        )


def load_layers(
    saved: heads.SavedHead, start: str, weights: str | None, precision: Precision
) -> backbones.Tail:
    """Load the layers between the boundary and the head, and see that they are the head's own."""
    card = saved.card
    if card.tuned_to is not None:
        raise HeadError(
            f"expected a head as fit-head makes it, found {saved.directory}, fine-tuned already; "
            "fine-tune the head that it came from, with --from an earlier layer"
        )
    space = space_of(saved)
    tail = backbones.load_tail(
        backbones.find(space.backbone),
        start=start,
        stop=card.layer,
        size=space.size,
        weights=weights or card.weights["source"],
        precision=precision,
    )
    if tail.weights_sha256[card.layer] != space.weights_sha256[card.layer]:
        raise SpaceMismatch(
            f"expected the weights that head {saved.directory} was fitted on, found others; name "
            "the right ones with --weights"
        )
    return tail


def check_space(saved: heads.SavedHead, opened: store.Store, tail: backbones.Tail) -> None:
    """See that the store has the codes that these layers take."""
    start, header = tail.start, opened.header
    if start != backbones.INPUT and start not in opened.layers:
        raise layer_missing(saved, opened, start)
    if header is None:
        raise StoreError(
            f"expected a store made by extract, found {opened.location}, of another program"
        )
    differences = _of_boundary(space_of(saved), tail).differences(header.space.of_layer(start))
    if differences:
        raise SpaceMismatch(
            f"expected codes of the network that head {saved.directory} was fitted on, found "
            f"others in {opened.location} ({'; '.join(differences)}); extract again"
        )


def layer_missing(saved: heads.SavedHead, opened: store.Store, start: str) -> StoreError:
    """Say that a store lacks the codes of a boundary, and how to make one that has them."""
    return StoreError(
        f"expected a store with the layer {start}, found {', '.join(opened.layers)} in "
        f"{opened.location}; type: {_extract_command(saved, opened, start)} and name that "
        "store with --store"
    )


def _of_boundary(space: Space, tail: backbones.Tail) -> Space:
    """Return the space of the codes that the layers take."""
    start = tail.start
    if start == backbones.INPUT:
        return space.of_layer(start)
    return replace(
        space,
        weights_sha256={start: tail.weights_sha256[start]},
        layers={start: tail.shape},
        pooling={start: "none"},
    ).of_layer(start)


def _extract_command(saved: heads.SavedHead, opened: store.Store, start: str) -> str:
    """Write down the command that makes a store with a layer."""
    return extract_command(
        space_of(saved),
        weights=saved.card.weights,
        source=opened.table.source if isinstance(opened, store.FolderStore) else {},
        layers=[start],
        dtype="float16",
        out=places.features_from(opened, start),
    )


def _again(saved: heads.SavedHead) -> dict[str, Any]:
    """Return what fits such a head again, on the training images alone."""
    own = saved.head.parameters
    weight = own["class_weight"]
    same = {"class_weight": None if weight == ClassWeight.none.value else weight}
    if saved.head.kind is HeadKind.mlp:
        return {"config": heads.MlpConfig.from_json(own["config"]), **same}
    return {"C": own["C_used"], "refit": False, **same}
