"""Training from one boundary of a backbone, or from several, of which the best is kept."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import numpy as np

from pipeline import backbones, heads, report, store
from pipeline.common.choices import Split
from pipeline.common.errors import HeadError, Interrupted, ResourceError
from pipeline.common.listener import Listener
from pipeline.common.memory import resident_bytes
from pipeline.flows.classifier import space_of
from pipeline.flows.novelty import with_novelty
from pipeline.flows.tuning import Task, layer_missing
from pipeline.flows.tuning_config import TuningConfig

# Less than this of a schedule is no fair trial of a boundary.
_FEWEST_EPOCHS = 3


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """
    What training from a boundary led to.

    Attributes
    ----------
    start : str
    learning_rate : float
    epochs_run, best_epoch : int
    val_loss, val_accuracy : float or None
        Of the best epoch; None without validation images.
    seconds : float
    """

    start: str
    learning_rate: float
    epochs_run: int
    best_epoch: int
    val_loss: float | None
    val_accuracy: float | None
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Training:
    """How every boundary is trained from, and who hears of it."""

    config: TuningConfig
    ends: float | None
    seed: int
    limit: int
    folder: Path
    listener: Listener


@dataclass(frozen=True, kw_only=True)
class Result:
    """What training from a boundary led to, with all that is saved of it."""

    task: Task
    plan: heads.Plan
    fitted: heads.Head
    tuned: heads.Head
    gain: report.PairedDifference | None
    epoch_seconds: float | None

    @property
    def loss(self) -> float:
        """Of the validation images, by which boundaries are compared."""
        return float((self.tuned.validation_ or {}).get("log_loss", np.inf))

    @property
    def still_falling(self) -> bool:
        """Whether the last epoch made the validation loss the smallest, by a hundredth or more."""
        losses = (self.tuned.history_ or {}).get("val_loss", [])
        return len(losses) > 1 and losses[-1] < 0.99 * min(losses[:-1])

    @property
    def images_per_second(self) -> float | None:
        """Training images by the clock."""
        seconds = self.epoch_seconds
        return round(len(self.task.examples.train) / seconds, 1) if seconds else None

    def _curves(self) -> bytes:
        """Draw the epochs, the kept one, and what there was before."""
        tail, tuned = self.task.tail, self.tuned
        return report.curves_png(
            tuned.history_ or {},
            title=f"{tail.start} to {tail.stop} on {self.task.opened.location.name}",
            kept=tuned.parameters["best_epoch"],
            before=(self.fitted.validation_ or {}).get("accuracy"),
        )

    def save(self, folder: Path, *, head: str | Path, tried: Sequence[str]) -> None:
        """Write the head with the layers that were trained, its card and its curves."""
        tuned, tail = self.tuned, self.task.tail
        saved = heads.SavedHead(
            head=tuned,
            card=self.task.card(tuned, head=head, tried=tried),
            directory=folder,
            tuned=tail.arrays(),
            above=tail,
        )
        heads.save(
            folder,
            tuned,
            with_novelty(saved, self.task.examples),
            attachments={"curves.png": self._curves()} if tuned.history_ else {},
            tuned=saved.tuned,
        )


def starts_of(saved: heads.SavedHead, opened: store.Store) -> list[str]:
    """Return the boundaries that a store has codes of, the last and cheapest first."""
    space = space_of(saved)
    known = backbones.boundaries(
        backbones.find(space.backbone), stop=saved.card.layer, size=space.size
    )
    found = [name for name in reversed(known) if name in opened.layers]
    if not found:
        raise layer_missing(saved, opened, known[-1])
    if len(found) > 1 and not len(store.rows_of(opened, Split.val)):
        raise HeadError(
            f"expected validation images, by which one of {', '.join(found)} is chosen, found "
            f"none; name one with --from, or extract with --val 0.2"
        )
    return found


def best_of(
    starts: Sequence[str], task: Callable[[str], Task], training: Training
) -> tuple[Result, list[Attempt]]:
    """
    Train from each boundary; keep what has the smallest validation loss.

    One for which time or memory does not suffice is left out, but for the first and cheapest one.

    Raises
    ------
    Interrupted
        If it was stopped; the message says whether anything of it is kept.
    """
    try:
        return _best_of(starts, task, training)
    except KeyboardInterrupt:
        if not any(heads.unfinished(training.folder, each).exists() for each in starts):
            raise Interrupted(
                "interrupted before the first epoch was done; run the same command again"
            ) from None
        raise Interrupted(
            "interrupted: what was learned up to the last whole epoch is kept; run the same "
            "command again to go on"
        ) from None


def _best_of(
    starts: Sequence[str], task: Callable[[str], Task], training: Training
) -> tuple[Result, list[Attempt]]:
    best: Result | None = None
    tried: list[Attempt] = []
    for number, start in enumerate(starts):
        began = time.monotonic()
        seconds = None
        if training.ends is not None:
            seconds = max(0.0, training.ends - began) / (len(starts) - number)
        if len(starts) > 1:
            training.listener.tell(f"from {start}")
        fewest = _FEWEST_EPOCHS if best is not None else 1
        try:
            found = _train(task(start), training, seconds=seconds, fewest=fewest)
        except (HeadError, ResourceError, MemoryError) as error:
            if best is None:
                raise
            training.listener.tell(f"from {start}: {error}; left out")
            continue
        tried.append(_attempt(found, seconds=time.monotonic() - began))
        if best is None or found.loss < best.loss:
            best = found
        del found
        gc.collect()  # a network refers to itself
    assert best is not None  # noqa: S101 - the first one is never left out
    return best, tried


def _train(task: Task, training: Training, *, seconds: float | None, fewest: int) -> Result:
    """Train from one boundary."""
    began = time.monotonic()
    task.check_classes()
    if warning := task.left_out():
        training.listener.tell(warning)
    config, tail, tell = training.config.training, task.tail, training.listener.tell
    plan = heads.plan_tuning(
        task.size,
        weights=4 * tail.count,
        batch=4 * min(config.batch_size, task.size.train) * tail.activations,
        limit=training.limit,
        resident=resident_bytes(),
        read=task.photos,
    )
    tell(f"{plan}; training in {tail.precision.value}")
    clock: list[float] = []

    def note(epoch: heads.Epoch) -> None:
        clock.append(time.monotonic())
        tell(_line(epoch))

    material, fitted = task.prepare(plan, training.listener.progress)
    left = None if seconds is None else seconds - (time.monotonic() - began)
    tuned, answers = heads.tune(
        fitted,
        tail,
        material,
        config=config,
        find_rate=training.config.find_rate,
        budget=None if left is None else heads.Budget(seconds=left, fewest=fewest),
        seed=training.seed,
        unfinished=heads.Resumable(
            heads.unfinished(training.folder, tail.start),
            f"{task.identity} {training.config.minutes}",
        ),
        watch=heads.Watch(
            trial=lambda trial: tell(_trial(trial)),
            plan=lambda planned: tell(_planned(planned)),
            epoch=note,
            progress=training.listener.progress,
        ),
    )
    gain = None
    if answers is not None and material.before is not None:
        before = fitted.predict(material.before) == material.y_val
        gain = report.paired_difference(before, answers == material.y_val)
    return Result(
        task=task,
        plan=plan,
        fitted=fitted,
        tuned=tuned,
        gain=gain,
        epoch_seconds=_epoch_seconds(clock),
    )


def _attempt(found: Result, *, seconds: float) -> Attempt:
    parameters, validation = found.tuned.parameters, found.tuned.validation_ or {}
    return Attempt(
        start=found.task.tail.start,
        learning_rate=parameters["learning_rate"],
        epochs_run=parameters["epochs_run"],
        best_epoch=parameters["best_epoch"],
        val_loss=validation.get("log_loss"),
        val_accuracy=validation.get("accuracy"),
        seconds=round(seconds, 3),
    )


def _trial(trial: heads.RateTrial) -> str:
    if not np.isfinite(trial.val_loss):
        return f"learning rate {trial.learning_rate:g}: too large after {trial.steps} steps"
    return (
        f"learning rate {trial.learning_rate:g}: validation loss {trial.val_loss:.4f} after "
        f"{trial.steps} steps, {trial.val_loss_before:.4f} before"
    )


def _planned(planned: heads.Planned) -> str:
    total = timedelta(seconds=round(planned.epochs * planned.epoch_seconds))
    each = f"{planned.epoch_seconds:.3g} s"
    return f"plan: {planned.epochs} epochs of about {each}, {total} in all"


def _line(epoch: heads.Epoch) -> str:
    name = f"epoch {epoch.number} of {epoch.of}"
    if not epoch.number:
        name = f"before, at a learning rate of {epoch.learning_rate:g}"
    if epoch.val_accuracy is None:
        return name
    return f"{name}: validation loss {epoch.val_loss:.4f}  accuracy {epoch.val_accuracy:.4f}"


def _epoch_seconds(clock: Sequence[float]) -> float | None:
    """Return the median time of an epoch; the first mark is before the first one."""
    return round(float(np.median(np.diff(clock))), 3) if len(clock) > 1 else None
