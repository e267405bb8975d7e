"""Which scores and distances are usual, against scikit-learn and by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import pairwise_distances

from pipeline.common.choices import HeadKind
from pipeline.common.errors import HeadDamaged, HeadError
from pipeline.heads import Card, Head, Novelty, load, most_references, save


def novelty(scores: list[float], distances: list[float]) -> Novelty:
    return Novelty(
        scores=np.array(scores),
        distances=np.array(distances),
        references=np.eye(2, dtype=np.float16),
        doubtful_below=None,
    )


def test_distances_are_those_of_scikit_learn() -> None:
    random = np.random.default_rng(0)
    known, new = random.random((40, 16), np.float32), random.random((9, 16), np.float32)
    learned = Novelty.learned(np.full(9, 0.5), np.ones(9, bool), new, known)
    expected = pairwise_distances(new, known, metric="cosine").min(axis=1)
    assert learned.distance(new) == pytest.approx(expected, abs=1e-3)  # kept in float16
    assert learned.distances == pytest.approx(expected, abs=1e-3)
    assert learned.distance(np.zeros((1, 16), np.float32)) == [1.0]


def test_an_image_is_as_typical_as_the_less_usual_of_score_and_distance() -> None:
    usual = novelty([0.2, 0.4, 0.6, 0.8], [0.1, 0.2, 0.3, 0.4])
    scores, distances = np.array([0.9, 0.4, 0.9, 0.1]), np.array([0.05, 0.05, 0.35, 0.9])
    # No lower: 4, 2, 4 and 0 of 4 scores; no nearer: 4, 4, 1 and 0 of 4 distances.
    assert usual.typical(scores, distances).tolist() == [1, 0.5, 0.25, 0]
    assert usual.far(scores, distances).tolist() == [False, False, True, False]


@given(st.integers(1, 60), st.floats(0.01, 0.99), st.booleans(), st.integers(0, 2**32 - 1))
@settings(max_examples=100, deadline=None)
def test_no_more_than_the_share_of_held_out_images_is_refused(
    count: int, share: float, ties: bool, seed: int
) -> None:
    random = np.random.default_rng(seed)
    scores, distances = random.random((2, count)).round(1 if ties else 9)
    usual = novelty(scores.tolist(), distances.tolist())
    if int(share * count) == 0:
        with pytest.raises(HeadError, match=r"expected --reject of at least .*%, one of the"):
            usual.bound(share)
        return
    refused = usual.typical(scores, distances) < usual.bound(share)
    assert refused.sum() <= share * count
    if not ties:  # the two shares differ by steps of one image: at most two images are alike
        assert refused.sum() >= int(share * count) - 1


def test_the_score_below_which_most_are_wrong() -> None:
    scores = np.linspace(0.05, 1, 20)
    right = scores > 0.42
    assert heads_doubt(scores, right) == pytest.approx(0.45)
    assert heads_doubt(scores, scores > 0.22) is None  # four images say too little
    assert heads_doubt(scores, np.ones(20, bool)) is None
    assert heads_doubt(scores, np.zeros(20, bool)) == 1


def heads_doubt(scores: np.ndarray, right: np.ndarray) -> float | None:
    codes = np.ones((len(scores), 2), np.float32)
    return Novelty.learned(scores, right, codes, codes).doubtful_below


def test_wide_codes_have_fewer_references() -> None:
    assert [most_references(width) for width in (64, 1280, 25088, 10**8)] == [1000, 1000, 167, 1]


def test_it_is_saved_with_a_head(heads: dict[HeadKind, Head], card: Card, tmp_path: Path) -> None:
    head = heads[HeadKind.svm]
    width = head.n_features_in_
    codes = np.random.default_rng(0).random((12, width), np.float32)
    usual = Novelty.learned(np.linspace(0, 1, 12), np.arange(12) > 7, codes, codes[::2])
    save(tmp_path / "h", head, replace(card, novelty=usual))
    again = load(tmp_path / "h").card.novelty
    assert again is not None
    assert again.doubtful_below == usual.doubtful_below
    assert again.distance(codes).tolist() == usual.distance(codes).tolist()
    other = Novelty.learned(usual.scores, usual.scores > 0, codes[:, 1:], codes[:, 1:])
    with pytest.raises(HeadDamaged, match="codes of training images of another width"):
        save(tmp_path / "h", head, replace(card, novelty=other))
    assert load(tmp_path / "h").card.novelty is not None


@pytest.mark.parametrize(
    "wrong",
    [
        {"scores": np.ones(3)},
        {"scores": np.ones((4, 1))},
        {"scores": np.ones(0), "distances": np.ones(0)},
        {"references": np.ones(2, np.float16)},
        {"references": np.ones((0, 2), np.float16)},
    ],
)
def test_arrays_that_belong_to_nothing_are_refused(wrong: dict[str, np.ndarray]) -> None:
    arrays = {**novelty([1, 2, 3, 4], [1, 2, 3, 4]).arrays(), **wrong}
    with pytest.raises(ValueError, match="expected"):
        Novelty.from_arrays({"doubtful_below": None}, arrays)
    with pytest.raises(ValueError, match="expected a score"):
        Novelty.from_arrays({"doubtful_below": "0.5"}, arrays)
    with pytest.raises(ValueError, match="and references"):
        Novelty.from_arrays({"doubtful_below": None}, {})
