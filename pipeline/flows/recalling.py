"""Which contents files have, as far as their names, sizes and times tell without reading them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from pipeline import images, store
from pipeline.common.mapped import let_go, zeros
from pipeline.common.names import Places, blocks, hashed

_UNKNOWN = (-1, -1, -1)


class Recall:
    """
    The files of a source, compared piece by piece with what a store says of them.

    Parameters
    ----------
    found : Source
    wanted : bool array of shape (n,)
        The rows that matter.
    known : callable
        Says of contents, of shape (m, 32), whether they need not be read again.

    Attributes
    ----------
    todo : bool array of shape (n,)
        Rows of those that matter that must be read.
    open : bool array of shape (n,)
        Rows of which nothing was said that proves anything.
    """

    def __init__(
        self,
        found: images.Source,
        wanted: NDArray[np.bool_],
        *,
        known: Callable[[NDArray[np.uint8]], NDArray[np.bool_]],
    ) -> None:
        self._known, self._wanted = known, wanted
        self.todo, self.open = wanted.copy(), wanted.copy()
        self._places = Places(found.paths)
        self._missing = [np.empty(0, np.int64)]
        self._now = zeros((len(found), 3), np.int64)
        for piece in blocks(len(found)):
            rows = range(piece.start, piece.stop)
            self._now[piece] = [found.stat(row) or _UNKNOWN for row in rows]
            let_go(self._now)

    @property
    def gone(self) -> int:
        """How many old names the source has no more."""
        return len(np.unique(np.concatenate(self._missing)))

    def look(
        self, seen: store.Seen, *, old: bool = False
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.uint8]]:
        """
        Compare the files with what a piece says of some; what was said last counts.

        Parameters
        ----------
        seen : Seen
        old : bool, default False
            Whether the piece is of the last table: rows that must be read are meanwhile what they
            were there, unless their size says otherwise. What it says of files is not put in
            question by what is looked at later.

        Returns
        -------
        rows : int64 array of shape (m,)
        stat : int64 array of shape (m, 3)
        sha256 : uint8 array of shape (m, 32)
            What is known of these rows now.
        """
        rows, places = self._places.find(seen.paths)
        if old:
            self._note_missing(seen, places)
        matter = self._wanted[rows] if old else self.open[rows]
        rows, places = rows[matter], places[matter]
        stat, sha256, now = seen.stat[places], seen.sha256[places], self._now[rows]
        let_go(self._now)
        lasting = stat.any(axis=1)
        same = lasting & (stat == now).all(axis=1)
        same[same] = self._known(sha256[same])
        self.todo[rows[lasting]] = ~same[lasting]
        taken = same
        if old:
            self.open[rows[lasting]] = False
            may_be = (now[:, 0] < 0) | ~lasting | (stat[:, 0] == now[:, 0])
            taken = same | (self.todo[rows] & may_be)
        return rows[taken], stat[taken], sha256[taken]

    def _note_missing(self, seen: store.Seen, places: NDArray[np.int64]) -> None:
        missing = np.ones(len(seen.paths), bool)
        missing[places] = False
        if missing.any():
            self._missing.append(hashed(seen.paths.take(np.flatnonzero(missing).tolist())))
