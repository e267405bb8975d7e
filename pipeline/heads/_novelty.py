"""Photos unlike those that a head knows: low scores, and codes far from the training images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.common.errors import HeadError, counted
from pipeline.heads._parts import units

# References are compared with every photo: 5 MB of codes of 1,280 numbers in float16.
MOST_REFERENCES = 1000
_MOST_BYTES = 8 << 20
# Held-out images with low scores, fewer than which say nothing of such scores.
_FEWEST = 5


@dataclass(frozen=True, kw_only=True, eq=False)
class Novelty:
    """
    Which scores and distances are usual: those of held-out images.

    An image is as typical as the smaller of two shares of the held-out images says: of those whose
    best score is no higher, and of those that are no nearer to the training images. The distance
    is that of the direction of its codes from the nearest of some training images (Y. Sun et al.,
    Out-of-Distribution Detection with Deep Nearest Neighbors, 2022, with one neighbour).

    Attributes
    ----------
    scores, distances : float64 arrays of shape (m,)
        Best scores of held-out images, and cosine distances of their codes from the nearest
        reference.
    references : float16 array of shape (r, d)
        Codes of training images, of length 1.
    doubtful_below : float or None
        Below this best score most held-out images were wrong; None where there is no such score.
    """

    scores: NDArray[np.float64]
    distances: NDArray[np.float64]
    references: NDArray[np.float16]
    doubtful_below: float | None

    def __post_init__(self) -> None:
        shape = self.scores.shape
        if len(shape) != 1 or not len(self.scores) or self.distances.shape != shape:
            raise ValueError("expected a score and a distance of each held-out image")
        if self.references.ndim != 2 or not self.references.size:
            raise ValueError("expected codes of training images to compare with")

    @classmethod
    def learned(
        cls,
        scores: NDArray[np.float64],
        right: NDArray[np.bool_],
        codes: NDArray[np.float32],
        references: NDArray[np.float32],
    ) -> Novelty:
        """
        Note what is usual.

        Parameters
        ----------
        scores : float64 array of shape (m,)
            Best scores of held-out images.
        right : bool array of shape (m,)
            Which of these the head gets right.
        codes : float32 array of shape (m, d)
            What the head sees of them.
        references : float32 array of shape (r, d)
            What it sees of training images; `most_references` says how many are kept.
        """
        near = units(references).astype(np.float16)
        return cls(
            scores=scores.astype(np.float64),
            distances=_distances(codes, near.astype(np.float32)),
            references=near,
            doubtful_below=doubtful_below(scores, right),
        )

    @classmethod
    def from_arrays(cls, plain: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Novelty:
        """
        Rebuild it from `to_json` and `arrays`.

        Raises
        ------
        KeyError, TypeError, ValueError
            If they are not such.
        """
        below = plain["doubtful_below"]
        if below is not None and not isinstance(below, float):
            raise ValueError(f"expected a score, found {below!r}")
        if arrays.keys() != {"scores", "distances", "references"}:
            raise ValueError("expected the scores and distances of held-out images, and references")
        return cls(**arrays, doubtful_below=below)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the arrays, by name."""
        return {
            "scores": self.scores,
            "distances": self.distances,
            "references": self.references,
        }

    def to_json(self) -> dict[str, Any]:
        """Return everything else as plain JSON values."""
        return {"doubtful_below": self.doubtful_below}

    def distance(self, codes: NDArray[np.float32]) -> NDArray[np.float64]:
        """
        Return how far images are from the training images.

        Parameters
        ----------
        codes : float32 array of shape (n, d)
            What the head sees of them.

        Returns
        -------
        float64 array of shape (n,)
            From 0, the same direction, to 2.
        """
        return _distances(codes, self._near)

    def typical(
        self, scores: NDArray[np.floating], distances: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """
        Return how typical images are, from 0 to 1.

        Parameters
        ----------
        scores : float array of shape (n,)
            Their best scores.
        distances : float64 array of shape (n,)
            As `distance` gives them.
        """
        return np.minimum(*self._shares(scores, distances))

    def far(
        self, scores: NDArray[np.floating], distances: NDArray[np.float64]
    ) -> NDArray[np.bool_]:
        """Say of which images the distance is less usual than the score."""
        by_score, by_distance = self._shares(scores, distances)
        return np.asarray(by_distance < by_score)

    def bound(self, share: float) -> float:
        """
        Return below which value of `typical` a share of the held-out images lies.

        Raises
        ------
        HeadError
            If there are too few of them for such a share.
        """
        count = len(self.scores)
        refused = int(share * count)
        if not refused:
            raise HeadError(
                f"expected --reject of at least {100 / count:.2g}%, one of the "
                f"{counted(count, 'image')} that were held out, found {100 * share:g}%; give a "
                "larger share, or fit a head with more validation images"
            )
        typical = np.sort(self.typical(self.scores, self.distances))
        return float(typical[refused]) if refused < count else float("inf")

    @cached_property
    def _near(self) -> NDArray[np.float32]:
        return self.references.astype(np.float32)

    @cached_property
    def _sorted(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        return np.sort(self.scores), np.sort(self.distances)

    def _shares(
        self, scores: NDArray[np.floating], distances: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the shares of held-out images that score no higher, and are no nearer."""
        known, far = self._sorted
        lower = np.searchsorted(known, scores, side="right") / len(known)
        return lower, 1 - np.searchsorted(far, distances, side="left") / len(far)


def most_references(width: int) -> int:
    """Return how many training images of so many numbers each are kept."""
    return max(1, min(MOST_REFERENCES, _MOST_BYTES // (2 * width)))


def doubtful_below(scores: NDArray[np.floating], right: NDArray[np.bool_]) -> float | None:
    """
    Find the score below which most images are wrong.

    The share of right answers is taken to grow with the score (isotonic regression).

    Parameters
    ----------
    scores : float array of shape (m,)
        Best scores of held-out images.
    right : bool array of shape (m,)

    Returns
    -------
    float or None
        The lowest score of which at least half are right; None where fewer than five images
        score less.
    """
    from sklearn.isotonic import IsotonicRegression

    share = IsotonicRegression().fit(scores, right).predict(scores)
    wrong = share < 0.5
    if wrong.sum() < _FEWEST:
        return None
    return float(scores[~wrong].min()) if not wrong.all() else float(scores.max())


def _distances(codes: NDArray[np.float32], near: NDArray[np.float32]) -> NDArray[np.float64]:
    return np.asarray(1 - (units(codes) @ near.T).max(axis=1), np.float64)
