"""The recipes run as they stand, in order, each in a directory with a few images of its own."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import typer.main
from PIL import Image
from typer.testing import CliRunner

from pipeline import backbones
from pipeline.cli import app
from tests.tiny import THIN

RECIPES = Path(__file__).parents[1] / "docs" / "recipes"
INDEX = RECIPES / "README.md"

# What a test cannot have: a download, big networks at full size, long training. The options of each
# pattern are appended to the lines that it matches; nothing else of a page is changed. The
# networks have few layers and filters: what they really have is a matter of `tests/backbones`.
SWAPS = {
    r"extract .*--layer fc": "--weights random --batch-size 4",  # fc1, fc2 exist at 224 pixels only
    r"extract (?!.*--layer fc)": "--weights random --size 32",
    r"fit-head .*--preset": "--epochs 1",
    r"fine-tune": "--epochs 1 --learning-rate 1e-9",  # random weights bear no more
}


def _save(path: Path, *, label: int, number: int, mode: str = "RGB") -> None:
    """Save a small image whose colour, or position of a bright bar, tells its label."""
    pixels = _digit(label, number) if mode == "L" else _photo(label, number)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def _photo(label: int, number: int) -> np.ndarray:
    pixels = np.random.default_rng(number).integers(0, 60, (40, 48, 3))
    pixels[..., label % 3] += 150
    return pixels.astype(np.uint8)


def _digit(label: int, number: int) -> np.ndarray:
    pixels = np.random.default_rng(number).integers(0, 60, (28, 28))
    pixels[2 * label : 2 * label + 6] += 150
    return pixels.astype(np.uint8)


def _class_folders(root: Path, *names: str, each: int) -> None:
    """Make class folders of bitmaps: no encoder's version moves their bytes, hence their splits."""
    for label, name in enumerate(names):
        for number in range(each):
            _save(root / name / f"{name}{number}.bmp", label=label, number=1000 * label + number)


def _dogscats(here: Path) -> None:
    """The folders of Kaggle's photos, as the first article has them, and a test."""
    for place, split in enumerate(("train", "valid", "test")):
        for label, name in enumerate(("cats", "dogs")):
            for number in range(3):
                path = here / "dogscats" / split / name / f"{number}.jpg"
                _save(path, label=label, number=100 * place + 10 * label + number)


def _flat_photos(here: Path) -> None:
    """Labels in the names of the training photos, none in those of the test."""
    for number in range(1, 21):
        for label, name in enumerate(("cat", "dog")):
            path = here / "photos" / "train" / f"{name}{number:03d}.jpg"
            _save(path, label=label, number=100 * label + number)
    for number in range(1, 5):
        path = here / "photos" / "test" / f"{number:03d}.jpg"
        _save(path, label=number % 2, number=500 + number)


def _own_classes(here: Path) -> None:
    _class_folders(here / "photos", "apples", "pears", each=10)


def _mnist(here: Path) -> None:
    """The same digits as IDX files and as an archive, and two as pictures."""
    arrays: dict[str, np.ndarray] = {}
    for split, idx, each in (("train", "train", 8), ("test", "t10k", 2)):
        labels = np.repeat(np.arange(10, dtype=np.uint8), each)
        images = np.stack([_digit(label, n) for n, label in enumerate(labels.tolist())])
        arrays |= {f"x_{split}": images, f"y_{split}": labels}
        _save_idx(here / "mnist" / f"{idx}-images-idx3-ubyte", images)
        _save_idx(here / "mnist" / f"{idx}-labels-idx1-ubyte", labels)
    np.savez(here / "mnist.npz", **arrays)
    for label in (3, 7):
        _save(here / "digits" / f"{label}.png", label=label, number=500 + label, mode="L")


def _save_idx(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(exist_ok=True)
    header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
    path.write_bytes(header + array.tobytes())


def _surfing(here: Path) -> None:
    _class_folders(here / "dataset", "windsurfing", "kitesurfing", "surfing", each=10)


# A page, and the images that it speaks of.
PAGES: dict[str, Callable[[Path], None]] = {
    "vgg16-dogs-vs-cats.md": _dogscats,
    "cats-vs-dogs.md": _flat_photos,
    "tflearn-vgg19.md": _own_classes,
    "mnist-upscaling.md": _mnist,
    "surfing-mobilenetv2.md": _surfing,
}


def _text(page: str) -> str:
    return (RECIPES / page).read_text()


def _lines(page: str) -> list[str]:
    """Return the lines of the blocks."""
    blocks = re.findall(r"^```console\n(.*?)^```", _text(page), re.MULTILINE | re.DOTALL)
    return [line for block in blocks for line in block.splitlines()]


def _affordable(line: str) -> str:
    return " ".join(
        [line, *(options for start, options in SWAPS.items() if re.search(start, line))]
    )


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("network", ["thin", pytest.param("real", marks=pytest.mark.slow)])
def test_a_recipe_runs(
    network: str, page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if network == "thin":
        monkeypatch.setattr("pipeline.backbones._table.TABLE", {**backbones.TABLE, **THIN})
    PAGES[page](tmp_path)
    monkeypatch.chdir(tmp_path)
    lines = _lines(page)
    assert len(lines) > 3
    for line in lines:
        program, *arguments = shlex.split(_affordable(line))
        assert program == "pipeline"
        done = CliRunner().invoke(app, arguments)
        assert done.exit_code == 0, f"{line}\n{done.output}\n{done.exception}"
    for promised in re.findall(r"`(artifacts/[\w./-]+|[\w-]+\.(?:csv|h5))`", _text(page)):
        assert Path(promised).exists(), f"{page} speaks of {promised}"


@pytest.mark.parametrize("page", PAGES)
def test_a_recipe_uses_options_that_exist(page: str) -> None:
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    for line in _lines(page):
        _, command, *arguments = shlex.split(line)
        known = {name for option in commands[command].params for name in option.opts}
        assert {word for word in arguments if word.startswith("-")} <= known, line
    everywhere = {
        name for command in commands.values() for option in command.params for name in option.opts
    }
    # In sentences too: `--resize squash`.
    assert set(re.findall(r"(?<![\w-])--[a-zA-Z][\w-]*", _text(page))) <= everywhere


@pytest.mark.parametrize("page", PAGES)
def test_every_block_is_run(page: str) -> None:
    fences = re.findall(r"^```(.+)$", _text(page), re.MULTILINE)
    assert set(fences) == {"console"}
    for line in _lines(page):
        assert line.startswith("pipeline ")


@pytest.mark.parametrize("page", PAGES)
def test_a_page_says_what_differs_and_what_was_not_measured(page: str) -> None:
    text = _text(page)
    for heading in ("## The commands", "## What comes out", "## What differs"):
        assert heading in text
    assert "not measured" in text
    assert "not covered here" in text


def test_the_index_lists_every_page() -> None:
    listed = re.findall(r"^\|.*\]\(([\w-]+\.md)\)", INDEX.read_text(), re.MULTILINE)
    assert sorted(listed) == sorted(PAGES)
    assert sorted(listed) == sorted(path.name for path in RECIPES.glob("*.md") if path != INDEX)


@pytest.mark.parametrize("page", ["README.md", *PAGES])
def test_links_lead_somewhere(page: str) -> None:
    for link in re.findall(r"\]\(([\w./-]+)\)", _text(page)):
        assert (RECIPES / link).exists(), link
