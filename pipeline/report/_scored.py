"""What a head says of each row of a split."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Scores beyond this many bytes lie in a file without a name, not in memory.
_IN_MEMORY = 64 << 20
# Numbers in a table of all scores; with more, it has those of two classes only.
MOST_NUMBERS = 5_000_000
_AT_ONCE = 4096  # rows


@dataclass(frozen=True, kw_only=True)
class ScoredRows:
    """
    What a head says of each row of a split; classes and rows are numbers.

    Attributes
    ----------
    true, predicted : int64 arrays of shape (n,)
    scores : float32 array of shape (n, c)
        Of the first c classes, those that the head knows; filled by `put`.
    typical : float64 array of shape (n,), or None
        How typical each image is of those that the head was fitted on, where that is known.
    """

    true: NDArray[np.int64]
    predicted: NDArray[np.int64]
    scores: NDArray[np.float32]
    typical: NDArray[np.float64] | None = None

    @classmethod
    def empty(cls, true: NDArray[np.int64], classes: int) -> ScoredRows:
        """Make room for the scores of some rows, in a temporary file where they are many."""
        shape = (len(true), classes)
        scores: NDArray[np.float32]
        if 4 * len(true) * classes <= _IN_MEMORY:
            scores = np.zeros(shape, np.float32)
        else:
            with tempfile.TemporaryFile() as file:  # the map keeps it until it goes itself
                scores = np.memmap(file, np.float32, "w+", shape=shape)
        return cls(true=true, predicted=np.zeros(len(true), np.int64), scores=scores)

    def put(self, positions: NDArray[np.int64], scores: NDArray[np.floating]) -> None:
        """Note the scores of some rows."""
        self.scores[positions] = scores
        self.predicted[positions] = scores.argmax(axis=1)

    @property
    def right(self) -> NDArray[np.bool_]:
        """Which rows are right."""
        return np.asarray(self.true == self.predicted)

    @property
    def best(self) -> NDArray[np.float32]:
        """The highest score of each row."""
        return np.asarray(self.scores[np.arange(len(self.true)), self.predicted])

    @property
    def whole(self) -> bool:
        """Whether a table has the scores of all classes."""
        return self.scores.size <= MOST_NUMBERS

    def columns(self, classes: Sequence[str]) -> list[str]:
        """Name the columns of a table of these rows."""
        named = ["path", "true", "predicted", "right", "score"]
        each = classes[: self.scores.shape[1]] if self.whole else ("the true class",)
        return named + [f"score of {name}" for name in each]

    def lines(self, paths: Any, classes: Sequence[str]) -> Iterator[list[list[object]]]:
        """
        Yield the lines of a table, some thousand at a time.

        Parameters
        ----------
        paths : callable
            Called with places in the rows; returns their paths as text.
        classes : sequence of str

        Yields
        ------
        list of list
            A row for each image: path, names of the true and of the predicted class, ``yes`` or
            ``no``, the score of the predicted class, and the scores of all classes; where these
            would be more than `MOST_NUMBERS`, that of the true class.
        """
        for start in range(0, len(self.true), _AT_ONCE):
            places = np.arange(start, min(start + _AT_ONCE, len(self.true)))
            true, predicted, scores = self.true[places], self.predicted[places], self.scores[places]
            best = scores[np.arange(len(places)), predicted]
            if not self.whole:
                known = np.minimum(true, scores.shape[1] - 1)
                scores = np.where(true < scores.shape[1], scores[np.arange(len(places)), known], 0)
                scores = scores[:, None]
            yield [
                [path, classes[t], classes[p], "yes" if t == p else "no", *map(_short, numbers)]
                for path, t, p, numbers in zip(
                    paths(places),
                    true.tolist(),
                    predicted.tolist(),
                    np.column_stack([best, scores]).tolist(),
                    strict=True,
                )
            ]


def _short(number: float) -> str:
    return f"{number:.6g}"
