"""Networks whose convolutions normalize, against the same networks as Keras computes them."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from pipeline import backbones
from pipeline.common.choices import Precision

# Depthwise convolutions; dense ones with biases and shortcuts; normalization before convolutions;
# no normalization at all.
TAILS = {
    "efficientnet-lite0": "block5c_add",
    "mobilenet-0.25": "conv_pw_11_relu",
    "resnet50": "conv4_block6_out",
    "densenet121": "conv4_block24_concat",
    "vgg16": "block4_pool",
}


def _tail(name: str, start: str, precision: Precision = Precision.float32) -> backbones.Tail:
    tail = backbones.load_tail(
        backbones.find(name), start=start, stop="avg", size=64, weights="random",
        precision=precision,
    )  # fmt: skip
    rng = np.random.default_rng(0)
    tail.assign(  # random weights have normalizations that do nothing
        {
            path: array * rng.uniform(0.5, 1.5, array.shape).astype(np.float32)
            + (0.1 * rng.random(array.shape)).astype(np.float32)
            if array.ndim == 1
            else array
            for path, array in tail.arrays().items()
        }
    )
    return tail


def _with_gradients(model: keras.Model, codes: np.ndarray) -> tuple[np.ndarray, dict]:
    """Return what comes out and the gradients of all weights, by their last names."""
    with tf.GradientTape() as tape:
        out = tf.cast(model(codes, training=False), tf.float32)
        loss = tf.reduce_sum(out * tf.cos(tf.range(out.shape[1], dtype=tf.float32)))
    found = tape.gradient(loss, [each.value for each in model.trainable_variables])
    names = ["/".join(each.path.split("/")[-2:]) for each in model.trainable_variables]
    return out.numpy(), dict(zip(names, (each.numpy() for each in found), strict=True))


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.slow if name == "densenet121" else ()) for name in TAILS],
)
def test_outputs_and_gradients_are_those_of_keras(name: str) -> None:
    tail = _tail(name, TAILS[name])
    codes = np.random.default_rng(1).random((2, *tail.shape), dtype=np.float32)
    expected, gradients = _with_gradients(tail.model, codes)
    found, own = _with_gradients(tail.training_model(), codes)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())
    assert own.keys() == gradients.keys()
    for path, gradient in gradients.items():
        np.testing.assert_allclose(own[path], gradient, atol=2e-3 * np.abs(gradient).max() + 1e-6)


def test_normalizations_are_gone_from_the_maps() -> None:
    model = _tail("mobilenet-0.25", "conv_pw_11_relu").training_model()
    assert not [each for each in model.layers if isinstance(each, keras.layers.BatchNormalization)]


@pytest.mark.parametrize("precision", [Precision.float32, Precision.bfloat16])
def test_what_is_learned_is_taken_over(precision: Precision) -> None:
    tail = _tail("resnet50", "conv4_block6_out", precision)
    before = tail.arrays()
    for variable in tail.training_model().trainable_variables:
        variable.assign(2 * variable)
    tail.learn()
    for path, array in tail.arrays().items():
        rests = "moving" in path
        np.testing.assert_array_equal(array, before[path] if rests else 2 * before[path])
