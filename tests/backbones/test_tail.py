"""The layers above a boundary: the same numbers as the whole network, from its cached maps."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from pipeline import backbones
from pipeline.common.choices import Engine, Precision
from pipeline.common.errors import BackboneError

TRUNKS = {
    "vgg16": ("block1_pool", "block2_pool", "block3_pool", "block4_pool"),
    "resnet50": ("pool1_pool", "conv2_block3_out", "conv3_block4_out", "conv4_block6_out"),
    "inceptionv3": tuple(f"mixed{number}" for number in range(10)),
    "mobilenet-0.25": tuple(f"conv_pw_{number}_relu" for number in (1, 3, 5, 11)),
    "mobilenetv2": (
        *("expanded_conv_project_BN", "block_2_add", "block_5_add", "block_9_add"),
        *("block_12_add", "block_15_add", "block_16_project_BN"),
    ),
    "efficientnetb0": (
        *("block1a_project_bn", "block2b_add", "block3b_add", "block4c_add", "block5c_add"),
        *("block6d_add", "block7a_project_bn"),
    ),
    "efficientnet-lite0": (
        *("block1a_project_bn", "block2b_add", "block3b_add", "block4c_add", "block5c_add"),
        *("block6d_add", "block7a_project_bn"),
    ),
    "densenet121": (
        *("pool1", "conv2_block6_concat", "conv3_block12_concat", "conv4_block24_concat"),
        "conv5_block16_concat",
    ),
    "convnexttiny": (
        *("convnext_tiny_stem", "convnext_tiny_downsampling_block_0"),
        *("convnext_tiny_downsampling_block_1", "convnext_tiny_downsampling_block_2"),
    ),
}


# Their likes are among the others: EfficientNet-Lite0 and InceptionV3.
_ALIKE = {"efficientnetb0", "densenet121"}


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.slow if name in _ALIKE else ()) for name in TRUNKS],
)
def test_boundaries_of_trunks(name):
    row = backbones.find(name)
    found = backbones.boundaries(row, stop="avg", size=row.size)
    assert found == (backbones.INPUT, *TRUNKS[name])


def test_cells_that_reach_back_have_no_boundary_between_them():
    row = backbones.find("nasnetmobile")
    assert backbones.boundaries(row, stop="avg", size=row.size) == (backbones.INPUT,)


def test_only_what_lies_below_the_stop_counts():
    row = backbones.find("vgg16")
    found = backbones.boundaries(row, stop="block3_pool:avg", size=64)
    assert found == (backbones.INPUT, "block1_pool", "block2_pool")


@pytest.mark.parametrize("start", ["block5_conv1", "block5_pool", "nothing"])
def test_another_layer_is_refused(start):
    with pytest.raises(BackboneError, match=r"\(input, block1_pool, .*block4_pool\), found"):
        backbones.load_tail(
            backbones.find("vgg16"), start=start, stop="block5_pool", size=64, weights="random"
        )


def test_an_unknown_stop_is_refused():
    row = backbones.find("mobilenet-0.25")
    with pytest.raises(BackboneError, match="expected a layer"):
        backbones.boundaries(row, stop="nothing", size=64)


@pytest.mark.parametrize(
    ("name", "start", "stop", "size"),
    [
        ("mobilenet-0.25", "conv_pw_11_relu", "avg", 64),
        ("efficientnet-lite0", "block5c_add", "avg", 64),
        ("vgg16", "block4_pool", "block5_pool:max", 64),
        pytest.param("vgg16", "block5_pool", "fc1", 224, marks=pytest.mark.slow),
        pytest.param("resnet50v2", "conv5_block3_out", "avg", 64, marks=pytest.mark.slow),
        ("mobilenetv3small", backbones.INPUT, "avg", 64),
        pytest.param("efficientnetb0", backbones.INPUT, "avg", 64, marks=pytest.mark.slow),
        pytest.param(
            *("convnexttiny", "convnext_tiny_downsampling_block_2", "avg", 64),
            marks=pytest.mark.slow,
        ),
    ],
)
def test_the_codes_are_those_of_the_whole_network(name, start, stop, size):
    row = backbones.find(name)
    pixels = np.random.default_rng(0).integers(0, 256, (3, size, size, 3)).astype(np.uint8)
    layers = [stop] if start == backbones.INPUT else [start, stop]
    network = backbones.load(
        row,
        weights="random",
        layers=layers,
        size=size,
        engine=Engine.tensorflow,
        precision=Precision.float32,
    )
    codes = network(pixels)
    tail = backbones.load_tail(row, start=start, stop=stop, size=size, weights="random")
    below = pixels.astype(np.float32) if start == backbones.INPUT else codes[start]
    largest = np.abs(codes[stop]).max()
    np.testing.assert_allclose(tail(below) / largest, codes[stop] / largest, atol=1e-5)
    assert {layer: network.weights_sha256[layer] for layer in layers} == tail.weights_sha256


@pytest.mark.parametrize("name", ["mobilenet-0.25", "efficientnet-lite0"])
def test_weights_go_out_and_come_back(name):
    row = backbones.find(name)
    start = "conv_pw_5_relu" if name == "mobilenet-0.25" else "block5c_add"
    asked = {"start": start, "stop": "avg", "size": 64}
    tail = backbones.load_tail(row, weights="random", **asked)
    arrays = tail.arrays()
    again = backbones.rebuild_tail(row, arrays=arrays, **asked)
    codes = np.random.default_rng(0).random((2, *tail.shape), dtype=np.float32)
    np.testing.assert_array_equal(again(codes), tail(codes))
    assert {path: array.tobytes() for path, array in again.arrays().items()} == {
        path: array.tobytes() for path, array in arrays.items()
    }


def test_weights_of_other_layers_are_refused():
    row = backbones.find("mobilenet-0.25")
    tail = backbones.load_tail(row, start="conv_pw_5_relu", stop="avg", size=64, weights="random")
    with pytest.raises(BackboneError, match="found those of others"):
        backbones.rebuild_tail(
            row, start="conv_pw_11_relu", stop="avg", size=64, arrays=tail.arrays()
        )


def test_put_back_into_the_network_they_give_the_same_codes():
    row = backbones.find("mobilenet-0.25")
    asked = {"size": 64, "weights": "random"}
    tail = backbones.load_tail(row, start="conv_pw_11_relu", stop="avg", **asked)
    changed = {path: array * np.float32(1.1) for path, array in tail.arrays().items()}
    tail.assign(changed)
    pixels = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3)).astype(np.uint8)
    below = backbones.load(
        row, weights="random", layers=["conv_pw_11_relu"], size=64, precision=Precision.float32
    )(pixels)["conv_pw_11_relu"]
    whole = backbones.codes_model(row, layers=["avg"], tuned=changed, **asked)
    codes = keras.ops.convert_to_numpy(whole(pixels, training=False))
    np.testing.assert_allclose(tail(below), codes, atol=1e-4)


class TestPrecision:
    """Training in 16 bits where it pays; what is learned goes into 32."""

    @pytest.fixture
    def able(self, monkeypatch):
        from pipeline.backbones import _tensorflow

        monkeypatch.setattr(_tensorflow, "_processor", lambda: {"avx512_bf16"})

    @pytest.mark.parametrize(
        ("name", "start", "expected"),
        [
            ("vgg16", "block4_pool", Precision.bfloat16),
            ("resnet50", "conv4_block6_out", Precision.bfloat16),
            # no kernels for convolutions of single channels
            ("efficientnet-lite0", "block5c_add", Precision.float32),
            ("mobilenet-0.25", "conv_pw_11_relu", Precision.float32),
        ],
    )
    @pytest.mark.usefixtures("able")
    def test_dense_convolutions_are_trained_in_bfloat16(self, name, start, expected):
        tail = backbones.load_tail(
            backbones.find(name),
            start=start,
            stop="avg",
            size=64,
            weights="random",
            precision=Precision.auto,
        )
        assert tail.precision is expected

    def test_not_on_another_processor(self, monkeypatch):
        from pipeline.backbones import _tensorflow

        monkeypatch.setattr(_tensorflow, "_processor", lambda: {"avx2"})
        pixels = keras.Input((8, 8, 3))
        model = keras.Model(pixels, keras.layers.Conv2D(4, 3)(pixels))
        assert not _tensorflow.trains_in_bfloat16(model)

    @pytest.mark.parametrize("start", ["block4_pool", backbones.INPUT])
    def test_what_is_learned_is_taken_over(self, start):
        tail = backbones.load_tail(
            backbones.find("vgg16"),
            start=start,
            stop="block5_pool",
            size=32,
            weights="random",
            precision=Precision.bfloat16,
        )
        model = tail.training_model()
        codes = np.random.default_rng(0).random((2, *tail.shape), dtype=np.float32)
        low = keras.ops.convert_to_numpy(model(codes, training=False)).astype(np.float32)
        exact = tail(codes)
        assert 0 < np.abs(low - exact).max() / np.abs(exact).max() < 0.05
        for variable in model.trainable_variables:
            assert variable.dtype == "float32"
            variable.assign(2 * variable)
        before = tail.arrays()
        tail.learn()
        assert all(np.array_equal(2 * before[path], now) for path, now in tail.arrays().items())
