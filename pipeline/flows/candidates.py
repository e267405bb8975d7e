"""Heads of many kinds on many layers, of which the best on held-out images is kept."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from pipeline import heads, store
from pipeline.common.choices import HeadKind, OtherKind, Pool, choose
from pipeline.common.errors import HeadError, ResourceError
from pipeline.common.listener import Listener
from pipeline.common.memory import resident_bytes
from pipeline.flows.examples import Examples, examples
from pipeline.flows.fitting import Loaded, fitted
from pipeline.flows.kinds import Asked, choose_kind
from pipeline.flows.layers import named, part, pooled


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """
    One layer, pooling and kind of head.

    Attributes
    ----------
    layer : str
    pool : str or None
        How maps became vectors; None where the codes are vectors.
    kind : str
    dimensions : int or None
        Numbers per image that the head sees.
    val_accuracy : float or None
        Share of right answers on validation images, before the head was fitted on them.
    val_loss : float or None
        Mean log loss of its calibrated probabilities on them; None of a head without these.
    seconds : float
        What fitting took, the choice of C or k included, and reading the codes where they are
        read in every pass.
    bytes : int or None
        What the numbers of the head take.
    reason : str or None
        Why it could not be fitted; the others are None then, and the seconds 0.
    """

    layer: str
    pool: str | None
    kind: str
    dimensions: int | None = None
    val_accuracy: float | None = None
    val_loss: float | None = None
    seconds: float = 0.0
    bytes: int | None = None
    reason: str | None = None


def asked_of(
    opened: store.Store,
    kinds: Sequence[HeadKind | str],
    layers: Sequence[str],
    pools: Sequence[Pool | str],
) -> Iterator[tuple[Examples, Asked]]:
    """Yield what is to be compared: layers one by one, with each pooling of maps, then together."""
    wanted = [choose(Pool, pool, what="pool") for pool in pools]
    which = [choose_kind(kind) for kind in kinds or HeadKind]
    names = [store.choose_layer(opened, name) for name in layers] or list(opened.layers)
    several: list[tuple[heads.Part, ...]] = [
        (part(opened, name, pool),)
        for name in names
        for pool in (wanted or list(Pool) if len(opened.layers[name]) > 1 else [Pool.avg])
    ]
    if len(names) > 1:
        first = wanted[0] if wanted else Pool.avg
        several.append(tuple(part(opened, name, first) for name in names))
    for parts in several:
        used = examples(opened, parts)
        for kind in which:
            yield used, kind


class _Best(NamedTuple):
    """The best head so far, how it did, and what it was fitted on."""

    candidate: Candidate
    head: heads.Head
    used: Examples


def best_head(
    asked: Sequence[tuple[Examples, Asked]],
    *,
    seed: int,
    limit: int,
    listener: Listener,
) -> tuple[list[Candidate], _Best | None]:
    """Fit one head after the other; of these only the best so far is kept."""
    codes = _CodesOfALayer(limit)
    candidates: list[Candidate] = []
    best: _Best | None = None
    for used, kind in asked:
        listener.progress(len(candidates), len(asked))
        candidate, head = _fit(used, kind, codes, seed=seed)
        candidates.append(candidate)
        listener.show(candidate)
        if head is not None and (best is None or rank(candidate) < rank(best.candidate)):
            best = _Best(candidate, head, used)
        del head  # a knn takes as much memory as the codes
    listener.progress(len(asked), len(asked))
    return candidates, best


class _CodesOfALayer:
    """
    The codes of one layer and pooling, which stay in memory for the next kind of head.

    Parameters
    ----------
    limit : int
        What the process may take.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._loaded: Loaded | None = None
        self._which: tuple[object, ...] = ()
        self._bytes = 0

    def for_kind(self, used: Examples, kind: HeadKind | OtherKind) -> tuple[Loaded, heads.Plan]:
        """
        Return the codes of some examples, and how a kind is fitted on them.

        They are loaded anew only for another layer or pooling, or where this kind takes so much
        that other codes can be in memory.

        Raises
        ------
        ResourceError
            If there is no room for the kind.
        """
        resident = max(0, resident_bytes() - self._bytes)
        plan = heads.plan(kind, used.size, limit=self._limit, resident=resident)
        which = used.parts, plan.in_memory, plan.val_in_memory
        if self._loaded is None or which != self._which:
            self._loaded, self._bytes = None, 0  # before others take its place
            self._loaded, self._which = used.codes(plan), which
            val = 4 * len(used.val) * used.width * plan.val_in_memory
            self._bytes = plan.codes if plan.in_memory else val
        return self._loaded, plan


def _fit(
    used: Examples, asked_for: Asked, codes: _CodesOfALayer, *, seed: int
) -> tuple[Candidate, heads.Head | None]:
    """Fit one head; that a kind cannot take these codes is a result too."""
    asked = Candidate(layer=named(used.parts), pool=pooled(used.parts), kind=asked_for.name)
    try:
        loaded, plan = codes.for_kind(used, asked_for.kind)
        started = time.monotonic()
        settings = {"jobs": plan.jobs, **asked_for.parameters}
        head = fitted(asked_for.kind, used, loaded, seed=seed, room=plan.room, **settings)
    except (HeadError, ResourceError) as error:
        return replace(asked, reason=str(error)), None
    if head.validation_ is None:
        return replace(
            asked, reason="no held-out images to judge it by; extract with --val 0.2"
        ), None
    candidate = replace(
        asked,
        dimensions=used.width,
        val_accuracy=(head.validation_ or {}).get("accuracy"),
        val_loss=(head.validation_ or {}).get("log_loss"),
        seconds=round(time.monotonic() - started, 3),
        bytes=sum(array.nbytes for array in head.arrays().values()),
    )
    return candidate, head


def rank(candidate: Candidate) -> tuple[float, float, int, float]:
    """Sort by log loss on validation images, then by accuracy; what failed comes last."""
    if candidate.val_accuracy is None or candidate.val_loss is None:
        return (math.inf, 0.0, 0, 0.0)
    return (
        candidate.val_loss,
        -candidate.val_accuracy,
        candidate.dimensions or 0,
        candidate.seconds,
    )
