"""Training the upper layers of a backbone together with a head, on cached codes from below them."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from pipeline.choices import Pool, Schedule
from pipeline.errors import HeadError
from pipeline.files import canonical_json, make_folder, write_durably
from pipeline.hdf5 import HostileFile, SealedDatasets, has_seal, names_in, sealed_bytes
from pipeline.heads._calibration import calibrate
from pipeline.heads._codes import Codes, InMemory, Rows
from pipeline.heads._config import Initializer, MlpConfig, Output
from pipeline.heads._head import Head, Progress, softmax
from pipeline.heads._linear import LinearHead, SoftmaxHead, class_weights
from pipeline.heads._mlp import MlpHead
from pipeline.heads._pool import pool
from pipeline.heads._training import Examples, make_optimizer, one_cycle, run
from pipeline.lazy import import_keras, in_batches

if TYPE_CHECKING:
    import keras

# Codes (n, d) to logits (n, k).
Forward = Callable[[NDArray[np.float32]], NDArray[np.float32]]

# How often what has been learned is written down: an epoch of a small network takes less than
# writing its weights does.
_SECONDS = 20.0
_DENSE = "dense_of_head_"
_AT_ONCE = 128  # rows between two calls of `progress`
_LOWER = 10.0  # what a rate is divided by that made validation worse
# Rates that are tried, the place of the first, and how: in so many steps on so many images, which
# take so many bytes at the most.
_RATES = (
    *(1e-8, 3e-8, 1e-7, 3e-7, 1e-6, 3e-6, 1e-5, 3e-5),
    *(1e-4, 3e-4, 1e-3, 3e-3, 1e-2),
)
_FIRST = _RATES.index(1e-3)
_TRIAL_STEPS, _TRIAL_IMAGES, _TRIAL_BYTES = 40, 1280, 1 << 26


class _Dense(NamedTuple):
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
    train, val : Codes
        Flat codes from below the layers; `val` is None without validation images.
    y, y_val : int64 arrays
        Their labels.
    before : float32 array of shape (n_val, d), or None
        What the layers, as they are, make of the validation images; see `through`.
    room : int
        Bytes for shuffling codes that are not in memory.
    views : int
        Rows of `train` that show the same image, one after another; an epoch has one of them,
        drawn anew.
    """

    train: Codes
    y: NDArray[np.int64]
    val: Codes | None
    y_val: NDArray[np.int64] | None
    before: NDArray[np.float32] | None
    room: int
    views: int = 1


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


def through(
    layers: Layers, codes: Codes, how: Pool | None, *, progress: Progress | None = None
) -> NDArray[np.float32]:
    """
    Compute what layers and pooling make of codes.

    Parameters
    ----------
    layers : Layers
    codes : Codes
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
    how: Pool | None,
    seed: int,
    unfinished: Path,
    identity: str,
    tell: Callable[[Epoch], None],
    progress: Progress,
) -> Head:
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
    how : Pool or None
        How what comes out of the layers becomes vectors.
    seed : int
        Decides dropout and the order of the images.
    unfinished : Path
        Where to write down how far it has come.
    identity : str
        What the codes and the layers are: another one begins anew.
    tell : callable
        Called after each epoch.
    progress : callable
        Called with the images done and the images there are in all epochs.

    Returns
    -------
    Head
        A new one, of kind mlp, or softmax for the linear kinds.

    Raises
    ------
    HeadError
        If the loss is no longer a number.
    """
    import_keras()
    import tensorflow as tf

    stack, scale = _stack(head, len(material.train))
    # More epochs go on where fewer ended, unless the learning rate depends on their number.
    endless = config.schedule is Schedule.constant
    settings = (replace(config, epochs=1) if endless else config).to_json()
    asked = [identity, settings, find_rate, seed]
    kept = _read(unfinished, hashlib.sha256(canonical_json(asked)).hexdigest())
    try:
        model = _build(layers, stack, scale, config=config, how=how, seed=seed)
        forward = in_batches(model, shape=model.input_shape[1:], batch_size=config.batch_size)
        if find_rate:
            found = kept.facts["learning_rate"] if kept.facts else None
            rate = found or _find_rate(model, forward, config, material, seed=seed)
            config = replace(config, learning_rate=rate)
        examples, before = _examples(head, material), _judged(head, material)
        diary = _Diary(model, config, examples.images, unfinished, kept)
        while True:
            if not diary.epochs:
                diary.begin(before)
            lower = config.learning_rate / _LOWER
            may_retry = find_rate and lower >= _RATES[0]
            try:
                _descend(model, forward, diary, config, material, examples, seed, tell, progress)
            except Diverged:
                if not may_retry:
                    raise
            if diary.best or not may_retry:
                break
            # What was right for a few steps was too much for whole epochs.
            diary.restore_best()
            config = replace(config, learning_rate=lower)
            kept = _Kept(kept.identity, {}, [], [])
            diary = _Diary(model, config, examples.images, unfinished, kept)
    except tf.errors.ResourceExhaustedError as error:
        raise MemoryError("a batch does not fit into memory; try --batch-size 8") from error
    diary.restore_best()
    layers.learn()
    tuned = _rebuilt(head, model, scale, config=config, diary=diary)
    if material.val is not None and material.y_val is not None:
        vectors = through(layers, material.val, how)
        tuned._measure(Rows(codes=InMemory(vectors), y=material.y_val), "validation images")
    return tuned


def _stack(head: Head, rows: int) -> tuple[list[_Dense], NDArray[np.float64]]:
    """Return the dense layers of a head, calibration included, and what divides its codes."""
    slope = head.calibration_["slope"] if head.calibration_ is not None else 1.0
    if isinstance(head, LinearHead):
        # A class without images has a bias that float32 holds just so.
        bias = np.maximum(slope * head.bias_, -1e4)
        # What was fitted minimises the summed loss + |w|^2 / 2C; here the loss is a mean, and the
        # weights are multiplied by the slope.
        penalty = 1 / (2 * head.parameters["C_used"] * rows * slope**2)
        return [_Dense(slope * head.coef_.T, bias, penalty)], head.scale_
    assert isinstance(head, MlpHead)  # noqa: S101 - `tuning_config` refuses the other kinds
    config = head.config or MlpConfig()
    *hidden, (kernel, bias) = [
        (kernel.astype(np.float64), bias.astype(np.float64)) for kernel, bias in head.layers_
    ]
    if config.output is Output.binary:
        both = np.array([-0.5, 0.5])
        kernel, bias = kernel * both, bias * both
    layers = [_Dense(*each, penalty) for each, penalty in zip(hidden, config.l2, strict=True)]
    return [*layers, _Dense(slope * kernel, slope * bias, 0.0)], head.scale_


def _build(
    layers: Layers,
    stack: Sequence[_Dense],
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


def _examples(head: Head, material: Material) -> Examples:
    """Return what a network is trained on; its own layers scale the codes."""
    asked = head.class_weight if isinstance(head, LinearHead | MlpHead) else None
    of_class = class_weights(asked, material.y, head.classes_)
    return Examples(
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
    return _judge(head.decision(material.before), material.y_val)


def _judge(logits: NDArray[np.float64], y: NDArray[np.int64]) -> dict[str, float]:
    """
    Return accuracy, and loss after calibration.

    Descent makes a network ever surer of itself, which costs loss although its answers get better;
    the head that is saved is calibrated, and so is what is compared between epochs.
    """
    if not np.isfinite(logits).all():
        return {"val_loss": float("nan"), "val_accuracy": 0.0}
    slope = calibrate(logits, y, how="")["slope"]
    own = softmax(slope * logits)[np.arange(len(y)), y]
    losses = -np.log(np.maximum(own, np.finfo(np.float32).tiny))
    accuracy = float((logits.argmax(axis=1) == y).mean())
    return {"val_loss": float(losses.mean()), "val_accuracy": accuracy}


def _descend(
    model: keras.Model,
    forward: Forward,
    diary: _Diary,
    config: MlpConfig,
    material: Material,
    examples: Examples,
    seed: int,
    tell: Callable[[Epoch], None],
    progress: Progress,
) -> None:
    """Train epoch by epoch until nothing gets better."""
    import keras

    tell(diary.last)

    def end_of_epoch(epoch: int, logs: dict[str, float]) -> None:
        found = {}
        if material.val is not None and material.y_val is not None:
            found = _judge(_all(forward, material.val), material.y_val)
        diary.note({**logs, **found})
        tell(diary.last)
        model.stop_training = diary.enough

    def end_of_step(step: int, logs: Any) -> None:
        done = min((step + 1) * config.batch_size, examples.images)
        progress(diary.epochs * examples.images + done, config.epochs * examples.images)

    if diary.enough:
        return
    watch = keras.callbacks.LambdaCallback(
        on_epoch_end=end_of_epoch, on_train_batch_end=end_of_step
    )
    try:
        run(model, config, examples, seed=seed, first=diary.epochs, callbacks=[watch])
    except KeyboardInterrupt:
        diary.write()
        raise


def _all(forward: Forward, codes: Codes) -> NDArray[np.float64]:
    """Compute the logits of all codes (n, k)."""
    logits, places = [], []
    for positions, block in codes.blocks():
        places.append(positions)
        logits.append(forward(block))
    order = np.argsort(np.concatenate(places))
    return np.concatenate(logits)[order].astype(np.float64)


class _Kept(NamedTuple):
    """What an unfinished training wrote down: empty if there is none of this task."""

    identity: str
    facts: dict[str, Any]
    now: list[NDArray[Any]]
    best: list[NDArray[Any]]


def _read(path: Path, identity: str) -> _Kept:
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
            return _Kept(identity, facts, now, best)
    except (OSError, HostileFile, LookupError, TypeError, ValueError):
        pass
    return _Kept(identity, {}, [], [])


class _Diary:
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
        self, model: keras.Model, config: MlpConfig, images: int, path: Path, kept: _Kept
    ) -> None:
        # Dropout's random numbers go on where they stopped, too.
        self._variables = list(model.variables)
        optimizer = make_optimizer(config, rows=images)
        _compile(model, optimizer)
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
        last = {name: values[-1] for name, values in self.history.items()} or self._before
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
        losses = [values[-1] for name, values in self.history.items() if name.endswith("loss")]
        if not np.isfinite(losses).all():
            self._path.unlink(missing_ok=True)
            raise Diverged(
                f"training diverged in epoch {self.epochs} (a loss is no number any more); try a "
                f"lower --learning-rate than {self._config.learning_rate:g}"
            )
        if self._is_best():
            self.best = self.epochs
            self._keep()
        self._now = [_numbers(variable) for variable in self._variables]
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
        self._best_weights = [_numbers(variable) for variable in self._weights]

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
        facts["learning_rate"] = self._config.learning_rate

        def fill(file: Any) -> None:
            file.attrs["facts"] = json.dumps(facts)
            for name, arrays in (("now", self._now), ("best", self._best_weights)):
                for number, array in enumerate(arrays):
                    file.create_dataset(f"{name}/{number}", data=array)

        make_folder(self._path.parent)
        write_durably(self._path, sealed_bytes(fill))
        self._written = time.monotonic()

    def _resume(self, kept: _Kept) -> None:
        shapes = [array.shape for array in (*kept.now, *kept.best)]
        if shapes != [tuple(each.shape) for each in (*self._variables, *self._weights)]:
            return
        for variable, array in zip(self._variables, kept.now, strict=True):
            variable.assign(array)
        self.epochs, self.best = kept.facts["epochs"], kept.facts["best"]
        self.history, self._before = kept.facts["history"], kept.facts["before"]
        self._best_weights = kept.best


def _compile(model: keras.Model, optimizer: keras.Optimizer) -> None:
    import keras

    model.compile(
        optimizer=optimizer,
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=[keras.metrics.SparseCategoricalAccuracy(name="accuracy")],
    )
    optimizer.build(model.trainable_variables)


def _find_rate(
    model: keras.Model, forward: Forward, config: MlpConfig, material: Material, *, seed: int
) -> float:
    """
    Find the largest learning rate that helps in the end of a short training on some images.

    Each has the schedule of the training, a cycle a whole one: what helps in the end may make the
    first steps worse. The longer a training, the larger the best rate: on digits,
    EfficientNet-Lite0 and adam, 40 steps at 3e-4 and 1e-3 took a loss of 0.202 to 0.172 and 0.181,
    100 steps to 0.149 and 0.095; 3e-3 destroyed the network. For a VGG16 without batch
    normalization 1e-6 was right.
    """
    codes, y = _some(material.train, material.y, seed=seed)
    if material.val is not None and material.y_val is not None:
        judge, y_judge = _some(material.val, material.y_val, seed=seed)
    else:
        count = max(1, len(y) // 4)
        judge, y_judge, codes, y = codes[:count], y[:count], codes[count:], y[count:]
    optimizer = make_optimizer(
        replace(config, decay_rate=1.0, schedule=Schedule.constant), rows=len(y)
    )
    _compile(model, optimizer)
    start = [(each, _numbers(each)) for each in (*model.variables, *optimizer.variables)]

    def loss() -> float:
        found = _judge(forward(judge).astype(np.float64), y_judge)["val_loss"]
        return found if np.isfinite(found) else float("inf")

    before = loss()

    def better(place: int) -> bool:
        for step, rate in enumerate(_trial_rates(config, _RATES[place])):
            part = (step * config.batch_size + np.arange(config.batch_size)) % len(y)
            optimizer.learning_rate = rate
            if not np.isfinite(model.train_on_batch(codes[part], y[part])[0]):
                break
        found = loss()
        for variable, array in start:
            variable.assign(array)
        return found < before

    return _RATES[_largest(better)]


def _largest(better: Callable[[int], bool]) -> int:
    """Return the place of the largest rate that is better: by decades down, by half ones up."""
    place = _FIRST
    while place and not better(place):
        place = max(0, place - 2)
    while place < len(_RATES) - 1 and better(place + 1):
        place += 1
    return place


def _trial_rates(config: MlpConfig, rate: float) -> list[float]:
    """Return the rates of the steps of a short training, which goes on as the long one will."""
    if config.schedule is Schedule.constant:
        return [rate] * _TRIAL_STEPS
    schedule = one_cycle(rate, steps=_TRIAL_STEPS)
    return [float(schedule(step)) for step in range(_TRIAL_STEPS)]


def _some(
    codes: Codes, y: NDArray[np.int64], *, seed: int
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Read some images, at random, in no order."""
    count = min(len(y), _TRIAL_IMAGES, max(64, _TRIAL_BYTES // (4 * codes.width)))
    places = np.random.default_rng(seed).permutation(len(y))[:count]
    found = np.empty((count, codes.width), np.float32)
    for positions, block in codes.take(places).blocks():
        found[positions] = block
    return found, y[places]


def _numbers(variable: Any) -> NDArray[Any]:
    import keras

    return np.array(keras.ops.convert_to_numpy(variable))


def _rebuilt(
    head: Head,
    model: keras.Model,
    scale: NDArray[np.float64],
    *,
    config: MlpConfig,
    diary: _Diary,
) -> Head:
    """Make a head of what was learned."""
    dense = [layer for layer in model.layers if layer.name.startswith(_DENSE)]
    stack = [tuple(map(_numbers, layer.weights)) for layer in dense]
    chosen = {"fitted_on": "train", "epochs_run": diary.epochs, "best_epoch": diary.best}
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
    tuned.history_ = dict(sorted(diary.history.items())) or None
    return tuned
