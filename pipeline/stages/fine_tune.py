"""Beyond stage two: the last layers of the backbone and a head, trained together from the cache."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline import heads, report, store
from pipeline.common.choices import Optimizer, Precision, Schedule, choose
from pipeline.common.errors import HeadError, OutputError
from pipeline.common.listener import SILENT, Listener
from pipeline.common.memory import memory_limit
from pipeline.flows.boundaries import Attempt, Result, Training, best_of, starts_of
from pipeline.flows.tuning import (
    Task,
    augmentation,
    check_layers,
    check_space,
    load_layers,
)

AUTO = "auto"
# Epochs where nothing is said, and at the most where the minutes decide.
_EPOCHS, _MOST_EPOCHS = 10, 30


@dataclass(frozen=True, kw_only=True)
class FineTuning:
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


def fine_tune(
    head: str | Path,
    *,
    start: str = AUTO,
    minutes: float | None = None,
    store_path: str | Path | None = None,
    out: str | Path | None = None,
    optimizer: Optimizer | str = Optimizer.adam,
    learning_rate: float | str = "auto",
    momentum: float = 0.0,
    nesterov: bool = False,
    schedule: Schedule | str = Schedule.one_cycle,
    decay_rate: float = 1.0,
    decay_steps: int = 1000,
    epochs: int | None = None,
    batch_size: int = 16,
    early_stopping: int | None = None,
    augment: str | None = None,
    precision: Precision | str = Precision.auto,
    seed: int = 0,
    memory: str | int | None = None,
    weights: str | None = None,
    listener: Listener = SILENT,
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
    minutes : float, optional
        How long all may take: as many epochs as fit, and boundaries for which there is no time
        are left out.
    store_path : str or Path, optional
        A store with codes of `start`; by default the one that the head was fitted on.
    out : str or Path, optional
        The new head; by default the name of the head and ``-tuned``.
    optimizer : Optimizer or str, default "adam"
    learning_rate : float or "auto", default "auto"
        The largest of the schedule; auto finds the largest that does not destroy the network in
        a short training on some images.
    momentum, nesterov : float, bool
        Of sgd.
    schedule : Schedule or str, default "one-cycle"
        ``one-cycle``: the rate grows during three tenths of all steps and ends at 0; ``constant``:
        it stays, or decays.
    decay_rate, decay_steps : float, int
        Of the schedule ``constant``: the learning rate is multiplied by `decay_rate` every
        `decay_steps` steps, smoothly.
    epochs : int, optional
        10 by default; with `minutes`, at the most, and 30 by default.
    batch_size : int
    early_stopping : int, optional
        Epochs without a smaller validation loss after which training ends; 0 for never, which is
        the default of a cycle, whose last epochs are the best; of ``constant`` it is 5. The best
        epoch is kept in any case.
    augment : str, optional
        How photos differ from epoch to epoch, see `extract`; flip and crop by default. For
        ``start="input"`` only.
    precision : Precision or str, default "auto"
        What the layers compute in while they are trained; auto is bfloat16 where that is faster.
        Afterwards it is float32.
    seed : int, default 0
        Decides dropout, augmentation and the order of the images.
    memory : str or int, optional
        What the process may take, such as ``"2GB"``; by default most of what is free.
    weights : str, optional
        The backbone's weights, if they are no longer where they were.
    listener : Listener, optional
        Hears sentences, and how many images are done of those that there are at the most, first of
        the head, then of all epochs.

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
    schedule = choose(Schedule, schedule, what="schedule")
    if early_stopping is None:
        early_stopping = 0 if schedule is Schedule.one_cycle else 5
    find_rate = learning_rate == AUTO
    if isinstance(learning_rate, str) and not find_rate:
        raise HeadError(f"expected --learning-rate auto or a number, found {learning_rate!r}")
    if minutes is not None and not 0 < minutes < float("inf"):
        raise HeadError(f"expected --minutes above 0, found {minutes:g}")
    if epochs is None:
        epochs = _EPOCHS if minutes is None else _MOST_EPOCHS
    config = heads.tuning_config(
        saved.head,
        optimizer=choose(Optimizer, optimizer, what="optimizer"),
        **({} if find_rate else {"learning_rate": learning_rate}),
        momentum=momentum,
        nesterov=nesterov,
        schedule=schedule,
        decay_rate=decay_rate,
        decay_steps=decay_steps,
        epochs=epochs,
        batch_size=batch_size,
        early_stopping=early_stopping,
    )
    views = augmentation(start, augment)
    folder = _target(saved, out)
    training = Training(
        config=config,
        find_rate=find_rate,
        minutes=minutes,
        ends=None if minutes is None else began + 60 * minutes,
        seed=seed,
        limit=memory_limit(memory),
        folder=folder,
        listener=listener,
    )
    opened = store.open_store(Path(store_path or saved.card.trained_on["store"]))
    precision = choose(Precision, precision, what="precision")
    starts = starts_of(saved, opened) if start == AUTO else [start]
    if start == AUTO:
        listener.tell(f"training from {' and from '.join(starts)}, whose codes the store has")

    def task(each: str) -> Task:
        tail = load_layers(saved, each, weights, precision)
        check_space(saved, opened, tail)
        return Task(saved=saved, opened=opened, tail=tail, views=views)

    with heads.writing(folder, name=heads.TRAINING):
        best, tried = best_of(starts, task, training)
        tuned = best.tuned
        heads.save(
            folder,
            tuned,
            best.task.card(tuned, head=head, tried=[each.start for each in tried]),
            attachments={"curves.png": report.curves_png(tuned.history_)} if tuned.history_ else {},
            tuned=best.task.tail.arrays(),
        )
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
        still_falling=_falls((tuned.history_ or {}).get("val_loss", [])),
        epoch_seconds=best.epoch_seconds,
        images_per_second=_rate(len(used.train), best.epoch_seconds),
        memory_bytes=best.plan.bytes,
        in_memory=best.plan.in_memory,
        seconds=round(seconds, 3),
    )


def _falls(losses: list[float]) -> bool:
    """Whether the last of some losses is the smallest, and clearly smaller than the one before."""
    return len(losses) > 1 and losses[-1] < 0.99 * min(losses[:-1])


def _rate(images: int, seconds: float | None) -> float | None:
    return round(images / seconds, 1) if seconds else None


def _target(saved: heads.SavedHead, out: str | Path | None) -> Path:
    """Return where the new head goes: not over the old one, nor over anything else."""
    name = f"{saved.directory.absolute().name}-tuned"
    folder = Path(out) if out is not None else Path("artifacts") / "heads" / name
    if folder.absolute() == saved.directory.absolute():
        raise OutputError(
            f"expected another folder than that of the head itself, found {folder}; choose "
            "another --out"
        )
    heads.check_target(folder)
    return folder
