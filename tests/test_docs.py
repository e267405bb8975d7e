"""The blocks of the README and the examples in docstrings run as they stand."""

from __future__ import annotations

import contextlib
import doctest
import importlib
import io
import pkgutil
import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

import pipeline.common.errors
from pipeline import backbones
from pipeline.cli import app
from tests.tiny import THIN

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def _blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("network", ["thin", pytest.param("real", marks=pytest.mark.slow)])
def test_the_readme_runs(
    network: str,
    make_photos: Callable[..., Path],
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    make_photos(each=20)
    monkeypatch.chdir(tmp_path)
    if network == "thin":
        monkeypatch.setattr("pipeline.backbones._table.TABLE", {**backbones.TABLE, **THIN})
        # Nobody else shall find its export under the name of the real one.
        monkeypatch.setenv("PIPELINE_CACHE", str(tmp_path_factory.mktemp("cache")))
    lines = [line for block in _blocks("console") for line in block.splitlines()]
    assert len(lines) > 10
    for line in lines:
        program, *arguments = shlex.split(line)
        assert program == "pipeline"
        done = CliRunner().invoke(app, arguments)
        assert done.exit_code == 0, f"{line}\n{done.output}\n{done.exception}"
    assert (tmp_path / "answers.csv").read_text().count("\n") == 61
    for block in _blocks("python"):
        said = io.StringIO()
        with contextlib.redirect_stdout(said):
            exec(compile(block, "README.md", "exec"), {"__name__": "__main__"})
        assert 0 <= float(said.getvalue().split()[0]) <= 1


def _modules_with_examples() -> list[str]:
    paths = sorted((ROOT / "pipeline").rglob("*.py"))
    return [
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for path in paths
        if ">>>" in path.read_text()
    ]


@pytest.mark.parametrize("module", _modules_with_examples())
def test_examples_in_docstrings(
    module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = ROOT / "tests" / "data" / "format-1"
    shutil.copytree(data / "store", tmp_path / "artifacts" / "features" / "photos")
    shutil.copytree(data / "heads" / "svm", tmp_path / "artifacts" / "heads" / "photos-svm")
    monkeypatch.chdir(tmp_path)
    done = doctest.testmod(importlib.import_module(module))
    assert done.attempted
    assert not done.failed


def test_the_two_commands_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in ("demo", "test"):
        assert f"make {target}" in README
        assert f"\n{target}:" in makefile


@pytest.mark.parametrize("path", re.findall(r"\]\(([\w./-]+)\)", README))
def test_links_lead_somewhere(path: str) -> None:
    assert (ROOT / path).exists()


def test_the_architecture_note_is_short_and_names_every_room() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text()
    assert text.count("\n") < 40
    for entry in (ROOT / "pipeline").iterdir():
        if entry.is_dir() and entry.name != "__pycache__":
            assert f"`{entry.name}/`" in text
        elif entry.suffix == ".py" and not entry.name.startswith("_"):
            assert f"`{entry.name}`" in text


def test_the_reference_has_every_public_name_and_no_other() -> None:
    pages = "".join(path.read_text() for path in (ROOT / "docs" / "api").glob("*.md"))
    named = re.findall(r"^::: ([\w.]+)$", pages, re.MULTILINE)
    public = {f"pipeline.{name}" for name in pipeline.__all__ if name != "__version__"}
    assert public <= set(named)
    for name in named:
        assert pkgutil.resolve_name(name)


def test_the_error_tree_is_drawn_as_it_is() -> None:
    drawn = re.findall(r"(\w+Error|\w+): ?|(\w+) +(\d+)", pipeline.common.errors.__doc__ or "")
    codes = {name: int(code) for _, name, code in drawn if code}
    classes = {
        name: value.exit_code
        for name, value in vars(pipeline.common.errors).items()
        if isinstance(value, type) and issubclass(value, pipeline.PipelineError)
    }
    assert codes == classes
