from __future__ import annotations

import numpy as np
import pytest

from pipeline import backbones
from pipeline.backbones import _sharing, codes_model, find, load, sharing
from tests.tiny import TINY


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of networks, as they are built; outside of any sharing."""
    names: list[str] = []
    build = backbones._cut.build

    def counted(backbone: backbones.Backbone, **how: object) -> object:
        names.append(backbone.name)
        return build(backbone, **how)

    monkeypatch.setattr("pipeline.backbones._cut.build", counted)
    monkeypatch.setattr(_sharing, "_kept", None)
    return names


def test_a_network_is_built_once_inside_and_each_time_outside(tiny: str, built: list[str]) -> None:
    for _ in range(2):
        load(find(tiny), weights="random", layers=["avg"])
    assert built == ["tiny", "tiny"]
    built.clear()
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 32, 3), np.uint8)
    with sharing():
        network = load(find(tiny), weights="random", layers=["avg", "conv"])
        model = codes_model(find(tiny), weights="random", layers=["avg"])
    assert built == ["tiny"]
    assert np.allclose(network(pixels)["avg"], model(pixels), atol=1e-6)


def test_whoever_changes_weights_has_a_network_alone(tiny: str) -> None:
    with sharing():
        before = codes_model(find(tiny), weights="random", layers=["avg"])
        tail = backbones.load_tail(find(tiny), start="conv", stop="avg", size=32, weights="random")
        arrays = {name: 0 * array for name, array in tail.arrays().items()}
        changed = codes_model(find(tiny), weights="random", layers=["avg"], tuned=arrays)
        again = codes_model(find(tiny), weights="random", layers=["avg"])
    pixels = np.full((1, 32, 32, 3), 200, np.uint8)
    assert not np.asarray(changed(pixels)).any()
    assert np.array_equal(before(pixels), again(pixels))
    assert np.asarray(again(pixels)).any()


def test_other_sizes_are_other_networks(tiny: str, built: list[str]) -> None:
    with sharing():
        for size in (32, 16, 32):
            load(find(tiny), weights="random", layers=["avg"], size=size)
    assert built == [TINY.name] * 2
