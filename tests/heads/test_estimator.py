"""Any classifier of scikit-learn's as a head."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LinearRegression
from sklearn.neighbors import RadiusNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.svm import SVC

from pipeline.common.choices import OtherKind
from pipeline.common.errors import HeadDamaged, HeadError
from pipeline.heads import EstimatorHead, build, load, save
from tests.heads.helpers import streamed

CLASSIFIERS = {
    "forest": RandomForestClassifier(20),
    "rbf": make_pipeline(StandardScaler(), SVC(kernel="rbf", C=10)),
    "lda": make_pipeline(StandardScaler(), LinearDiscriminantAnalysis()),
    "pca": make_pipeline(StandardScaler(), PCA(8), SVC()),
}


def head_of(name, **others):
    return build(OtherKind.sklearn, estimator=CLASSIFIERS[name], **others)


@pytest.mark.parametrize("name", CLASSIFIERS)
@pytest.mark.parametrize("classes", ["two_classes", "three_classes"])
class TestAny:
    def test_is_scikit_learns_own(self, name, classes, request):
        c = request.getfixturevalue(classes)
        head = head_of(name, seed=5).fit(c.X, c.y, X_val=c.X_val, y_val=c.y_val)
        model = head.estimator_
        assert np.array_equal(head.predict(c.X_test), model.predict(c.X_test))
        if hasattr(model, "predict_proba"):
            assert head.calibration_ is None
            expected = model.predict_proba(c.X_test)
            assert_allclose(head.predict_proba(c.X_test), expected, atol=1e-12)
        else:
            assert head.calibration_["images"] == 60
            assert_allclose(head.predict_proba(c.X_test).sum(axis=1), 1)

    def test_is_kept_without_a_pickle(self, name, classes, request, tmp_path: Path, card):
        from dataclasses import replace

        c = request.getfixturevalue(classes)
        head = head_of(name).fit(c.X, c.y)
        save(tmp_path / "h", head, replace(card, classes=card.classes[: len(head.classes_)]))
        again = load(tmp_path / "h").head
        assert isinstance(again, EstimatorHead)
        assert np.array_equal(again.decision(c.X_test), head.decision(c.X_test))
        assert again.parameters == head.parameters
        assert b"pickle" not in next((tmp_path / "h").glob("weights-*")).read_bytes()


def test_without_validation_rows_folds_judge(three_classes):
    head = head_of("rbf").fit(three_classes.X, three_classes.y)
    assert head.validation_["how"] == "3-fold cross-validation"
    assert head.calibration_["images"] == 120


def test_the_seed_is_that_of_each_random_state(three_classes):
    c = three_classes
    one, again, other = (head_of("forest", seed=s).fit(c.X, c.y) for s in (1, 1, 2))
    assert one.estimator_.random_state == 1
    assert np.array_equal(one.decision(c.X_test), again.decision(c.X_test))
    assert not np.array_equal(one.decision(c.X_test), other.decision(c.X_test))


@pytest.mark.parametrize("estimator", [LinearRegression(), "svm", None, SVC])
def test_what_is_no_classifier_is_named(estimator, three_classes):
    with pytest.raises(HeadError, match="expected a classifier of scikit-learn's, not fitted"):
        build(OtherKind.sklearn, estimator=estimator)


def test_impossible_parameters_are_one_line(three_classes):
    head = build(OtherKind.sklearn, estimator=SVC(C=-1))
    with pytest.raises(HeadError, match=r"SVC could not be fitted: .*C"):
        head.fit(three_classes.X, three_classes.y)


def test_codes_must_fit_in_memory(three_classes):
    with pytest.raises(HeadError, match="allow more with --memory"):
        head_of("lda").fit(streamed(three_classes.X), three_classes.y)


def _foreign(head, old: bytes, new: bytes) -> dict[str, np.ndarray]:
    """Replace a word in the schema of what skops wrote."""
    arrays = head.arrays()
    source = zipfile.ZipFile(io.BytesIO(arrays["skops"].tobytes()))
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as target:
        for entry in source.infolist():
            data = source.read(entry)
            target.writestr(entry.filename, data.replace(old, new))
    return {**arrays, "skops": np.frombuffer(out.getvalue(), np.uint8)}


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        (b'"RandomForestClassifier"', b'"Popen"', "Popen"),
        (b'"sklearn.ensemble._forest"', b'"subprocess"', "subprocess"),
        (b'"sklearn.ensemble._forest"', b'"pipeline.heads"', "pipeline.heads"),
    ],
)
def test_a_foreign_type_is_refused(old, new, named, three_classes):
    head = head_of("forest").fit(three_classes.X, three_classes.y)
    with pytest.raises(HeadError, match=rf"types of scikit-learn, NumPy and SciPy .*{named}"):
        EstimatorHead.from_arrays(head.parameters, _foreign(head, old, new))


def test_functions_are_refused_even_numpys(three_classes, tmp_path, card):
    model = make_pipeline(FunctionTransformer(np.load), LinearDiscriminantAnalysis())
    head = build(OtherKind.sklearn, estimator=model)
    head.estimator_ = make_pipeline(FunctionTransformer(), LinearDiscriminantAnalysis()).fit(
        three_classes.X, three_classes.y
    )
    head.classes_, head.n_features_in_ = np.arange(3), 24
    head.chosen_ = {"n_classes": 3, "n_features": 24, "fitted_on": "train"}
    said = head.arrays()["said"]
    head.estimator_.steps[0] = ("load", FunctionTransformer(np.load))
    import skops.io

    arrays = {"skops": np.frombuffer(skops.io.dumps(head.estimator_), np.uint8), "said": said}
    with pytest.raises(HeadError, match=r"found numpy\.load"):
        EstimatorHead.from_arrays(head.parameters, arrays)


def test_another_answer_than_when_it_was_saved_is_told(three_classes):
    head = head_of("lda").fit(three_classes.X, three_classes.y)
    arrays = head.arrays()
    arrays["said"] = arrays["said"] + 1
    with pytest.raises(HeadError, match="with which it says something else; install"):
        EstimatorHead.from_arrays(head.parameters, arrays)


def test_a_saved_head_with_a_foreign_type_is_one_line(three_classes, tmp_path, card, monkeypatch):
    head = head_of("forest").fit(three_classes.X, three_classes.y)
    save(tmp_path / "h", head, card)
    monkeypatch.setattr("pipeline.heads._estimator._PACKAGES", ("numpy",))
    with pytest.raises(HeadDamaged, match="expected types of scikit-learn") as raised:
        load(tmp_path / "h")
    assert "\n" not in str(raised.value)


def test_a_classifier_without_scores_is_named(three_classes):
    from sklearn.ensemble import VotingClassifier

    model = VotingClassifier([("a", SVC()), ("b", LinearDiscriminantAnalysis())])
    with pytest.raises(HeadError, match="has neither; choose another"):
        build(OtherKind.sklearn, estimator=model).fit(three_classes.X, three_classes.y)
    assert build(OtherKind.sklearn, estimator=RadiusNeighborsClassifier(100.0)) is not None
