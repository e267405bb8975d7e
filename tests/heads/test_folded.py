"""A head as steps of plain arithmetic: what they give is what the head gives."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import log_softmax, logsumexp, softmax

from pipeline.common.choices import HeadKind, Preset
from pipeline.common.errors import HeadError
from pipeline.common.steps import Dense, Neighbours, Unit
from pipeline.heads import MlpConfig, build

from .conftest import PARAMETERS

ACTIVATIONS = {
    "linear": lambda z: z,
    "relu": lambda z: np.maximum(z, 0),
    "tanh": np.tanh,
    "sigmoid": lambda z: 1 / (1 + np.exp(-z)),
    "elu": lambda z: np.where(z > 0, z, np.expm1(z)),
    "log_sigmoid": lambda z: -np.log1p(np.exp(-z)),
}


def compute(step, x):
    """What a step says it does, by its own words."""
    if isinstance(step, Unit):
        x = x / step.scale
        return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-30)
    if isinstance(step, Dense):
        return ACTIVATIONS[step.activation](x @ step.kernel + step.bias)
    assert isinstance(step, Neighbours)
    cosines = x @ step.codes.T
    votes = np.full((len(x), step.n_classes), -80.0)
    for row, cosine in enumerate(cosines):
        best = np.argsort(-cosine)[: step.k]
        for label in np.unique(step.labels[best]):
            own = best[step.labels[best] == label]
            votes[row, label] = logsumexp((cosine[own] - 1) / step.temperature)
    return votes


@pytest.mark.parametrize("kind", list(HeadKind))
def test_the_steps_give_what_the_head_gives(kind, three_classes):
    codes = three_classes
    head = build(kind, **PARAMETERS[kind])
    head.fit(codes.X, codes.y, X_val=codes.X_val, y_val=codes.y_val)
    x = codes.X_test.astype(np.float64)
    for step in head.folded():
        x = compute(step, x)
    np.testing.assert_allclose(softmax(x, axis=1), head.predict_proba(codes.X_test), atol=1e-5)


@pytest.mark.parametrize("preset", [Preset.mnist_upscaling, Preset.tflearn])
def test_the_outputs_of_the_articles_too(preset, three_classes):
    config = MlpConfig.from_options(preset, epochs=2, hidden=(8, 4), dropout=0.0)
    head = build(HeadKind.mlp, config=config)
    head.fit(
        three_classes.X,
        three_classes.y,
        X_val=three_classes.X_val,
        y_val=three_classes.y_val,
    )
    x = three_classes.X_test.astype(np.float64)
    for step in head.folded():
        x = compute(step, x)
    expected = np.log(head.predict_proba(three_classes.X_test))
    np.testing.assert_allclose(log_softmax(x, axis=1), expected, atol=1e-4)


def test_a_single_sigmoid_becomes_two_classes(three_classes):
    config = MlpConfig.from_options(Preset.surfing, epochs=2)
    two = three_classes.y < 2
    head = build(HeadKind.mlp, config=config)
    head.fit(three_classes.X[two], three_classes.y[two])
    x = three_classes.X_test.astype(np.float64)
    for step in head.folded():
        x = compute(step, x)
    np.testing.assert_allclose(
        softmax(x, axis=1), head.predict_proba(three_classes.X_test), atol=1e-5
    )


def test_margins_cannot_become_probabilities(three_classes):
    head = build(HeadKind.svm, C=1.0)
    head.fit(three_classes.X[:4], [0, 1, 0, 2])
    with pytest.raises(HeadError, match="use --kind softmax for probabilities"):
        head.folded()
