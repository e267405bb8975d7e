"""Scikit-learn's LinearSVC on a packed file, loaded and scaled as by hand; prints JSON."""

from __future__ import annotations

import json
import sys
import time

import h5py
import numpy as np
from sklearn.svm import LinearSVC


def main(path: str, C: str) -> None:
    """Fit on train and score on test."""
    with h5py.File(path) as file:
        X, y, splits = file["codes/relu"][...], file["labels"][...], file["splits"][...]
    train, test = splits == b"train", splits == b"test"
    X_test, y_test = X[test], y[test]
    X, y = X[train], y[train]
    deviation = X.std(axis=0, dtype=np.float64)
    scale = np.sqrt(deviation * deviation.mean()).astype(np.float32)
    X /= scale
    started = time.monotonic()
    model = LinearSVC(C=float(C)).fit(X, y)
    seconds = time.monotonic() - started
    accuracy = model.score(X_test / scale, y_test)
    print(json.dumps({"seconds": seconds, "accuracy": accuracy, "codes_mb": X.nbytes / 1e6}))


if __name__ == "__main__":
    main(*sys.argv[1:])
