"""Which layer, pooling and kind of head: all on the validation split, then the best tested once."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline import heads, report, store
from pipeline.common.choices import HeadKind, Pool, Split
from pipeline.common.errors import HeadError
from pipeline.common.files import make_folder
from pipeline.common.listener import SILENT, Listener
from pipeline.common.memory import memory_limit
from pipeline.flows import places
from pipeline.flows.candidates import Candidate, asked_of, best_head, rank
from pipeline.flows.fitting import save
from pipeline.stages.evaluate import Evaluation, evaluate


@dataclass(frozen=True, kw_only=True)
class Comparison(report.Tabled):
    """
    What `compare` found.

    Attributes
    ----------
    store : str
    candidates : tuple of Candidate
        Smallest log loss on validation first; of equals the more accurate one, then the one with
        fewer numbers per image.
    head : str
        Where the best head is.
    evaluation : Evaluation or None
        Its scores on the test split; None where the store has no labelled test images.
    seconds : float
    warnings : tuple of str
        What to know about these scores, or that there are none.
    """

    store: str
    candidates: tuple[Candidate, ...]
    head: str
    evaluation: Evaluation | None
    seconds: float
    warnings: tuple[str, ...] = ()

    def display(self) -> report.Display:
        """Say what a notebook shows."""
        tested = None if self.evaluation is None else self.evaluation.report.accuracy
        columns = ("layer", "pool", "kind", "dimensions", "val_accuracy", "val_loss", "seconds")
        return report.Display(
            title=f"{len(self.candidates)} heads on {self.store}, the smallest log loss first",
            facts={"the best head": self.head, "its accuracy on test": tested},
            notes=self.warnings,
            table=report.Table.of(self.candidates, *columns, "bytes", "reason"),
        )


def compare(
    store_path: str | Path,
    *,
    kinds: Sequence[HeadKind | str] = (),
    layers: Sequence[str] = (),
    pools: Sequence[Pool | str] = (),
    out: str | Path | None = None,
    report_out: str | Path | None = None,
    seed: int = 0,
    memory: str | int | None = None,
    listener: Listener = SILENT,
) -> Comparison:
    """
    Fit every kind of head on every cached layer; keep the best on validation and test it once.

    Only the winner meets the test split: to choose by test scores would make them too good. Where
    there are no labelled test images, it is chosen and not tested.

    Parameters
    ----------
    store_path : str or Path
        A store or a packed file; without validation images folds of the training images judge.
    kinds, layers, pools : sequence, optional
        Which ones; all by default.
    out : str or Path, optional
        The best head; by default ``artifacts/heads/<store>-best``.
    report_out : str or Path, optional
        The report's folder; by default that of `evaluate`.
    seed : int, default 0
        Decides everything random.
    memory : str or int, optional
        What the process may take; see `fit_head`.
    listener : Listener, optional
        Hears sentences, how many of the heads are fitted, and each `Candidate`.

    Returns
    -------
    Comparison

    Raises
    ------
    StoreError
        If the store is unfinished, damaged or lacks a layer.
    HeadError
        If there are too few classes, or nothing could be fitted.
    OutputError
        If the head cannot be written.
    """
    started = time.monotonic()
    opened = store.open_store(Path(store_path))
    folder = Path(out) if out is not None else places.best_head_of(opened)
    heads.check_target(folder)
    asked = list(asked_of(opened, kinds, layers, pools))
    if not len(asked[0][0].val):
        listener.tell(
            "note: no validation images: heads are judged by folds of the training images"
        )
    make_folder(folder.absolute().parent)
    candidates, best = best_head(asked, seed=seed, limit=memory_limit(memory), listener=listener)
    if best is None:
        raise HeadError(f"no head could be fitted: {candidates[0].reason}")
    save(folder, best.head, best.used)
    evaluation = None
    if len(store.rows_of(opened, Split.test)):
        evaluation = evaluate(folder, store_path, out=report_out, listener=listener)
    else:
        listener.tell(note := _untested(candidates))
    return Comparison(
        store=str(store_path),
        candidates=tuple(sorted(candidates, key=rank)),
        head=str(folder),
        evaluation=evaluation,
        seconds=round(time.monotonic() - started, 1),
        warnings=(note,) if evaluation is None else evaluation.warnings,
    )


def _untested(candidates: Sequence[Candidate]) -> str:
    """Say what the score of a winner is worth that no test images are left for."""
    note = "note: no labelled test images: the winner is not tested"
    count = sum(each.reason is None for each in candidates)
    if count < 2:
        return note
    return f"{note}; its score on validation is a little too good, for it was the best of {count}"
