"""What tests of several packages share: a folder of small images, a backbone of three layers."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import pipeline
from pipeline import HeadKind, backbones
from pipeline.backbones import Backbone, _exported
from tests.tiny import TINY

# Files that take a minute: begun first, or one process ends long after the other.
_LONG = (
    *("test_export.py", "test_weights.py", "test_cli.py", "test_docs.py", "test_recipes.py"),
    *("test_fine_tune.py", "test_tail.py", "test_rows.py"),
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the tests of long files first; `--dist loadfile` hands out files in this order."""
    items.sort(key=lambda item: item.path.name not in _LONG)


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Keep exported networks of tests, and of the processes they start, out of the user's cache."""
    os.environ["PIPELINE_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module", autouse=True)
def _networks_once() -> Iterator[None]:
    """Build each network once for the tests of a file: what they test is what is done with it."""
    with backbones.sharing():
        yield


@pytest.fixture(scope="session")
def test_data() -> Path:
    """The folder of real data beside the checkout."""
    beside = Path(__file__).parents[2] / "shared" / "data"
    folder = Path(os.environ.get("PIPELINE_TEST_DATA", beside))
    if not folder.is_dir():
        pytest.skip(f"no test data at {folder} (PIPELINE_TEST_DATA names another place)")
    return folder


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a backbone of three layers, in the table for the length of a test."""
    table = {**backbones.TABLE, TINY.name: TINY}
    monkeypatch.setattr("pipeline.backbones._table.TABLE", table)
    place = _exported.place

    def kept(backbone: Backbone, *, weights: str, **request: Any) -> Path | None:
        """Keep its export, as that of trained weights: its random ones are always the same."""
        same = backbone is TINY and weights == "random"
        return place(backbone, weights="those of the tests" if same else weights, **request)

    monkeypatch.setattr("pipeline.backbones._exported.place", kept)
    return TINY.name


@pytest.fixture
def make_photos(tmp_path: Path) -> Callable[..., Path]:
    """Make class folders of small images whose colour tells their class."""

    def make(name: str = "photos", *, classes: int = 3, each: int = 8, seed: int = 0) -> Path:
        random = np.random.default_rng(seed)
        for label in range(classes):
            folder = tmp_path / name / f"class_{label}"
            folder.mkdir(parents=True)
            for number in range(each):
                pixels = random.integers(0, 60, (40, 30 + number, 3))
                pixels[..., label % 3] += 150
                Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{number:03d}.png")
        return tmp_path / name

    return make


@pytest.fixture
def cached(tiny: str, make_photos: Callable[..., Path], tmp_path: Path) -> Path:
    """A finished store of three classes with a map, a vector and all splits."""
    photos = make_photos(each=24)
    out = tmp_path / "store"
    pipeline.extract(photos, out=out, backbone=tiny, weights="random", layers=["avg", "top"])
    return out


@pytest.fixture
def svm(cached: Path, tmp_path: Path) -> Path:
    """A head fitted on the averaged codes."""
    return Path(pipeline.fit_head(cached, kind=HeadKind.svm, out=tmp_path / "svm", C=0.1).head)


@pytest.fixture
def joined(cached: Path, tmp_path: Path) -> Path:
    """A head fitted on the averaged codes and, beside them, the largest of each map."""
    layers = ["avg", "top:max"]
    fit = pipeline.fit_head(cached, kind=HeadKind.svm, layer=layers, out=tmp_path / "joined", C=0.1)
    return Path(fit.head)
