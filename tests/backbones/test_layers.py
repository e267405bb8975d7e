from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.backbones import TABLE, load, parse_layer
from pipeline.common.errors import BackboneError
from tests.tiny import NUMBERED

ROOT = Path(__file__).parents[2]
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
import json, sys, numpy as np
from pipeline.backbones import TABLE, load
from tests.tiny import NUMBERED
row = {**TABLE, NUMBERED.name: NUMBERED}[sys.argv[1]]
network = load(row, weights="random", layers=sys.argv[2:], size=96, batch_size=1)
codes = network(np.full((1, 96, 96, 3), 200, np.uint8))
sums = {name: float(np.float64(array).sum()) for name, array in codes.items()}
print(json.dumps([sums, dict(network.weights_sha256)]))
"""


def _in_a_fresh_process(program: str, *arguments: str) -> tuple[Any, bytes]:
    """Return what it prints as JSON, and its stderr."""
    command = [sys.executable, "-c", program, *arguments]
    result = subprocess.run(command, capture_output=True, check=True, cwd=ROOT)
    return json.loads(result.stdout), result.stderr


@pytest.mark.parametrize(
    "row", [NUMBERED, pytest.param(TABLE["xception"], marks=pytest.mark.slow)], ids=lambda r: r.name
)
def test_names_do_not_depend_on_the_models_built_before(row) -> None:
    layers = ["add_1", "conv2d_2"]
    # Each build moves on the numbers that Keras gives to layers without a name.
    load(row, weights="random", layers=["avg"], size=96, batch_size=1)
    network = load(row, weights="random", layers=layers, size=96, batch_size=1)
    codes = network(np.full((1, 96, 96, 3), 200, np.uint8))
    (sums, hashes), said = _in_a_fresh_process(_FRESH, row.name, *layers)
    assert said == b"", "nothing but errors belongs on stderr"
    assert {name: float(np.float64(array).sum()) for name, array in codes.items()} == sums
    assert dict(network.weights_sha256) == hashes


_NAMES = """
import json
from tests.tiny import build_numbered
print(json.dumps([layer.name for layer in build_numbered(input_shape=(96, 96, 3)).layers]))
"""


def test_names_are_those_that_a_fresh_process_gives() -> None:
    names, _ = _in_a_fresh_process(_NAMES)
    assert names[1:] == ["conv2d", "max_pooling2d", "conv2d_1", "add", "conv2d_2", "add_1"]
    load(NUMBERED, weights="random", layers=["avg"], size=96, batch_size=1)
    network = load(NUMBERED, weights="random", layers=names[1:], size=96, batch_size=1)
    assert network.layers == tuple(names[1:])
    assert network.shapes["conv2d"] == (48, 48, 4)
    assert network.shapes["conv2d_1"] == (24, 24, 4)


def test_the_first_layers_of_inception_have_the_first_numbers() -> None:
    layers = ["conv2d", "conv2d_1", "conv2d_2"]
    network = load(TABLE["inceptionv3"], weights="random", layers=layers, size=96, batch_size=1)
    # The stem: 32 filters of 3 x 3 over RGB with stride 2, then the same without (Szegedy 2015).
    assert network.shapes["conv2d"] == (47, 47, 32)
    assert network.shapes["conv2d_1"] == (45, 45, 32)
    assert network.shapes["conv2d_2"] == (45, 45, 64)
