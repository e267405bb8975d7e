"""The optimizers of MLP heads and of fine-tuning against those of Keras, step by step."""

from __future__ import annotations

from itertools import pairwise

import keras
import numpy as np
import pytest

from pipeline.common.choices import Optimizer, Schedule
from pipeline.heads._codes import InMemory, Rows
from pipeline.heads._config import MlpConfig
from pipeline.heads._optimizer import make_optimizer
from pipeline.heads._training import TrainingData

RATE = 1e-2
OF_KERAS = {
    "adam": ({"optimizer": Optimizer.adam}, lambda: keras.optimizers.Adam(RATE)),
    "sgd": ({"optimizer": Optimizer.sgd}, lambda: keras.optimizers.SGD(RATE)),
    "momentum": (
        {"optimizer": Optimizer.sgd, "momentum": 0.9},
        lambda: keras.optimizers.SGD(RATE, momentum=0.9),
    ),
    "nesterov": (
        {"optimizer": Optimizer.sgd, "momentum": 0.9, "nesterov": True},
        lambda: keras.optimizers.SGD(RATE, momentum=0.9, nesterov=True),
    ),
    "clipped": (
        {"optimizer": Optimizer.adam, "clip_norm": 1.0},
        lambda: keras.optimizers.Adam(RATE, global_clipnorm=1.0),
    ),
}


@pytest.mark.parametrize("name", OF_KERAS)
def test_an_optimizer_takes_the_steps_of_keras(name: str) -> None:
    settings, theirs = OF_KERAS[name]
    own = make_optimizer(MlpConfig(learning_rate=RATE, **settings), images=100)
    rng = np.random.default_rng(0)
    start = rng.normal(size=(5, 3)).astype(np.float32)
    gradients = rng.normal(size=(50, 5, 3)).astype(np.float32)

    def after(optimizer: keras.Optimizer) -> np.ndarray:
        variable = keras.Variable(start)
        optimizer.build([variable])
        for gradient in gradients:
            optimizer.apply([keras.ops.convert_to_tensor(gradient)], [variable])
        return keras.ops.convert_to_numpy(variable)

    np.testing.assert_allclose(after(own), after(theirs()), atol=1e-5)


def test_a_cycle_rises_for_three_tenths_of_the_steps_and_ends_at_nothing() -> None:
    config = MlpConfig(learning_rate=1.0, schedule=Schedule.one_cycle, epochs=10, batch_size=10)
    rate = make_optimizer(config, images=100).learning_rate
    schedule = make_optimizer(config, images=100)._learning_rate
    found = [float(schedule(step)) for step in range(101)]
    assert float(rate) == pytest.approx(1 / 25)
    assert found[30] == pytest.approx(1)
    assert found[65] == pytest.approx(0.5)
    assert found[100] == pytest.approx(0)
    assert all(a < b for a, b in pairwise(found[:31]))
    assert all(a > b for a, b in pairwise(found[30:]))


def test_an_epoch_has_one_view_of_each_image_drawn_anew() -> None:
    """Three views of five images, whose codes are the place of image and view."""
    codes = np.arange(15, dtype=np.float32)[:, None]
    examples = TrainingData(
        train=Rows(codes=InMemory(codes), y=np.repeat(np.arange(5), 3)),
        val=None,
        scale=np.ones(1),
        class_weights=np.ones(5),
        room=1 << 20,
        views=3,
    )
    seen = set()
    for epoch in range(30):
        drawn = examples.draw(np.random.default_rng(epoch))
        ((_, rows),) = drawn.codes.blocks()
        np.testing.assert_array_equal(rows[:, 0] // 3, np.arange(5))
        np.testing.assert_array_equal(drawn.y, np.arange(5))
        seen |= {int(row) for row in rows[:, 0]}
    assert seen == set(range(15))
