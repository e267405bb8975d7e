"""How layers and a head are trained further: what is asked for, with defaults filled in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypedDict

from pipeline import backbones, heads, images
from pipeline.common.choices import Augment, Optimizer, Precision, Schedule, check_known, choose
from pipeline.common.errors import HeadError

AUTO = "auto"
# Epochs where nothing is said, and at the most where the minutes decide.
_EPOCHS, _MOST_EPOCHS = 10, 30
_BATCH = 16
# Epochs without progress that a constant learning rate is given.
_PATIENCE = 5


class TuningOptions(TypedDict, total=False):
    """
    What a user may say of a fine-tuning; every option may be left out.

    Attributes
    ----------
    minutes : float
        How long all may take: as many epochs as fit, and boundaries for which there is no time
        are left out.
    optimizer : Optimizer or str
        By default ``"adam"``.
    learning_rate : float or "auto"
        The largest of the schedule; ``"auto"``, the default, finds the largest that does not
        destroy the network in a short training on some images.
    momentum, nesterov : float, bool
        Of sgd.
    schedule : Schedule or str
        ``"one-cycle"``, the default: the rate grows during three tenths of all steps and ends at
        0; ``"constant"``: it stays, or decays.
    decay_rate, decay_steps : float, int
        Of the schedule ``constant``: the learning rate is multiplied by `decay_rate` every
        `decay_steps` steps, smoothly.
    epochs : int
        10 by default; with `minutes`, at the most, and 30 by default.
    batch_size : int
        16 by default.
    early_stopping : int
        Epochs without a smaller validation loss after which training ends; 0 for never, which is
        the default of a cycle, whose last epochs are the best; of ``constant`` it is 5. The best
        epoch is kept in any case.
    augment : str
        How photos differ from epoch to epoch, see `extract`; flip and crop by default. For
        ``start="input"`` only.
    precision : Precision or str
        What the layers compute in while they are trained; ``"auto"``, the default, is bfloat16
        where that is faster. Afterwards it is float32.
    """

    minutes: float | None
    optimizer: Optimizer | str
    learning_rate: float | str
    momentum: float
    nesterov: bool
    schedule: Schedule | str
    decay_rate: float
    decay_steps: int
    epochs: int | None
    batch_size: int
    early_stopping: int | None
    augment: str | Sequence[Augment | str] | None
    precision: Precision | str


@dataclass(frozen=True, kw_only=True)
class TuningConfig:
    """
    How layers and a head are trained further.

    Attributes
    ----------
    training : MlpConfig
        Of the head's dense layers, and of all that is trained.
    find_rate : bool
        Whether the learning rate is found by trial.
    minutes : float or None
    precision : Precision
    views : Views or None
        What photos differ by; None where codes are learned from.
    """

    training: heads.MlpConfig
    find_rate: bool
    minutes: float | None
    precision: Precision
    views: images.Views | None

    @classmethod
    def parse(cls, options: TuningOptions, *, head: heads.Head, start: str) -> TuningConfig:
        """
        Fill in what the schedule and the head decide.

        Raises
        ------
        HeadError
            If a value cannot be used, or the head has nothing to train.
        ChoiceError
            If a value is none of those that there are.
        TypeError
            If there is no such option.
        """
        check_known(options, TuningOptions)
        minutes, rate = options.get("minutes"), options.get("learning_rate", AUTO)
        find_rate = rate == AUTO
        if isinstance(rate, str) and not find_rate:
            raise HeadError(f"expected --learning-rate auto or a number, found {rate!r}")
        if minutes is not None and not 0 < minutes < float("inf"):
            raise HeadError(f"expected --minutes above 0, found {minutes:g}")
        schedule = choose(Schedule, options.get("schedule", Schedule.one_cycle), what="schedule")
        epochs, patience = options.get("epochs"), options.get("early_stopping")
        if epochs is None:
            epochs = _EPOCHS if minutes is None else _MOST_EPOCHS
        if patience is None:
            patience = 0 if schedule is Schedule.one_cycle else _PATIENCE
        given: dict[str, Any] = {} if find_rate else {"learning_rate": rate}
        for name in ("momentum", "nesterov", "decay_rate", "decay_steps"):
            if name in options:
                given[name] = options[name]
        training = heads.tuning_config(
            head,
            optimizer=choose(Optimizer, options.get("optimizer", "adam"), what="optimizer"),
            schedule=schedule,
            epochs=epochs,
            batch_size=options.get("batch_size", _BATCH),
            early_stopping=patience,
            **given,
        )
        return cls(
            training=training,
            find_rate=find_rate,
            minutes=minutes,
            precision=choose(Precision, options.get("precision", "auto"), what="precision"),
            views=_views(start, options.get("augment")),
        )


def _views(start: str, augment: str | Sequence[Augment | str] | None) -> images.Views | None:
    """Return two views: the photo and a copy; None where codes are cached."""
    if start == backbones.INPUT:
        return images.parse_views(2, augment=augment)
    if augment is not None:
        raise HeadError(
            f"expected --augment with --from {backbones.INPUT} only, found --from {start}: cached "
            "codes stay what they are; cache augmented ones with `pipeline extract --views 4`"
        )
    return None
