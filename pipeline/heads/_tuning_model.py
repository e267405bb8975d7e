"""Layers of a backbone and a head as one Keras model, and the head that comes out of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.common.choices import Pool
from pipeline.common.lazy import pooling_layer
from pipeline.heads._checkpoint import Checkpoint
from pipeline.heads._config import MlpConfig, Output
from pipeline.heads._head import Head
from pipeline.heads._linear import LinearHead, SoftmaxHead
from pipeline.heads._mlp import MlpHead
from pipeline.heads._optimizer import copy_of
from pipeline.heads._tuning_data import Layers

if TYPE_CHECKING:
    import keras


_DENSE = "dense_of_head_"


class DenseWeights(NamedTuple):
    """A dense layer as it is before training, and what its sum of squares costs."""

    kernel: NDArray[np.float64]
    bias: NDArray[np.float64]
    penalty: float


def dense_of(head: Head, rows: int) -> tuple[list[DenseWeights], NDArray[np.float64]]:
    """Return the dense layers of a head, calibration included, and what divides its codes."""
    slope = head.calibration_["slope"] if head.calibration_ is not None else 1.0
    if isinstance(head, LinearHead):
        # A class without images has a bias that float32 holds just so.
        bias = np.maximum(slope * head.bias_, -1e4)
        # What was fitted minimises the summed loss + |w|^2 / 2C; here the loss is a mean, and the
        # weights are multiplied by the slope.
        penalty = 1 / (2 * head.parameters["C_used"] * rows * slope**2)
        return [DenseWeights(slope * head.coef_.T, bias, penalty)], head.scale_
    assert isinstance(head, MlpHead)  # noqa: S101 - `tuning_config` refuses the other kinds
    config = head.config or MlpConfig()
    *hidden, (kernel, bias) = [
        (kernel.astype(np.float64), bias.astype(np.float64)) for kernel, bias in head.layers_
    ]
    if config.output is Output.binary:
        both = np.array([-0.5, 0.5])
        kernel, bias = kernel * both, bias * both
    layers = [DenseWeights(*each, penalty) for each, penalty in zip(hidden, config.l2, strict=True)]
    return [*layers, DenseWeights(slope * kernel, slope * bias, 0.0)], head.scale_


def join(
    layers: Layers,
    stack: Sequence[DenseWeights],
    scale: NDArray[np.float64],
    *,
    config: MlpConfig,
    how: Pool | None,
    seed: int,
) -> keras.Model:
    """Join the layers, the pooling and the dense layers of the head; flat codes in, logits out."""
    import keras

    of_dropout = iter(np.random.SeedSequence(seed).generate_state(len(stack)).tolist())
    below = layers.training_model()
    codes = keras.Input((int(np.prod(layers.shape)),))
    x = _at_rest(below)(keras.layers.Reshape(layers.shape)(codes))
    if len(x.shape) == 4:
        x = pooling_layer(how or Pool.avg, dtype="float32")(x)
    x = keras.layers.Rescaling(1 / scale, dtype="float32")(x)
    for number, layer in enumerate(stack):
        hidden = number < len(stack) - 1
        dense = keras.layers.Dense(
            len(layer.bias),
            activation=config.activation[number].value if hidden else None,
            kernel_regularizer=keras.regularizers.L2(layer.penalty) if layer.penalty else None,
            name=f"{_DENSE}{number}",
        )
        x = dense(x)
        if hidden and config.dropout[number]:
            x = keras.layers.Dropout(config.dropout[number], seed=next(of_dropout))(x)
    model = keras.Model(codes, x)
    for number, layer in enumerate(stack):
        model.get_layer(f"{_DENSE}{number}").set_weights([layer.kernel, layer.bias])
    return model


def _at_rest(below: keras.Model) -> keras.Layer:
    """
    Make a layer of a network that computes as in inference while its weights are trained.

    The statistics of batches stay those of ImageNet, which are of millions of images. Calling the
    network itself with ``training=False`` does not do it: `fit` sets that to True again (Keras
    3.15, operation_fn in models/functional.py).
    """
    import keras

    class AtRest(keras.layers.Layer):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.below = below

        def call(self, codes: Any) -> Any:
            return self.below(codes, training=False)

    return AtRest()


def rebuilt(
    head: Head,
    model: keras.Model,
    scale: NDArray[np.float64],
    *,
    config: MlpConfig,
    checkpoint: Checkpoint,
) -> Head:
    """Make a head of what was learned."""
    dense = [layer for layer in model.layers if layer.name.startswith(_DENSE)]
    stack = [tuple(map(copy_of, layer.weights)) for layer in dense]
    chosen = {"fitted_on": "train", "epochs_run": checkpoint.epochs, "best_epoch": checkpoint.best}
    chosen["learning_rate"] = config.learning_rate
    asked = head.parameters
    same = {"class_weight": asked["class_weight"], "seed": asked["seed"], **chosen}
    tuned: Head
    if isinstance(head, LinearHead):
        ((kernel, bias),) = stack
        parameters = {"C": asked["C"], **same, "converged": True}
        # As it is read back: products of another layout in memory have other last bits.
        coef = np.ascontiguousarray(kernel.T, np.float64)
        arrays = {"coef": coef, "bias": bias.astype(np.float64)}
        tuned = SoftmaxHead.from_arrays(parameters, arrays | {"scale": scale})
    else:
        parameters = {"config": config.to_json(), "n_classes": head.n_classes_, **same}
        arrays = {"scale": scale}
        for number, (kernel, bias) in enumerate(stack):
            arrays |= {f"kernel_{number}": kernel, f"bias_{number}": bias}
        tuned = MlpHead.from_arrays(parameters, arrays)
    tuned.history_ = dict(sorted(checkpoint.history.items())) or None
    return tuned
