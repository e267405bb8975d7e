"""OpenVINO against TensorFlow: the same codes, sooner, and never silently other ones."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.backbones import TABLE, Preprocessing, _openvino, load, openvino_installed
from pipeline.backbones._openvino import Compiled
from pipeline.common.choices import Engine, Precision
from pipeline.common.errors import BackboneError
from tests.tiny import TINY, build

pytestmark = pytest.mark.skipif(not openvino_installed(), reason="openvino is not installed")

LITE0 = TABLE["efficientnet-lite0"]
ROOT = Path(__file__).parents[2]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of exported networks."""
    monkeypatch.setenv("PIPELINE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Weights of the tiny network in a file: exports of random ones are not kept."""
    from keras import utils

    path = tmp_path_factory.mktemp("weights") / "tiny.weights.h5"
    utils.set_random_seed(0)
    build(input_shape=(32, 32, 3)).save_weights(path)
    return str(path)


@pytest.fixture
def asked(weights: str, photos) -> dict[str, Any]:
    """Ask `load` for the tiny network by OpenVINO."""
    return {"weights": weights, "layers": ["avg"], "probe": photos(32), "engine": Engine.openvino}


def _both(row, photos, *, precision: Precision, **options):
    size = options.pop("size", row.size)
    probe = photos(size)
    engines = [
        load(row, size=size, probe=probe, engine=engine, precision=wanted, batch_size=4, **options)
        for engine, wanted in (
            (Engine.openvino, precision),
            (Engine.tensorflow, Precision.float32),
        )
    ]
    assert engines[0].engine == "openvino"
    assert engines[0].precision == precision.value
    return engines[0](probe), engines[1](probe)


@pytest.mark.parametrize("preprocessing", list(Preprocessing))
def test_every_preprocessing_is_the_same_inside_the_graph(preprocessing, photos, cache) -> None:
    row = replace(TINY, preprocessing=preprocessing)
    ours, theirs = _both(
        row, photos, precision=Precision.float32, weights="random", layers=["conv", "top:max"]
    )
    for layer, codes in ours.items():
        scale = np.abs(theirs[layer]).max()
        np.testing.assert_allclose(codes, theirs[layer], rtol=1e-4, atol=1e-5 * scale)


@pytest.mark.parametrize(
    "name",
    [
        "efficientnet-lite0",
        pytest.param("mobilenet-0.25", marks=pytest.mark.slow),
        pytest.param("mobilenetv2", marks=pytest.mark.slow),
        pytest.param("resnet50", marks=pytest.mark.slow),
    ],
)
def test_float32_codes_are_those_of_tensorflow(name, photos) -> None:
    row = TABLE[name]
    options = {"weights": "imagenet" if row is LITE0 else "random", "size": 96}
    ours, theirs = _both(
        row, photos, precision=Precision.float32, layers=["avg", row.final_map], **options
    )
    for layer, codes in ours.items():
        scale = np.abs(theirs[layer]).max()
        np.testing.assert_allclose(codes, theirs[layer], rtol=1e-4, atol=1e-4 * scale)


def test_bfloat16_codes_point_the_same_way(photos, cache) -> None:
    if not _openvino.computes_bfloat16():
        pytest.skip("this processor does not compute in bfloat16")
    ours, theirs = _both(
        LITE0, photos, precision=Precision.bfloat16, weights="imagenet", layers=["avg"]
    )
    a, b = ours["avg"], theirs["avg"]
    cosines = (a * b).sum(axis=1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    assert cosines.min() > 0.99
    assert not np.array_equal(a, b)


def test_a_padded_batch_gives_the_bits_of_a_full_one(photos) -> None:
    probe = photos(96)
    layers = ["avg", LITE0.final_map]  # as above: exported once
    network = load(LITE0, size=96, layers=layers, engine=Engine.openvino, probe=probe, batch_size=4)
    four = np.concatenate([probe, probe[::-1]])
    np.testing.assert_array_equal(network(four)["avg"][:1], network(probe[:1])["avg"])


def test_the_second_time_nobody_needs_tensorflow(photos, weights, cache, tmp_path) -> None:
    np.save(tmp_path / "probe.npy", photos(32))
    program = (
        "import sys, numpy as np\n"
        "from pipeline.backbones import load\n"
        "from pipeline.common.choices import Engine\n"
        "from tests.tiny import TINY\n"
        f"probe = np.load({str(tmp_path / 'probe.npy')!r})\n"
        f"network = load(TINY, weights={weights!r}, layers=['avg'], probe=probe,\n"
        "               engine=Engine.openvino)\n"
        "print('tensorflow' in sys.modules, network.weights_sha256['avg'], network.shapes)\n"
        "assert sys.modules['openvino_telemetry'] is None"
    )
    said = [
        subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT
        ).stdout.split(maxsplit=1)
        for _ in range(2)
    ]
    assert [first for first, _ in said] == ["True", "False"]
    assert said[0][1] == said[1][1]


def test_a_damaged_export_is_made_again(asked, cache) -> None:
    probe = asked["probe"]
    first = load(TINY, **asked)
    [folder] = cache.iterdir()
    for name in ("model.xml", "model.bin", "reference.h5", "about.json"):
        data = bytearray((folder / name).read_bytes())
        data[len(data) // 2] ^= 1
        (folder / name).write_bytes(bytes(data))
        again = load(TINY, **asked)
        np.testing.assert_array_equal(first(probe)["avg"], again(probe)["avg"])
        assert (folder / name).read_bytes() != data
        assert [path.name for path in cache.iterdir()] == [folder.name]


def test_a_cache_that_cannot_be_written_is_done_without(asked, tmp_path, monkeypatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("PIPELINE_CACHE", str(tmp_path / "file"))
    network = load(TINY, **asked)
    assert network.engine == "openvino"


def test_an_engine_that_computes_something_else_is_not_used_and_that_is_said(
    asked, cache, monkeypatch
) -> None:
    def wrong(path, *, batch_size, size, precision):
        return Compiled(lambda pixels: [np.ones((batch_size, 8), np.float32)], parallel=1)

    monkeypatch.setattr("pipeline.backbones._openvino.compile_forward", wrong)
    network = load(TINY, **asked)
    assert network.engine == "tensorflow"
    assert network.precision == "float32"
    assert network.notes[-1] == "fell back to TensorFlow"


def test_other_weights_under_the_same_path_are_another_export(photos, cache, tmp_path) -> None:
    from keras import utils

    path, probe, codes = tmp_path / "w.weights.h5", photos(32), []
    for seed in (1, 2):
        utils.set_random_seed(seed)
        build(input_shape=(32, 32, 3)).save_weights(path)
        network = load(TINY, weights=str(path), layers=["avg"], probe=probe, engine=Engine.openvino)
        codes.append(network(probe)["avg"])
    assert not np.allclose(codes[0], codes[1])


def test_the_first_batches_of_a_process_may_be_computed_at_the_same_time(asked, cache) -> None:
    """With the export in the cache: the binding hung where two threads were the first to use it."""
    load(TINY, **asked)
    np.save(cache / "probe.npy", asked["probe"])
    program = (
        "import contextlib, sys, threading, numpy\n"
        "from pipeline.backbones import Network, load\n"
        "from pipeline.common.choices import Engine\n"
        "from tests.tiny import TINY\n"
        "real, both, calls = Network._batch, threading.Barrier(2, timeout=5), iter(range(2))\n"
        "def together(self, pixels):\n"
        "    with contextlib.suppress(threading.BrokenBarrierError):\n"
        "        next(calls, None) is None or both.wait()\n"
        "    return real(self, pixels)\n"
        "Network._batch = together\n"
        "sys.setswitchinterval(1e-7)\n"
        "load(TINY, weights=sys.argv[2], layers=['avg'], engine=Engine.openvino,\n"
        "     batch_size=1, probe=numpy.load(sys.argv[1]))\n"
        "assert 'tensorflow' not in sys.modules\n"
    )
    command = [sys.executable, "-c", program, str(cache / "probe.npy"), asked["weights"]]
    for _ in range(6):
        subprocess.run(command, check=True, timeout=120, cwd=ROOT)


def test_an_engine_that_is_not_installed_says_how_to_get_it(monkeypatch) -> None:
    monkeypatch.setattr("pipeline.backbones._openvino.installed", lambda: False)
    with pytest.raises(BackboneError, match=r"pip install 'bottleneck-pipeline\[openvino\]'"):
        load(LITE0, layers=["avg"], engine=Engine.openvino)
    network = load(LITE0, size=64, layers=["avg"], engine=Engine.auto)
    assert network.engine == "tensorflow"
    assert "pip install" in network.notes[0]
