"""The page of the format: its reader, which knows h5py alone, reads what a store gives."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pipeline

PAGE = Path(__file__).parents[2] / "docs" / "store-format.md"


def test_its_reader_reads_the_codes(cached: Path, tmp_path: Path) -> None:
    [program] = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    path = tmp_path / "read.py"
    path.write_text(program)
    done = subprocess.run(
        [sys.executable, path, cached], check=True, capture_output=True, text=True, cwd=tmp_path
    )
    codes = pipeline.load_codes(cached, split="all")
    assert done.stdout.strip() == f"{codes.X.shape} {len(codes.classes)}"


def test_the_tests_that_it_names_are_there() -> None:
    root, text = PAGE.parents[1], PAGE.read_text()
    for name in re.findall(r"`(tests/[a-z_/]+\.py)`", text):
        assert (root / name).is_file(), name
