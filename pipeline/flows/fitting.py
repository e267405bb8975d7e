"""A head fitted on examples, and saved with its card: once by fit-head, many times by compare."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline import heads, report
from pipeline.common.choices import HeadKind, OtherKind
from pipeline.common.errors import HeadError
from pipeline.common.listener import Listener, Progress
from pipeline.flows.examples import REGULARISED, Examples, card_of
from pipeline.flows.head_config import HeadConfig
from pipeline.flows.influence import judged_for
from pipeline.flows.layers import named
from pipeline.flows.novelty import with_novelty

Loaded = tuple[heads.CodeRows, heads.CodeRows | None]


def fitted(
    kind: HeadKind | OtherKind,
    used: Examples,
    codes: Loaded,
    *,
    seed: int,
    room: int,
    progress: Progress | None = None,
    **parameters: Any,
) -> heads.Head:
    """
    Fit a head.

    Parameters
    ----------
    kind : HeadKind or OtherKind
    used : Examples
        What is learned from.
    codes : tuple of CodeRows
        Those of its training rows and of its validation images, as `Examples.codes` gives them.
    seed, room, **parameters
        As `pipeline.heads.build` takes them.
    progress : callable, optional
        Called with the steps done and the steps there are.

    Returns
    -------
    Head

    Raises
    ------
    HeadError
        If a parameter is impossible, or there is nothing to learn.
    """
    train, val = codes
    return heads.build(kind, seed=seed, widths=used.widths, room=room, **parameters).fit(
        train,
        used.y,
        X_val=val,
        y_val=used.y_val if val is not None else None,
        groups=used.groups,
        progress=progress,
    )


def save(folder: Path, head: heads.Head, used: Examples) -> heads.Card:
    """
    Save a fitted head with its card, and with its curves where it has epochs.

    Parameters
    ----------
    folder : Path
    head : Head
    used : Examples
        What it was fitted on.

    Returns
    -------
    Card

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    stops = head.kind is HeadKind.mlp and head.parameters["config"]["early_stopping"] > 0
    judged = judged_for(
        head.kind, chosen=chose(head) or stops, calibrated=head.calibration_ is not None
    )
    card = card_of(used, head, judged=judged)
    curves: dict[str, bytes] = {}
    if head.history_ is not None:
        title = f"{head.kind.value} on {named(used.parts)} of {used.opened.location.name}"
        kept = head.parameters.get("best_epoch")
        curves["curves.png"] = report.curves_png(head.history_, title=title, kept=kept)
    card = with_novelty(heads.SavedHead(head=head, card=card, directory=folder), used)
    heads.save(folder, head, card, attachments=curves)
    return card


def chose(head: heads.Head) -> bool:
    """Whether held-out images chose the C or k of a head."""
    return "auto" in (head.parameters.get("C"), head.parameters.get("k"))


@dataclass(frozen=True)
class SeedScore:
    """What one seed led to: `val_accuracy` is None without images to measure it on."""

    seed: int
    val_accuracy: float | None


def fits_of(
    everything: Examples,
    config: HeadConfig,
    plan: heads.Plan,
    *,
    seeds: Sequence[int],
    fewshot: int | None,
    listener: Listener,
) -> Iterator[tuple[heads.Head, Examples]]:
    """Fit a head for each seed; yield it with what it was fitted on."""
    settings = {"room": plan.room, "jobs": plan.jobs, **config.parameters}
    if fewshot is not None and config.kind in REGULARISED:
        settings["refit"] = False  # validation images only choose
    used, loaded = everything, None
    for seed in seeds:
        if fewshot is not None:  # other images for each seed
            used, loaded = everything.fewer(fewshot, seed=seed), None
        loaded = loaded or used.codes(plan)
        head = fitted(config.kind, used, loaded, seed=seed, progress=listener.progress, **settings)
        yield head, used


def several_seeds(seed: int | Sequence[int]) -> list[int]:
    """Return seeds that differ; raise HeadError for others."""
    seeds = list(seed) if isinstance(seed, Sequence) else [seed]
    if not seeds or len(set(seeds)) < len(seeds):
        raise HeadError(f"expected seeds that differ, found {seeds}")
    return seeds
