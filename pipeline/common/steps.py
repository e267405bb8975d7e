"""A fitted head as steps that any engine can compute: scaling and calibration are folded in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class Unit:
    """Divide codes by `scale` (d,), then each row by its length, unless that is 0."""

    scale: NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Dense:
    """
    ``activation(x @ kernel + bias)``.

    Attributes
    ----------
    kernel, bias : float32 arrays of shape (d, m) and (m,)
    activation : str
        ``"linear"``, ``"relu"``, ``"tanh"``, ``"sigmoid"``, ``"elu"`` or ``"log_sigmoid"``, by
        Keras's names.
    """

    kernel: NDArray[np.float32]
    bias: NDArray[np.float32]
    activation: str = "linear"


@dataclass(frozen=True, kw_only=True)
class Neighbours:
    """
    Logarithm of the votes of the `k` rows of `codes` with the largest dot products.

    Each votes with ``exp((product - 1) / temperature)`` for its class; no vote counts as the
    smallest number that there is.

    Attributes
    ----------
    codes : float32 array of shape (n, d)
        Rows of length 1.
    labels : int64 array of shape (n,)
    k, n_classes : int
    temperature : float
    """

    codes: NDArray[np.float32]
    labels: NDArray[np.int64]
    k: int
    n_classes: int
    temperature: float


@dataclass(frozen=True, kw_only=True)
class Classifier:
    """
    A fitted classifier of scikit-learn's, whose classes are the numbers from 0.

    Attributes
    ----------
    estimator : classifier
    slope : float or None
        What its ``decision_function`` is multiplied by before the softmax (for two classes of minus
        it and it); None where ``predict_proba`` is the answer.
    n_features : int
    """

    estimator: Any
    slope: float | None
    n_features: int


Step = Unit | Dense | Neighbours | Classifier


def dense(
    kernel: NDArray[np.floating], bias: NDArray[np.floating], activation: str = "linear"
) -> Dense:
    """Make a dense step of arrays of any precision."""
    return Dense(
        kernel=np.asarray(kernel, np.float32),
        bias=np.asarray(bias, np.float32),
        activation=activation,
    )
