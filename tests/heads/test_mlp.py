"""The MLP head: presets to the letter, options, and numpy against Keras."""

from __future__ import annotations

import random
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from pipeline.common.choices import Activation, HeadKind, Optimizer, Preset
from pipeline.common.errors import HeadError
from pipeline.heads import PRESETS, MlpConfig, Output, build
from pipeline.heads._training import build_model


def keras_layers(preset, *, inputs, classes):
    """Layers, and training, of the Keras model that a preset becomes."""
    model = build_model(PRESETS[preset], inputs, classes, rows=100, seed=0)
    layers = []
    for layer in model.layers:
        if type(layer).__name__ == "Dense":
            layers.append((layer.units, layer.activation.__name__))
        else:
            layers.append(("dropout", layer.rate))
    return model, layers


class TestPresets:
    """Each as its article has it."""

    def test_tflearn(self):
        model, layers = keras_layers(Preset.tflearn, inputs=64, classes=5)
        assert layers == [
            (4096, "tanh"),
            ("dropout", pytest.approx(0.2)),
            (512, "tanh"),
            ("dropout", pytest.approx(0.2)),
            (5, "softmax"),
        ]
        dense = [layer for layer in model.layers if hasattr(layer, "units")]
        # tflearn's weight decay of 0.001 is halved in its loss, Keras' factor is not.
        assert [float(d.kernel_regularizer.l2) for d in dense[:2]] == pytest.approx([0.0005] * 2)
        assert dense[2].kernel_regularizer is None
        for layer in dense:
            kernel = np.asarray(layer.kernel)
            assert np.abs(kernel).max() <= 0.04  # truncated at two standard deviations
            assert layer.kernel_initializer.stddev == 0.02
        rate = model.optimizer._learning_rate
        assert type(model.optimizer).__name__ == "SGD"
        assert float(model.optimizer.momentum) == 0
        assert model.optimizer.global_clipnorm == 5
        assert [float(rate(step)) for step in (0, 500, 1000)] == pytest.approx(
            [0.1, 0.1 * 0.96**0.5, 0.1 * 0.96]
        )
        assert model.loss == "sparse_categorical_crossentropy"
        config = PRESETS[Preset.tflearn]
        assert (config.epochs, config.batch_size, config.validation_share) == (20, 64, 0.1)
        assert config.early_stopping == 0

    def test_mnist_upscaling(self):
        model, layers = keras_layers(Preset.mnist_upscaling, inputs=50, classes=10)
        assert layers == [
            (1000, "relu"),
            ("dropout", 0.3),
            (500, "sigmoid"),
            ("dropout", 0.4),
            (150, "sigmoid"),
            ("dropout", 0.2),
            (10, "softmax"),
        ]
        dense = [layer for layer in model.layers if hasattr(layer, "units")]
        names = [type(layer.kernel_initializer).__name__ for layer in dense]
        assert names == ["RandomUniform", "GlorotUniform", "GlorotUniform", "GlorotUniform"]
        assert 0.049 < np.abs(np.asarray(dense[0].kernel)).max() <= 0.05
        assert type(model.optimizer).__name__ == "Adam"
        assert float(model.optimizer.learning_rate) == pytest.approx(0.001)
        assert model.loss == "sparse_categorical_crossentropy"
        config = PRESETS[Preset.mnist_upscaling]
        assert (config.epochs, config.batch_size, config.validation_share) == (20, 128, 0.3)
        assert config.early_stopping == 0

    def test_cats_dogs(self):
        model, layers = keras_layers(Preset.cats_dogs, inputs=512, classes=2)
        assert layers == [
            (256, "relu"),
            ("dropout", 0.5),
            (128, "relu"),
            ("dropout", 0.7),
            (1, "sigmoid"),
        ]
        # The article prints its summary.
        assert [layer.count_params() for layer in model.layers][::2] == [131328, 32896, 129]
        assert type(model.optimizer).__name__ == "Adam"
        assert float(model.optimizer.learning_rate) == pytest.approx(0.001)
        assert model.loss == "binary_crossentropy"
        config = PRESETS[Preset.cats_dogs]
        assert (config.epochs, config.batch_size) == (50, 80)
        assert (config.early_stopping, config.monitor.value) == (5, "val_accuracy")
        assert config.validation_share == 0.2

    def test_surfing(self):
        model, layers = keras_layers(Preset.surfing, inputs=1280, classes=3)
        assert layers == [(64, "relu"), (3, "sigmoid")]
        assert type(model.optimizer).__name__ == "Adam"
        assert float(model.optimizer.learning_rate) == pytest.approx(0.005)
        assert model.loss == "binary_crossentropy"
        config = PRESETS[Preset.surfing]
        assert (config.epochs, config.batch_size, config.validation_share) == (10, 16, 0.2)
        assert config.early_stopping == 0

    @pytest.mark.parametrize("preset", list(Preset))
    def test_all_are_consistent_and_take_codes_as_they_are(self, preset):
        assert not PRESETS[preset].scale
        assert MlpConfig.from_options(preset) == PRESETS[preset]

    @pytest.mark.parametrize("preset", list(Preset))
    def test_all_learn(self, preset, two_classes):
        options = {"hidden": (64, 16), "epochs": 2} if preset is Preset.tflearn else {"epochs": 2}
        config = MlpConfig.from_options(preset, **options)
        X = two_classes.X / (two_classes.X.max(axis=0) + 1)
        head = build(HeadKind.mlp, config=config).fit(X, two_classes.y)
        assert sorted(head.history_) == ["accuracy", "loss", "val_accuracy", "val_loss"]
        assert [len(values) for values in head.history_.values()] == [2] * 4

    def test_a_single_output_needs_two_classes(self, three_classes):
        head = build(HeadKind.mlp, config=PRESETS[Preset.cats_dogs])
        with pytest.raises(HeadError, match="2 classes apart, found 3; use --preset surfing"):
            head.fit(three_classes.X, three_classes.y)


class TestOptions:
    def test_nothing_gives_the_defaults(self):
        assert MlpConfig.from_options() == MlpConfig()

    def test_what_is_named_changes_and_the_rest_stays(self):
        config = MlpConfig.from_options(
            Preset.cats_dogs, epochs=3, optimizer=Optimizer.sgd, early_stopping=0, dropout=0.1
        )
        assert (config.epochs, config.optimizer, config.early_stopping) == (3, Optimizer.sgd, 0)
        assert config.dropout == (0.1, 0.1)
        assert config.hidden == (256, 128)
        assert config.output is Output.binary

    def test_more_layers_take_the_settings_of_the_last(self):
        config = MlpConfig.from_options(Preset.cats_dogs, hidden=[8, 8, 8])
        assert config.dropout == (0.5, 0.7, 0.7)
        assert MlpConfig.from_options(Preset.cats_dogs, hidden=[8]).dropout == (0.5,)

    def test_one_value_each(self):
        config = MlpConfig.from_options(
            hidden=[8, 4], activation=[Activation.tanh, Activation.elu], dropout=[0.1, 0], l2=[1, 2]
        )
        assert config.activation == (Activation.tanh, Activation.elu)
        assert (config.dropout, config.l2) == ((0.1, 0), (1, 2))

    def test_no_hidden_layer_at_all(self, two_classes):
        config = MlpConfig.from_options(hidden=[], epochs=1)
        head = build(HeadKind.mlp, config=config).fit(two_classes.X, two_classes.y)
        assert set(head.arrays()) == {"scale", "kernel_0", "bias_0"}

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"dropout": 1.0}, "expected shares from 0 to below 1 for --dropout, found 1.0"),
            ({"dropout": -0.1}, "for --dropout, found -0.1"),
            ({"dropout": [0.1, 0.2]}, "one --dropout or one for each of 1 hidden layers, found 2"),
            ({"hidden": [0]}, "whole numbers from 1 to 1000000 for --hidden, found 0"),
            ({"hidden": [2.5]}, "found 2.5"),
            ({"l2": -1}, "numbers from 0 for --l2"),
            ({"l2": float("nan")}, "for --l2, found nan"),
            ({"learning_rate": 0}, "a number above 0 for --learning-rate, found 0"),
            ({"learning_rate": float("inf")}, "for --learning-rate, found inf"),
            ({"epochs": 0}, "a whole number from 1 to 2147483647 for --epochs"),
            ({"batch_size": -5}, "for --batch-size, found -5"),
            ({"early_stopping": -1}, "for --early-stopping, found -1"),
            ({"colour": 1}, "no option 'colour'"),
        ],
    )
    def test_bad_values(self, options, message):
        with pytest.raises(HeadError, match=message):
            MlpConfig.from_options(**options)

    @given(
        preset=st.sampled_from([None, *Preset]),
        hidden=st.lists(st.integers(1, 5000), max_size=4),
        epochs=st.integers(1, 1000),
    )
    def test_json_round_trip(self, preset, hidden, epochs):
        config = MlpConfig.from_options(preset, hidden=hidden, epochs=epochs)
        assert MlpConfig.from_json(config.to_json()) == config

    @pytest.mark.parametrize("change", [{"hidden": 5}, {"output": "soft"}, {"more": 1}])
    def test_json_of_something_else(self, change):
        with pytest.raises(HeadError, match="not the description of an mlp"):
            MlpConfig.from_json({**MlpConfig().to_json(), **change})


@pytest.mark.parametrize("output", list(Output))
@pytest.mark.parametrize("activation", list(Activation))
def test_forward_pass_equals_keras(output, activation):
    config = MlpConfig.from_options(hidden=(7, 5), activation=activation, output=output)
    k = 2 if output is Output.binary else 4
    model = build_model(config, 6, k, rows=100, seed=5)
    weights = model.get_weights()
    arrays = {"scale": np.ones(6)}
    for i in range(3):
        arrays[f"kernel_{i}"], arrays[f"bias_{i}"] = weights[2 * i], weights[2 * i + 1] + 0.1
    model.set_weights([arrays[f"{n}_{i}"] for i in range(3) for n in ("kernel", "bias")])
    head = type(build(HeadKind.mlp)).from_arrays(
        {"config": config.to_json(), "seed": 5, "n_classes": k}, arrays
    )
    X = (np.random.default_rng(0).normal(size=(50, 6)) * 5).astype(np.float32)

    expected = model(X).numpy()
    if output is Output.binary:
        expected = np.concatenate([1 - expected, expected], axis=1)
    if output is Output.sigmoid:
        expected /= expected.sum(axis=1, keepdims=True)
    assert_allclose(head.predict_proba(X), expected, atol=1e-6)


class TestTraining:
    def test_the_same_whatever_the_global_seeds_and_they_stay(self, fit, heads, three_classes):
        random.seed(3)
        np.random.seed(3)
        before = random.getstate(), np.random.get_state()[1].tolist()
        head = fit(HeadKind.mlp, three_classes)
        assert (random.getstate(), np.random.get_state()[1].tolist()) == before
        for name, array in heads[HeadKind.mlp].arrays().items():
            assert np.array_equal(array, head.arrays()[name])

    def test_another_seed_is_another_head(self, heads, three_classes):
        config = heads[HeadKind.mlp].config
        other = build(HeadKind.mlp, seed=2, config=config)
        other.fit(three_classes.X, three_classes.y)
        assert not np.array_equal(
            other.arrays()["kernel_0"], heads[HeadKind.mlp].arrays()["kernel_0"]
        )

    def test_only_arrays_are_kept(self, heads):
        head = heads[HeadKind.mlp]
        assert set(head.arrays()) == {"scale", "kernel_0", "bias_0", "kernel_1", "bias_1"}
        for name, value in vars(head).items():
            assert not type(value).__module__.startswith(("keras", "tensorflow")), name

    def test_class_sorted_rows_are_shuffled(self, three_classes):
        order = np.argsort(three_classes.y, kind="stable")
        config = MlpConfig(hidden=(16,), epochs=15, learning_rate=0.01, batch_size=20)
        head = build(HeadKind.mlp, config=config)
        head.fit(three_classes.X[order], three_classes.y[order])
        assert (head.predict(three_classes.X_test) == three_classes.y_test).mean() > 0.9

    def test_held_out_rows_are_a_share_of_each_class(self, three_classes):
        head = build(HeadKind.mlp, config=MlpConfig(hidden=(4,), epochs=1, validation_share=0.25))
        head.fit(three_classes.X, three_classes.y)
        assert head.validation_["images"] == 30
        assert head.validation_["how"] == "25% of the training images, held out"

    def test_too_few_images_to_hold_any_out(self):
        X, y = np.eye(2, dtype=np.float32), np.array([0, 1])
        head = build(HeadKind.mlp, config=MlpConfig(hidden=(4,), epochs=2)).fit(X, y)
        assert head.validation_ is None
        assert sorted(head.history_) == ["accuracy", "loss"]

    def test_early_stopping_keeps_the_best_epoch(self, three_classes):
        c = three_classes
        config = MlpConfig(hidden=(16,), epochs=60, learning_rate=0.1, early_stopping=2)
        head = build(HeadKind.mlp, config=config)
        head.fit(c.X, c.y, X_val=c.X_val, y_val=c.y_val)
        losses = head.history_["val_loss"]
        assert len(losses) < 60
        assert len(losses) == int(np.argmin(losses)) + 3 == head.parameters["epochs_run"]
        plain = head.as_scores(head.decision(c.X_val), calibrated=False)
        loss = -np.log(plain[np.arange(60), c.y_val]).mean()
        assert loss == pytest.approx(min(losses), rel=1e-3)

    def test_divergence_is_said(self, three_classes):
        config = MlpConfig.from_options(
            optimizer=Optimizer.sgd, learning_rate=1e30, epochs=5, dropout=0.0
        )
        with pytest.raises(HeadError, match="try a lower --learning-rate than 1e"):
            build(HeadKind.mlp, config=config).fit(three_classes.X, three_classes.y)


def test_the_room_is_light_to_import():
    code = (
        "import sys, pipeline.heads, pipeline.report;"
        "heavy = {'tensorflow', 'keras', 'matplotlib'} & set(sys.modules);"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
