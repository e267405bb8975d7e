"""What fine-tuning learns from, how long it may take, and who hears of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from pipeline.common.choices import Pool
from pipeline.common.errors import HeadError
from pipeline.common.listener import Progress
from pipeline.heads._checkpoint import Epoch
from pipeline.heads._codes import CodeRows
from pipeline.heads._head import Head
from pipeline.heads._learning_rate import RateTrial
from pipeline.heads._pool import pool

if TYPE_CHECKING:
    pass

_AT_ONCE = 128  # rows between two calls of `progress`


class Layers(Protocol):
    """
    The layers below a head that learn with it.

    Attributes
    ----------
    shape : tuple of int
        Of one image's codes that go in.
    """

    shape: tuple[int, ...]

    def __call__(self, codes: NDArray[np.float32]) -> NDArray[np.float32]:
        """Compute what comes out of them."""

    def training_model(self) -> Any:
        """Return them as a keras.Model whose weights may be trained."""

    def learn(self) -> None:
        """Take over the weights of the model that `training_model` returned."""


@dataclass(frozen=True, kw_only=True)
class Material:
    """
    What is learned from.

    Attributes
    ----------
    train, val : CodeRows
        Flat codes from below the layers; `val` is None without validation images.
    y, y_val : int64 arrays
        Their labels.
    before : float32 array of shape (n_val, d), or None
        What the layers, as they are, make of the validation images; see `through`.
    room : int
        Bytes for shuffling codes that are not in memory.
    how : Pool or None
        How what comes out of the layers becomes vectors.
    views : int
        Rows of `train` that show the same image, one after another; an epoch has one of them,
        drawn anew.
    """

    train: CodeRows
    y: NDArray[np.int64]
    val: CodeRows | None
    y_val: NDArray[np.int64] | None
    before: NDArray[np.float32] | None
    room: int
    how: Pool | None
    views: int = 1


@dataclass(frozen=True, kw_only=True)
class Planned:
    """How long training will take: seconds of an epoch, validation included, and how many."""

    epoch_seconds: float
    epochs: int


@dataclass(frozen=True, kw_only=True)
class Watch:
    """
    Who is told how training goes.

    Attributes
    ----------
    trial, plan, epoch : callable
        Called after each short training that finds the learning rate, before the first epoch,
        and after each.
    progress : callable
        Called with the images done and the images there are: of a short training, then of all
        epochs.
    """

    trial: Callable[[RateTrial], None]
    plan: Callable[[Planned], None]
    epoch: Callable[[Epoch], None]
    progress: Progress


class Resumable(NamedTuple):
    """Where a training writes down how far it has come, and of what: another one begins anew."""

    path: Path
    identity: str


class TooLittleTime(HeadError):
    """A training does not fit into the time that it may take."""


@dataclass(frozen=True, kw_only=True)
class Budget:
    """
    How long a training may take, and how many epochs are worth beginning with.

    Attributes
    ----------
    seconds : float
    fewest : int
    """

    seconds: float
    fewest: int

    def less(self, seconds: float) -> Budget:
        """Return what is left after so many seconds."""
        return replace(self, seconds=self.seconds - seconds)

    def epochs_of(self, seconds: float) -> int:
        """
        Return how many epochs of so many seconds fit, one at the least.

        Raises
        ------
        TooLittleTime
            If they are too few.
        """
        found = max(1, int(self.seconds / seconds))
        if found < self.fewest:
            raise TooLittleTime(
                f"an epoch takes about {seconds:.3g} s, and {self.fewest} do not fit into "
                f"the {max(0.0, self.seconds):.0f} s that are left"
            )
        return found


class Tuned(NamedTuple):
    """A head that learned with the layers below it, and its answers to the validation images."""

    head: Head
    answers: NDArray[np.int64] | None


def through(
    layers: Layers, codes: CodeRows, how: Pool | None, *, progress: Progress | None = None
) -> NDArray[np.float32]:
    """
    Compute what layers and pooling make of codes.

    Parameters
    ----------
    layers : Layers
    codes : CodeRows
        Flat ones.
    how : Pool or None
        As for `pool`.
    progress : callable, optional
        Called with the rows done and the rows there are.

    Returns
    -------
    float32 array of shape (n, d)
    """
    found: NDArray[np.float32] | None = None
    done = 0
    for positions, block in codes.blocks():
        for start in range(0, len(block), _AT_ONCE):
            part = slice(start, start + _AT_ONCE)
            vectors = pool(layers(block[part].reshape(-1, *layers.shape)), how)
            if found is None:
                found = np.empty((len(codes), vectors.shape[1]), np.float32)
            found[positions[part]] = vectors
            done += len(vectors)
            if progress is not None:
                progress(done, len(codes))
    assert found is not None  # noqa: S101 - nobody asks about no images
    return found
