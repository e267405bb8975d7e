from __future__ import annotations

import subprocess
import sys

import pipeline


def test_all_is_sorted_and_whole() -> None:
    public = {
        name
        for name, value in vars(pipeline).items()
        if getattr(value, "__module__", "").startswith("pipeline.")
        and not name.startswith("_")
        and callable(value)
    }
    assert pipeline.__all__ == sorted(pipeline.__all__)
    assert public <= set(pipeline.__all__)
    for name in pipeline.__all__:
        assert getattr(pipeline, name) is not None


def test_importing_the_package_is_light() -> None:
    program = "import sys, pipeline; print('numpy' in sys.modules, 'typer' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "False False"


def test_every_error_is_a_pipeline_error_with_an_exit_code() -> None:
    codes = {
        name: value.exit_code
        for name in pipeline.__all__
        if isinstance(value := getattr(pipeline, name), type)
        and issubclass(value, pipeline.PipelineError)
    }
    assert len(codes) == 20
    assert {name for name, code in codes.items() if code == 5} == {"HeadDamaged", "StoreDamaged"}
    assert codes["ResourceError"] == 4
    assert codes["Interrupted"] == 130
