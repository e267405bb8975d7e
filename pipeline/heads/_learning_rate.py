"""The learning rate of a network and how long an epoch takes, by short trainings on some images."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pipeline.common.choices import Schedule
from pipeline.common.listener import Progress
from pipeline.heads._calibration import judge
from pipeline.heads._codes import CodeRows
from pipeline.heads._optimizer import copy_of, make_optimizer, one_cycle, prepare
from pipeline.heads._training_config import TrainingConfig

if TYPE_CHECKING:
    import keras

# Codes (n, d) to logits (n, k).
Forward = Callable[[NDArray[np.float32]], NDArray[np.float32]]

# Rates that are tried, the place of the first, and how: in so many steps on so many images, which
# take so many bytes at the most; in fewer steps where a quarter of the training has fewer.
RATES = (
    *(1e-8, 3e-8, 1e-7, 3e-7, 1e-6, 3e-6, 1e-5, 3e-5),
    *(1e-4, 3e-4, 1e-3, 3e-3, 1e-2),
)
_FIRST = RATES.index(1e-3)
_STEPS, _IMAGES, _BYTES = 80, 1280, 1 << 26
_FEWEST_STEPS, _PART = 20, 4
# A short training ends early where so many steps in a row were worse than guessing.
_PATIENCE = 8
# Steps that tell how long one takes, after those in which TensorFlow prepares itself.
_TIMED, _WARM = 3, 2


@dataclass(frozen=True, kw_only=True)
class RateTrial:
    """
    What a short training led to.

    Attributes
    ----------
    learning_rate : float
    steps : int
    val_loss, val_loss_before : float
        Of the images that judge, once calibrated; infinite where the network was destroyed.
    """

    learning_rate: float
    steps: int
    val_loss: float
    val_loss_before: float


class RateSearch:
    """
    Short trainings of one network, each from the same start, on some images.

    Parameters
    ----------
    model : keras.Model
        It ends as it began.
    forward : callable
        The same, compiled: codes to logits.
    config : TrainingConfig
        Of the training to come.
    train, val : tuple of (CodeRows, labels)
        Without validation images a quarter of the training images judges.
    images : int
        Of an epoch, which has one of the rows of `train` that show the same image.
    seed : int
        Chooses the images.
    """

    def __init__(
        self,
        model: keras.Model,
        forward: Forward,
        config: TrainingConfig,
        *,
        train: tuple[CodeRows, NDArray[np.int64]],
        val: tuple[CodeRows, NDArray[np.int64]] | None,
        images: int,
        seed: int,
    ) -> None:
        self._model, self._forward, self._config = model, forward, config
        self._codes, self._y = _some(*train, seed=seed)
        if val is not None:
            self._judge, self._y_judge = _some(*val, seed=seed)
        else:
            count = max(1, len(self._y) // 4)
            self._judge, self._y_judge = self._codes[:count], self._y[:count]
            self._codes, self._y = self._codes[count:], self._y[count:]
        steady = replace(config, decay_rate=1.0, schedule=Schedule.constant)
        self._optimizer = make_optimizer(steady, images=len(self._y))
        prepare(model, self._optimizer)
        everything = (*model.variables, *self._optimizer.variables)
        self._start = [(variable, copy_of(variable)) for variable in everything]
        self._seconds: list[float] = []
        self._images = images
        total = config.steps(images) * config.epochs
        self._steps = min(_STEPS, max(_FEWEST_STEPS, total // _PART))
        self._guessing = math.log(model.output_shape[-1])
        began = time.monotonic()
        self._before = self._loss()
        judged = len(val[1]) if val is not None else 0
        self._judging_seconds = judged * (time.monotonic() - began) / len(self._y_judge)

    def epoch_seconds(self) -> float:
        """Return how long an epoch of the training to come takes, validation included."""
        if len(self._seconds) < _WARM + _TIMED:
            self._train([0.0] * (_WARM + _TIMED), None)
            self._restore()
        steps = self._config.steps(self._images) * median(self._seconds[_WARM:])
        return steps + self._judging_seconds

    def find(self, tell: Callable[[RateTrial], None], progress: Progress) -> float:
        """
        Find the largest learning rate that does not destroy the network in a short training.

        That is where the validation loss ends nearer to what it was than to that of guessing. A
        larger or smaller loss than before says little: what helps in the end makes the first steps
        worse, and the longer a training, the larger the best rate. Of MobileNet (width 0.25) on
        600 digits, 80 steps at 1e-3 and batches of 16 took a loss of 0.13 to 0.38, 380 steps to
        0.05; at 3e-3 it was that of guessing after 11. Each has the schedule of the training, a
        cycle a whole one.

        Parameters
        ----------
        tell : callable
            Called after each short training.
        progress : callable
            Called with the images done and the images there are in a short training.

        Returns
        -------
        float
            One of `RATES`.
        """
        middle = (self._before + self._guessing) / 2

        def bears(place: int) -> bool:
            rates = self._rates(RATES[place])
            steps = self._train(rates, progress)
            found = self._loss() if steps == len(rates) else float("inf")
            self._restore()
            tell(
                RateTrial(
                    learning_rate=RATES[place],
                    steps=steps,
                    val_loss=found,
                    val_loss_before=self._before,
                )
            )
            return found < middle

        return RATES[_largest(bears)]

    def _rates(self, rate: float) -> list[float]:
        """Return the rates of the steps, which go on as those of the long training will."""
        if self._config.schedule is Schedule.constant:
            return [rate] * self._steps
        schedule = one_cycle(rate, steps=self._steps)
        return [float(schedule(step)) for step in range(self._steps)]

    def _train(self, rates: Sequence[float], progress: Progress | None) -> int:
        """Take a step at each of these rates until the network is destroyed; return how many."""
        size, worse, bound = self._config.batch_size, 0, self._guessing
        for step, rate in enumerate(rates):
            began = time.monotonic()
            part = (step * size + np.arange(size)) % len(self._y)
            self._optimizer.learning_rate = rate
            loss = self._model.train_on_batch(self._codes[part], self._y[part])[0]
            self._seconds.append(time.monotonic() - began)
            if progress is not None:
                progress((step + 1) * size, len(rates) * size)
            # The loss counts the weights of the head too, which may cost more than guessing does.
            bound = max(bound, loss) if not step else bound
            worse = 0 if loss <= bound else worse + 1
            if not np.isfinite(loss) or worse == _PATIENCE:
                return step + 1
        return len(rates)

    def _restore(self) -> None:
        for variable, array in self._start:
            variable.assign(array)

    def _loss(self) -> float:
        logits = self._forward(self._judge).astype(np.float64)
        found = judge(logits, self._y_judge)["val_loss"]
        return found if np.isfinite(found) else float("inf")


def _largest(bears: Callable[[int], bool]) -> int:
    """Return the place of the largest rate that is borne: by decades down, by half ones up."""
    place, too_large = _FIRST, len(RATES)
    while place and not bears(place):
        place, too_large = max(0, place - 2), place
    while place + 1 < too_large and bears(place + 1):
        place += 1
    return place


def _some(
    codes: CodeRows, y: NDArray[np.int64], *, seed: int
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Read some images, at random, in no order."""
    count = min(len(y), _IMAGES, max(64, _BYTES // (4 * codes.width)))
    places = np.random.default_rng(seed).permutation(len(y))[:count]
    found = np.empty((count, codes.width), np.float32)
    for positions, block in codes.take(places).blocks():
        found[positions] = block
    return found, y[places]
