"""A head as a scikit-learn pipeline: the same probabilities, and nothing of ours in the pickle."""

from __future__ import annotations

import subprocess
import sys

import joblib
import numpy as np
import pytest
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from pipeline.common.choices import HeadKind, Preset
from pipeline.common.errors import ExportError
from pipeline.exports import ExportContent
from pipeline.exports._joblib import build, load, write
from pipeline.heads import EstimatorHead, MlpConfig
from pipeline.heads import build as build_head
from tests.heads.conftest import PARAMETERS, _codes

from .conftest import layers

NAMES = ("one", "two", "three")


def _fit(kind, codes, **parameters):
    head = build_head(kind, **(parameters or PARAMETERS[kind]))
    classes = int(codes.y.max()) + 1
    head.fit(codes.X, codes.y, X_val=codes.X_val, y_val=codes.y_val)
    return head, NAMES[:classes]


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("kind", list(HeadKind))
def test_the_same_probabilities(kind, classes):
    codes = _codes(classes)
    head, names = _fit(kind, codes)
    model = build(head.folded(), names)
    expected = head.predict_proba(codes.X_test)
    np.testing.assert_allclose(model.predict_proba(codes.X_test), expected, atol=1e-5)
    assert list(model.classes_) == list(names)
    assert model.predict(codes.X_test[:1])[0] == names[expected[0].argmax()]


@pytest.mark.parametrize("preset", [Preset.tflearn, Preset.mnist_upscaling])
def test_the_heads_of_the_articles(preset):
    codes = _codes(3)
    config = MlpConfig.from_options(preset, epochs=2, hidden=(8, 4), dropout=0.0)
    head, names = _fit(HeadKind.mlp, codes, config=config)
    found = build(head.folded(), names).predict_proba(codes.X_test)
    np.testing.assert_allclose(found, head.predict_proba(codes.X_test), atol=1e-5)


def test_it_is_loaded_without_this_package(tmp_path):
    codes, kinds = _codes(3), (HeadKind.knn, HeadKind.mlp, HeadKind.svm)
    for kind in kinds:
        head, names = _fit(kind, codes)
        write(ExportContent(classes=names, steps=head.folded()), tmp_path / kind.value)
    joblib.dump(codes.X_test, tmp_path / "codes")
    program = (
        "import sys; sys.modules['pipeline'] = None\n"
        "import joblib\n"
        "codes = joblib.load('codes')\n"
        "for kind in ('knn', 'mlp', 'svm'):\n"
        "    joblib.dump(joblib.load(kind).predict_proba(codes), kind + '-answer')"
    )
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=True)
    for kind in kinds:
        answer = joblib.load(tmp_path / f"{kind.value}-answer")
        np.testing.assert_array_equal(answer, load(tmp_path / kind.value)(codes.X_test))


def test_a_linear_head_keeps_its_coefficients():
    codes = _codes(3)
    head, names = _fit(HeadKind.softmax, codes)
    [(_, model)] = build(head.folded(), names).steps
    assert model.coef_.shape == (3, codes.X.shape[1])


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("estimator", [LinearSVC(), GaussianNB()], ids=["margins", "probabilities"])
def test_any_classifier_has_the_probabilities_of_its_head(classes, estimator):
    """Margins are calibrated by the head; what gives probabilities itself stays as it is."""
    codes = _codes(classes)
    head = EstimatorHead(make_pipeline(StandardScaler(), estimator))
    head.fit(codes.X, codes.y, X_val=codes.X_val, y_val=codes.y_val)
    names = NAMES[:classes]
    model = build(head.folded(), names)
    expected = head.predict_proba(codes.X_test)
    np.testing.assert_allclose(model.predict_proba(codes.X_test), expected, atol=1e-9)
    assert list(model.classes_) == list(names)
    assert list(model.predict(codes.X_test)) == [names[best] for best in expected.argmax(axis=1)]


def test_a_scaler_tells_what_it_divides_by():
    codes = _codes(3)
    head, names = _fit(HeadKind.centroid, codes)
    scaler = build(head.folded(), names).steps[0][1]
    np.testing.assert_allclose(scaler.scale_, head.scale_, rtol=1e-6)
    np.testing.assert_array_equal(scaler.var_, scaler.scale_**2)
    assert (scaler.n_features_in_, scaler.mean_.tolist()) == (24, [0] * 24)


def test_what_scikit_learn_cannot_say_is_said(rng):
    with pytest.raises(ExportError, match="found elu; choose another --format"):
        build(layers(rng, "elu"), NAMES)
