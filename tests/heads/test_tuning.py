"""Layers and a head trained together: what learns, what rests, what is kept, what goes on."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from scipy.special import log_softmax

from pipeline.common.choices import HeadKind, Optimizer, Pool, Schedule
from pipeline.common.errors import HeadError
from pipeline.heads import (
    Budget,
    Card,
    InMemory,
    Material,
    MlpConfig,
    Resumable,
    TooLittleTime,
    Watch,
    build,
    load,
    save,
    through,
    tune,
    tuning_config,
)
from pipeline.heads import _checkpoint as checkpoint

SHAPE = (4, 4, 3)
CLASSES = 3


class Convolution:
    """A convolution and a batch normalization with seeded weights."""

    def __init__(self) -> None:
        self.shape = SHAPE
        codes = keras.Input(SHAPE)
        x = keras.layers.Conv2D(
            8, 3, padding="same", kernel_initializer=keras.initializers.GlorotUniform(seed=1)
        )(codes)
        x = keras.layers.ReLU()(keras.layers.BatchNormalization()(x))
        self.model = keras.Model(codes, x)

    def __call__(self, codes):
        return keras.ops.convert_to_numpy(self.model(codes, training=False))

    def training_model(self):
        return self.model

    def learn(self):
        """Nothing: the model is the one that learns."""

    def arrays(self):
        return [array.copy() for array in self.model.get_weights()]


@pytest.fixture
def layers():
    return Convolution()


def images(rows: int, seed: int):
    """Maps whose class is a pattern that no average shows."""
    rng = np.random.default_rng(seed)
    y = np.arange(rows) % CLASSES
    codes = rng.normal(size=(rows, *SHAPE)).astype(np.float32)
    codes[np.arange(rows), :, y % 4] += 1.5
    codes[np.arange(rows), :, (y + 1) % 4] -= 1.5
    return codes.reshape(rows, -1), y


def material(layers, *, how=Pool.avg, val=True, rows=90):
    codes, y = images(rows, 0)
    codes_val, y_val = images(45, 1)
    held = InMemory(codes_val) if val else None
    return Material(
        train=InMemory(codes),
        y=y,
        val=held,
        y_val=y_val if val else None,
        before=through(layers, held, how) if val else None,
        room=1 << 26,
        how=how,
    )


def fitted(layers, learned, kind=HeadKind.softmax, how=Pool.avg, **parameters):
    if kind is not HeadKind.mlp:
        parameters = {"C": 1.0, "refit": False}
    head = build(kind, **parameters)
    vectors = through(layers, learned.train, how)
    return head.fit(vectors, learned.y, X_val=learned.before, y_val=learned.y_val)


def run(
    layers,
    head,
    learned,
    tmp_path,
    *,
    tell=lambda epoch: None,
    trial=lambda trial: None,
    plan=lambda planned: None,
    find_rate=False,
    budget=None,
    **options,
):
    options = {"learning_rate": 0.01, "epochs": 4, "early_stopping": 0, "batch_size": 16} | options
    watch = Watch(trial=trial, plan=plan, epoch=tell, progress=lambda done, total: None)
    tuned, answers = tune(
        head,
        layers,
        learned,
        config=tuning_config(head, **options),
        find_rate=find_rate,
        budget=budget,
        seed=0,
        unfinished=Resumable(tmp_path / "head" / "unfinished.h5", "these"),
        watch=watch,
    )
    if learned.val is None:
        assert answers is None
    else:
        assert (answers == learned.y_val).mean() == tuned.validation_["accuracy"]
    return tuned


@pytest.mark.parametrize(
    "kind",
    [
        HeadKind.svm,
        pytest.param(HeadKind.softmax, marks=pytest.mark.slow),
        pytest.param(HeadKind.ridge, marks=pytest.mark.slow),
        HeadKind.mlp,
    ],
)
def test_what_the_averages_hide_is_learned(kind, layers, tmp_path):
    learned = material(layers)
    config = {"config": MlpConfig(hidden=(8,), epochs=10)} if kind is HeadKind.mlp else {}
    head = fitted(layers, learned, kind, **config)
    tuned = run(layers, head, learned, tmp_path, epochs=15)
    assert tuned.kind is (HeadKind.mlp if kind is HeadKind.mlp else HeadKind.softmax)
    assert tuned.validation_["accuracy"] > head.validation_["accuracy"] + 0.1
    assert set(tuned.history_) == {"accuracy", "loss", "val_accuracy", "val_loss"}
    assert tuned.calibration_ is not None


@pytest.mark.parametrize("how", list(Pool))
def test_what_is_returned_is_what_was_judged(how, layers, tmp_path):
    learned = material(layers, how=how)
    head = fitted(layers, learned, how=how)
    epochs = []
    tuned = run(layers, head, learned, tmp_path, tell=epochs.append)
    best = min(epochs, key=lambda epoch: epoch.val_loss)
    vectors = through(layers, learned.val, how)
    assert tuned.parameters["best_epoch"] == best.number
    assert tuned.validation_["accuracy"] == pytest.approx(best.val_accuracy)
    logs = log_softmax(tuned.calibration_["slope"] * tuned.decision(vectors), axis=1)
    assert -logs[np.arange(45), learned.y_val].mean() == pytest.approx(best.val_loss, abs=1e-5)


def test_gradients_go_everywhere_but_into_statistics(layers, tmp_path):
    learned = material(layers)
    before = layers.arrays()
    run(layers, fitted(layers, learned), learned, tmp_path)
    changed = [
        not np.array_equal(old, new) for old, new in zip(before, layers.arrays(), strict=True)
    ]
    names = [variable.path.rpartition("/")[2] for variable in layers.model.weights]
    assert {name for name, each in zip(names, changed, strict=True) if not each} == {
        "moving_mean",
        "moving_variance",
    }


def test_without_progress_the_head_stays_what_it_was(layers, tmp_path):
    learned = material(layers)
    head, before = fitted(layers, learned), layers.arrays()
    tuned = run(layers, head, learned, tmp_path, learning_rate=100.0, epochs=2)
    assert tuned.parameters["best_epoch"] == 0
    assert all(np.array_equal(a, b) for a, b in zip(before, layers.arrays(), strict=True))
    X = learned.before
    np.testing.assert_allclose(tuned.predict_proba(X), head.predict_proba(X), atol=0.01)


def test_waiting_ends(layers, tmp_path):
    learned = material(layers)
    head = fitted(layers, learned)
    epochs = []
    run(
        layers, head, learned, tmp_path, learning_rate=50.0, epochs=9, early_stopping=2,
        tell=epochs.append,
    )  # fmt: skip
    assert [epoch.number for epoch in epochs] == [0, 1, 2]


def test_without_validation_images_the_last_epoch_is_kept(layers, tmp_path):
    learned = material(layers, val=False)
    tuned = run(layers, fitted(layers, learned), learned, tmp_path, epochs=3, early_stopping=1)
    assert tuned.parameters["best_epoch"] == 3
    assert tuned.validation_ is None


def test_divergence_is_said(layers, tmp_path):
    learned = material(layers)
    with pytest.raises(HeadError, match=r"diverged in epoch 1 .* lower --learning-rate"):
        run(layers, fitted(layers, learned), learned, tmp_path, learning_rate=1e30)


@pytest.mark.parametrize("size", [1.0, 100.0])
def test_the_rate_depends_on_how_large_the_numbers_are(size, layers, tmp_path):
    kernel, *others = layers.model.get_weights()
    layers.model.set_weights([kernel / size, *others])
    learned = material(layers)
    tuned = run(layers, fitted(layers, learned), learned, tmp_path, find_rate=True, epochs=1)
    assert 1e-6 <= tuned.parameters["learning_rate"] <= 1e-2


def test_a_cycle_of_another_length_begins_anew(layers, tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "_SECONDS", 0.0)
    learned, epochs = material(layers), []

    def stop(epoch):
        if epoch.number == 2:
            raise KeyboardInterrupt

    cycle = {"schedule": Schedule.one_cycle}
    with pytest.raises(KeyboardInterrupt):
        run(layers, fitted(layers, learned), learned, tmp_path, tell=stop, **cycle)
    other = Convolution()
    run(other, fitted(other, learned), learned, tmp_path, tell=epochs.append, epochs=6, **cycle)
    assert [epoch.number for epoch in epochs] == [0, 1, 2, 3, 4, 5, 6]


def test_a_rate_that_destroys_the_network_is_not_taken(layers, tmp_path):
    learned = material(layers)
    trials, plans = [], []
    cycle = {"schedule": Schedule.one_cycle, "find_rate": True, "epochs": 8}
    told = {"trial": trials.append, "plan": plans.append}
    tuned = run(layers, fitted(layers, learned), learned, tmp_path, **cycle, **told)
    middle = (trials[0].val_loss_before + np.log(CLASSES)) / 2
    borne = [each.learning_rate for each in trials if each.val_loss < middle]
    assert tuned.parameters["learning_rate"] in {max(borne), max(borne) / 10}
    assert [planned.epochs for planned in plans] == [8]
    assert tuned.parameters["best_epoch"] > 0
    assert tuned.history_["val_loss"][-1] < tuned.history_["val_loss"][0]


def test_a_rate_is_found_on_three_images_without_validation_images(layers, tmp_path):
    learned = material(layers, val=False, rows=3)
    tuned = run(layers, fitted(layers, learned), learned, tmp_path, find_rate=True, epochs=1)
    assert 1e-8 <= tuned.parameters["learning_rate"] <= 1e-2


class TestBudget:
    """How many epochs there are where time decides."""

    def test_one_at_the_least(self, layers, tmp_path):
        learned, plans = material(layers), []
        none = Budget(seconds=0.0, fewest=1)
        tuned = run(
            layers, fitted(layers, learned), learned, tmp_path, budget=none, plan=plans.append
        )
        assert tuned.parameters["epochs_run"] == plans[0].epochs == 1

    def test_too_few_are_not_begun_with(self, layers, tmp_path):
        learned = material(layers)
        with pytest.raises(TooLittleTime, match="3 do not fit into the 0 s that are left"):
            run(
                layers,
                fitted(layers, learned),
                learned,
                tmp_path,
                budget=Budget(seconds=0, fewest=3),
            )

    def test_epochs_by_hand(self):
        assert Budget(seconds=60.0, fewest=3).less(10.0).epochs_of(12.0) == 4

    def test_after_a_kill_their_number_stays(self, tmp_path, monkeypatch):
        monkeypatch.setattr(checkpoint, "_SECONDS", 0.0)

        def stop(epoch):
            if epoch.number == 1:
                raise KeyboardInterrupt

        # There is plenty of time at first, for all that may be; then none.
        plenty, none = Budget(seconds=1e6, fewest=1), Budget(seconds=0.0, fewest=1)
        layers, again = Convolution(), Convolution()
        learned = material(layers)
        cycle = {"schedule": Schedule.one_cycle, "epochs": 3}
        with pytest.raises(KeyboardInterrupt):
            run(
                layers,
                fitted(layers, learned),
                learned,
                tmp_path,
                tell=stop,
                budget=plenty,
                **cycle,
            )
        tuned = run(again, fitted(again, learned), learned, tmp_path, budget=none, **cycle)
        assert tuned.parameters["epochs_run"] == 3


class TestKilled:
    """What a kill interrupts goes on, and ends where it would have ended."""

    def test_ctrl_c_keeps_the_last_whole_epoch(self, tmp_path, monkeypatch):
        monkeypatch.setattr(checkpoint, "_SECONDS", 1e9)
        self.killed(tmp_path, after=2)
        layers, epochs = Convolution(), []
        learned = material(layers)
        run(layers, fitted(layers, learned), learned, tmp_path, tell=epochs.append)
        assert epochs[0].number == 2

    @pytest.fixture(autouse=True)
    def every_epoch(self, monkeypatch):
        monkeypatch.setattr(checkpoint, "_SECONDS", 0.0)

    def killed(self, tmp_path, after: int, **options):
        layers = Convolution()
        learned = material(layers)

        def tell(epoch):
            if epoch.number == after:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            run(layers, fitted(layers, learned), learned, tmp_path, tell=tell, **options)

    @pytest.mark.parametrize(
        "options",
        [
            {},
            pytest.param(
                {"optimizer": Optimizer.sgd, "momentum": 0.9, "nesterov": True, "decay_rate": 0.5},
                marks=pytest.mark.slow,
            ),
            pytest.param({"find_rate": True}, marks=pytest.mark.slow),
            {"find_rate": True, "schedule": Schedule.one_cycle},
        ],
    )
    def test_the_weights_are_those_of_a_quiet_run(self, tmp_path, options):
        layers = Convolution()
        learned = material(layers)
        quiet = run(layers, fitted(layers, learned), learned, tmp_path / "quiet", **options)
        self.killed(tmp_path, after=2, **options)
        again, epochs = Convolution(), []
        tuned = run(again, fitted(again, learned), learned, tmp_path, tell=epochs.append, **options)
        assert [epoch.number for epoch in epochs] == [2, 3, 4]
        assert tuned.history_ == quiet.history_
        for mine, other in zip(again.arrays(), layers.arrays(), strict=True):
            np.testing.assert_allclose(mine, other, rtol=1e-5, atol=1e-6)

    def test_another_task_begins_anew(self, tmp_path):
        self.killed(tmp_path, after=2)
        layers, epochs = Convolution(), []
        learned = material(layers)
        run(
            layers,
            fitted(layers, learned),
            learned,
            tmp_path,
            learning_rate=0.02,
            tell=epochs.append,
        )
        assert epochs[0].number == 0

    def test_what_is_damaged_begins_anew(self, tmp_path):
        self.killed(tmp_path, after=2)
        path = tmp_path / "head" / "unfinished.h5"
        path.write_bytes(path.read_bytes()[:-100])
        layers, epochs = Convolution(), []
        learned = material(layers)
        run(layers, fitted(layers, learned), learned, tmp_path, tell=epochs.append)
        assert epochs[0].number == 0


@pytest.mark.parametrize("kind", [HeadKind.knn, HeadKind.centroid])
def test_heads_without_weights_are_refused(kind):
    with pytest.raises(HeadError, match=f"found {kind.value}, which has no weights"):
        tuning_config(build(kind))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"momentum": 0.9}, "expected momentum with optimizer sgd only"),
        ({"optimizer": Optimizer.sgd, "nesterov": True}, "expected --momentum above 0"),
        ({"momentum": 1.0, "optimizer": Optimizer.sgd}, "from 0 to below 1 for --momentum"),
        ({"learning_rate": 0.0}, "above 0 for --learning-rate"),
        ({"epochs": 0}, "from 1 to 2147483647 for --epochs"),
        ({"decay_rate": 1e9}, "at most 1 for --decay-rate"),
    ],
)
def test_impossible_settings_are_refused(options, message):
    with pytest.raises(HeadError, match=message):
        tuning_config(build(HeadKind.softmax), **options)


class TestSaved:
    """Tuned layers on disk, beside the head."""

    @pytest.fixture
    def weights(self):
        rng = np.random.default_rng(0)
        return {"conv/0/kernel": rng.normal(size=(3, 3, 2, 4)), "conv/1/bias": np.zeros(4)}

    def test_round_trip(self, heads, card, weights, tmp_path):
        from dataclasses import replace

        tuned_card: Card = replace(card, layer="below", tuned_to="avg")
        save(tmp_path / "head", heads[HeadKind.softmax], tuned_card, tuned=weights)
        again = load(tmp_path / "head")
        assert again.card.tuned_to == "avg"
        assert {name: array.tobytes() for name, array in again.tuned.items()} == {
            name: array.tobytes() for name, array in weights.items()
        }

    def test_the_two_belong_together(self, heads, card, weights, tmp_path):
        with pytest.raises(HeadError, match="found one of two"):
            save(tmp_path / "head", heads[HeadKind.softmax], card, tuned=weights)
