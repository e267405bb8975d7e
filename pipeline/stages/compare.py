"""Which layer, pooling and kind of head: all on the validation split, then the best tested once."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from pipeline import heads, store
from pipeline.common.choices import HeadKind, OtherKind, Pool, Split, choose
from pipeline.common.errors import HeadError, ResourceError
from pipeline.common.files import make_folder
from pipeline.common.listener import SILENT, Listener
from pipeline.common.memory import memory_limit, resident_bytes
from pipeline.flows import places
from pipeline.flows.examples import Examples, examples
from pipeline.flows.fitting import Loaded, fitted, save
from pipeline.flows.kinds import Asked, choose_kind
from pipeline.flows.layers import named, part, pooled
from pipeline.stages.evaluate import Evaluation, evaluate


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


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """
    What `compare` found.

    Attributes
    ----------
    store : str
    candidates : tuple of Candidate
        Smallest log loss on validation first; of equals the more accurate one, then the one with
        fewer numbers per image.
    head : str
        Where the best head is.
    evaluation : Evaluation or None
        Its scores on the test split; None where the store has no labelled test images.
    seconds : float
    warnings : tuple of str
        What to know about these scores, or that there are none.
    """

    store: str
    candidates: tuple[Candidate, ...]
    head: str
    evaluation: Evaluation | None
    seconds: float
    warnings: tuple[str, ...] = ()


def compare(
    store_path: str | Path,
    *,
    kinds: Sequence[HeadKind | str] = (),
    layers: Sequence[str] = (),
    pools: Sequence[Pool | str] = (),
    out: str | Path | None = None,
    report_out: str | Path | None = None,
    seed: int = 0,
    memory: str | int | None = None,
    listener: Listener = SILENT,
) -> Comparison:
    """
    Fit every kind of head on every cached layer; keep the best on validation and test it once.

    Only the winner meets the test split: to choose by test scores would make them too good. Where
    there are no labelled test images, it is chosen and not tested.

    Parameters
    ----------
    store_path : str or Path
        A store or a packed file; without validation images folds of the training images judge.
    kinds, layers, pools : sequence, optional
        Which ones; all by default.
    out : str or Path, optional
        The best head; by default ``artifacts/heads/<store>-best``.
    report_out : str or Path, optional
        The report's folder; by default that of `evaluate`.
    seed : int, default 0
        Decides everything random.
    memory : str or int, optional
        What the process may take; see `fit_head`.
    listener : Listener, optional
        Hears sentences, how many of the heads are fitted, and each `Candidate`.

    Returns
    -------
    Comparison

    Raises
    ------
    StoreError
        If the store is unfinished, damaged or lacks a layer.
    HeadError
        If there are too few classes, or nothing could be fitted.
    OutputError
        If the head cannot be written.
    """
    started = time.monotonic()
    opened = store.open_store(Path(store_path))
    folder = Path(out) if out is not None else places.best_head_of(opened)
    heads.check_target(folder)
    asked = list(_asked(opened, kinds, layers, pools))
    if not len(asked[0][0].val):
        listener.tell(
            "note: no validation images: heads are judged by folds of the training images"
        )
    make_folder(folder.absolute().parent)
    candidates, best = _best_of(asked, seed=seed, limit=memory_limit(memory), listener=listener)
    if best is None:
        raise HeadError(f"no head could be fitted: {candidates[0].reason}")
    save(folder, best.head, best.used)
    evaluation = None
    if len(store.rows_of(opened, Split.test)):
        evaluation = evaluate(folder, store_path, out=report_out, listener=listener)
    else:
        listener.tell(note := _untested(candidates))
    return Comparison(
        store=str(store_path),
        candidates=tuple(sorted(candidates, key=_rank)),
        head=str(folder),
        evaluation=evaluation,
        seconds=round(time.monotonic() - started, 1),
        warnings=(note,) if evaluation is None else evaluation.warnings,
    )


def _asked(
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


def _best_of(
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
        if head is not None and (best is None or _rank(candidate) < _rank(best.candidate)):
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


def _rank(candidate: Candidate) -> tuple[float, float, int, float]:
    """Sort by log loss on validation images, then by accuracy; what failed comes last."""
    if candidate.val_accuracy is None or candidate.val_loss is None:
        return (math.inf, 0.0, 0, 0.0)
    return (
        candidate.val_loss,
        -candidate.val_accuracy,
        candidate.dimensions or 0,
        candidate.seconds,
    )


def _untested(candidates: Sequence[Candidate]) -> str:
    """Say what the score of a winner is worth that no test images are left for."""
    note = "note: no labelled test images: the winner is not tested"
    count = sum(each.reason is None for each in candidates)
    if count < 2:
        return note
    return f"{note}; its score on validation is a little too good, for it was the best of {count}"
