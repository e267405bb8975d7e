"""What a user is told of a fit: what it learns from, and when its result is to be doubted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipeline import heads, store
from pipeline.common.choices import HeadKind, Split
from pipeline.common.errors import HeadError, OutputError, counted
from pipeline.common.listener import Tell
from pipeline.flows.examples import Examples
from pipeline.flows.fitting import chose
from pipeline.flows.head_config import HeadConfig
from pipeline.flows.layers import left_out_of, named

# Validation images below which a choice by them is mostly chance.
_ENOUGH = 10
_CLASSES_TOLD = 5


def say_taken(used: Examples, tell: Tell) -> None:
    """Say which codes of a store a head learns from, and which it does not."""
    opened, parts = used.opened, used.parts
    if len(opened.layers) > 1:
        which = "layer" if len(parts) == 1 else "layers"
        tell(f"{which} {named(parts)}, of {', '.join(opened.layers)}")
    if opened.views > used.views:
        tell("note: without validation images the head is fitted on the first views alone")
    for sentence in left_out_of(opened):
        tell(sentence)
    left_out = len(store.rows_of(opened, Split.val)) - len(used.val)
    if left_out:
        tell(f"note: {counted(left_out, 'validation image')} of classes without training images")


def say_asked(
    config: HeadConfig,
    everything: Examples,
    *,
    seeds: Sequence[int],
    fewshot: int | None,
    tell: Tell,
) -> None:
    """
    Say what folds, seeds and few images lead to.

    Raises
    ------
    HeadError
        If a class is to have less than one image.
    """
    judging = len(everything.val) if config.folds is None else 0
    if config.folds is not None and len(everything.val):
        tell(
            f"note: {counted(len(everything.val), 'validation image')} have no part in this "
            "head: evaluate --split val is a test of it"
        )
    if len(seeds) > 1 and fewshot is None and config.kind is not HeadKind.mlp and judging:
        tell(f"note: nothing about this {config.kind.value} head depends on the seed")
    if fewshot is None:
        return
    if isinstance(fewshot, bool) or fewshot < 1:
        raise HeadError(f"expected --fewshot of 1 or more images of a class, found {fewshot}")
    if (least := int(everything.counts.min())) < fewshot:
        tell(f"note: the smallest class has {counted(least, 'training image')} only")


def say_doubts(head: heads.Head, used: Examples, tell: Tell) -> None:
    """Say when validation images are too few to choose by, or the head is no better than none."""
    if chose(head) and 0 < len(used.val) < (enough := max(_ENOUGH, 2 * len(used.classes))):
        what = "k" if head.kind is HeadKind.knn else "C"
        tell(
            f"note: {counted(len(used.val), 'validation image')} chose {what}: fewer than "
            f"{enough} say little; add photos, or give --{what}"
        )
    accuracy = (head.validation_ or {}).get("accuracy")
    if accuracy is None or not len(used.val):
        return
    if accuracy <= (chance := float(np.bincount(used.y_val).max() / len(used.val))):
        tell(
            f"warning: always answering with the largest class would get {chance:.4f} of the "
            "validation images right, this head no more; try another --kind or --layer"
        )


def say_who_fitted(parameters: Mapping[str, Any], tell: Tell) -> None:
    """Say when it was not the kind's own solver, or when that gave up."""
    if parameters.get("fitted_by") == "SGDClassifier":
        tell(
            "note: the codes do not fit in memory: scikit-learn's SGDClassifier fitted the head, "
            "averaged over passes"
        )
    if parameters.get("converged") is False:
        tell(
            "warning: the solver stopped before its loss was at the least: another C may be "
            "better; give a smaller --C"
        )


def check_replaced(folder: Path, used: Examples, *, by_default: bool, tell: Tell) -> None:
    """Say when a head of other classes or of another store is replaced; if of both, ask first."""
    old = heads.described(folder)
    if old is None:
        return
    here = str(used.opened.location.absolute())
    there, classes = old.get("trained_on", {}).get("store", here), old.get("classes", [])
    others = there != here, set(classes) != set(used.classes)
    if not any(others):
        return
    shown = ", ".join(map(str, classes[:_CLASSES_TOLD]))
    found = f"a head of {there} with {counted(len(classes), 'class')} ({shown})"
    if all(others) and by_default:
        raise OutputError(
            f"expected a new folder or a head of this store in {folder}, found {found}; name "
            "another place with --out, or this one to replace it"
        )
    tell(f"note: {found} is replaced in {folder}")
