"""Accuracies of a head that learns from few images, and from more and more."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline import heads
from pipeline.common.errors import HeadError, counted
from pipeline.common.listener import Listener
from pipeline.flows.examples import REGULARISED, Examples, deviation
from pipeline.flows.kinds import Asked
from pipeline.report import CurvePoint

_STEPS = (1, 2, 5)


def points_of(
    everything: Examples,
    asked: Asked,
    seeds: Sequence[int],
    plan: heads.Plan,
    listener: Listener,
) -> Iterator[CurvePoint]:
    """Fit each size with each seed; all images are the same images for every seed."""
    train, val = everything.codes(plan)
    y, y_val, views = everything.y, everything.y_val, everything.views
    most = int(everything.counts.max())
    sizes = [*_sizes(most), most]
    done, total = 0, len(seeds) * (len(sizes) - 1) + 1
    for size in sizes:
        scores = []
        for seed in seeds if size < most else seeds[:1]:
            chosen = everything.choose(size, seed=seed)
            rows = (chosen[:, None] * views + np.arange(views)).ravel()
            own: dict[str, Any] = {"refit": False} if asked.kind in REGULARISED else {}
            own |= asked.parameters | {"widths": everything.widths, "room": plan.room}
            codes = train.take(rows)
            head = heads.build(asked.kind, seed=seed, **own)
            try:
                head.fit(codes, y[rows], X_val=val, y_val=y_val)
            except HeadError as error:
                if size == most:
                    raise
                each = counted(size, "image")
                listener.tell(
                    f"note: {asked.name} cannot be fitted to {each} of each class: {error}"
                )
                break
            assert val is not None  # noqa: S101 - without validation images nothing comes here
            scores.append((_accuracy(head, codes, y[rows]), _accuracy(head, val, y_val)))
            done += 1
            listener.progress(done, total)
        if not scores:
            continue
        learned, held_out = np.array(scores).T
        yield CurvePoint(
            images_per_class=size,
            images=len(chosen),
            seeds=len(scores),
            train_accuracy=float(learned.mean()),
            val_accuracy=float(held_out.mean()),
            val_deviation=deviation(held_out.tolist()),
        )


def _sizes(most: int) -> Iterator[int]:
    """Yield 1, 2, 5, 10, 20, 50, ... up to four fifths of the largest class."""
    power = 1
    while True:
        for step in _STEPS:
            if step * power > 0.8 * most:
                return
            yield step * power
        power *= 10


def _accuracy(head: heads.Head, codes: heads.CodeRows, y: NDArray[np.int64]) -> float:
    right = sum(
        int((head.predict(block) == y[positions]).sum()) for positions, block in codes.blocks()
    )
    return right / len(y)
