"""What fine-tuning does where nothing is said, and what it refuses."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline import ChoiceError, HeadError, HeadKind, Optimizer, Precision, Schedule, heads
from pipeline.flows.tuning_config import TuningConfig


def parse(options: Any = None, start: str = "auto") -> TuningConfig:
    head = heads.build(HeadKind.softmax)
    return TuningConfig.parse(options or {}, head=head, start=start)


def test_the_defaults() -> None:
    config = parse()
    training = config.training
    assert (training.optimizer, training.schedule) == (Optimizer.adam, Schedule.one_cycle)
    assert (training.epochs, training.batch_size, training.early_stopping) == (10, 16, 0)
    assert config.find_rate
    assert config.precision is Precision.auto
    assert config.views is None


def test_minutes_allow_more_epochs_and_a_constant_rate_stops_early() -> None:
    assert parse({"minutes": 5}).training.epochs == 30
    assert parse({"schedule": "constant"}).training.early_stopping == 5


def test_the_setting_of_the_article() -> None:
    """F. Chollet, "Building powerful image classification models using very little data" (2016)."""
    article = {"optimizer": "sgd", "learning_rate": 1e-4, "momentum": 0.9, "schedule": "constant"}
    config = parse(article)
    training = config.training
    assert (training.optimizer, training.momentum) == (Optimizer.sgd, 0.9)
    assert (training.learning_rate, config.find_rate) == (1e-4, False)


def test_photos_are_augmented_and_codes_are_not() -> None:
    views = parse(start="input").views
    assert views is not None
    assert views.count == 2
    with pytest.raises(HeadError, match="expected --augment with --from input only"):
        parse({"augment": "flip"}, start="block5_pool")


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"learning_rate": "fast"}, HeadError, "expected --learning-rate auto or a number"),
        ({"minutes": 0}, HeadError, "expected --minutes above 0, found 0"),
        ({"minutes": float("nan")}, HeadError, "expected --minutes above 0"),
        ({"epochs": 0}, HeadError, "expected a whole number from 1"),
        ({"schedule": "foo"}, ChoiceError, "foo"),
        ({"optimiser": "sgd"}, TypeError, "unexpected options optimiser"),
    ],
)
def test_what_cannot_be_used_is_refused(options: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        parse(options)
