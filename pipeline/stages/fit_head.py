"""Stage two: store -> head, as often as you like."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline import heads, store
from pipeline.common.choices import ClassWeight, HeadKind, OtherKind, Pool, Preset, Split, choose
from pipeline.common.errors import HeadError, OutputError, counted
from pipeline.common.listener import SILENT, Listener, Tell
from pipeline.common.memory import memory_limit, resident_bytes
from pipeline.flows.examples import REGULARISED, Examples, deviation, examples
from pipeline.flows.fitting import chose, fitted, save
from pipeline.flows.kinds import choose_kind
from pipeline.flows.layers import choose_parts, left_out_of, named, open_stores, pooled

# Validation images below which a choice by them is mostly chance.
_ENOUGH = 10
_CLASSES_TOLD = 5


@dataclass(frozen=True)
class SeedScore:
    """What one seed led to: `val_accuracy` is None without images to measure it on."""

    seed: int
    val_accuracy: float | None


@dataclass(frozen=True, kw_only=True)
class Fit:
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
    seeds: tuple[SeedScore, ...]
    val_accuracy_mean: float | None
    val_accuracy_deviation: float | None
    memory_bytes: int
    in_memory: bool
    parameters: dict[str, Any]
    seconds: float


def fit_head(
    store_path: str | Path,
    *,
    kind: HeadKind | str | None = None,
    estimator: Any = None,
    settings: Mapping[str, Any] | None = None,
    out: str | Path | None = None,
    joined_with: str | Path | Sequence[str | Path] = (),
    layer: str | Sequence[str] | None = None,
    pool: Pool | str | None = None,
    C: float | str = "auto",
    k: int | str = "auto",
    class_weight: ClassWeight | str = ClassWeight.none,
    preset: Preset | str | None = None,
    fewshot: int | None = None,
    folds: int | None = None,
    seed: int | Sequence[int] = 0,
    memory: str | int | None = None,
    jobs: int | None = None,
    listener: Listener = SILENT,
    **mlp: Any,
) -> Fit:
    """
    Train a head on the cached codes of the training split.

    Where a store has several views of each image, a head is trained on all of those of the
    training images; validation images count as they are.

    Parameters
    ----------
    store_path : str or Path
        A store or a packed file.
    kind : HeadKind or str
        ``"svm"``, ``"softmax"``, ``"ridge"``, ``"knn"``, ``"centroid"`` or ``"mlp"``; or a
        classifier of scikit-learn's by its name, such as
        ``"sklearn.ensemble.RandomForestClassifier"``, which then stands behind a `StandardScaler`.
    estimator : classifier, optional
        Instead of a kind: any classifier of scikit-learn's, or a pipeline that ends in one; it is
        cloned.
    settings : mapping, optional
        Parameters of a `kind` of scikit-learn's.
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
    C : float or "auto", default "auto"
        Inverse regularisation of svm, softmax and ridge; ``"auto"`` takes the value of a grid
        with the smallest loss on the validation split.
    k : int or "auto", default "auto"
        Neighbours of knn; ``"auto"`` takes what gets most validation images right.
    class_weight : ClassWeight or str, default "none"
        ``"balanced"`` makes every class count alike, however many images it has.
    preset : Preset or str, optional
        The MLP of an article, as a start for the settings below.
    fewshot : int, optional
        Learn from so many training images of each class, chosen by the seed. Validation images
        then only choose.
    folds : int, optional
        Choose and calibrate by so many folds of the training images (classes spread evenly, groups
        kept together) instead of the validation images, which then have no part in the head. What
        it says of each training image while this was held out is kept:
        ``evaluate(split="train")``.
    seed : int or sequence of int, default 0
        Decides everything random. With several, a head is fitted for each, that of the first is
        kept, and mean and deviation of their validation accuracies are given.
    memory : str or int, optional
        What the process may take, such as ``"2GB"``; by default most of what is free. Codes that
        do not fit are read from the store in every pass.
    jobs : int, optional
        Fits of an svm at the same time; by default one for each processor, fewer where memory is
        short.
    listener : Listener, optional
        Hears sentences, and how many epochs or values of C are done.
    **mlp
        Settings of an MLP: ``hidden``, ``activation``, ``dropout``, ``l2``, ``optimizer``,
        ``learning_rate``, ``epochs``, ``batch_size``, ``early_stopping``.

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
    """
    started = time.monotonic()
    tell = listener.tell
    asked = choose_kind(kind, estimator=estimator, settings=settings)
    kind = asked.kind
    seeds = _seeds(seed)
    parameters = _parameters(kind, C, k, class_weight, folds, preset, mlp) | asked.parameters
    for each in seeds:  # so that what cannot be used is refused before anything is read
        heads.build(kind, seed=each, **parameters)
    limit = memory_limit(memory)
    opened = open_stores(store_path, joined_with)
    parts = choose_parts(opened, layer, pool, default=_pool_of(preset))
    folder = Path(out) if out is not None else _default_out(opened, parts, asked.short)
    heads.check_target(folder)
    everything = examples(opened, parts)
    _check_replaced(folder, everything, by_default=out is None, tell=tell)
    _say_taken(everything, tell)
    if folds is not None:
        if len(everything.val):
            tell(
                f"note: {counted(len(everything.val), 'validation image')} have no part in this "
                "head: evaluate --split val is a test of it"
            )
        everything = everything.without_validation()
    if len(seeds) > 1 and fewshot is None and kind is not HeadKind.mlp and len(everything.val):
        tell(f"note: nothing about this {kind.value} head depends on the seed")
    if fewshot is not None:
        parameters |= _few(kind, fewshot, everything, tell)
    plan = heads.plan(
        kind,
        everything.size if fewshot is None else everything.fewer(fewshot, seed=0).size,
        limit=limit,
        resident=resident_bytes(),
        config=parameters.get("config"),
        jobs=jobs,
    )
    tell(str(plan))
    each_seed = list(_fits(everything, kind, seeds, fewshot, plan, parameters, listener))
    head, used = each_seed[0]
    save(folder, head, used)
    _say_who_fitted(head.parameters, tell)
    _say_doubts(head, used, tell)
    scores = [(each.validation_ or {}).get("accuracy") for each, _ in each_seed]
    known = [score for score in scores if score is not None]
    validation = head.validation_ or {}
    return Fit(
        head=str(folder),
        kind=asked.name,
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
        seeds=tuple(SeedScore(*each) for each in zip(seeds, scores, strict=True)),
        val_accuracy_mean=float(np.mean(known)) if len(known) > 1 else None,
        val_accuracy_deviation=deviation(known),
        memory_bytes=plan.bytes,
        in_memory=plan.in_memory,
        parameters=head.parameters,
        seconds=round(time.monotonic() - started, 3),
    )


def _fits(
    everything: Examples,
    kind: HeadKind | OtherKind,
    seeds: Sequence[int],
    fewshot: int | None,
    plan: heads.Plan,
    parameters: dict[str, Any],
    listener: Listener,
) -> Iterator[tuple[heads.Head, Examples]]:
    """Fit a head for each seed; yield it with what it was fitted on."""
    used, loaded = everything, None
    for seed in seeds:
        if fewshot is not None:  # other images for each seed
            used, loaded = everything.fewer(fewshot, seed=seed), None
        loaded = loaded or used.codes(plan)
        settings = {"room": plan.room, "jobs": plan.jobs, **parameters}
        yield fitted(kind, used, loaded, seed=seed, progress=listener.progress, **settings), used


def _say_taken(used: Examples, tell: Tell) -> None:
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


def _say_doubts(head: heads.Head, used: Examples, tell: Tell) -> None:
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


def _seeds(seed: int | Sequence[int]) -> list[int]:
    seeds = list(seed) if isinstance(seed, Sequence) else [seed]
    if not seeds or len(set(seeds)) < len(seeds):
        raise HeadError(f"expected seeds that differ, found {seeds}")
    return seeds


def _say_who_fitted(parameters: Mapping[str, Any], tell: Tell) -> None:
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


def _few(
    kind: HeadKind | OtherKind, fewshot: int, everything: Examples, tell: Tell
) -> dict[str, Any]:
    """See that there is something to learn, and keep the validation images out of it."""
    if isinstance(fewshot, bool) or fewshot < 1:
        raise HeadError(f"expected --fewshot of 1 or more images of a class, found {fewshot}")
    if (least := int(everything.counts.min())) < fewshot:
        tell(f"note: the smallest class has {counted(least, 'training image')} only")
    return {"refit": False} if kind in REGULARISED else {}


def _parameters(
    kind: HeadKind | OtherKind,
    C: float | str,
    k: int | str,
    class_weight: ClassWeight | str,
    folds: int | None,
    preset: Preset | str | None,
    mlp: dict[str, Any],
) -> dict[str, Any]:
    """Sort out which settings belong to which kind."""
    weight = choose(ClassWeight, class_weight, what="class_weight")
    counted_as = None if weight is ClassWeight.none else weight.value
    if C != "auto" and kind not in REGULARISED:
        other = "; try l2" if kind is HeadKind.mlp else ""
        raise HeadError(
            f"expected C with kind svm, softmax or ridge, found kind {kind.value} and C {C}{other}"
        )
    if k != "auto" and kind is not HeadKind.knn:
        raise HeadError(f"expected k with kind knn only, found kind {kind.value} and k {k}")
    if weight is not ClassWeight.none and kind not in (*REGULARISED, HeadKind.mlp):
        raise HeadError(
            f"expected class weights with kind svm, softmax, ridge or mlp, found {kind.value}"
        )
    if folds is not None and kind in (HeadKind.knn, HeadKind.mlp):
        raise HeadError(
            f"expected --folds with kind svm, softmax, ridge, centroid or one of scikit-learn's, "
            f"found {kind.value}; leave --folds out, and extract with --val 0.2"
        )
    if kind is HeadKind.mlp:
        return {"config": heads.MlpConfig.from_options(preset, **mlp), "class_weight": counted_as}
    if given := [*mlp, *(["preset"] if preset is not None else [])]:
        raise HeadError(
            f"expected {', '.join(given)} with kind mlp only, found kind {kind.value}; "
            "choose --kind mlp"
        )
    if kind is HeadKind.knn:
        return {"k": k}
    own = {"C": C, "class_weight": counted_as} if kind in REGULARISED else {}
    return own if folds is None else {**own, "folds": folds}


def _check_replaced(folder: Path, used: Examples, *, by_default: bool, tell: Tell) -> None:
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


def _pool_of(preset: Preset | str | None) -> Pool:
    """Return how maps become vectors unless said: as the preset's article does it, or avg."""
    if preset is None:
        return Pool.avg
    return heads.PRESET_POOLS.get(choose(Preset, preset, what="preset"), Pool.avg)


def _default_out(opened: store.Store, parts: Sequence[heads.Part], kind: str) -> Path:
    words = [store.name_of(opened), kind]
    if len(opened.layers) > 1:
        words.insert(1, re.sub("[:/]", "-", named(parts)))
    return Path("artifacts") / "heads" / "-".join(words)
