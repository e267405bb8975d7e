"""What fitting a head takes in memory, said before anything is loaded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from pipeline.common.choices import HeadKind, OtherKind
from pipeline.common.errors import ResourceError
from pipeline.common.files import in_words
from pipeline.heads._calibration import SCORES
from pipeline.heads._codes import BLOCK_ROWS, block_rows
from pipeline.heads._config import MlpConfig
from pipeline.heads._folds import FOLDS

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
# Of each weight: what L-BFGS remembers (SciPy keeps ten pairs), and what averaged SGD does.
_LBFGS, _SGD = 30 * 8, 3 * 8
# Values of C that are tried at once.
_TRIED = 2
# liblinear makes a pair of an index and a number of every code that is not 0, in every fit.
_LIBLINEAR = 16


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
    jobs : int
        Fits at the same time.
    """

    in_memory: bool
    val_in_memory: bool
    bytes: int
    codes: int
    limit: int
    room: int
    jobs: int = 1

    def __str__(self) -> str:
        where = "in memory" if self.in_memory else "read anew in every pass"
        return (
            f"memory: about {in_words(self.bytes)} of {in_words(self.limit)}; the codes, "
            f"{in_words(self.codes)}, are {where}"
        )


def plan(
    kind: HeadKind | OtherKind,
    size: Size,
    *,
    limit: int,
    resident: int,
    config: MlpConfig | None = None,
    jobs: int | None = None,
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
    config : MlpConfig, optional
        Of an MLP.
    jobs : int, optional
        Fits at the same time; by default one for each processor, fewer where memory is short.

    Returns
    -------
    Plan

    Raises
    ------
    ResourceError
        If the head cannot be fitted within the limit.
    """
    from joblib import cpu_count

    asked = _Asked(kind, size, config or MlpConfig(), jobs or cpu_count())
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

    def needs(free: int, in_memory: bool) -> _Needs | None:
        if in_memory:
            return _Needs(fixed)
        room = min(4 * size.train * size.width, max(64 << 20, (free - fixed) // 4))
        return _Needs(fixed + room, room=room)

    found = _first_that_fits(needs, size, limit=limit, resident=resident, read=read)
    if isinstance(found, Plan):
        return found
    raise ResourceError(
        f"expected to fine-tune within {in_words(limit)}, found that it takes {in_words(found)}; "
        "allow more with --memory, start from a later layer, or take a smaller --batch-size"
    )


def _first_that_fits(
    needs: Callable[[int, bool], _Needs | None],
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
        found = needs(limit - base - reading - loaded, in_memory)
        if found is None:
            continue
        own = found.bytes
        totals.append(base + loaded + (max(own, _READING) if in_memory else reading + own))
        if totals[-1] <= limit:
            return Plan(
                in_memory=in_memory,
                val_in_memory=loaded > 0,
                bytes=totals[-1],
                codes=size.codes,
                limit=limit,
                room=found.room,
                jobs=found.jobs,
            )
    return min(totals)


class _Needs(NamedTuple):
    """What a head takes beside its codes, what of it is its room, and the fits at a time."""

    bytes: int
    room: int = 0
    jobs: int = 1


class _Asked(NamedTuple):
    """What is to be fitted."""

    kind: HeadKind | OtherKind
    size: Size
    config: MlpConfig
    jobs: int


def _needs(asked: _Asked, free: int, *, in_memory: bool) -> _Needs | None:
    """Return what a head takes beside codes in memory; None where it cannot be fitted so."""
    kind, size = asked.kind, asked.size
    everything = 4 * (size.train + size.val) * size.width
    if kind is HeadKind.mlp:
        return _mlp(size, asked.config, free, in_memory=in_memory)
    if kind is OtherKind.sklearn:
        # Codes as one array, and what a scaler and a classifier make of them.
        return _Needs(5 * everything) if in_memory else None
    if kind is HeadKind.knn:
        # Its own copy of the codes, and three of that while it is saved and compared.
        return _Needs(4 * (4 * size.train * size.width))
    if kind is HeadKind.centroid:
        # Directions in 32 bits, and in 64 what they are apart from their centres, squared.
        return _Needs(32 * size.classes * size.width + (5 * everything if in_memory else 0))
    if not in_memory:
        return None if kind is HeadKind.ridge else _streamed(asked, free)
    return _loaded(asked, free)


def _loaded(asked: _Asked, free: int) -> _Needs:
    """Return what a linear head takes in memory: scaled codes, and what its solver makes."""
    kind, size = asked.kind, asked.size
    count, edge = size.train + size.val, min(size.train + size.val, size.width)
    parts = 1 if size.val else FOLDS
    # Blocks on their way through the scaler, and scores.
    blocks = block_rows(size.width) * (3 * 8 * size.width + 8 * 8 * size.classes)
    scaled = (8 if kind is HeadKind.svm else 4) * count * size.width
    if kind is HeadKind.softmax:
        own = _LBFGS * (size.width + 1) * size.classes + 16 * count * size.classes
        return _Needs(blocks + scaled * (2 if parts > 1 else 1) + own)
    if kind is HeadKind.svm:
        one = _LIBLINEAR * count * size.width + (scaled if parts > 1 else 0)
    else:
        one = 2 * scaled + 3 * 4 * edge**2
    jobs = min(asked.jobs, _TRIED * parts) if kind is HeadKind.svm else 1
    # Processes share one more copy of the scaled codes.
    shared = scaled if jobs > 1 else 0
    while jobs > 1 and blocks + scaled + shared + jobs * one > free:
        jobs -= 1
        shared = scaled if jobs > 1 else 0
    return _Needs(blocks + scaled + shared + jobs * one, jobs=jobs)


def _streamed(asked: _Asked, free: int) -> _Needs:
    """Return what averaged SGD takes: models, blocks, and rows that wait to be drawn."""
    size = asked.size
    models = _TRIED * (1 if size.val else FOLDS)
    fixed = models * _SGD * size.classes * (size.width + 1)
    fixed += block_rows(size.width) * (3 * 8 * size.width + 8 * 8 * size.classes)
    room = min(4 * size.train * size.width, max(64 << 20, (free - fixed) // 2))
    return _Needs(fixed + room, room=room, jobs=asked.jobs)


def _mlp(size: Size, config: MlpConfig, free: int, *, in_memory: bool) -> _Needs:
    """Return what training takes: weights, gradients, moments, the best so far, and a pool."""
    widths = (size.width, *config.hidden, size.classes)
    weights = sum((a + 1) * b for a, b in pairwise(widths))
    # Validation shows the network batches of 1024, twice while they are scaled.
    fixed = _TENSORFLOW + 8 * 4 * weights + _HANDING + 3 * 4 * 1024 * size.width
    if in_memory:
        return _Needs(fixed)
    room = min(4 * size.train * size.width, max(64 << 20, (free - fixed) // 2))
    return _Needs(fixed + room, room=room)
