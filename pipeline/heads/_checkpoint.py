"""How far a training has come, and the best weights so far, so that it goes on after a kill."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.common.errors import HeadError
from pipeline.common.files import make_folder, write_durably
from pipeline.common.hdf5 import SealedDatasets, names_in, sealed_bytes
from pipeline.common.hostile import HostileFile
from pipeline.common.seal import has_seal
from pipeline.heads._optimizer import copy_of, make_optimizer, prepare
from pipeline.heads._training_config import TrainingConfig

if TYPE_CHECKING:
    import keras

# How often it is written down: an epoch of a small network takes less than writing its weights.
_SECONDS = 20.0


class Diverged(HeadError):
    """A loss is no number any more."""


@dataclass(frozen=True, kw_only=True)
class Epoch:
    """What an epoch led to; number 0 is before the first. Without validation the two are None."""

    number: int
    of: int
    val_loss: float | None
    val_accuracy: float | None
    learning_rate: float


class Unfinished(NamedTuple):
    """What an unfinished training wrote down: empty if there is none of this task."""

    identity: str
    facts: dict[str, Any]
    now: list[NDArray[Any]]
    best: list[NDArray[Any]]


def read(path: Path, identity: str) -> Unfinished:
    """Read what was written down, if it was of the same task."""
    try:
        if not has_seal(path):
            raise OSError("it is of an earlier version, or damaged")
        with SealedDatasets(path) as kept:
            facts = json.loads(kept.attributes["facts"] or "")
            now, best = (
                [kept.read(f"{name}/{number}") for number in range(len(names_in(kept, name)))]
                for name in ("now", "best")
            )
        if facts["identity"] == identity:
            return Unfinished(identity, facts, now, best)
    except (OSError, HostileFile, LookupError, TypeError, ValueError):
        pass
    return Unfinished(identity, {}, [], [])


class Checkpoint:
    """
    How far training has come, and the best weights so far; written down now and then.

    Attributes
    ----------
    epochs : int
        That are done.
    best : int
        The one with the best weights; 0 for those from before the first.
    history : dict of str to list of float
        For each epoch done, see `Head.history_`.
    """

    def __init__(
        self, model: keras.Model, config: TrainingConfig, images: int, path: Path, kept: Unfinished
    ) -> None:
        # Dropout's random numbers go on where they stopped, too.
        self._variables = list(model.variables)
        optimizer = make_optimizer(config, images=images)
        prepare(model, optimizer)
        self._variables += optimizer.variables
        self._weights = model.trainable_variables
        self._config, self._path, self._identity = config, path, kept.identity
        self._written = time.monotonic()
        self.epochs = self.best = 0
        self.history: dict[str, list[float]] = {}
        self._before: dict[str, float] = {}
        self._best_weights: list[NDArray[Any]] = []
        self._now: list[NDArray[Any]] = []
        self._resume(kept)

    @property
    def last(self) -> Epoch:
        """What the last epoch led to."""
        last = {name: curve[-1] for name, curve in self.history.items()} or self._before
        return Epoch(
            number=self.epochs,
            of=self._config.epochs,
            val_loss=last.get("val_loss"),
            val_accuracy=last.get("val_accuracy"),
            learning_rate=self._config.learning_rate,
        )

    @property
    def enough(self) -> bool:
        """Whether further epochs are not worth it, or not wanted."""
        patience = self._config.early_stopping if self._before else 0
        waited = bool(patience) and self.epochs - self.best >= patience
        return waited or self.epochs >= self._config.epochs

    def begin(self, before: dict[str, float]) -> None:
        """Note what the validation images say before the first epoch, if there are any."""
        self._before = before
        self._keep()

    def note(self, logs: Mapping[str, float]) -> None:
        """Note what an epoch led to."""
        self.epochs += 1
        for name, value in logs.items():
            self.history.setdefault(name, []).append(float(value))
        losses = [curve[-1] for name, curve in self.history.items() if name.endswith("loss")]
        if not np.isfinite(losses).all():
            self._path.unlink(missing_ok=True)
            raise Diverged(
                f"training diverged in epoch {self.epochs} (a loss is no number any more); try a "
                f"lower --learning-rate than {self._config.learning_rate:g}"
            )
        if self._is_best():
            self.best = self.epochs
            self._keep()
        self._now = [copy_of(variable) for variable in self._variables]
        if time.monotonic() - self._written >= _SECONDS:
            self.write()

    def _is_best(self) -> bool:
        name = self._config.monitor.value
        if name not in self._before:  # without validation images the last one is
            return True
        sign = 1 if name.endswith("accuracy") else -1
        return all(
            sign * self.history[name][-1] > sign * earlier
            for earlier in (self._before[name], *self.history[name][:-1])
        )

    def _keep(self) -> None:
        self._best_weights = [copy_of(variable) for variable in self._weights]

    def restore_best(self) -> None:
        """Give the model the best weights."""
        for variable, array in zip(self._weights, self._best_weights, strict=True):
            variable.assign(array)

    def write(self) -> None:
        """Write down how things stood after the last whole epoch, in one step."""
        if not self._now:
            return
        facts = {"epochs": self.epochs, "best": self.best, "history": self.history}
        facts |= {"before": self._before, "identity": self._identity}
        facts |= {"learning_rate": self._config.learning_rate, "of": self._config.epochs}

        def fill(file: Any) -> None:
            file.attrs["facts"] = json.dumps(facts)
            for name, arrays in (("now", self._now), ("best", self._best_weights)):
                for number, array in enumerate(arrays):
                    file.create_dataset(f"{name}/{number}", data=array)

        make_folder(self._path.parent)
        write_durably(self._path, sealed_bytes(fill))
        self._written = time.monotonic()

    def _resume(self, kept: Unfinished) -> None:
        shapes = [array.shape for array in (*kept.now, *kept.best)]
        if shapes != [tuple(each.shape) for each in (*self._variables, *self._weights)]:
            return
        for variable, array in zip(self._variables, kept.now, strict=True):
            variable.assign(array)
        self.epochs, self.best = kept.facts["epochs"], kept.facts["best"]
        self.history, self._before = kept.facts["history"], kept.facts["before"]
        self._best_weights = kept.best
