"""Which settings belong to which kind of head."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline import ChoiceError, HeadError, HeadKind, Pool
from pipeline.flows.head_config import HeadConfig


def test_each_kind_takes_its_own() -> None:
    svm = HeadConfig.parse({"kind": "svm", "C": 0.5, "class_weight": "balanced"})
    assert (svm.kind, svm.name, svm.short) == (HeadKind.svm, "svm", "svm")
    assert svm.parameters == {"C": 0.5, "class_weight": "balanced"}
    assert HeadConfig.parse({"kind": "knn"}).parameters == {"k": "auto"}
    folded = HeadConfig.parse({"kind": "centroid", "folds": 5})
    assert (folded.parameters, folded.folds) == ({"folds": 5}, 5)
    mlp = HeadConfig.parse({"kind": "mlp", "hidden": [8], "epochs": 3})
    assert mlp.parameters["config"].hidden == (8,)
    assert mlp.parameters["config"].epochs == 3


def test_a_preset_says_how_maps_become_vectors() -> None:
    assert HeadConfig.parse({"kind": "mlp"}).pool is Pool.avg
    assert HeadConfig.parse({"kind": "mlp", "preset": "mnist-upscaling"}).pool is Pool.flat


def test_a_classifier_of_scikit_learn_is_a_kind() -> None:
    other = HeadConfig.parse(
        {"kind": "sklearn.ensemble.RandomForestClassifier", "settings": {"n_estimators": 7}}
    )
    assert other.short == "randomforestclassifier"
    assert other.parameters["estimator"][-1].n_estimators == 7


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "expected a kind or an estimator"),
        ({"kind": "knn", "C": 1.0}, "expected C with kind svm, softmax or ridge, found kind knn"),
        ({"kind": "mlp", "C": 1.0}, "try l2"),
        ({"kind": "svm", "k": 3}, "expected k with kind knn only"),
        ({"kind": "knn", "class_weight": "balanced"}, "expected class weights with kind svm"),
        ({"kind": "mlp", "folds": 3}, "expected --folds with kind svm"),
        ({"kind": "svm", "epochs": 3}, "expected epochs with kind mlp only"),
        ({"kind": "svm", "preset": "tflearn"}, "expected preset with kind mlp only"),
        ({"kind": "mlp", "depth": 3}, "an mlp has no option 'depth'"),
        ({"kind": "svm", "settings": {"a": 1}}, "expected --set with a --kind of scikit-learn's"),
    ],
)
def test_what_belongs_to_another_kind_is_refused(options: Any, message: str) -> None:
    with pytest.raises(HeadError, match=message):
        HeadConfig.parse(options)


def test_a_kind_that_is_none() -> None:
    with pytest.raises(ChoiceError, match="svn"):
        HeadConfig.parse({"kind": "svn"})


def test_values_are_refused_before_anything_is_read() -> None:
    with pytest.raises(HeadError, match="C"):
        HeadConfig.parse({"kind": "svm", "C": -1.0}).check([0])
