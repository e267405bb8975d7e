"""A head in memory: photos in, scores out."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline import backbones, images
from pipeline.common.choices import Resize
from pipeline.common.errors import HeadError, SourceError
from pipeline.flows import tuned_heads
from pipeline.flows.classifier import Networks, recognise, space_of
from pipeline.flows.extraction import WORKERS
from pipeline.flows.novelty import UNKNOWN, refusal_of

_AT_ONCE = 32  # photos that are decoded, computed and scored together


# Up to so many photos are computed one by one: a full batch takes longer.
_FEW = 4


Photo = str | os.PathLike[str] | bytes | NDArray[np.generic] | Any


class ImageClassifier:
    """
    A head with its backbone, kept in memory.

    Made by `load_head`. The network is loaded when the first photo comes, and kept; threads may
    share one classifier.

    Attributes
    ----------
    classes_ : ndarray of str, shape (k,)
        Names of the classes, in the order of the columns of `predict_proba`.
    head_ : Head
        What scores codes.
    estimator_ : sklearn classifier
        The same as a fitted estimator of scikit-learn's, whose classes are numbers: places in
        `classes_`.
    """

    def __init__(self, path: str | Path, *, weights: str | None = None) -> None:
        self._saved = tuned_heads.load(path)
        self._space = space_of(self._saved)
        self._weights = weights
        self._policy = images.policy_of(self._space.to_json())
        self._lock = Lock()
        self._networks: dict[bool, backbones.Network | Networks] = {}
        self.head_ = self._saved.head
        self.estimator_ = self.head_.estimator_
        self.classes_ = np.array(self._saved.card.classes)

    def predict(
        self, photos: Photo | Sequence[Photo], *, reject: str | float | None = None
    ) -> NDArray[np.str_]:
        """
        Name the best class of each photo.

        Parameters
        ----------
        photos : photo or sequence of photos
            Paths, bytes of image files, PIL images, arrays of uint8 (or uint16) values; also an
            array of shape (n, h, w, 3).
        reject : str or float, optional
            Answer ``"unknown"`` for photos unlike those that the head knows: of such photos as it
            was fitted on, so large a share is refused, such as ``"5%"``.

        Returns
        -------
        ndarray of str, shape (n,)
            Of one photo, of shape (1,).

        Raises
        ------
        SourceError
            If something is no photo, cannot be read, or is damaged.
        """
        refusal = refusal_of(self._saved, reject)
        if refusal is None:
            return np.asarray(self.classes_[self.decision_function(photos).argmax(axis=1)])
        answers = []
        for vectors, decision in self._decided(photos):
            scores = self.head_.as_scores(decision)
            unknown = refusal.why(scores.max(axis=1), refusal.novelty.distance(vectors))
            best = self.classes_[scores.argmax(axis=1)].tolist()
            answers += [
                name if why is None else UNKNOWN for name, why in zip(best, unknown, strict=True)
            ]
        return np.array(answers, str)

    def predict_proba(self, photos: Photo | Sequence[Photo]) -> NDArray[np.float64]:
        """
        Return the probabilities of the classes for each photo.

        Parameters
        ----------
        photos
            As for `predict`.

        Returns
        -------
        float64 array of shape (n, k)
            In the order of `classes_`.

        Raises
        ------
        HeadError
            If the head had no held-out images to make probabilities of its margins.
        SourceError
            As `predict`.
        """
        if self.head_.score_kind != "probability":
            raise HeadError(
                f"expected a head with probabilities, found {self._saved.directory}, whose scores "
                "are margins; call decision_function, or fit it with validation images"
            )
        return np.asarray(self.head_.as_scores(self.decision_function(photos)))

    def decision_function(self, photos: Photo | Sequence[Photo]) -> NDArray[np.float64]:
        """
        Return the head's own scores, larger for more likely classes.

        Parameters
        ----------
        photos
            As for `predict`.

        Returns
        -------
        float64 array of shape (n, k)
        """
        scores = [decision for _, decision in self._decided(photos)]
        empty = np.empty((0, len(self.classes_)))
        return np.concatenate(scores) if scores else empty

    def _decided(
        self, photos: Photo | Sequence[Photo]
    ) -> Iterator[tuple[NDArray[np.float32], NDArray[np.float64]]]:
        """Yield what the head sees of the photos, and its scores, some photos at a time."""
        several = _several(photos)
        for start in range(0, len(several), _AT_ONCE):
            codes = self._codes(several[start : start + _AT_ONCE])
            with self._lock:
                vectors = self._saved.vectors(codes)
                decision = np.asarray(self.head_.decision(vectors), np.float64)
            yield vectors, decision

    def _codes(self, photos: Sequence[Photo]) -> NDArray[np.float32]:
        """Return what the head takes of some photos."""
        decode = partial(
            images.pixels_of,
            size=self._space.size,
            resize=Resize(self._space.resize),
            policy=self._policy,
        )
        if len(photos) == 1:
            pixels = decode(photos[0])[None]
        else:
            with ThreadPoolExecutor(min(WORKERS, len(photos))) as pool:
                pixels = np.stack(list(pool.map(decode, photos)))
        card = self._saved.card
        if card.layer == backbones.INPUT:
            codes = pixels.astype(np.float32)
        else:
            codes = card.take(self._network(few=len(photos) <= _FEW)(pixels))
        return np.asarray(codes.reshape(-1, *card.taken), np.float32)

    def _network(self, *, few: bool) -> backbones.Network | Networks:
        """Return the network for photos one by one, or for full batches; load it at first."""
        with self._lock:
            if few not in self._networks:
                self._networks[few] = recognise(
                    self._saved, self._weights, batch_size=1 if few else None
                )
            return self._networks[few]


def _several(photos: Any) -> Sequence[Photo]:
    """Return photos as a sequence, be they one or many."""
    if isinstance(photos, np.ndarray) and photos.ndim == 4:
        return list(photos)
    if isinstance(photos, np.ndarray) and photos.ndim == 1:
        return list(photos.tolist())  # of paths
    if isinstance(photos, (list, tuple)):
        return photos
    if images.is_photo(photos):
        return [photos]
    if hasattr(photos, "__iter__"):
        return list(photos)
    raise SourceError(
        f"expected photos as paths, bytes, PIL images or arrays, found {type(photos).__name__}; "
        "open them with PIL.Image.open, or name their paths"
    )
