"""Which layer, pooling and kind of head: all on the validation split, then the best tested once."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pipeline import heads, report, store
from pipeline.choices import HeadKind, Pool, Split, choose
from pipeline.errors import HeadError, ResourceError
from pipeline.files import make_folder
from pipeline.stages.evaluate import Evaluation, evaluate
from pipeline.stages.fit_head import fit_head


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
    seconds : float
        What fitting took, the choice of C or k included.
    bytes : int or None
        What the head takes on disk.
    reason : str or None
        Why it could not be fitted; the four others are None then.
    """

    layer: str
    pool: str | None
    kind: str
    dimensions: int | None = None
    val_accuracy: float | None = None
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
        Best on validation first; of equals, the one with fewer numbers per image.
    head : str
        Where the best head is.
    evaluation : Evaluation
        Its scores on the test split.
    seconds : float
    """

    store: str
    candidates: tuple[Candidate, ...]
    head: str
    evaluation: Evaluation
    seconds: float


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
    tell: Callable[[str], None] | None = None,
    progress: Callable[[int, int], None] | None = None,
    show: Callable[[Candidate], None] | None = None,
) -> Comparison:
    """
    Fit every kind of head on every cached layer; keep the best on validation and test it once.

    Only the winner meets the test split: to choose by test scores would make them too good.

    Parameters
    ----------
    store_path : str or Path
        A store or a packed file with train, val and test images.
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
    tell : callable, optional
        Called with sentences for the user.
    progress : callable, optional
        Called with (candidates done, candidates in all).
    show : callable, optional
        Called with each candidate as it is done.

    Returns
    -------
    Comparison

    Raises
    ------
    StoreError
        If the store is unfinished, damaged or lacks a layer.
    HeadError
        If there are no validation or test images, or nothing could be fitted.
    OutputError
        If the head cannot be written.
    """
    started = time.monotonic()
    opened = store.open_store(Path(store_path))
    folder = Path(out) if out is not None else _default_out(opened)
    heads.check_target(folder)
    _check_splits(opened)
    asked = list(_asked(opened, kinds, layers, pools))
    candidates: list[Candidate] = []
    make_folder(folder.absolute().parent)
    best: tuple[Candidate, heads.SavedHead] | None = None
    with TemporaryDirectory(dir=folder.absolute().parent, prefix=".compare-") as aside:
        for number, (layer, pool, kind) in enumerate(asked):
            if progress is not None:
                progress(number, len(asked))
            target = Path(aside) / "head"
            candidate = _fit(store_path, (layer, pool, kind), target, seed=seed, memory=memory)
            candidates.append(candidate)
            if show is not None:
                show(candidate)
            if candidate.reason is None and (best is None or _rank(candidate) < _rank(best[0])):
                best = candidate, heads.load(target)
        if progress is not None:
            progress(len(asked), len(asked))
    if best is None:
        raise HeadError(f"no head could be fitted: {candidates[0].reason}")
    head = best[1].head
    curves = {"curves.png": report.curves_png(head.history_)} if head.history_ else {}
    heads.save(folder, head, best[1].card, attachments=curves)
    return Comparison(
        store=str(store_path),
        candidates=tuple(sorted(candidates, key=_rank)),
        head=str(folder),
        evaluation=evaluate(folder, store_path, out=report_out, tell=tell),
        seconds=round(time.monotonic() - started, 1),
    )


def _asked(
    opened: store.Store,
    kinds: Sequence[HeadKind | str],
    layers: Sequence[str],
    pools: Sequence[Pool | str],
) -> Iterator[tuple[str, Pool | None, HeadKind]]:
    """Yield what is to be compared: pooling is a question for maps only."""
    wanted = [choose(Pool, pool, what="pool") for pool in pools] or list(Pool)
    which = [choose(HeadKind, kind, what="kind") for kind in kinds] or list(HeadKind)
    for layer in [store.choose_layer(opened, name) for name in layers] or opened.layers:
        maps = len(opened.layers[layer]) > 1
        for pool in wanted if maps else (None,):
            for kind in which:
                yield layer, pool, kind


def _fit(
    store_path: str | Path,
    asked_for: tuple[str, Pool | None, HeadKind],
    target: Path,
    **settings: Any,
) -> Candidate:
    """Fit one head; that a kind cannot take these codes is a result too."""
    layer, pool, kind = asked_for
    asked = Candidate(layer=layer, pool=pool.value if pool is not None else None, kind=kind.value)
    try:
        fit = fit_head(store_path, kind=kind, layer=layer, pool=pool, out=target, **settings)
    except (HeadError, ResourceError) as error:
        return replace(asked, reason=str(error))
    return replace(
        asked,
        dimensions=fit.dimensions,
        val_accuracy=fit.val_accuracy,
        seconds=fit.seconds,
        bytes=sum(path.stat().st_size for path in target.iterdir()),
    )


def _rank(candidate: Candidate) -> tuple[float, int, float]:
    """Sort by accuracy, best first, then by numbers per image; what failed comes last."""
    if candidate.val_accuracy is None:
        return (1.0, 0, 0.0)
    return (-candidate.val_accuracy, candidate.dimensions or 0, candidate.seconds)


def _check_splits(opened: store.Store) -> None:
    for split, share in ((Split.val, "--val 0.2"), (Split.test, "--test 0.2")):
        if not len(store.rows_of(opened, split)):
            raise HeadError(
                f"expected labelled images in split '{split.value}' of {opened.location} to "
                f"compare heads on, found none; extract with {share}, or add a folder of them"
            )


def _default_out(opened: store.Store) -> Path:
    return Path("artifacts") / "heads" / f"{store.name_of(opened)}-best"
