"""Scikit-learn by hand on a packed file: loaded, scaled, searched, fitted; prints JSON."""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import h5py
import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

GRID = [10.0**power for power in range(-6, -3)]


def _estimator(kind: str) -> Any:
    """Return what people write: defaults, three folds, all processors."""
    model = {"svm": LinearSVC(), "softmax": LogisticRegression(max_iter=1000)}[kind]
    pipeline = make_pipeline(StandardScaler(), model)
    name = pipeline.steps[-1][0]
    return GridSearchCV(pipeline, {f"{name}__C": GRID}, cv=3, n_jobs=-1)


def main(path: str, kind: str) -> None:
    """Fit on train and score on test."""
    started = time.monotonic()
    with h5py.File(path) as file:
        X, y, splits = file["codes/relu"][...], file["labels"][...], file["splits"][...]
    train, test = splits == b"train", splits == b"test"
    X_test, y_test = X[test], y[test]
    X, y = X[train], y[train]
    model = _estimator(kind).fit(X, y)
    seconds = time.monotonic() - started
    accuracy = float(np.mean(model.predict(X_test) == y_test))
    print(json.dumps({"seconds": seconds, "accuracy": accuracy}))


if __name__ == "__main__":
    main(*sys.argv[1:])
