"""Why images have no codes: many rows, few reasons."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from pipeline.common.names import Names, one_by_one


class Reasons(Mapping[int, str]):
    """
    The reasons of some rows, each text once.

    Parameters
    ----------
    rows : int64 array of shape (m,)
        Rising.
    kinds : int32 array of shape (m,)
        Of each row its place in `texts`.
    texts : sequence of str
    """

    def __init__(
        self, rows: NDArray[np.int64], kinds: NDArray[np.int32], texts: Iterable[str]
    ) -> None:
        self.rows, self._kinds = rows, kinds
        self._texts: tuple[str, ...] = tuple(texts)

    @classmethod
    def of(cls, reasons: Mapping[int, str]) -> Reasons:
        """Take over what another mapping says."""
        if isinstance(reasons, Reasons):
            return reasons
        return cls.listed(np.fromiter(reasons, np.int64, len(reasons)), reasons.values())

    @classmethod
    def mostly(cls, text: str, rows: NDArray[np.int64], others: Mapping[int, str]) -> Reasons:
        """Give all rows, which rise, one reason, but for some of them."""
        kinds, known = np.zeros(len(rows), np.int32), {text: 0}
        places = np.searchsorted(rows, np.fromiter(others, np.int64, len(others)))
        numbers = (known.setdefault(other, len(known)) for other in others.values())
        kinds[places] = np.fromiter(numbers, np.int32, len(others))
        return cls(rows, kinds, known)

    @classmethod
    def listed(cls, rows: NDArray[np.int64], texts: Iterable[str]) -> Reasons:
        """Give each row its text; of a row that comes twice the last counts."""
        known: dict[str, int] = {}
        numbers = (known.setdefault(text, len(known)) for text in texts)
        kinds = np.fromiter(numbers, np.int32, len(rows))
        if bool(np.all(np.diff(rows) > 0)):
            return cls(rows, kinds, known)
        order = np.argsort(rows, kind="stable")
        last = np.append(np.diff(rows[order]) != 0, np.ones(min(1, len(rows)), bool))
        return cls(rows[order][last], kinds[order][last], known)

    def counts(self) -> dict[str, int]:
        """Count the rows of each reason, the most frequent first."""
        counts = np.bincount(self._kinds, minlength=len(self._texts)).tolist()
        pairs = sorted(zip(self._texts, counts, strict=True), key=lambda pair: -pair[1])
        return {text: count for text, count in pairs if count}

    def encoded(self, piece: slice) -> Names:
        """Return the texts of some of the rows as bytes."""
        texts = Names.of(text.encode() for text in self._texts)
        return texts.take(self._kinds[piece].tolist())

    def __getitem__(self, row: int) -> str:
        place = int(np.searchsorted(self.rows, row))
        if place == len(self.rows) or self.rows[place] != row:
            raise KeyError(row)
        return self._texts[int(self._kinds[place])]

    def __iter__(self) -> Iterator[int]:
        return one_by_one(self.rows)

    def __len__(self) -> int:
        return len(self.rows)
