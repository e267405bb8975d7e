from __future__ import annotations

import random
import subprocess
import sys

import numpy as np
import pytest

from pipeline.backbones import TABLE, codes_model, find, load
from pipeline.common.errors import BackboneError

_SMALL = TABLE["mobilenetv2-0.35"]


@pytest.fixture(scope="module")
def network():
    return load(_SMALL, weights="random", layers=["avg", "block_5_add"], size=96, batch_size=8)


@pytest.fixture(scope="module")
def pixels():
    return np.random.default_rng(0).integers(0, 256, (8, 96, 96, 3), np.uint8)


def test_a_network_tells_what_it_is(network) -> None:
    assert network.backbone is _SMALL
    assert (network.size, network.batch_size) == (96, 8)
    assert network.shapes == {"avg": (1280,), "block_5_add": (12, 12, 16)}
    assert (network.engine, network.precision) == ("tensorflow", "float32")
    assert set(network.versions) == {"tensorflow", "keras", "numpy"}
    assert network.weights.to_json() == {"source": "random", "file_sha256": None}


def test_codes_are_float32_arrays_of_the_declared_shapes(network, pixels) -> None:
    codes = network(pixels)
    assert {name: array.shape[1:] for name, array in codes.items()} == network.shapes
    assert {array.dtype for array in codes.values()} == {np.dtype(np.float32)}


@pytest.mark.parametrize("count", [1, 3, 7])
def test_a_short_batch_gives_the_bits_of_a_full_one(network, pixels, count) -> None:
    full, short = network(pixels), network(pixels[:count])
    for name in network.layers:
        np.testing.assert_array_equal(short[name], full[name][:count])


def test_more_images_than_a_batch_give_the_bits_of_several_batches(network, pixels) -> None:
    many = np.concatenate([pixels, pixels[:3]])
    codes, full = network(many), network(pixels)
    for name in network.layers:
        np.testing.assert_array_equal(codes[name], np.concatenate([full[name], full[name][:3]]))


def test_the_place_in_the_batch_does_not_matter(network, pixels) -> None:
    turned = network(np.ascontiguousarray(pixels[::-1]))
    np.testing.assert_array_equal(turned["avg"][::-1], network(pixels)["avg"])


def test_the_pixels_stay_as_they_were(network, pixels) -> None:
    given = pixels.copy()
    given.flags.writeable = False
    network(given)
    np.testing.assert_array_equal(given, pixels)


@pytest.mark.parametrize(
    "wrong",
    [
        np.zeros((2, 96, 96, 3), np.float32),
        np.zeros((2, 3, 96, 96), np.uint8),
        np.zeros((2, 224, 224, 3), np.uint8),
        np.zeros((96, 96, 3), np.uint8),
        np.zeros((0, 96, 96, 3), np.uint8),
    ],
    ids=lambda array: f"{array.dtype}{array.shape}",
)
def test_other_arrays_are_refused(network, wrong) -> None:
    with pytest.raises(ValueError, match="expected"):
        network(wrong)


def test_a_size_below_the_least_is_refused() -> None:
    with pytest.raises(BackboneError, match="at least 75 for inceptionv3, found 32"):
        load(TABLE["inceptionv3"], weights="random", layers=["avg"], size=32)


def test_a_batch_of_none_is_refused() -> None:
    with pytest.raises(BackboneError, match="batch size of at least 1"):
        load(_SMALL, weights="random", layers=["avg"], batch_size=0)


def test_the_space_says_what_the_codes_mean(network) -> None:
    reading = {
        "resize": "crop",
        "kernel": "bicubic",
        "colour": "rgb",
        "alpha": "white",
        "exif": "upright",
        "depth16": "shift",
    }
    space = network.space(reading)
    assert space.backbone == "mobilenetv2-0.35"
    assert space.preprocessing == "tf"
    assert space.layers == network.shapes
    assert space.weights_sha256 == network.weights_sha256
    assert space.to_json()["resize"] == "crop"


def test_random_weights_are_the_same_every_time_and_disturb_nobody(network, pixels) -> None:
    random.seed(1)
    np.random.seed(1)
    state = random.getstate(), np.random.get_state()[1].tolist()
    again = load(_SMALL, weights="random", layers=["avg"], size=96, batch_size=8)
    assert (random.getstate(), np.random.get_state()[1].tolist()) == state
    assert again.weights_sha256["avg"] == network.weights_sha256["avg"]
    np.testing.assert_array_equal(again(pixels)["avg"], network(pixels)["avg"])


def test_the_hash_of_a_layer_covers_what_leads_to_it(network) -> None:
    hashes = network.weights_sha256
    assert hashes["avg"] != hashes["block_5_add"]
    alone = load(_SMALL, weights="random", layers=["block_5_add:max"], size=96, batch_size=1)
    assert alone.weights_sha256["block_5_add:max"] == hashes["block_5_add"]


def test_the_hash_does_not_depend_on_the_classifier_being_there(network) -> None:
    whole = load(_SMALL, weights="random", layers=["predictions", "avg"], batch_size=1)
    assert whole.weights_sha256["avg"] == network.weights_sha256["avg"]
    assert whole.weights_sha256["predictions"] != network.weights_sha256["avg"]


def test_importing_the_room_imports_nothing_heavy() -> None:
    code = (
        "import sys; from pipeline.backbones import TABLE, find, parse_layer; find('vgg16'); "
        "print(sorted({'tensorflow', 'keras', 'sklearn', 'h5py', 'torch'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert result.stdout.strip() == b"[]"


@pytest.mark.parametrize("layer", ["conv", "conv:max", "top:avg", "avg"])
def test_a_model_of_codes_gives_the_codes_of_the_network(layer: str, tiny: str, photos) -> None:
    row, pixels = find(tiny), photos(32)
    model = codes_model(row, weights="random", layers=[layer], size=32)
    assert model.inputs[0].dtype == "uint8"
    expected = load(row, weights="random", layers=[layer], size=32)(pixels)[layer]
    np.testing.assert_allclose(model(pixels).numpy(), expected, atol=1e-5)


def test_a_model_of_several_codes_has_an_output_for_each(tiny: str, photos) -> None:
    row, pixels, layers = find(tiny), photos(32), ["avg", "conv"]
    model = codes_model(row, weights="random", layers=layers, size=32)
    expected = load(row, weights="random", layers=layers, size=32)(pixels)
    for layer, codes in zip(layers, model(pixels), strict=True):
        np.testing.assert_allclose(codes.numpy(), expected[layer], atol=1e-5)
