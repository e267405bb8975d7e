"""A head and its backbone in memory: photos in, classes out, with nothing loaded twice."""

from __future__ import annotations

from pathlib import Path

from pipeline.flows.image_classifier import ImageClassifier

"""A path, the bytes of a file, a PIL image, or an array of shape (h, w) or (h, w, 3 or 4)."""


def load_head(path: str | Path, *, weights: str | None = None) -> ImageClassifier:
    """
    Load a head for photos in memory.

    Parameters
    ----------
    path : str or Path
        A head made by `fit_head`.
    weights : str, optional
        The backbone's weights, if they are no longer where they were.

    Returns
    -------
    ImageClassifier

    Raises
    ------
    HeadError
        If it cannot be read, or nobody knows its backbone.

    See Also
    --------
    predict : The same for folders of photos, with a table of answers.

    Examples
    --------
    >>> import pipeline
    >>> head = pipeline.load_head("artifacts/heads/photos-svm")
    >>> head.classes_
    array(['blue', 'green', 'red'], dtype='<U5')
    >>> head.predict(["a.jpg", "b.jpg"])  # doctest: +SKIP
    array(['green', 'red'], dtype='<U5')
    """
    return ImageClassifier(path, weights=weights)
