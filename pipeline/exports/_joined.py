"""A model of codes and a head's steps, joined into one model of built-in layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from pipeline.common.choices import Pool
from pipeline.common.errors import ExportError
from pipeline.common.lazy import pooling_layer
from pipeline.common.steps import Classifier, Dense, Neighbours, Step, Unit

# Below the vote of an opposite code, exp(-2 / 0.07) = 4e-13, and still an ordinary float32.
_NO_VOTE = 1e-30


def merged(models: Sequence[Any]) -> Any:
    """
    Put models of codes side by side behind the same pixels.

    Parameters
    ----------
    models : sequence of keras.Model
        Each from the same uint8 pixels to one output or a list of them.

    Returns
    -------
    keras.Model
        With the outputs of all, in order; of one, that one.
    """
    import keras

    if len(models) == 1:
        return models[0]
    pixels = keras.Input(models[0].inputs[0].shape[1:], dtype="uint8", name="pixels")
    outputs = []
    for number, model in enumerate(models, start=1):
        model.name = f"backbone_{number}"
        found = model(pixels)
        outputs += found if isinstance(found, list) else [found]
    return keras.Model(pixels, outputs)


def pooled(model: Any, how: Sequence[Pool | None]) -> Any:
    """
    Turn a model's codes into the vectors that a head takes.

    Parameters
    ----------
    model : keras.Model
        With an output for each layer that the head takes.
    how : sequence of Pool or None
        For each output how its maps become vectors, None where they are vectors already.

    Returns
    -------
    keras.Model
        With one output: the vectors of all layers, side by side.
    """
    import keras
    from keras import layers

    if len(how) == 1 and how[0] is None:
        return model
    if len(how) == 1:
        return keras.Model(model.inputs[0], _vector(model.outputs[0], how[0], "codes"))
    vectors = [
        _vector(x, pool, f"codes_{number}")
        for number, (x, pool) in enumerate(zip(model.outputs, how, strict=True), start=1)
    ]
    return keras.Model(model.inputs[0], layers.Concatenate(name="codes")(vectors))


def _vector(x: Any, how: Pool | None, name: str) -> Any:
    """Pool the maps of one layer."""
    return x if how is None else pooling_layer(how, name=name)(x)


def joined(model: Any, steps: Sequence[Step]) -> Any:
    """
    Put a head behind a model of codes.

    Parameters
    ----------
    model : keras.Model
        From pixels to vectors of codes.
    steps : sequence of Step
        The softmax of what the last gives are the probabilities.

    Returns
    -------
    keras.Model
        From the same pixels to ``probabilities``; any process with Keras can load it.
    """
    import keras
    from keras import layers

    x = model.outputs[0]
    for number, step in enumerate(steps, start=1):
        x = _apply(step, x, f"head_{number}")
    probabilities = layers.Softmax(name="probabilities")(x)
    return keras.Model(model.inputs[0], probabilities, name="classifier")


def _apply(step: Step, x: Any, name: str) -> Any:
    if isinstance(step, Classifier):
        raise ExportError(
            f"expected a head that Keras has layers for, found {type(step.estimator).__name__} of "
            "scikit-learn's; choose --format joblib or onnx"
        )
    if isinstance(step, Dense):
        return _dense(step, x, name)
    if isinstance(step, Unit):
        return _unit(step, x, name)
    return _neighbours(step, x, name)


def _unit(step: Unit, x: Any, name: str) -> Any:
    from keras import layers

    inverse = (1 / step.scale.astype(np.float64)).tolist()
    x = layers.Rescaling(inverse, name=f"{name}_scale")(x)
    return layers.UnitNormalization(name=f"{name}_unit")(x)


def _dense(step: Dense, x: Any, name: str) -> Any:
    from keras import layers, ops

    log_sigmoid = step.activation == "log_sigmoid"  # Keras's own is nothing that TFLite knows
    activation = "linear" if log_sigmoid else step.activation
    layer = layers.Dense(len(step.bias), activation=activation, name=name)
    x = layer(x)
    layer.set_weights([step.kernel, step.bias])
    if log_sigmoid:
        return ops.minimum(x, 0.0) - ops.log(1.0 + ops.exp(-ops.abs(x)))
    return x


def _neighbours(step: Neighbours, x: Any, name: str) -> Any:
    """All products are one layer, and so is the table of who votes for what."""
    from keras import layers, ops

    products = layers.Dense(len(step.codes), use_bias=False, name=f"{name}_products")
    nearest, rows = ops.top_k(products(x), step.k)
    products.set_weights([step.codes.T])
    classes = layers.Embedding(len(step.codes), step.n_classes, name=f"{name}_classes")
    own = classes(rows)
    classes.set_weights([np.eye(step.n_classes, dtype=np.float32)[step.labels]])
    weights = ops.exp((nearest - 1.0) / step.temperature)
    votes = ops.sum(ops.expand_dims(weights, -1) * own, axis=1)
    return ops.log(ops.maximum(votes, _NO_VOTE))
