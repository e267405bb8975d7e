"""Beyond stage two: the last layers of the backbone and a head, trained together from the cache."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Unpack

from pipeline import heads, report, store
from pipeline.common.errors import OutputError
from pipeline.common.listener import SILENT, Listener
from pipeline.common.memory import memory_limit
from pipeline.flows import places
from pipeline.flows.boundaries import Attempt, Result, Training, best_of, starts_of
from pipeline.flows.tuning import (
    Task,
    check_layers,
    check_space,
    load_layers,
)
from pipeline.flows.tuning_config import AUTO, TuningConfig, TuningOptions


@dataclass(frozen=True, kw_only=True)
class FineTuning(report.Displayed):
    """
    What `fine_tune` did.

    Attributes
    ----------
    head : str
        Where the new head is.
    kind : str
    start, stop : str
        Between which layers the backbone was trained.
    tried : tuple of Attempt
        What training from each boundary led to.
    classes : tuple of str
    train_images, val_images : int
    weights : int
        How many numbers were trained.
    precision : str
        What the layers computed in while they were trained.
    learning_rate : float
        At the first step, or the largest of a cycle.
    val_accuracy_before, val_accuracy : float or None
        On the validation images: of the head as it was, fitted on the training images alone, and
        of the best epoch.
    gain : PairedDifference or None
        Between the two. The validation images also chose the epoch, and the boundary where there
        were several.
    epochs_run, best_epoch : int
        Epoch 0 is the head as it was.
    still_falling : bool
        Whether the last epoch made the validation loss smaller by a hundredth or more, so that
        further epochs may help.
    epoch_seconds : float or None
        What an epoch took, validation included.
    images_per_second : float or None
        Training images by the clock, validation included.
    memory_bytes : int
        What the process was expected to take.
    in_memory : bool
        Whether the codes were loaded once, or read in every epoch.
    seconds : float
    """

    head: str
    kind: str
    start: str
    stop: str
    tried: tuple[Attempt, ...]
    classes: tuple[str, ...]
    train_images: int
    val_images: int
    weights: int
    precision: str
    learning_rate: float
    val_accuracy_before: float | None
    val_accuracy: float | None
    gain: report.PairedDifference | None
    epochs_run: int
    best_epoch: int
    still_falling: bool
    epoch_seconds: float | None
    images_per_second: float | None
    memory_bytes: int
    in_memory: bool
    seconds: float

    def display(self) -> report.Display:
        """Say what a notebook shows."""
        names = ("head", "train_images", "val_images", "val_accuracy_before", "val_accuracy")
        more = ("epochs_run", "best_epoch", "still_falling", "learning_rate", "seconds")
        return report.Display(
            title=f"{self.kind} and the layers from {self.start} to {self.stop}",
            facts={name.replace("_", " "): getattr(self, name) for name in (*names, *more)},
        )


def fine_tune(
    head: str | Path,
    *,
    start: str = AUTO,
    store_path: str | Path | None = None,
    out: str | Path | None = None,
    seed: int = 0,
    memory: str | int | None = None,
    weights: str | None = None,
    listener: Listener = SILENT,
    **options: Unpack[TuningOptions],
) -> FineTuning:
    """
    Train the upper layers of the backbone further, together with a head.

    The layers below `start` are never run: what they give is in the store. The statistics of
    batch normalization stay as they are.

    Parameters
    ----------
    head : str or Path
        A head of kind svm, softmax, ridge or mlp, made by `fit_head`. Its kind and its settings
        are taken; it is fitted anew on the training images alone, so that the validation images
        can judge.
    start : str, default "auto"
        A block boundary below the head's layer, or ``"input"`` to train everything on the photos
        themselves, each augmented anew in every epoch. ``"auto"`` trains from every boundary that
        the store has codes of, the last first, and keeps what has the smallest validation loss.
    store_path : str or Path, optional
        A store with codes of `start`; by default the one that the head was fitted on.
    out : str or Path, optional
        The new head; by default the name of the head and ``-tuned``.
    seed : int, default 0
        Decides dropout, augmentation and the order of the images.
    memory : str or int, optional
        What the process may take, such as ``"2GB"``; by default most of what is free.
    weights : str, optional
        The backbone's weights, if they are no longer where they were.
    listener : Listener, optional
        Hears sentences, and how many images are done of those that there are at the most, first of
        the head, then of all epochs.
    **options
        How it is trained: ``minutes``, ``optimizer``, ``learning_rate``, ``momentum``,
        ``nesterov``, ``schedule``, ``decay_rate``, ``decay_steps``, ``epochs``, ``batch_size``,
        ``early_stopping``, ``augment`` and ``precision``, see `TuningOptions`.

    Returns
    -------
    FineTuning

    Raises
    ------
    BackboneError
        If `start` is no boundary; the message names those that are.
    StoreError
        If the store has no codes of `start`; the message says how to make one.
    HeadError
        If the head cannot be trained further, or a value is impossible.
    SpaceMismatch
        If the store, or the weights, are of another network.
    Interrupted
        If it was stopped; the same call goes on.
    """
    began = time.monotonic()
    saved = heads.load(Path(head))
    check_layers(saved)
    config = TuningConfig.parse(options, head=saved.head, start=start)
    folder = _target(saved, out)
    training = Training(
        config=config,
        ends=None if config.minutes is None else began + 60 * config.minutes,
        seed=seed,
        limit=memory_limit(memory),
        folder=folder,
        listener=listener,
    )
    opened = store.open_store(Path(store_path or saved.card.trained_on["store"]))
    starts = starts_of(saved, opened) if start == AUTO else [start]
    if start == AUTO:
        listener.tell(f"training from {' and from '.join(starts)}, whose codes the store has")

    def task(each: str) -> Task:
        tail = load_layers(saved, each, weights, config.precision)
        check_space(saved, opened, tail)
        return Task(saved=saved, opened=opened, tail=tail, views=config.views)

    with heads.writing(folder, name=heads.TRAINING):
        best, tried = best_of(starts, task, training)
        best.save(folder, head=head, tried=[each.start for each in tried])
    return _summary(best, tried, folder=folder, seconds=time.monotonic() - began)


def _summary(best: Result, tried: Sequence[Attempt], *, folder: Path, seconds: float) -> FineTuning:
    """Say what was done."""
    tuned, used = best.tuned, best.task.examples
    return FineTuning(
        head=str(folder),
        kind=tuned.kind.value,
        start=best.task.tail.start,
        stop=best.task.saved.card.layer,
        tried=tuple(tried),
        classes=used.classes,
        train_images=len(used.train),
        val_images=len(used.val),
        weights=best.task.tail.count,
        precision=best.task.tail.precision.value,
        learning_rate=tuned.parameters["learning_rate"],
        val_accuracy_before=(best.fitted.validation_ or {}).get("accuracy"),
        val_accuracy=(tuned.validation_ or {}).get("accuracy"),
        gain=best.gain,
        epochs_run=tuned.parameters["epochs_run"],
        best_epoch=tuned.parameters["best_epoch"],
        still_falling=best.still_falling,
        epoch_seconds=best.epoch_seconds,
        images_per_second=best.images_per_second,
        memory_bytes=best.plan.bytes,
        in_memory=best.plan.in_memory,
        seconds=round(seconds, 3),
    )


def _target(saved: heads.SavedHead, out: str | Path | None) -> Path:
    """Return where the new head goes: not over the old one, nor over anything else."""
    folder = Path(out) if out is not None else places.tuned_head_of(saved.directory)
    if folder.absolute() == saved.directory.absolute():
        raise OutputError(
            f"expected another folder than that of the head itself, found {folder}; choose "
            "another --out"
        )
    heads.check_target(folder)
    return folder
