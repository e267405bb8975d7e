"""What a head says of photos, one after the other, and the table of it."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from pipeline import backbones, heads, images
from pipeline.common.choices import Resize
from pipeline.common.errors import OutputError
from pipeline.common.files import check_place, csv_text, replacing
from pipeline.flows.classifier import space_of
from pipeline.flows.computing import BatchCodes, computed
from pipeline.flows.extraction import WORKERS
from pipeline.flows.influence import first_bytes
from pipeline.flows.novelty import UNKNOWN, Refusal
from pipeline.flows.tuned_heads import mean_of_views

_CHUNK = 32  # images that the head scores at a time


class PhotoOptions(TypedDict, total=False):
    """
    How photos are read and computed; every option may be left out.

    Attributes
    ----------
    weights : str
        The backbone's weights, if they are no longer where they were.
    views : bool
        Whether to average the scores over the views that the head's store has of each image.
    follow_links : bool
        Whether to read what links in a folder lead to outside of it.
    """

    weights: str | None
    views: bool
    follow_links: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Prediction:
    """
    What the head says of one image.

    Attributes
    ----------
    path : str
    label : str or None
        The best class; None for an image that could not be used.
    score : float or None
        Its score.
    top : tuple of (str, float)
        The best classes with their scores, best first.
    reason : str or None
        Why there is no answer.
    seen : bool
        Whether the image had a part in the head: its answer says little about new photos.
    scores : tuple of float
        Of all classes, in the head's order, where they are asked for.
    unknown : str or None
        Why `label` is ``"unknown"`` and not the best class.
    """

    path: str
    label: str | None
    score: float | None
    top: tuple[tuple[str, float], ...]
    reason: str | None
    seen: bool = False
    scores: tuple[float, ...] = ()
    unknown: str | None = None


def answers(
    saved: heads.SavedHead,
    network: backbones.Computes | None,
    found: images.Source,
    *,
    top: int,
    views: images.Views,
    every_score: bool,
    digests: list[bytes],
    refusal: Refusal | None = None,
) -> Iterator[Prediction]:
    """Yield one prediction for each image, in order, a chunk at a time; keep their hashes."""
    space = space_of(saved)
    stream = images.stream(
        found,
        range(len(found)),
        size=space.size,
        resize=Resize(space.resize),
        workers=WORKERS,
        views=views,
        policy=images.policy_of(space.to_json()),
    )
    with closing(stream):
        results: Iterator[tuple[images.Loaded, BatchCodes | None]] = (
            _pixels(stream)
            if network is None
            else ((each, codes) for each, codes, _ in computed(stream, network=lambda: network))
        )
        while chunk := list(islice(results, _CHUNK)):
            digests += [loaded.sha256 for loaded, _ in chunk if loaded.sha256 is not None]
            answer = functools.partial(_answer, saved, found, refusal=refusal)
            yield from answer(chunk, top=top, every_score=every_score)


def _pixels(
    stream: Iterable[images.Loaded],
) -> Iterator[tuple[images.Loaded, BatchCodes | None]]:
    """Hand on the pixels themselves, where all layers are fine-tuned."""
    for loaded in stream:
        pixels = loaded.pixels
        codes = None if pixels is None else {backbones.INPUT: pixels.astype(np.float32)}
        yield loaded, codes


def _answer(
    saved: heads.SavedHead,
    found: images.Source,
    chunk: Sequence[tuple[images.Loaded, BatchCodes | None]],
    *,
    top: int,
    every_score: bool,
    refusal: Refusal | None,
) -> Iterator[Prediction]:
    """Classify some images by their codes."""
    card = saved.card
    rows = [codes for _, codes in chunk if codes is not None]
    scores: Iterator[NDArray[np.floating]] = iter(())
    unknown: Iterator[str | None] = iter(())
    if rows:
        taken = card.take({name: np.stack([row[name] for row in rows]) for name in card.layers})
        vectors = saved.vectors(taken.reshape(-1, *card.taken))
        each = mean_of_views(saved.head.as_scores(saved.head.decision(vectors)), len(rows))
        scores, unknown = iter(each), iter([None] * len(rows))
        if refusal is not None:
            distances = mean_of_views(refusal.novelty.distance(vectors), len(rows))
            unknown = iter(refusal.why(each.max(axis=1), distances))
    digests = first_bytes(loaded.sha256 or b"" for loaded, _ in chunk)
    known = card.fitted_on(digests) | card.judged_by(digests)
    for (loaded, codes), seen in zip(chunk, known.tolist(), strict=True):
        path = os.fsdecode(found.paths[loaded.row])
        if codes is None:
            yield Prediction(path=path, label=None, score=None, top=(), reason=loaded.reason)
            continue
        row, why = next(scores), next(unknown)
        best = [(card.classes[i], float(row[i])) for i in np.argsort(-row, kind="stable")[:top]]
        yield Prediction(
            path=path,
            label=best[0][0] if why is None else UNKNOWN,
            score=best[0][1],
            top=tuple(best),
            reason=None,
            seen=seen,
            scores=tuple(row.tolist()) if every_score else (),
            unknown=why,
        )


def doubtful_of(saved: heads.SavedHead, predictions: Sequence[Prediction]) -> int:
    """Count the answers with scores below which most held-out images were wrong."""
    below = None if saved.card.novelty is None else saved.card.novelty.doubtful_below
    answered = [each.score for each in predictions if each.unknown is None]
    return 0 if below is None else sum(score is not None and score < below for score in answered)


def check_file(path: Path, *, what: str, suffix: str) -> None:
    """See beforehand that a file can be written, and that it replaces nothing but its like."""
    if not path.absolute().parent.is_dir():
        raise OutputError(f"expected a folder for the {what}, found none at {path.parent}")
    if path.exists() and not (path.is_file() and path.suffix.lower() == suffix):
        raise OutputError(
            f"expected a new file or a {suffix} to replace, found {path}; name another"
        )
    check_place(path)


def write_csv(
    path: Path,
    predictions: Sequence[Prediction],
    *,
    top: int,
    classes: Sequence[str] | None,
    refused: bool = False,
) -> None:
    """
    Write a line for each image; paths keep the bytes that they have on disk.

    Parameters
    ----------
    path : Path
    predictions : sequence of Prediction
    top : int
        How many classes are named, each with its score.
    classes : sequence of str or None
        All classes, where the scores of all are wanted in place of the further names.
    refused : bool, default False
        Whether images may be unknown: two more columns say the best class even so, and why.
    """
    named = 1 if classes is not None else top
    header = ["path", "label", "score"]
    header += [f"{name}_{place}" for place in range(2, named + 1) for name in ("label", "score")]
    header += [f"score of {name}" for name in classes or ()]
    more = ["best", "unknown"] * refused
    rows: list[list[object]] = [[*header, "reason", "seen", *more]]
    for prediction in predictions:
        answers = [cell for answer in prediction.top[:named] for cell in answer]
        if prediction.unknown is not None:
            answers[0] = UNKNOWN
        cells = [*answers, *prediction.scores]
        cells += [""] * (len(header) - 1 - len(cells))
        seen = "yes" if prediction.seen else ""
        best = prediction.top[0][0] if prediction.top else ""
        more = [best, prediction.unknown or ""] if refused else []
        rows.append([prediction.path, *cells, prediction.reason or "", seen, *more])
    with replacing(path) as file:
        file.write(csv_text(rows).encode("utf-8", "surrogateescape"))
