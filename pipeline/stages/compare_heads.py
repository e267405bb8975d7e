"""Heads that are there already, scored on the same images."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline import report
from pipeline.common.choices import Split, choose
from pipeline.common.errors import HeadError
from pipeline.common.files import make_folder, write_durably, write_json
from pipeline.common.listener import SILENT, Listener
from pipeline.flows import places, tuned_heads
from pipeline.flows.evaluation import Scoring, scoring_of
from pipeline.flows.layers import open_stores
from pipeline.flows.thumbnails import thumbnails

_SHOWN = 300  # photos on the page
_MOST_BYTES = 4 << 20  # of small pictures


@dataclass(frozen=True, kw_only=True)
class HeadsComparison(report.Tabled):
    """
    What `compare_heads` found.

    Attributes
    ----------
    heads : tuple of str
    reports : tuple of Report
        Of each head, on the same images.
    pairs : tuple of HeadPair
        Every two of them.
    differing : int
        How many images they answer differently.
    warnings : tuple of str
        Why the scores are no test, if they are none; each begins with the name of the head.
    page : str
        Where ``heads.html`` is; ``heads.json`` is beside it.
    """

    heads: tuple[str, ...]
    reports: tuple[report.Report, ...]
    pairs: tuple[report.HeadPair, ...]
    differing: int
    warnings: tuple[str, ...]
    page: str

    def display(self) -> report.Display:
        """Say what a notebook shows."""
        named = zip(self.heads, self.reports, strict=True)
        scores = ("accuracy", "balanced_accuracy", "macro_f1")
        return report.Display(
            title=f"{len(self.heads)} heads on the same {self.reports[0].images:,} images",
            facts={"images on which they differ": self.differing, "page": self.page},
            notes=self.warnings,
            sentences=[pair.sentence for pair in self.pairs],
            table=report.Table(
                columns=("head", *scores),
                rows=tuple(
                    (head, *(getattr(each, name) for name in scores)) for head, each in named
                ),
            ),
        )


def compare_heads(
    heads: Sequence[str | Path],
    store_path: str | Path,
    *,
    split: Split | str = Split.test,
    out: str | Path | None = None,
    listener: Listener = SILENT,
) -> HeadsComparison:
    """
    Score several heads on the same images of a store, and say where they differ.

    Parameters
    ----------
    heads : sequence of str or Path
        At least two, made by `fit_head`; their codes may be of different layers of the store.
    store_path : str or Path
        A store or packed file.
    split : Split or str, default Split.test
    out : str or Path, optional
        A folder; by default ``artifacts/reports/<store>-heads``.
    listener : Listener, optional
        Hears sentences, how many heads are scored, and each `Report`.

    Returns
    -------
    HeadsComparison

    Raises
    ------
    HeadError
        If there are fewer than two, one is named twice, or one cannot be read.
    SpaceMismatch
        If one was fitted on codes of another space.
    """
    if len({Path(head).absolute() for head in heads}) < max(2, len(heads)):
        raise HeadError(f"expected two heads or more, each once, found {len(heads)}; name others")
    split = choose(Split, split, what="split")
    loaded = [tuned_heads.load(head) for head in heads]
    opened = open_stores(store_path)
    found: list[Scoring] = []
    for saved in loaded:
        found.append(scoring_of(saved, opened, split, views=False))
        listener.show(found[-1].report)
        listener.progress(len(found), len(heads))
    names = _names(heads)
    warnings = [
        f"{name}: {note}" for name, each in zip(names, found, strict=True) for note in each.notes
    ]
    for sentence in warnings:
        listener.tell(sentence)
    right = [each.scored.right for each in found]
    pairs = tuple(
        report.head_pair(names[i], names[j], (right[i], right[j]))
        for i, j in combinations(range(len(heads)), 2)
    )
    rows = report.differing_first(right, [_answers(each) for each in found])
    folder = Path(out) if out is not None else places.heads_of(opened)
    page = report.HeadsPage(
        title=f"{len(heads)} heads on {split.value} of {opened.location.name}",
        names=names,
        reports=[each.report for each in found],
        pairs=pairs,
        differing=_photos(found, rows[:_SHOWN]),
        count=len(rows),
        notes=warnings,
    )
    make_folder(folder)
    write_durably(folder / "heads.html", page.html().encode())
    result = HeadsComparison(
        heads=tuple(map(str, heads)),
        reports=tuple(page.reports),
        pairs=pairs,
        differing=len(rows),
        warnings=tuple(warnings),
        page=str(folder / "heads.html"),
    )
    reports = [each.report.to_json() for each in found]
    write_json(folder / "heads.json", asdict(result) | {"reports": reports})
    return result


def _names(heads: Sequence[str | Path]) -> list[str]:
    """Name heads by their folders, or by their paths where two folders have one name."""
    short = [Path(head).absolute().name for head in heads]
    return short if len(set(short)) == len(short) else [str(head) for head in heads]


def _answers(found: Scoring) -> NDArray[np.object_]:
    """Return the answers of a head by name: heads may have different classes."""
    return np.array(found.report.names, object)[found.scored.predicted]


def _photos(found: Sequence[Scoring], which: NDArray[np.int64]) -> list[report.Differing]:
    """Read the photos on which heads differ."""
    first = found[0]
    rows = first.rows[which]
    small = thumbnails(first.opened, rows, most_bytes=_MOST_BYTES)
    paths = first.opened.paths(rows)
    said = [(_answers(each), each.scored.best, each.scored.right) for each in found]
    return [
        report.Differing(
            path=os.fsdecode(path),
            true=first.report.names[first.scored.true[place]],
            answers=tuple(
                (str(names[place]), float(best[place]), bool(right[place]))
                for names, best, right in said
            ),
            image=small.images.get(int(row)),
        )
        for path, row, place in zip(paths, rows.tolist(), which.tolist(), strict=True)
    ]
