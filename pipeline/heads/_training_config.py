"""How layers are trained: optimizer, schedule, batches, and when training ends."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum
from typing import Any

from pipeline.common.choices import Optimizer, Schedule
from pipeline.common.errors import HeadError


class Monitor(str, Enum):
    """What early stopping watches."""

    accuracy = "val_accuracy"
    loss = "val_loss"


def within(option: str, value: Any, good: bool, expected: str, *, whole: bool = False) -> None:
    """
    Complain about a number that is not where it should be, NaN and infinity included.

    Raises
    ------
    HeadError
    """
    if not good or not math.isfinite(value) or (whole and not isinstance(value, int)):
        raise HeadError(f"expected {expected} for {option}, found {value!r}")


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """
    How layers are trained; values that cannot be used raise HeadError.

    Attributes
    ----------
    optimizer : Optimizer
        With Keras' defaults but for the fields that follow.
    learning_rate : float
        At the first step; with the schedule ``one-cycle`` the largest.
    schedule : Schedule
        How it goes on.
    momentum : float
        Of sgd.
    nesterov : bool
        Whether sgd looks ahead (Y. Nesterov, 1983), which needs momentum.
    decay_rate, decay_steps : float, int
        The learning rate is multiplied by `decay_rate` every `decay_steps` steps, smoothly;
        1.0 for a constant one.
    clip_norm : float
        Gradients with a larger norm over all weights are shortened to it; 0 for never.
    epochs, batch_size : int
        How long to train, and on how many images at a time.
    early_stopping : int
        Epochs without progress after which training ends; 0 for never.
    monitor : Monitor
        What progress means.
    restore_best : bool
        Whether the weights of the best epoch are kept, not those of the last.
    validation_share : float
        Share of the training images that is held out when there are no validation images.
    """

    optimizer: Optimizer = Optimizer.adam
    learning_rate: float = 1e-3
    schedule: Schedule = Schedule.constant
    momentum: float = 0.0
    nesterov: bool = False
    decay_rate: float = 1.0
    decay_steps: int = 1000
    clip_norm: float = 0.0
    epochs: int = 100
    batch_size: int = 32
    early_stopping: int = 10
    monitor: Monitor = Monitor.loss
    restore_best: bool = True
    validation_share: float = 0.2

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "decay_steps"):
            value = getattr(self, name)
            good = 1 <= value < 2**31
            within(_option(name), value, good, "a whole number from 1 to 2147483647", whole=True)
        rate, decay = self.learning_rate, self.decay_rate
        within("--learning-rate", rate, rate > 0, "a number above 0")
        within("--decay-rate", decay, 0 < decay <= 1, "a number above 0, at most 1")
        within("--momentum", self.momentum, 0 <= self.momentum < 1, "a number from 0 to below 1")
        if self.optimizer is not Optimizer.sgd and (self.momentum or self.nesterov):
            raise HeadError(
                f"expected momentum with optimizer sgd only, found {self.optimizer.value}; "
                "add --optimizer sgd"
            )
        if self.schedule is not Schedule.constant and decay != 1:
            raise HeadError(
                "expected --decay-rate with --schedule constant only, found "
                f"{self.schedule.value}; add --schedule constant"
            )
        if self.nesterov and not self.momentum:
            raise HeadError("expected --momentum above 0 with --nesterov, found 0; try 0.9")
        patience = self.early_stopping
        within("--early-stopping", patience, patience >= 0, "a whole number from 0", whole=True)
        within("--clip-norm", self.clip_norm, self.clip_norm >= 0, "a number from 0")
        share = self.validation_share
        within("--validation-share", share, 0 <= share < 1, "a share from 0 to below 1")

    def steps(self, images: int) -> int:
        """Return how many steps an epoch of so many images has."""
        return -(-images // self.batch_size)
