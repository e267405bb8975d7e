"""A model of codes and a head's steps become one model, which says what the steps say."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import softmax

from pipeline.common.choices import Pool
from pipeline.common.steps import Unit
from pipeline.exports import joined, pooled
from tests.heads.test_folded import compute

from .conftest import layers, neighbours


def _expected(steps, codes):
    x = codes.astype(np.float64)
    for step in steps:
        x = compute(step, x)
    return softmax(x, axis=1)


@pytest.mark.parametrize("activation", ["relu", "tanh", "sigmoid", "elu", "log_sigmoid"])
def test_layers(codes_model, pixels, rng, activation):
    steps = layers(rng, activation, "linear")
    found = joined(codes_model, steps)(pixels).numpy()
    np.testing.assert_allclose(found, _expected(steps, codes_model(pixels).numpy()), atol=1e-6)


@pytest.mark.parametrize("k", [1, 5, 30])
def test_neighbours(codes_model, pixels, rng, k):
    steps = neighbours(rng, k=k)
    found = joined(codes_model, steps)(pixels).numpy()
    np.testing.assert_allclose(found, _expected(steps, codes_model(pixels).numpy()), atol=1e-5)


def test_codes_of_zeros_have_no_direction_and_no_nan(codes_model, pixels, rng):
    nothing = Unit(scale=np.full(8, 1e30, np.float32))
    found = joined(codes_model, (nothing, *layers(rng)))(pixels).numpy()
    assert np.isfinite(found).all()


@pytest.mark.parametrize("how", list(Pool))
def test_maps_are_pooled_as_a_head_pools_them(pixels, how):
    import keras

    from pipeline import heads

    image = keras.Input((6, 6, 3), dtype="uint8")
    model = keras.Model(image, keras.ops.cast(image, "float32"))
    expected = heads.pool(pixels.astype(np.float32), how)
    np.testing.assert_allclose(pooled(model, [how])(pixels).numpy(), expected, rtol=1e-5)


def test_vectors_need_no_pooling(codes_model):
    assert pooled(codes_model, [None]) is codes_model


def test_the_answer_has_a_name(codes_model, rng):
    model = joined(codes_model, layers(rng))
    assert model.output_names == ["probabilities"]
    assert model.input_shape == (None, 6, 6, 3)


def test_several_layers_stand_side_by_side(pixels):
    import keras

    from pipeline import heads

    image = keras.Input((6, 6, 3), dtype="uint8")
    maps = keras.ops.cast(image, "float32")
    model = keras.Model(image, [maps, keras.layers.Flatten()(maps), 2 * maps])
    x = pixels.astype(np.float32)
    expected = [heads.pool(x, Pool.max), x.reshape(len(x), -1), heads.pool(2 * x, Pool.avg)]
    found = pooled(model, [Pool.max, None, Pool.avg])(pixels).numpy()
    np.testing.assert_allclose(found, np.concatenate(expected, axis=1), rtol=1e-5)
