"""Where results go: the names that README promises."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.flows import places

ARTIFACTS = Path("artifacts")


def test_a_store_has_the_name_of_its_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "photos.csv").touch()
    (tmp_path / "v1.2").mkdir()
    monkeypatch.chdir(tmp_path / "v1.2")
    assert places.features_of(tmp_path / "cats") == ARTIFACTS / "features" / "cats"
    assert places.features_of("cats/") == ARTIFACTS / "features" / "cats"
    assert places.features_of(tmp_path / "photos.csv") == ARTIFACTS / "features" / "photos"
    assert places.features_of(".") == ARTIFACTS / "features" / "v1.2"
    assert places.features_of({"path": []}) == ARTIFACTS / "features" / "photos"
    assert places.features_of("/") == ARTIFACTS / "features" / "photos"


def test_what_comes_of_a_head_has_its_name() -> None:
    head = Path("artifacts/heads/cats-svm")
    assert places.tuned_head_of(head) == ARTIFACTS / "heads" / "cats-svm-tuned"
    assert places.report_of(head) == ARTIFACTS / "reports" / "cats-svm"
    assert places.report_of(head, "-val-views") == ARTIFACTS / "reports" / "cats-svm-val-views"
    assert places.export_of("cats-svm.onnx") == ARTIFACTS / "exports" / "cats-svm.onnx"
