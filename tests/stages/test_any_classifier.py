"""Classifiers of scikit-learn's through every command."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import joblib
import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.pipeline import make_pipeline
from sklearn.svm import SVC

import pipeline
from pipeline import Listener, heads
from pipeline.common.errors import ChoiceError, ExportError, HeadError

FOREST = "sklearn.ensemble.RandomForestClassifier"
RBF = "sklearn.svm.SVC"
LDA = "sklearn.discriminant_analysis.LinearDiscriminantAnalysis"


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def _fitted(store: Path, kind: str) -> pipeline.Fit:
    settings = {FOREST: {"n_estimators": 20}, RBF: {"kernel": "rbf", "C": 10}, LDA: {}}[kind]
    return pipeline.fit_head(store, kind=kind, settings=settings)


@pytest.mark.parametrize("kind", [FOREST, RBF, LDA])
def test_from_codes_to_files(kind: str, cached: Path, tmp_path: Path) -> None:
    fit = _fitted(cached, kind)
    assert fit.kind == kind
    assert fit.fitted_on == "train"
    assert fit.head.endswith(kind.rpartition(".")[2].lower())
    evaluation = pipeline.evaluate(fit.head, cached)
    assert evaluation.report.accuracy > 0.3
    classifier = pipeline.load_head(fit.head)
    test = pipeline.load_codes(cached, split="test", layer="avg")
    model = classifier.estimator_
    expected = np.mean(model.predict(test.X) == test.y)
    assert evaluation.report.accuracy == pytest.approx(expected)
    photos = sorted((tmp_path / "photos").rglob("*.png"))[:2]
    assert classifier.predict([str(photo) for photo in photos]).shape == (2,)
    for name in ("joblib", "onnx"):
        result = pipeline.export(fit.head, format=name)
        assert result.max_difference <= 1e-4
    with pytest.raises(ExportError, match="expected --format joblib or onnx"):
        pipeline.export(fit.head, format="tflite")
    exported = joblib.load(f"artifacts/exports/{Path(fit.head).name}.joblib")
    assert set(exported.predict(test.X)) <= set(test.classes)


def test_an_object_from_python(cached: Path) -> None:
    fit = pipeline.fit_head(cached, estimator=make_pipeline(PCA(4), SVC()))
    assert fit.kind == "SVC"
    loaded = heads.load(Path(fit.head)).head
    assert [type(step).__name__ for _, step in loaded.estimator_.steps] == ["PCA", "SVC"]
    with pytest.raises(HeadError, match="expected a kind or an estimator, found both or none"):
        pipeline.fit_head(cached, kind="svm", estimator=SVC())


def test_among_the_candidates_of_a_comparison(cached: Path) -> None:
    result = pipeline.compare(cached, kinds=["svm", LDA], layers=["avg"])
    assert {each.kind for each in result.candidates} == {"svm", LDA}


def test_a_curve_of_one(cached: Path) -> None:
    told: list[str] = []
    curve = pipeline.learning_curve(
        cached, kind=LDA, layer="avg", seeds=[0], listener=Listener(tell=told.append)
    )
    assert curve.kind == LDA
    assert curve.points[0].images_per_class > 1
    assert any("cannot be fitted to 1 image of each class" in line for line in told)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("sklearn.ensemble.RandomForrestClassifier", "did you mean sklearn.ensemble.RandomForestC"),
        ("sklearn.ensemble.RandomForestRegressor", "expected a classifier of scikit-learn's"),
        ("sklearn.datasets.fetch_openml", "expected a classifier of scikit-learn's"),
        ("sklearn.no.Such", "expected a classifier of scikit-learn's"),
        ("sklearn.multiclass.OneVsRestClassifier", "make it in Python"),
    ],
)
def test_what_is_no_classifier_is_named(kind: str, message: str, cached: Path) -> None:
    with pytest.raises(HeadError, match=message):
        pipeline.fit_head(cached, kind=kind)


def test_only_scikit_learn_is_imported(cached: Path) -> None:
    with pytest.raises(ChoiceError, match=r"subprocess\.Popen"):
        pipeline.fit_head(cached, kind="subprocess.Popen")


def test_an_unknown_setting_is_named(cached: Path) -> None:
    with pytest.raises(HeadError, match="did you mean n_estimators"):
        pipeline.fit_head(cached, kind=FOREST, settings={"n_estimator": 3})
    with pytest.raises(HeadError, match="expected --set with a --kind of scikit-learn's"):
        pipeline.fit_head(cached, kind="svm", settings={"C": 3})


def test_on_the_command_line(cached: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "pipeline",
        "fit-head",
        str(cached),
        "--kind",
        RBF,
        "--out",
        "h",
    ]
    done = subprocess.run(
        [*command, "--set", "kernel=rbf", "--set", "C=10", "--set", "gamma=0.1"],
        check=True,
        capture_output=True,
        text=True,
    )
    assert "sklearn.svm.SVC on avg" in done.stdout
    svc = heads.load(Path("h")).head.estimator_[-1]
    assert (svc.kernel, svc.C, svc.gamma) == ("rbf", 10, 0.1)
    wrong = subprocess.run([*command, "--set", "kernel"], capture_output=True, text=True)
    assert wrong.returncode == 1
    assert "expected --set NAME=VALUE" in wrong.stderr
