"""The notebooks run as they stand, from any folder, and leave nothing behind."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

nbclient = pytest.importorskip("nbclient", reason="nbclient is not installed")
pytest.importorskip("ipykernel", reason="ipykernel is not installed")

EXAMPLES = Path(__file__).parents[1] / "examples"
NOTEBOOKS = sorted(EXAMPLES.glob("*.ipynb"))


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=[path.stem for path in NOTEBOOKS])
def test_a_notebook_runs_and_leaves_nothing(
    notebook: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import nbformat

    here, temporary = tmp_path / "here", tmp_path / "temporary"
    here.mkdir()
    temporary.mkdir()
    for name in ("TMPDIR", "TEMP", "TMP"):
        monkeypatch.setenv(name, str(temporary))
    nb = nbformat.read(notebook, as_version=4)
    nbclient.NotebookClient(nb, timeout=300, resources={"metadata": {"path": here}}).execute()
    assert list(here.iterdir()) == []
    left = {path.name for path in temporary.iterdir() if path.is_dir()}
    assert left <= {"__pycache__"}  # of programs that TensorFlow writes there
    shown = [output for cell in nb.cells for output in cell.get("outputs", [])]
    assert {each["output_type"] for each in shown} <= {"execute_result", "display_data"}
    pages = [output["data"].get("text/html", "") for output in shown]
    assert sum("pipeline-result" in page for page in pages) >= 3


def test_notebooks_are_stored_without_outputs() -> None:
    assert [path.stem for path in NOTEBOOKS] == ["custom_estimator", "five_minutes"]
    for path in NOTEBOOKS:
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        code = [cell for cell in cells if cell["cell_type"] == "code"]
        assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)


def test_the_readme_names_each() -> None:
    readme = (EXAMPLES.parent / "README.md").read_text(encoding="utf-8")
    assert set(re.findall(r"\]\(examples/(\w+)\.ipynb\)", readme)) == {p.stem for p in NOTEBOOKS}
