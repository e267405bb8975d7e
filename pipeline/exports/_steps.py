"""What a head must say of itself to be exported; see `pipeline.heads.Head.folded`."""

from __future__ import annotations

from typing import Any, Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import NDArray


@runtime_checkable
class UnitStep(Protocol):
    """Divide codes by `scale` (d,), then each row by its length, unless that is 0."""

    @property
    def scale(self) -> NDArray[np.float32]:
        """Return float32 (d,)."""


@runtime_checkable
class DenseStep(Protocol):
    """``activation(x @ kernel + bias)``; activations by Keras's names."""

    @property
    def kernel(self) -> NDArray[np.float32]:
        """Return float32 (d, m)."""

    @property
    def bias(self) -> NDArray[np.float32]:
        """Return float32 (m,)."""

    @property
    def activation(self) -> str:
        """Return ``"linear"``, ``"relu"``, ``"tanh"``, ... ."""


@runtime_checkable
class NeighboursStep(Protocol):
    """
    Logarithm of the votes of the `k` rows of `codes` with the largest dot products.

    Each votes with ``exp((product - 1) / temperature)`` for its class.
    """

    @property
    def codes(self) -> NDArray[np.float32]:
        """Return float32 (n, d), rows of length 1."""

    @property
    def labels(self) -> NDArray[np.int64]:
        """Return int64 (n,)."""

    @property
    def k(self) -> int:
        """Return how many vote."""

    @property
    def n_classes(self) -> int:
        """Return how many classes there are."""

    @property
    def temperature(self) -> float:
        """Return what differences are divided by."""


@runtime_checkable
class ClassifierStep(Protocol):
    """A fitted classifier of scikit-learn's, whose classes are the numbers from 0."""

    @property
    def estimator(self) -> Any:
        """Return the classifier."""

    @property
    def slope(self) -> float | None:
        """Return what its margins are multiplied by; None where it has probabilities."""

    @property
    def n_features(self) -> int:
        """Return how many numbers it takes."""


Step: TypeAlias = UnitStep | DenseStep | NeighboursStep | ClassifierStep
