"""Training an MLP with Keras; nothing of Keras leaves this file but arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.choices import Optimizer
from pipeline.errors import HeadError
from pipeline.heads._config import Initializer, MlpConfig, Output
from pipeline.heads._head import Progress, Rows
from pipeline.lazy import import_keras

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

_LOSSES = {
    Output.softmax: "sparse_categorical_crossentropy",
    Output.sigmoid: "binary_crossentropy",
    Output.binary: "binary_crossentropy",
}


def build_model(config: MlpConfig, n_features: int, n_classes: int, seed: int) -> keras.Model:
    """
    Build and compile the network of an MLP head.

    Every random choice has a seed of its own: the global generators of Python, NumPy and
    TensorFlow are neither read nor set.

    Parameters
    ----------
    config : MlpConfig
        Its layers and its optimizer.
    n_features, n_classes : int
        Width of its input, and classes.
    seed : int
        Of the initial kernels and of dropout.

    Returns
    -------
    keras.Model
        A Sequential of Dense and Dropout layers.
    """
    import_keras()
    import keras

    seeds = iter(np.random.SeedSequence(seed).generate_state(2 * len(config.hidden) + 1).tolist())
    layers: list[Any] = [keras.Input((n_features,))]
    for i, units in enumerate(config.hidden):
        layers.append(
            keras.layers.Dense(
                units,
                activation=config.activation[i].value,
                kernel_initializer=_initializer(config.initializer[i], next(seeds)),
                kernel_regularizer=keras.regularizers.L2(config.l2[i]) if config.l2[i] else None,
            )
        )
        dropout_seed = next(seeds)
        if config.dropout[i]:
            layers.append(keras.layers.Dropout(config.dropout[i], seed=dropout_seed))
    binary = config.output is Output.binary
    layers.append(
        keras.layers.Dense(
            1 if binary else n_classes,
            activation="softmax" if config.output is Output.softmax else "sigmoid",
            kernel_initializer=_initializer(config.output_initializer, next(seeds)),
        )
    )
    model = keras.Sequential(layers)
    model.compile(
        optimizer=_optimizer(config),
        loss=_LOSSES[config.output],
        metrics=[_accuracy(config.output)],
    )
    return model


def train(
    config: MlpConfig,
    n_classes: int,
    rows: Rows,
    val: Rows | None,
    *,
    seed: int,
    progress: Progress,
) -> tuple[list[tuple[NDArray[np.float32], NDArray[np.float32]]], dict[str, list[float]]]:
    """
    Train a network and take its weights.

    Parameters
    ----------
    config : MlpConfig
        Its layers and its training.
    n_classes : int
        How many classes there are.
    rows, val : Rows
        What to train on, and what to validate on after each epoch.
    seed : int
        Decides kernels, dropout and the order of the images.
    progress : callable
        Called after each epoch.

    Returns
    -------
    list of (kernel, bias)
        Of each Dense layer, float32 of shapes (inputs, units) and (units,).
    dict of str to list of float
        ``accuracy``, ``loss``, ``val_accuracy``, ``val_loss`` for each epoch.

    Raises
    ------
    HeadError
        If the loss is no longer a number.
    """
    import_keras()
    import tensorflow as tf

    try:
        model = build_model(config, rows.X.shape[1], n_classes, seed)
        history = _run(model, config, n_classes, rows, val, seed=seed, progress=progress)
    except tf.errors.ResourceExhaustedError as error:
        raise MemoryError(f"layers of {config.hidden} units do not fit into memory") from error
    losses = history["loss"]
    if not np.isfinite(losses).all():
        raise HeadError(
            f"training diverged in epoch {len(losses)} (the loss is {losses[-1]}); "
            f"try a lower --learning-rate than {config.learning_rate:g}"
        )
    weights = [np.asarray(array) for array in model.get_weights()]
    curves = {name: [float(v) for v in values] for name, values in sorted(history.items())}
    return list(zip(weights[::2], weights[1::2], strict=True)), curves


def _initializer(which: Initializer, seed: int) -> keras.Initializer:
    import keras

    if which is Initializer.uniform:
        return keras.initializers.RandomUniform(-0.05, 0.05, seed=seed)
    if which is Initializer.truncated_normal:
        return keras.initializers.TruncatedNormal(stddev=0.02, seed=seed)
    return keras.initializers.GlorotUniform(seed=seed)


def _optimizer(config: MlpConfig) -> keras.Optimizer:
    import keras

    rate: Any = config.learning_rate
    if config.decay_rate != 1:
        rate = keras.optimizers.schedules.ExponentialDecay(
            rate, decay_steps=config.decay_steps, decay_rate=config.decay_rate, staircase=False
        )
    kinds = {Optimizer.adam: keras.optimizers.Adam, Optimizer.sgd: keras.optimizers.SGD}
    return kinds[config.optimizer](rate, global_clipnorm=config.clip_norm or None)


def _accuracy(output: Output) -> keras.Metric:
    """Return the share of images whose class is right, by one name for all outputs."""
    import keras

    kinds = {
        Output.softmax: keras.metrics.SparseCategoricalAccuracy,
        Output.sigmoid: keras.metrics.CategoricalAccuracy,
        Output.binary: keras.metrics.BinaryAccuracy,
    }
    return kinds[output](name="accuracy")


def _run(
    model: keras.Model,
    config: MlpConfig,
    n_classes: int,
    rows: Rows,
    val: Rows | None,
    *,
    seed: int,
    progress: Progress,
) -> dict[str, list[float]]:
    """Train a compiled network; return what Keras recorded of each epoch."""
    targets = _targets(rows, config.output, n_classes)
    history: dict[str, list[float]] = model.fit(
        _batches(rows.X, targets, config, seed),
        epochs=config.epochs,
        steps_per_epoch=-(-len(rows) // config.batch_size),
        validation_data=None if val is None else (val.X, _targets(val, config.output, n_classes)),
        validation_batch_size=1024,
        shuffle=False,  # the batches are in a new order each epoch already
        callbacks=_callbacks(config, progress, watch=val is not None),
        verbose=0,
    ).history
    return history


def _targets(rows: Rows, output: Output, n_classes: int) -> NDArray[Any]:
    """Return labels in the shape of the loss: one-hot, a 0/1 column, or as they are."""
    if output is Output.sigmoid:
        return np.eye(n_classes, dtype=np.float32)[rows.y]
    return rows.y[:, None].astype(np.float32) if output is Output.binary else rows.y


def _batches(
    X: NDArray[np.float32], targets: NDArray[Any], config: MlpConfig, seed: int
) -> tf.data.Dataset:
    """Return the batches of all epochs, each epoch in a new order that the seed decides."""
    import tensorflow as tf

    with tf.device("CPU:0"):  # all codes at once may be more than a graphics card holds
        codes, labels = tf.constant(X), tf.constant(targets)

    def epoch(number: tf.Tensor) -> tf.data.Dataset:
        order = tf.random.experimental.stateless_shuffle(tf.range(len(X)), seed=[seed, number])
        return tf.data.Dataset.from_tensor_slices(order).batch(config.batch_size)

    def gather(indices: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return tf.gather(codes, indices), tf.gather(labels, indices)

    epochs = tf.data.Dataset.range(config.epochs, output_type=tf.int32)
    return epochs.flat_map(epoch).map(gather).prefetch(2)


def _callbacks(config: MlpConfig, progress: Progress, *, watch: bool) -> list[keras.Callback]:
    import keras

    callbacks = [
        keras.callbacks.TerminateOnNaN(),
        keras.callbacks.LambdaCallback(
            on_epoch_end=lambda epoch, logs: progress(epoch + 1, config.epochs)
        ),
    ]
    if config.early_stopping and watch:
        callbacks.append(
            keras.callbacks.EarlyStopping(
                monitor=config.monitor.value,
                mode="max" if config.monitor.value.endswith("accuracy") else "min",
                patience=config.early_stopping,
                restore_best_weights=config.restore_best,
            )
        )
    return callbacks
