"""Training the upper layers of a backbone together with a head, on cached codes from below them."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from pipeline.choices import Pool, Schedule
from pipeline.errors import HeadError
from pipeline.files import canonical_json
from pipeline.heads._calibration import judge
from pipeline.heads._checkpoint import Checkpoint, Diverged, Epoch, Unfinished, read
from pipeline.heads._codes import CodeRows, InMemory, Rows
from pipeline.heads._config import Initializer, MlpConfig, Output
from pipeline.heads._head import Head, Progress
from pipeline.heads._learning_rate import RATES, Forward, RateSearch, RateTrial
from pipeline.heads._linear import LinearHead, SoftmaxHead, class_weights
from pipeline.heads._mlp import MlpHead
from pipeline.heads._pool import pool
from pipeline.heads._training import TrainingData, copy_of, run
from pipeline.lazy import import_keras, in_batches

if TYPE_CHECKING:
    import keras

_DENSE = "dense_of_head_"
_AT_ONCE = 128  # rows between two calls of `progress`
_LOWER = 10.0  # what a rate is divided by that made validation worse


class _DenseWeights(NamedTuple):
    """A dense layer as it is before training, and what its sum of squares costs."""

    kernel: NDArray[np.float64]
    bias: NDArray[np.float64]
    penalty: float


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


def tuning_config(head: Head, **options: Any) -> MlpConfig:
    """
    Say how a head and the layers below it are trained further.

    Parameters
    ----------
    head : Head
        Of kind svm, softmax, ridge or mlp.
    **options
        Of `MlpConfig`: `optimizer`, `learning_rate`, `epochs`, ...

    Returns
    -------
    MlpConfig
        With the hidden layers of the head; its output is a softmax.

    Raises
    ------
    HeadError
        If the head has no weights to train, or a value cannot be used.
    """
    if isinstance(head, MlpHead):
        own = head.config or MlpConfig()
    elif isinstance(head, LinearHead):
        own = MlpConfig(hidden=(), activation=(), dropout=(), l2=(), initializer=())
    else:
        raise HeadError(
            f"expected a head of kind svm, softmax, ridge or mlp, found {head.kind.value}, which "
            "has no weights that descent could train; fit one of these"
        )
    defaults = MlpConfig()
    training: dict[str, Any] = {
        name: getattr(defaults, name)
        for name in (
            *("schedule", "momentum", "nesterov", "decay_rate", "decay_steps"),
            *("clip_norm", "monitor"),
        )
    }
    training |= {"output": Output.softmax, "output_initializer": Initializer.glorot_uniform}
    return replace(own, **{**training, "restore_best": True, "scale": True, **options})


def tune(
    head: Head,
    layers: Layers,
    material: Material,
    *,
    config: MlpConfig,
    find_rate: bool,
    budget: Budget | None,
    seed: int,
    unfinished: Resumable,
    watch: Watch,
) -> Tuned:
    """
    Train a fitted head and the layers below it together, by descent on the cross-entropy.

    The weights of the epoch with the smallest validation loss are kept, which may be those from
    before the first. What has been learned is written down now and then, so that the same call
    goes on after a kill.

    Parameters
    ----------
    head : Head
        Fitted on the training images alone; it is not changed.
    layers : Layers
        Their weights are changed.
    material : Material
    config : MlpConfig
        From `tuning_config`.
    find_rate : bool
        Whether to find the learning rate by trial, in place of the configuration's. One that
        makes validation worse from the first epoch on is followed by a tenth of it.
    budget : Budget or None
        Decides how many of the configuration's epochs there are.
    seed : int
        Decides dropout and the order of the images.
    unfinished : Resumable
    watch : Watch

    Returns
    -------
    Tuned

    Raises
    ------
    HeadError
        If the loss is no longer a number.
    TooLittleTime
        If the budget leaves time for too few epochs.
    """
    import_keras()
    import tensorflow as tf

    began = time.monotonic()
    stack, scale = _stack(head, len(material.train))
    # More epochs go on where fewer ended, unless the learning rate depends on their number.
    endless = config.schedule is Schedule.constant or budget is not None
    settings = (replace(config, epochs=1) if endless else config).to_json()
    asked = [unfinished.identity, settings, find_rate, seed]
    kept = read(unfinished.path, hashlib.sha256(canonical_json(asked)).hexdigest())
    try:
        model = _build(layers, stack, scale, config=config, how=material.how, seed=seed)
        forward = in_batches(model, shape=model.input_shape[1:], batch_size=config.batch_size)
        examples, before = _examples(head, material), _judged(head, material)
        if kept.facts:
            planned = kept.facts["of"] if budget is not None else config.epochs
            config = replace(config, epochs=planned, learning_rate=kept.facts["learning_rate"])
        else:
            config = _planned(
                model, forward, config, material, images=examples.images, find_rate=find_rate,
                seed=seed, watch=watch, budget=budget and budget.less(time.monotonic() - began),
            )  # fmt: skip
        checkpoint = Checkpoint(model, config, examples.images, unfinished.path, kept)
        while True:
            if not checkpoint.epochs:
                checkpoint.begin(before)
            lower = config.learning_rate / _LOWER
            may_retry = find_rate and lower >= RATES[0]
            try:
                _descend(model, forward, checkpoint, config, material, examples, seed, watch)
            except Diverged:
                if not may_retry:
                    raise
            if checkpoint.best or not may_retry:
                break
            # What was right for a few steps was too much for whole epochs.
            checkpoint.restore_best()
            config = replace(config, learning_rate=lower)
            anew = Unfinished(kept.identity, {}, [], [])
            checkpoint = Checkpoint(model, config, examples.images, unfinished.path, anew)
    except tf.errors.ResourceExhaustedError as error:
        raise MemoryError("a batch does not fit into memory; try --batch-size 8") from error
    checkpoint.restore_best()
    layers.learn()
    tuned = _rebuilt(head, model, scale, config=config, checkpoint=checkpoint)
    answers = None
    if material.val is not None and material.y_val is not None:
        vectors = through(layers, material.val, material.how)
        tuned._measure(Rows(codes=InMemory(vectors), y=material.y_val), "validation images")
        answers = tuned.predict(vectors)
    return Tuned(tuned, answers)


def _planned(
    model: keras.Model,
    forward: Forward,
    config: MlpConfig,
    material: Material,
    *,
    images: int,
    find_rate: bool,
    budget: Budget | None,
    seed: int,
    watch: Watch,
) -> MlpConfig:
    """Find the learning rate and the number of epochs, where these are asked for; tell the plan."""
    val = None
    if material.val is not None and material.y_val is not None:
        val = (material.val, material.y_val)
    began = time.monotonic()
    search = RateSearch(
        model,
        forward,
        config,
        train=(material.train, material.y),
        val=val,
        images=images,
        seed=seed,
    )
    if find_rate:
        rate = search.find(watch.trial, watch.progress)
        config = replace(config, learning_rate=rate)
    epoch = search.epoch_seconds()
    if budget is not None:
        left = budget.less(time.monotonic() - began)
        config = replace(config, epochs=min(config.epochs, left.epochs_of(epoch)))
    watch.plan(Planned(epoch_seconds=epoch, epochs=config.epochs))
    return config


def _stack(head: Head, rows: int) -> tuple[list[_DenseWeights], NDArray[np.float64]]:
    """Return the dense layers of a head, calibration included, and what divides its codes."""
    slope = head.calibration_["slope"] if head.calibration_ is not None else 1.0
    if isinstance(head, LinearHead):
        # A class without images has a bias that float32 holds just so.
        bias = np.maximum(slope * head.bias_, -1e4)
        # What was fitted minimises the summed loss + |w|^2 / 2C; here the loss is a mean, and the
        # weights are multiplied by the slope.
        penalty = 1 / (2 * head.parameters["C_used"] * rows * slope**2)
        return [_DenseWeights(slope * head.coef_.T, bias, penalty)], head.scale_
    assert isinstance(head, MlpHead)  # noqa: S101 - `tuning_config` refuses the other kinds
    config = head.config or MlpConfig()
    *hidden, (kernel, bias) = [
        (kernel.astype(np.float64), bias.astype(np.float64)) for kernel, bias in head.layers_
    ]
    if config.output is Output.binary:
        both = np.array([-0.5, 0.5])
        kernel, bias = kernel * both, bias * both
    layers = [
        _DenseWeights(*each, penalty) for each, penalty in zip(hidden, config.l2, strict=True)
    ]
    return [*layers, _DenseWeights(slope * kernel, slope * bias, 0.0)], head.scale_


def _build(
    layers: Layers,
    stack: Sequence[_DenseWeights],
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
        kinds = {
            Pool.avg: keras.layers.GlobalAveragePooling2D,
            Pool.max: keras.layers.GlobalMaxPooling2D,
            Pool.flat: keras.layers.Flatten,
        }
        x = kinds[how or Pool.avg](dtype="float32")(x)
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


def _examples(head: Head, material: Material) -> TrainingData:
    """Return what a network is trained on; its own layers scale the codes."""
    asked = head.class_weight if isinstance(head, LinearHead | MlpHead) else None
    of_class = class_weights(asked, material.y, head.classes_)
    return TrainingData(
        train=Rows(codes=material.train, y=material.y),
        val=None,
        scale=np.ones(material.train.width),
        class_weights=np.array(
            [1.0 if of_class is None else of_class[i] for i in range(head.n_classes_)]
        ),
        room=material.room,
        views=material.views,
    )


def _judged(head: Head, material: Material) -> dict[str, float]:
    """Judge the head as it is, if there are validation images."""
    if material.before is None or material.y_val is None:
        return {}
    return judge(head.decision(material.before), material.y_val)


def _descend(
    model: keras.Model,
    forward: Forward,
    checkpoint: Checkpoint,
    config: MlpConfig,
    material: Material,
    examples: TrainingData,
    seed: int,
    watch: Watch,
) -> None:
    """Train epoch by epoch until nothing gets better."""
    import keras

    watch.epoch(checkpoint.last)

    def end_of_epoch(epoch: int, logs: dict[str, float]) -> None:
        found = {}
        if material.val is not None and material.y_val is not None:
            found = judge(_all(forward, material.val), material.y_val)
        checkpoint.note({**logs, **found})
        watch.epoch(checkpoint.last)
        model.stop_training = checkpoint.enough

    def end_of_step(step: int, logs: Any) -> None:
        done = min((step + 1) * config.batch_size, examples.images)
        images = checkpoint.epochs * examples.images + done
        watch.progress(images, config.epochs * examples.images)

    if checkpoint.enough:
        return
    callback = keras.callbacks.LambdaCallback(
        on_epoch_end=end_of_epoch, on_train_batch_end=end_of_step
    )
    try:
        run(model, config, examples, seed=seed, first=checkpoint.epochs, callbacks=[callback])
    except KeyboardInterrupt:
        checkpoint.write()
        raise
    checkpoint.write()


def _all(forward: Forward, codes: CodeRows) -> NDArray[np.float64]:
    """Compute the logits of all codes (n, k)."""
    logits, places = [], []
    for positions, block in codes.blocks():
        places.append(positions)
        logits.append(forward(block))
    order = np.argsort(np.concatenate(places))
    return np.concatenate(logits)[order].astype(np.float64)


def _rebuilt(
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
