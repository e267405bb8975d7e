"""Every row against keras.applications: parameters, shapes, preprocessing and codes."""

from __future__ import annotations

import gc

import numpy as np
import pytest

from pipeline.backbones import TABLE, load

from .conftest import official, official_preprocessing, outputs

_KERAS = [row for row in TABLE.values() if row.builder.startswith("keras")]


def _rows(*always):
    """All rows; those that are not of a kind of their own are slow."""
    return [
        pytest.param(row, id=row.name, marks=() if row.name in always else (pytest.mark.slow,))
        for row in _KERAS
    ]


# Plain; with residuals, of separable convolutions.
@pytest.mark.parametrize("row", _rows("vgg16", "mobilenetv2"))
def test_a_row_gives_the_codes_of_keras_applications(row, photos, tmp_path) -> None:
    pixels = photos(row.size)
    model = official(row, include_top=False, input_shape=(row.size, row.size, 3))
    maps = [name for name, shape in row.layers.items() if len(shape) == 3]
    network = _loaded(row, model, [*maps, "avg"], tmp_path)

    assert model.count_params() == row.parameters
    assert network.shapes == {name: row.layers[name] for name in (*maps, "avg")}

    # Layers that Keras numbered itself have another number in each process; all of the last ones
    # are compared as the model's output.
    last = model.layers[-1].name
    named = {layer.name for layer in model.layers} & set(maps) - {row.final_map}
    expected = outputs(model, [*named, last], official_preprocessing(row, pixels))
    expected[row.final_map] = expected.pop(last)
    codes = network(pixels)
    for name in (*named, row.final_map):
        if expected[name].shape[1:] == row.layers[name]:
            _agree(codes[name], expected[name])
    _agree(codes["avg"], expected[row.final_map].mean(axis=(1, 2)))
    gc.collect()


def _loaded(row, model, layers, folder):
    """Load a row with the weights of a Keras model, by way of a file."""
    file = folder / "model.weights.h5"
    model.save_weights(file)
    network = load(row, weights=str(file), layers=layers, batch_size=2)
    file.unlink()
    return network


def _agree(codes, expected) -> None:
    assert codes.dtype == np.float32
    scale = float(np.abs(expected).max())
    assert scale > 0
    np.testing.assert_allclose(codes, expected, rtol=1e-4, atol=1e-5 * scale)


# One of each preprocessing: channel means, -1 to 1, ImageNet's statistics, inside the network.
@pytest.mark.parametrize("row", _rows("vgg16", "mobilenetv2", "densenet121", "mobilenetv3small"))
def test_what_the_network_sees_is_what_the_official_preprocessing_gives(row, photos) -> None:
    size = max(row.minimum_size, 96)
    pixels = photos(size)
    before = pixels.copy()
    network = load(row, weights="random", layers=["input_layer"], size=size, batch_size=2)
    expected = official_preprocessing(row, pixels)
    np.testing.assert_array_equal(network(pixels)["input_layer"], expected)
    assert (pixels == before).all()


def test_lite0_scales_pixels_as_its_authors_do(photos) -> None:
    # tensorflow/tpu, models/official/efficientnet/lite: mean 127, standard deviation 128.
    pixels = photos(64)
    network = load(
        TABLE["efficientnet-lite0"], weights="random", layers=["input_layer"], size=64, batch_size=2
    )
    expected = (pixels.astype(np.float64) - 127) / 128
    np.testing.assert_allclose(network(pixels)["input_layer"], expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("row", _rows("vgg16", "resnet50", "mobilenetv2"))
def test_random_weights_give_codes_that_are_alive(row, photos) -> None:
    size = max(row.minimum_size, 96)
    network = load(row, weights="random", layers=["avg"], size=size, batch_size=2)
    codes = network(photos(size))["avg"]
    assert np.isfinite(codes).all()
    assert codes.std(axis=1).min() > 0
    assert np.abs(codes[0] - codes[1]).max() > 0


@pytest.mark.parametrize("name", ["vgg16", "vgg19"])
def test_vgg_has_the_layers_that_articles_cut_at(name) -> None:
    from pipeline.backbones._cut import needs_top

    assert needs_top(TABLE[name], ["fc1", "fc2", "block4_pool", "block5_pool"], size=224)
    assert not needs_top(TABLE[name], ["block4_pool", "block5_pool"], size=224)


@pytest.mark.slow
def test_vgg19_has_the_wide_layers_too(photos) -> None:
    network = load(TABLE["vgg19"], weights="random", layers=["fc1", "fc2"], batch_size=2)
    assert network.shapes == {"fc1": (4096,), "fc2": (4096,)}
