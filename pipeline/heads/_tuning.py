"""Training the upper layers of a backbone together with a head, on cached codes from below them."""

from __future__ import annotations

import hashlib
import time
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.common.choices import Schedule
from pipeline.common.errors import HeadError
from pipeline.common.files import canonical_json
from pipeline.common.lazy import import_keras, in_batches
from pipeline.heads._calibration import judge
from pipeline.heads._checkpoint import Checkpoint, Diverged, Unfinished, read
from pipeline.heads._choice import class_weights
from pipeline.heads._codes import CodeRows, InMemory, Rows
from pipeline.heads._config import Initializer, MlpConfig, Output
from pipeline.heads._head import Head
from pipeline.heads._learning_rate import RATES, Forward, RateSearch
from pipeline.heads._linear import LinearHead
from pipeline.heads._mlp import MlpHead
from pipeline.heads._training import TrainingData, run
from pipeline.heads._training_config import TrainingConfig
from pipeline.heads._tuning_data import (
    Budget,
    Layers,
    Material,
    Planned,
    Resumable,
    Tuned,
    Watch,
    through,
)
from pipeline.heads._tuning_model import dense_of, join, rebuilt

if TYPE_CHECKING:
    import keras


# What a fine-tuning takes of a head's own training where nothing is said.
_KEPT = ("optimizer", "learning_rate", "epochs", "batch_size", "early_stopping")
_LOWER = 10.0  # what a rate is divided by that made validation worse


def tuning_config(head: Head, **options: Any) -> MlpConfig:
    """
    Say how a head and the layers below it are trained further.

    Parameters
    ----------
    head : Head
        Of kind svm, softmax, ridge or mlp.
    **options
        Of `TrainingConfig`: `optimizer`, `learning_rate`, `epochs`, ...

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
    # Its layers are the head's; how they were trained counts no more, but for a few habits.
    kept: dict[str, Any] = {name: getattr(own, name) for name in _KEPT}
    training = TrainingConfig(**{**kept, **options})
    how: dict[str, Any] = {each.name: getattr(training, each.name) for each in fields(training)}
    last: dict[str, Any] = {
        "output": Output.softmax,
        "output_initializer": Initializer.glorot_uniform,
    }
    return replace(own, **how, **last, scale=True)


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
    stack, scale = dense_of(head, len(material.train))
    # More epochs go on where fewer ended, unless the learning rate depends on their number.
    endless = config.schedule is Schedule.constant or budget is not None
    settings = (replace(config, epochs=1) if endless else config).to_json()
    asked = [unfinished.identity, settings, find_rate, seed]
    kept = read(unfinished.path, hashlib.sha256(canonical_json(asked)).hexdigest())
    try:
        model = join(layers, stack, scale, config=config, how=material.how, seed=seed)
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
    tuned = rebuilt(head, model, scale, config=config, checkpoint=checkpoint)
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
