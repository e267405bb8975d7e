"""What is usual of photos like those that a head was fitted on, and what it refuses to answer."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline import heads
from pipeline.common.errors import HeadError
from pipeline.flows import tuned_heads
from pipeline.flows.examples import Examples, group_numbers, held_images
from pipeline.flows.originals import spread

UNKNOWN = "unknown"
_MOST_HELD = 1000  # held-out images: shares are counted in steps of a tenth of a percent
_MOST_NUMBERS = 1 << 24  # in their codes


class Refusal(NamedTuple):
    """Beyond which scores and distances there is no answer."""

    novelty: heads.Novelty
    bound: float

    def why(self, scores: NDArray[np.float64], distances: NDArray[np.float64]) -> list[str | None]:
        """
        Say of images why there is no answer.

        Parameters
        ----------
        scores : float64 array of shape (n,)
            Their best scores.
        distances : float64 array of shape (n,)
            As `Novelty.distance` gives them.

        Returns
        -------
        list of str or None
            None where there is one.
        """
        refused = self.novelty.typical(scores, distances) < self.bound
        far = self.novelty.far(scores, distances)
        return [
            None if not no else "unlike the training images" if unlike else "a low score"
            for no, unlike in zip(refused.tolist(), far.tolist(), strict=True)
        ]


def refusal_of(saved: heads.SavedHead, reject: str | float | None) -> Refusal | None:
    """
    Return what a head refuses to answer.

    Parameters
    ----------
    saved : SavedHead
    reject : str, float or None
        Of images like those it was fitted on, the share that is refused: ``"5%"`` or 0.05.

    Raises
    ------
    HeadError
        If that is no share, or nobody knows what is usual.
    """
    if reject is None:
        return None
    share = _share(reject)
    if saved.card.novelty is None:
        raise HeadError(
            f"expected a head that knows which scores are usual, found {saved.directory}, which "
            "had no held-out images or is of an earlier version; fit it again, with --val 0.2 in "
            "extract where there are no validation images"
        )
    return Refusal(saved.card.novelty, saved.card.novelty.bound(share))


def _share(reject: str | float) -> float:
    text = str(reject).strip()
    try:
        share = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        share = -1.0
    if not 0 < share < 1:
        raise HeadError(f"expected --reject as a share between 0 and 1, found {text!r}; try 5%")
    return share


def with_novelty(saved: heads.SavedHead, used: Examples) -> heads.Card:
    """
    Return the card of a fitted head together with which scores and distances are usual.

    They are those of validation images or, without these, of training images out of fold, of which
    one half is compared with the other.

    Parameters
    ----------
    saved : SavedHead
        The head as it will be saved.
    used : Examples
        What it was fitted on.

    Returns
    -------
    Card
        Unchanged where no image was held out.
    """
    references = used.train
    held = saved.head.held_out_
    rows = used.val if held is None else held_images(used, held)
    if rows is None or not len(rows):
        return saved.card
    places = np.arange(len(rows))
    if held is not None and not len(used.val):
        apart = _halves(used, rows)
        if apart is None:
            return saved.card
        references, places = rows[~apart], places[apart]
    places = spread(places, min(_MOST_HELD, _MOST_NUMBERS // saved.head.n_features_in_))
    codes = tuned_heads.vectors(saved, used.opened, rows[places])
    decision = saved.head.decision(codes) if held is None else held.scores[places]
    scores = saved.head.as_scores(decision)
    near = spread(references, heads.most_references(codes.shape[1]))
    novelty = heads.Novelty.learned(
        scores.max(axis=1),
        scores.argmax(axis=1) == used.labels(rows[places]),
        codes,
        tuned_heads.vectors(saved, used.opened, near),
    )
    return replace(saved.card, novelty=novelty)


def _halves(used: Examples, rows: NDArray[np.int64]) -> NDArray[np.bool_] | None:
    """Choose half of some rows, or of their groups; None where there is but one."""
    numbers = group_numbers(used.opened.groups(rows), rows)
    if numbers is None:
        numbers = np.arange(len(rows))
    count = int(numbers.max()) + 1
    if count < 2:
        return None
    chosen = np.zeros(count, bool)
    chosen[np.random.default_rng(0).permutation(count)[: count // 2]] = True
    return np.asarray(chosen[numbers])
