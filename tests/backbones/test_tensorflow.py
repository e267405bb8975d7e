"""TensorFlow in bfloat16: for GPUs, but the same code runs, slowly, on a processor."""

from __future__ import annotations

import numpy as np

from pipeline.backbones import TABLE, _tensorflow, load
from pipeline.common.choices import Engine, Precision

LITE0 = TABLE["efficientnet-lite0"]
LAYERS = ["avg", "block5c_add"]
TENSORFLOW = {"engine": Engine.tensorflow, "layers": LAYERS, "size": 96, "batch_size": 8}


def _cosine(a, b):
    a, b = (x.reshape(len(x), -1).astype(np.float64) for x in (a, b))
    return (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)


def test_bfloat16_codes_point_the_way_of_float32(photos) -> None:
    probe = photos(96)
    low = load(LITE0, probe=probe, precision=Precision.bfloat16, **TENSORFLOW)
    exact = load(LITE0, probe=probe, precision=Precision.float32, **TENSORFLOW)
    assert (low.precision, exact.precision) == ("bfloat16", "float32")
    for layer, codes in low(probe).items():
        assert codes.dtype == np.float32
        assert (codes != exact(probe)[layer]).any()
        assert _cosine(codes, exact(probe)[layer]).min() > 0.99
        np.testing.assert_array_equal(low.reference[layer], exact(probe)[layer])


def test_bfloat16_that_moves_the_codes_too_far_is_not_used_and_that_is_said(
    photos, monkeypatch
) -> None:
    def other(model):
        from keras.models import clone_model

        return clone_model(model)  # with weights of its own

    monkeypatch.setattr(_tensorflow, "in_bfloat16", other)
    network = load(LITE0, probe=photos(96), precision=Precision.bfloat16, **TENSORFLOW)
    assert network.precision == "float32"
    assert "tensorflow in bfloat16 moves" in network.notes[-1]


def test_without_a_gpu_auto_is_float32(photos) -> None:
    """Emulated in software it would be slower than what it replaces."""
    assert not _tensorflow.computes_bfloat16()
    network = load(LITE0, probe=photos(96), precision=Precision.auto, **TENSORFLOW)
    assert network.precision == "float32"


def test_only_gpus_since_ampere_compute_in_bfloat16(monkeypatch) -> None:
    import tensorflow as tf

    for capabilities, expected in (
        ([(8, 6)], True),
        ([(7, 5)], False),
        ([(9, 0), (7, 0)], False),
        ([None], False),
        ([], False),
    ):
        devices = iter({"compute_capability": c} if c else {} for c in capabilities)
        count = len(capabilities)
        monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind, n=count: ["gpu"] * n)
        monkeypatch.setattr(
            tf.config.experimental, "get_device_details", lambda device, d=devices: next(d)
        )
        assert _tensorflow.computes_bfloat16() is expected
