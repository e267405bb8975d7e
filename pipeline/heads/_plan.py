"""What fitting a head takes in memory, said before anything is loaded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from pipeline.choices import HeadKind
from pipeline.errors import ResourceError
from pipeline.files import in_words
from pipeline.heads._calibration import SCORES
from pipeline.heads._codes import BLOCK_ROWS
from pipeline.heads._config import MlpConfig
from pipeline.heads._kinds import KINDS
from pipeline.heads._linear import FOLDS, LinearHead
from pipeline.heads._ridge import LARGEST, RidgeHead
from pipeline.heads._solver import BYTES_PER_SCORE, BYTES_PER_WEIGHT, SCORED_AT_ONCE, threads

# Measured: what TensorFlow takes once an MLP has been built, scikit-learn for the folds, and SciPy
# for the calibration.
_TENSORFLOW = 520 << 20
# What its convolutions take while they learn, beside what they compute.
_TRAINING = 256 << 20
_LIBRARIES = 60 << 20
# What reading takes: a shard as bytes and as codes, some of its rows, and the next ones.
_READING = 96 << 20
# Batches on their way to TensorFlow: parts of 16 MB, in its hands and in ours.
_HANDING = 8 * (16 << 20)
_MODELS_AT_ONCE = 512 << 20


@dataclass(frozen=True, kw_only=True)
class Size:
    """
    How much there is to learn.

    Attributes
    ----------
    train, val : int
        Rows of codes; each view is one.
    width : int
        Numbers per row.
    classes : int
    """

    train: int
    val: int
    width: int
    classes: int

    @property
    def codes(self) -> int:
        """Bytes of all codes."""
        return 4 * (self.train + self.val) * self.width


@dataclass(frozen=True, kw_only=True)
class Plan:
    """
    How a head is fitted.

    Attributes
    ----------
    in_memory : bool
        Whether the codes are loaded once, or those of the training rows read in every pass.
    val_in_memory : bool
        Whether those of the validation rows are loaded: they lie scattered over the store, so that
        reading them alone is reading nearly everything.
    bytes : int
        What the process will take at its peak.
    codes : int
        Bytes of all codes.
    limit : int
        What it may take.
    room : int
        Bytes that the head may use beside the codes, see `LinearHead` and `MlpHead`.
    """

    in_memory: bool
    val_in_memory: bool
    bytes: int
    codes: int
    limit: int
    room: int

    def __str__(self) -> str:
        where = "in memory" if self.in_memory else "read anew in every pass"
        return (
            f"memory: about {in_words(self.bytes)} of {in_words(self.limit)}; the codes, "
            f"{in_words(self.codes)}, are {where}"
        )


def plan(
    kind: HeadKind,
    size: Size,
    *,
    limit: int,
    resident: int,
    values: int | None = None,
    config: MlpConfig | None = None,
) -> Plan:
    """
    Decide whether the codes are loaded or read in every pass, and what a head may use.

    Parameters
    ----------
    kind : HeadKind
    size : Size
    limit : int
        Bytes that the process may take.
    resident : int
        Bytes that it has taken already.
    values : int, optional
        How many values of C are tried; by default the whole grid of the kind.
    config : MlpConfig, optional
        Of an MLP.

    Returns
    -------
    Plan

    Raises
    ------
    ResourceError
        If the head cannot be fitted within the limit.
    """
    asked = _Asked(kind, size, values, config or MlpConfig())
    found = _first_that_fits(
        lambda free, in_memory: _needs(asked, free, in_memory=in_memory),
        size,
        limit=limit,
        resident=resident,
    )
    if isinstance(found, Plan):
        return found
    raise ResourceError(
        f"expected to fit the {kind.value} head within {in_words(limit)}, found that it takes "
        f"{in_words(found)} for {size.train + size.val} x {size.width} codes; allow more "
        "with --memory, or choose --kind centroid, or --pool avg for maps"
    )


def plan_tuning(
    size: Size, *, weights: int, batch: int, limit: int, resident: int, read: bool
) -> Plan:
    """
    Decide the same for training layers below a head with it.

    Parameters
    ----------
    size : Size
        Of the codes from below the layers.
    weights : int
        Bytes of all weights that are trained.
    batch : int
        Bytes of everything that the layers compute of one batch.
    limit, resident
        As for `plan`.
    read : bool
        Whether the training codes must be read in every pass, since no two are alike.

    Returns
    -------
    Plan

    Raises
    ------
    ResourceError
        If there is not enough memory.
    """
    # Weights, gradients, two moments, the best and what is written down; what a batch computes
    # going forward is kept for going back. TensorFlow is there already: the layers are built.
    fixed = _TRAINING + 8 * weights + batch + batch // 10 + _HANDING

    def needs(free: int, in_memory: bool) -> tuple[int, int]:
        if in_memory:
            return fixed, 0
        room = min(4 * size.train * size.width, max(64 << 20, (free - fixed) // 4))
        return fixed + room, room

    found = _first_that_fits(needs, size, limit=limit, resident=resident, read=read)
    if isinstance(found, Plan):
        return found
    raise ResourceError(
        f"expected to fine-tune within {in_words(limit)}, found that it takes {in_words(found)}; "
        "allow more with --memory, start from a later layer, or take a smaller --batch-size"
    )


def _first_that_fits(
    needs: Callable[[int, bool], tuple[int, int]],
    size: Size,
    *,
    limit: int,
    resident: int,
    read: bool = False,
) -> Plan | int:
    """Load all codes, or those of the validation rows, or none; else return the bytes it takes."""
    # Held-out scores: those of a block, and what is learned from: kept, ordered, aimed at, centred
    # and tried.
    held_out = (size.val or size.train) * size.classes
    scores = 32 * min(BLOCK_ROWS * size.classes, held_out) + 5 * 8 * min(SCORES, held_out)
    base, totals = resident + _LIBRARIES + scores, []
    val = 4 * size.val * size.width
    for in_memory, loaded in ((True, size.codes), (False, val), (False, 0))[read:]:
        # Codes in memory have been read when fitting begins.
        reading = 0 if in_memory else _READING
        own, room = needs(limit - base - reading - loaded, in_memory)
        totals.append(base + loaded + (max(own, _READING) if in_memory else reading + own))
        if totals[-1] <= limit:
            return Plan(
                in_memory=in_memory,
                val_in_memory=loaded > 0,
                bytes=totals[-1],
                codes=size.codes,
                limit=limit,
                room=room,
            )
    return min(totals)


class _Asked(NamedTuple):
    """What is to be fitted."""

    kind: HeadKind
    size: Size
    values: int | None
    config: MlpConfig


def _needs(asked: _Asked, free: int, *, in_memory: bool) -> tuple[int, int]:
    """Return what a head takes beside codes in memory, and what of it is its room."""
    kind, size = asked.kind, asked.size
    if kind is HeadKind.mlp:
        return _mlp(size, asked.config, free, in_memory=in_memory)
    if kind is HeadKind.knn:
        # Its own copy of the codes, and three of that while it is saved and compared.
        return 4 * (4 * size.train * size.width), 0
    if kind is HeadKind.centroid:
        return 32 * size.classes * size.width, 0
    closed = _closed(kind, size, in_memory=in_memory)
    return (closed, 0) if closed is not None else _descent(asked, free)


def _closed(kind: HeadKind, size: Size, *, in_memory: bool) -> int | None:
    """Return what the closed form of ridge takes; None where there is none."""
    rows = size.train + size.val
    edge = min(rows, size.width)
    if kind is not HeadKind.ridge or edge > LARGEST or (rows < size.width and not in_memory):
        return None
    parts = 1 + (1 if size.val else FOLDS)
    blocks = 4 * 8 * BLOCK_ROWS * size.width if rows > size.width else 8 * rows * size.width
    grid = len(RidgeHead.C_GRID)
    # Targets and products of each part, what is solved for each C, and scores of one at a time.
    of_classes = 8 * size.classes * ((parts + 3 * grid) * (size.width + 1) + 2 * BLOCK_ROWS)
    scoring = max(SCORED_AT_ONCE, threads() * BYTES_PER_SCORE * BLOCK_ROWS * size.classes)
    scoring = min(scoring, grid * threads() * BYTES_PER_SCORE * BLOCK_ROWS * size.classes)
    return (parts + 6) * 8 * edge**2 + blocks + of_classes + scoring


def _descent(asked: _Asked, free: int) -> tuple[int, int]:
    """Return what all models at once take, or as many as there is room for."""
    size, head = asked.size, KINDS[asked.kind]
    assert issubclass(head, LinearHead)  # noqa: S101 - the other kinds do not descend
    models = (asked.values or len(head.C_GRID)) * (1 if size.val else FOLDS)
    weights = size.classes * (size.width + 1)
    # In every thread: a gradient, and of a block scores, losses, slopes and signs.
    one = threads() * (4 * weights + BYTES_PER_SCORE * BLOCK_ROWS * size.classes)
    kept = 3 * 8 * models * weights
    trials = 1 if size.val else FOLDS
    room = max(trials, min(models, _MODELS_AT_ONCE // (weights * BYTES_PER_WEIGHT)))
    while room > trials and room * (weights * BYTES_PER_WEIGHT + one) + kept > free:
        room -= 1
    of_models = weights * BYTES_PER_WEIGHT
    return room * (of_models + one) + kept, room * of_models


def _mlp(size: Size, config: MlpConfig, free: int, *, in_memory: bool) -> tuple[int, int]:
    """Return what training takes: weights, gradients, moments, the best so far, and a pool."""
    widths = (size.width, *config.hidden, size.classes)
    weights = sum((a + 1) * b for a, b in pairwise(widths))
    # Validation shows the network batches of 1024, twice while they are scaled.
    fixed = _TENSORFLOW + 8 * 4 * weights + _HANDING + 3 * 4 * 1024 * size.width
    if in_memory:
        return fixed, 0
    room = min(4 * size.train * size.width, max(64 << 20, (free - fixed) // 2))
    return fixed + room, room
