from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.backbones import TABLE, load, parse_layer
from pipeline.errors import BackboneError

_SMALL = TABLE["mobilenet-0.25"]


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("fc1", ("fc1", "none")),
        ("avg", ("avg", "avg")),
        ("block3_pool:avg", ("block3_pool", "avg")),
        ("block3_pool:max", ("block3_pool", "max")),
    ],
)
def test_a_request_is_a_layer_and_what_is_done_to_its_maps(text, parsed) -> None:
    assert parse_layer(text) == parsed


@pytest.mark.parametrize(
    "text", ["", ":avg", "fc1:", "fc1:min", "fc1:avg:max", "avg:max", "avg:avg"]
)
def test_other_requests_are_refused(text) -> None:
    with pytest.raises(BackboneError, match="expected a layer as NAME") as caught:
        parse_layer(text)
    assert f"'{text}'" in str(caught.value)


@given(st.text(max_size=20))
def test_any_text_is_parsed_or_refused(text) -> None:
    try:
        name, pooling = parse_layer(text)
    except BackboneError:
        return
    assert text == (name if pooling == "none" or text == "avg" else f"{name}:{pooling}")


def test_pooling_takes_the_average_or_maximum_over_all_places(photos) -> None:
    network = load(
        _SMALL,
        weights="random",
        layers=["conv_pw_5_relu", "conv_pw_5_relu:avg", "conv_pw_5_relu:max"],
        batch_size=2,
    )
    codes = network(photos(224))
    maps = codes["conv_pw_5_relu"]
    assert maps.shape == (2, *_SMALL.layers["conv_pw_5_relu"])
    np.testing.assert_allclose(codes["conv_pw_5_relu:avg"], maps.mean((1, 2)), rtol=1e-5)
    np.testing.assert_array_equal(codes["conv_pw_5_relu:max"], maps.max((1, 2)))
    assert dict(network.pooling) == {
        "conv_pw_5_relu": "none",
        "conv_pw_5_relu:avg": "avg",
        "conv_pw_5_relu:max": "max",
    }


def test_avg_is_the_average_of_the_final_map(photos) -> None:
    final = f"{_SMALL.final_map}:avg"
    network = load(_SMALL, weights="random", layers=["avg", final], batch_size=2)
    codes = network(photos(224))
    np.testing.assert_array_equal(codes["avg"], codes[final])
    assert network.layers == ("avg", final)


def test_layers_outside_the_table_can_be_asked_for(photos) -> None:
    network = load(_SMALL, weights="random", layers=["conv_dw_1_bn"], batch_size=2)
    assert network(photos(224))["conv_dw_1_bn"].shape == (2, 112, 112, 8)


def test_the_classifier_is_a_layer_like_others(photos) -> None:
    network = load(_SMALL, weights="random", layers=["predictions", "avg"], batch_size=2)
    codes = network(photos(224))["predictions"]
    np.testing.assert_allclose(codes.sum(axis=1), 1, rtol=1e-5)


def test_an_unknown_layer_is_answered_with_the_nearest() -> None:
    with pytest.raises(BackboneError, match="found 'conv_pw_5_rleu'; nearest: conv_pw_5_relu") as e:
        load(_SMALL, layers=["conv_pw_5_rleu"])
    assert "`pipeline backbones mobilenet-0.25`" in str(e.value)
    assert "\n" not in str(e.value)


def test_flat_codes_have_nothing_to_pool() -> None:
    with pytest.raises(BackboneError, match=r"'predictions:avg'.*without :avg"):
        load(_SMALL, weights="random", layers=["predictions:avg"])


def test_the_classifier_needs_the_size_it_was_made_for() -> None:
    with pytest.raises(BackboneError, match="expected size 224 for layer 'predictions'"):
        load(_SMALL, weights="random", layers=["predictions"], size=128)


def test_no_layer_at_all_is_refused() -> None:
    with pytest.raises(BackboneError, match="the default is avg"):
        load(_SMALL, weights="random", layers=[])


_FRESH = """
import json, numpy as np
from pipeline.backbones import TABLE, load
row = TABLE["xception"]
network = load(row, weights="random", layers=["add_1", "conv2d_2"], size=96, batch_size=1)
codes = network(np.full((1, 96, 96, 3), 200, np.uint8))
sums = {name: float(np.float64(array).sum()) for name, array in codes.items()}
print(json.dumps([sums, dict(network.weights_sha256)]))
"""


def test_names_do_not_depend_on_the_models_built_before() -> None:
    row = TABLE["xception"]
    # Each build moves on the numbers that Keras gives to layers without a name.
    load(row, weights="random", layers=["avg"], size=96, batch_size=1)
    network = load(row, weights="random", layers=["add_1", "conv2d_2"], size=96, batch_size=1)
    codes = network(np.full((1, 96, 96, 3), 200, np.uint8))
    result = subprocess.run([sys.executable, "-c", _FRESH], capture_output=True, check=True)
    sums, hashes = json.loads(result.stdout)
    assert {name: float(np.float64(array).sum()) for name, array in codes.items()} == sums
    assert dict(network.weights_sha256) == hashes
    assert result.stderr == b"", "nothing but errors belongs on stderr"


_NAMES = """
import json, keras
model = keras.applications.InceptionV3(weights=None, include_top=False, input_shape=(96, 96, 3))
print(json.dumps([layer.name for layer in model.layers]))
"""


def test_names_are_those_that_a_fresh_process_gives() -> None:
    result = subprocess.run([sys.executable, "-c", _NAMES], capture_output=True, check=True)
    names = json.loads(result.stdout)
    numbered = [name for name in names if name.startswith(("conv2d", "max_pooling2d"))]
    numbered = [*numbered[:9], *numbered[-3:]]
    network = load(TABLE["inceptionv3"], weights="random", layers=numbered, size=96, batch_size=1)
    assert network.layers == tuple(numbered)
    # The stem: 32 filters of 3 x 3 over RGB with stride 2, then the same without (Szegedy 2015).
    assert network.shapes["conv2d"] == (47, 47, 32)
    assert network.shapes["conv2d_1"] == (45, 45, 32)
    assert network.shapes["conv2d_2"] == (45, 45, 64)
