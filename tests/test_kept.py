"""
Stores, packed files, heads and exported files of the version before `pipeline/flows` and
`pipeline/common` are read as they were, to the bit; `kept.py` says how they were made.

Sums are exact by construction, so that they are compared without a tolerance. Roots, logarithms
and exponentials differ between processors in last bits, of numbers that are float32 in between:
where these are taken, 1e-6 is allowed.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sklearn

import pipeline
from pipeline import ExportFormat, exports, heads
from tests.kept import FORMATS, TABLE, photos

# Sums alone; neighbours, centres and scikit-learn's take roots, logarithms and other sums.
EXACT = ("joined", "mlp", "ridge", "softmax", "stores", "svm", "tuned")
OTHERS = ("centroid", "knn", "lda")
# Their converters take seconds.
SLOW = dict.fromkeys(("saved-model", "openvino"), pytest.mark.slow)
NEAR = {"rtol": 1e-6, "atol": 1e-6}


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("kept")
    shutil.unpack_archive(Path(__file__).parent / "data" / "commit-b4b7c07.zip", folder)
    return folder


@pytest.fixture(scope="module")
def expected(kept: Path) -> Mapping[str, Any]:
    with np.load(kept / "expected.npz") as arrays:
        return dict(arrays)


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Know the network, and write what is written to a folder of its own."""
    monkeypatch.setattr("pipeline.backbones._table.TABLE", TABLE)
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("name", ["store", "packed.h5"])
def test_stores_and_packed_files(name: str, kept: Path, expected: Mapping[str, Any]) -> None:
    for split in ("train", "val", "test"):
        for layer in ("avg", "conv"):
            codes = pipeline.load_codes(kept / name, split=split, layer=layer, views=True)
            np.testing.assert_array_equal(codes.X, expected[f"codes/{split}/{layer}"])
        codes = pipeline.load_codes(kept / name, split=split)
        np.testing.assert_array_equal(codes.y, expected[f"labels/{split}"])
        assert list(codes.paths) == expected[f"paths/{split}"].tolist()
        assert codes.sha256 is not None
        assert list(codes.sha256) == expected[f"sha256/{split}"].tolist()
        assert codes.classes == ("0", "1", "2")
    found = pipeline.verify(kept / name)
    assert (found.damage, found.notes) == ((), ())


def test_an_extraction_goes_on_in_such_a_store(kept: Path, expected: Mapping[str, Any]) -> None:
    """Nothing is computed anew: the space, the hashes of weights and of images are the same."""
    shutil.copytree(kept / "store", "store")
    done = pipeline.extract(
        kept / "photos.npz",
        out="store",
        backbone="exact",
        weights="imagenet",
        layers=["avg", "conv"],
        views=2,
        augment="flip",
        engine="tensorflow",
        precision="float32",
    )
    assert (done.computed, done.reused) == (0, 36)
    codes = pipeline.load_codes("store", split="train", layer="conv", views=True)
    np.testing.assert_array_equal(codes.X, expected["codes/train/conv"])


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.InconsistentVersionWarning")
@pytest.mark.parametrize("kind", [*EXACT, *OTHERS])
def test_heads_score_photos_as_they_did(kind: str, kept: Path, expected: Mapping[str, Any]) -> None:
    head = pipeline.load_head(kept / "heads" / kind)
    scores = head.decision_function(photos()["x_test"])
    if kind in EXACT:
        np.testing.assert_array_equal(scores, expected[f"scores/{kind}"])
    else:
        np.testing.assert_allclose(scores, expected[f"scores/{kind}"], **NEAR)
    probabilities = head.head_.as_scores(scores)
    np.testing.assert_allclose(probabilities, expected[f"probabilities/{kind}"], **NEAR)


def test_reports_on_what_was_held_out(kept: Path, expected: Mapping[str, Any]) -> None:
    report = pipeline.evaluate(kept / "heads" / "svm", kept / "store", out="report").report
    right = expected["scores/svm"].argmax(axis=1) == expected["labels/test"]
    assert report.accuracy == right.mean()
    found = pipeline.evaluate(kept / "heads" / "svm", kept / "packed.h5", split="val", out="val")
    saved = heads.load(kept / "heads" / "svm")
    assert saved.head.validation_ is not None
    assert found.report.accuracy == saved.head.validation_["accuracy"]


@pytest.mark.parametrize("form", FORMATS)
def test_exported_files_say_what_they_said(
    form: str, kept: Path, expected: Mapping[str, Any]
) -> None:
    row, inputs = _row(form, expected)
    said = row.load(kept / "exports" / form / f"svm{row.suffix}")(inputs)
    np.testing.assert_allclose(said, expected[f"exports/{form}"], **NEAR)


@pytest.mark.parametrize("form", [pytest.param(form, marks=SLOW.get(form, ())) for form in FORMATS])
def test_files_exported_now_say_the_same(
    form: str, kept: Path, expected: Mapping[str, Any]
) -> None:
    """On one machine, by one runtime: to the bit."""
    row, inputs = _row(form, expected)
    said = row.load(kept / "exports" / form / f"svm{row.suffix}")(inputs)
    result = pipeline.export(kept / "heads" / "svm", format=form, out=f"again{row.suffix}")
    np.testing.assert_array_equal(row.load(Path(result.path))(inputs), said)


def _row(form: str, expected: Mapping[str, Any]) -> tuple[exports.Format, Any]:
    """Return what runs a format, and what it is run on."""
    row = exports.TABLE[ExportFormat(form)]
    if row.takes_codes and sklearn.__version__ != str(expected["scikit-learn"]):
        pytest.skip("a pickle is for the version of scikit-learn that wrote it")
    return row, expected["codes/test/avg"][::2] if row.takes_codes else photos()["x_test"]
