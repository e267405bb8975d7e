"""Training an MLP with Keras; nothing of Keras leaves this file but arrays."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.common.errors import HeadError
from pipeline.common.lazy import import_keras
from pipeline.common.listener import Progress
from pipeline.heads._batches import Part, in_order, pool_for, shuffled
from pipeline.heads._codes import Rows
from pipeline.heads._config import Initializer, MlpConfig, Output
from pipeline.heads._optimizer import make_optimizer
from pipeline.heads._training_config import TrainingConfig

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

# Validation rows that the network sees at a time.
_VALIDATION_BATCH = 1024
# Steps that TensorFlow takes without coming back to Python, which is busy reading.
_STEPS = 32

_LOSSES = {
    Output.softmax: "sparse_categorical_crossentropy",
    Output.sigmoid: "binary_crossentropy",
    Output.binary: "binary_crossentropy",
}


def build_model(
    config: MlpConfig, n_features: int, n_classes: int, *, rows: int, seed: int
) -> keras.Model:
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
    rows : int
        How many it is trained on, which tells how many steps there are.
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
        optimizer=make_optimizer(config, images=rows),
        loss=_LOSSES[config.output],
        metrics=[_accuracy(config.output)],
        steps_per_execution=_STEPS,
    )
    return model


@dataclass(frozen=True, kw_only=True)
class TrainingData:
    """
    What an MLP is trained on.

    Attributes
    ----------
    train : Rows
    val : Rows or None
        What it is validated on after each epoch.
    scale : float64 array of shape (d,)
        What codes are divided by.
    class_weights : float64 array of shape (k,)
        What an image of a class counts.
    room : int
        Bytes for shuffling rows that are not in memory.
    views : int
        Rows of `train` that show the same image, one after another; an epoch has one of them,
        drawn anew.
    """

    train: Rows
    val: Rows | None
    scale: NDArray[np.float64]
    class_weights: NDArray[np.float64]
    room: int
    views: int = 1

    @property
    def images(self) -> int:
        """How many an epoch has."""
        return len(self.train) // self.views

    def draw(self, rng: np.random.Generator) -> Rows:
        """Choose a view of each image at random."""
        if self.views == 1:
            return self.train
        first = np.arange(self.images) * self.views
        return self.train.take(first + rng.integers(self.views, size=self.images))


def train(
    config: MlpConfig, examples: TrainingData, *, seed: int, progress: Progress
) -> tuple[list[tuple[NDArray[np.float32], NDArray[np.float32]]], dict[str, list[float]]]:
    """
    Train a network and take its weights.

    Parameters
    ----------
    config : MlpConfig
        Its layers and its training.
    examples : TrainingData
        What to train on.
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

    n_classes = len(examples.class_weights)
    try:
        width, rows = examples.train.codes.width, len(examples.train)
        model = build_model(config, width, n_classes, rows=rows, seed=seed)
        callbacks = _callbacks(config, progress, watch=examples.val is not None)
        history = run(model, config, examples, seed=seed, callbacks=callbacks)
    except tf.errors.ResourceExhaustedError as error:
        raise MemoryError(f"layers of {config.hidden} units do not fit into memory") from error
    losses = history["loss"]
    if not np.isfinite(losses).all():
        raise HeadError(
            f"training diverged in epoch {len(losses)} (the loss is {losses[-1]}); "
            f"try a lower --learning-rate than {config.learning_rate:g}"
        )
    weights = [np.asarray(array) for array in model.get_weights()]
    curves = {name: [float(value) for value in curve] for name, curve in sorted(history.items())}
    return list(zip(weights[::2], weights[1::2], strict=True)), curves


def _initializer(which: Initializer, seed: int) -> keras.Initializer:
    import keras

    if which is Initializer.uniform:
        return keras.initializers.RandomUniform(-0.05, 0.05, seed=seed)
    if which is Initializer.truncated_normal:
        return keras.initializers.TruncatedNormal(stddev=0.02, seed=seed)
    return keras.initializers.GlorotUniform(seed=seed)


def _accuracy(output: Output) -> keras.Metric:
    """Return the share of images whose class is right, by one name for all outputs."""
    import keras

    kinds = {
        Output.softmax: keras.metrics.SparseCategoricalAccuracy,
        Output.sigmoid: keras.metrics.CategoricalAccuracy,
        Output.binary: keras.metrics.BinaryAccuracy,
    }
    return kinds[output](name="accuracy")


def run(
    model: keras.Model,
    config: MlpConfig,
    examples: TrainingData,
    *,
    seed: int,
    callbacks: list[keras.Callback],
    first: int = 0,
) -> dict[str, list[float]]:
    """Train a compiled network from an epoch on; return what Keras recorded of each epoch."""
    import tensorflow as tf

    val = examples.val
    epochs = iter(range(first, config.epochs))
    pool = pool_for(examples.train, room=examples.room)

    def epoch() -> Iterator[Part]:
        rng = np.random.default_rng([seed, next(epochs, config.epochs)])
        drawn = examples.draw(rng)
        return shuffled(drawn, batch_size=config.batch_size, pool=pool, rng=rng)

    def validation() -> Iterator[Part]:
        assert val is not None  # noqa: S101 - asked for where there are validation rows only
        return in_order(val, batch_size=_VALIDATION_BATCH)

    failures: list[BaseException] = []

    def data(
        parts: Callable[[], Iterator[Part]], count: int, batch_size: int, *, weighted: bool
    ) -> tf.data.Dataset:
        made = _dataset(parts, config.output, examples, failures, weighted=weighted)
        return made.apply(tf.data.experimental.assert_cardinality(-(-count // batch_size)))

    try:
        history: dict[str, list[float]] = model.fit(
            data(epoch, examples.images, config.batch_size, weighted=True),
            epochs=config.epochs,
            initial_epoch=first,
            validation_data=None
            if val is None
            else data(validation, len(val), _VALIDATION_BATCH, weighted=False),
            shuffle=False,  # the batches are in a new order each epoch already
            callbacks=callbacks,
            verbose=0,
        ).history
    except Exception as error:
        if failures:  # TensorFlow makes an error of its own out of what happened while reading
            raise failures[0] from error
        raise
    return history


def _dataset(
    parts: Callable[[], Iterator[Part]],
    output: Output,
    examples: TrainingData,
    failures: list[BaseException],
    *,
    weighted: bool,
) -> tf.data.Dataset:
    """Hand batches to TensorFlow, many at a time."""
    import tensorflow as tf

    k = len(examples.class_weights)
    divisor = examples.scale.astype(np.float32)
    plain = not (weighted and (examples.class_weights != 1).any())

    def tensors() -> Iterator[tuple[NDArray[Any], ...]]:
        try:
            for codes, y in parts():
                part = (np.divide(codes, divisor, out=codes), _targets(y, output, k))
                yield part if plain else (*part, examples.class_weights[y].astype(np.float32))
        except Exception as error:
            failures.append(error)
            raise

    label = {
        Output.softmax: tf.TensorSpec((None, None), tf.int64),
        Output.sigmoid: tf.TensorSpec((None, None, k), tf.float32),
        Output.binary: tf.TensorSpec((None, None, 1), tf.float32),
    }[output]
    signature = [tf.TensorSpec((None, None, len(divisor)), tf.float32), label]
    if not plain:
        signature.append(tf.TensorSpec((None, None), tf.float32))
    with tf.device("CPU:0"):  # many batches may be more than a graphics card has room for
        made = tf.data.Dataset.from_generator(tensors, output_signature=tuple(signature))
        one_by_one = made.prefetch(1).flat_map(
            lambda *part: tf.data.Dataset.from_tensor_slices(part)
        )
        return one_by_one.prefetch(4)


def _targets(y: NDArray[np.int64], output: Output, n_classes: int) -> NDArray[Any]:
    """Return labels in the shape of the loss: one-hot, a 0/1 column, or as they are."""
    if output is Output.sigmoid:
        return np.eye(n_classes, dtype=np.float32)[y]
    return y[..., None].astype(np.float32) if output is Output.binary else y


def _callbacks(config: TrainingConfig, progress: Progress, *, watch: bool) -> list[keras.Callback]:
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
