"""Stage two: store -> head, as often as you like."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Unpack

import numpy as np

from pipeline import heads, report
from pipeline.common.choices import Pool
from pipeline.common.listener import SILENT, Listener
from pipeline.common.memory import memory_limit, resident_bytes
from pipeline.flows import places
from pipeline.flows.examples import deviation, examples
from pipeline.flows.fit_remarks import (
    check_replaced,
    say_asked,
    say_doubts,
    say_taken,
    say_who_fitted,
)
from pipeline.flows.fitting import SeedScore, fits_of, save, several_seeds
from pipeline.flows.head_config import HeadConfig, HeadOptions
from pipeline.flows.layers import choose_parts, named, open_stores, pooled


@dataclass(frozen=True, kw_only=True)
class Fit(report.Displayed):
    """
    What `fit_head` did.

    Attributes
    ----------
    head : str
        Where the head is; of several seeds, that of the first.
    kind : str
    layer : str
        Which codes it was trained on; several layers are joined by ``+``, such as
        ``"avg+block6d_add:avg"``.
    pool : str or None
        How the maps of one layer became vectors; None where the codes are vectors, and of
        several layers, whose names say it.
    dimensions : int
        Numbers per image that the head sees.
    classes : tuple of str
    train_images, val_images : int
    val_accuracy : float or None
        Share of right answers on images that the head had not been trained on when it was
        measured; see `validated_on`.
    validated_on : str or None
        Which images these were.
    fitted_on : str
        ``"train"`` or ``"train and val"``: a linear head is fitted on both in the end.
    calibrated : bool
        Whether its scores were made probabilities on held-out images.
    doubtful_below : float or None
        The score below which most held-out images were wrong, if there is one.
    seeds : tuple of SeedScore
        Each seed, and what it led to.
    val_accuracy_mean, val_accuracy_deviation : float or None
        Over several seeds; the deviation is that of a sample, None where two seeds tie.
    memory_bytes : int
        What the process was expected to take.
    in_memory : bool
        Whether the codes were loaded once, or read in every pass.
    parameters : dict
        What was asked for and what was chosen.
    seconds : float
    """

    head: str
    kind: str
    layer: str
    pool: str | None
    dimensions: int
    classes: tuple[str, ...]
    train_images: int
    val_images: int
    val_accuracy: float | None
    validated_on: str | None
    fitted_on: str
    calibrated: bool
    doubtful_below: float | None
    seeds: tuple[SeedScore, ...]
    val_accuracy_mean: float | None
    val_accuracy_deviation: float | None
    memory_bytes: int
    in_memory: bool
    parameters: dict[str, Any]
    seconds: float

    def display(self) -> report.Display:
        """Say what a notebook shows."""
        names = ("head", "dimensions", "train_images", "val_images", "val_accuracy")
        more = ("validated_on", "fitted_on", "calibrated", "seconds")
        return report.Display(
            title=f"{self.kind} on {self.layer}, {len(self.classes)} classes",
            facts={name.replace("_", " "): getattr(self, name) for name in (*names, *more)},
        )


def fit_head(
    store_path: str | Path,
    *,
    out: str | Path | None = None,
    joined_with: str | Path | Sequence[str | Path] = (),
    layer: str | Sequence[str] | None = None,
    pool: Pool | str | None = None,
    fewshot: int | None = None,
    seed: int | Sequence[int] = 0,
    memory: str | int | None = None,
    listener: Listener = SILENT,
    **options: Unpack[HeadOptions],
) -> Fit:
    """
    Train a head on the cached codes of the training split.

    Where a store has several views of each image, a head is trained on all of those of the
    training images; validation images count as they are.

    Parameters
    ----------
    store_path : str or Path
        A store or a packed file.
    out : str or Path, optional
        The head; by default ``artifacts/heads/<store>-<kind>``, with the layers between the two
        where the store has several.
    joined_with : str, Path, or sequence of these, optional
        Further stores of the same images, such as the codes of another backbone: the head learns
        from all of them side by side. Images are found by their contents; labels and splits are
        those of the first store. Layers of these are called ``BACKBONE/LAYER``.
    layer : str or sequence of str, optional
        Which codes; by default the first layer of each store. The vectors of several layers stand
        side by side, in the order given. ``LAYER:POOL`` says how a layer of maps becomes vectors.
    pool : Pool or str, optional
        How a map becomes a vector where its layer does not say; by default its average, or what
        the preset's article does.
    fewshot : int, optional
        Learn from so many training images of each class, chosen by the seed. Validation images
        then only choose.
    seed : int or sequence of int, default 0
        Decides everything random. With several, a head is fitted for each, that of the first is
        kept, and mean and deviation of their validation accuracies are given.
    memory : str or int, optional
        What the process may take, such as ``"2GB"``; by default most of what is free. Codes that
        do not fit are read from the store in every pass.
    listener : Listener, optional
        Hears sentences, and how many epochs or values of C are done.
    **options
        Which head: ``kind`` or ``estimator``, ``settings``, ``C``, ``k``, ``class_weight``,
        ``folds``, ``jobs`` and ``preset``; and of an MLP ``hidden``, ``activation``, ``dropout``,
        ``l2``, ``optimizer``, ``learning_rate``, ``epochs``, ``batch_size`` and
        ``early_stopping``, see `HeadOptions`.

    Returns
    -------
    Fit

    Raises
    ------
    StoreError
        If the store is unfinished, damaged or lacks a layer.
    HeadError
        If there is nothing to train on, a layer is named twice, or a parameter is impossible.
    ResourceError
        If the head cannot be fitted within `memory`.
    OutputError
        If the head cannot be written.

    Examples
    --------
    >>> import pipeline
    >>> fit = pipeline.fit_head("artifacts/features/photos", kind="svm", out="artifacts/heads/svm")
    >>> fit.kind, fit.dimensions, fit.train_images
    ('svm', 24, 35)
    >>> fit.val_accuracy
    1.0
    """
    started = time.monotonic()
    config, seeds = HeadConfig.parse(options), several_seeds(seed)
    config.check(seeds)
    limit = memory_limit(memory)
    opened = open_stores(store_path, joined_with)
    parts = choose_parts(opened, layer, pool, default=config.pool)
    folder = Path(out) if out is not None else places.head_of(opened, parts, config.short)
    heads.check_target(folder)
    everything = examples(opened, parts)
    check_replaced(folder, everything, by_default=out is None, tell=listener.tell)
    say_taken(everything, listener.tell)
    say_asked(config, everything, seeds=seeds, fewshot=fewshot, tell=listener.tell)
    if config.folds is not None:
        everything = everything.without_validation()
    plan = heads.plan(
        config.kind,
        everything.size if fewshot is None else everything.fewer(fewshot, seed=0).size,
        limit=limit,
        resident=resident_bytes(),
        config=config.parameters.get("config"),
        jobs=config.jobs,
    )
    listener.tell(str(plan))
    found = list(fits_of(everything, config, plan, seeds=seeds, fewshot=fewshot, listener=listener))
    head, used = found[0]
    card = save(folder, head, used)
    say_who_fitted(head.parameters, listener.tell)
    say_doubts(head, used, listener.tell)
    scores = [(each.validation_ or {}).get("accuracy") for each, _ in found]
    known = [score for score in scores if score is not None]
    validation = head.validation_ or {}
    return Fit(
        head=str(folder),
        kind=config.name,
        layer=named(parts),
        pool=pooled(parts),
        dimensions=used.width,
        classes=used.classes,
        train_images=len(used.train),
        val_images=len(used.val),
        val_accuracy=validation.get("accuracy"),
        validated_on=validation.get("how"),
        fitted_on=head.parameters["fitted_on"],
        calibrated=head.calibration_ is not None,
        doubtful_below=None if card.novelty is None else card.novelty.doubtful_below,
        seeds=tuple(SeedScore(*each) for each in zip(seeds, scores, strict=True)),
        val_accuracy_mean=float(np.mean(known)) if len(known) > 1 else None,
        val_accuracy_deviation=deviation(known),
        memory_bytes=plan.bytes,
        in_memory=plan.in_memory,
        parameters=head.parameters,
        seconds=round(time.monotonic() - started, 3),
    )
