"""What is wrong with the data of a store, from its cached codes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline import report, store
from pipeline._version import __version__
from pipeline.common.errors import StoreError
from pipeline.common.files import command_line, make_folder, write_durably, write_json
from pipeline.common.listener import SILENT, Listener
from pipeline.flows import audit_fix, places
from pipeline.flows.audit_page import page_of
from pipeline.flows.audited import audited
from pipeline.flows.duplicates import Neighbours, duplicates, group_leaks
from pipeline.flows.findings import Finding, Kind, Named, named
from pipeline.flows.giveaways import MOST_LOOKED_AT, constant, giveaways, looks
from pipeline.flows.originals import spread
from pipeline.flows.outliers import outliers, small_classes
from pipeline.flows.wrong_labels import Judged, classes_alike, judge, wrong_labels

_MOST_KEPT = 1000  # findings of a kind


@dataclass(frozen=True, kw_only=True)
class Audit(report.Tabled):
    """
    What `audit` found.

    Attributes
    ----------
    store, out : str
        What was looked at, and where the findings are.
    images, compared : int
        With codes; of these, whose codes were compared.
    counts : dict of str to int
        How many findings there are of each kind.
    findings : tuple of Named
        Pairs across splits first, then likely wrong labels, then the rest; of each kind the worst
        first, and no more than 1000.
    notes : tuple of str
        What was not looked at, and why.
    page : str or None
        Where ``audit.html`` is.
    fix : str or None
        Where the manifest is.
    kept : int or None
        How many images it names.
    left_out : dict of str to int
        How many it does not name, for each reason.
    """

    store: str
    out: str
    images: int
    compared: int
    counts: dict[str, int]
    findings: tuple[Named, ...]
    notes: tuple[str, ...]
    page: str | None = None
    fix: str | None = None
    kept: int | None = None
    left_out: dict[str, int]

    def display(self) -> report.Display:
        """Say what a notebook shows."""
        return report.Display(
            title=f"{sum(self.counts.values())} findings among {self.compared:,} images",
            facts={**self.counts, "page": self.page, "manifest": self.fix},
            notes=self.notes,
            table=report.Table.of(self.findings, "kind", "reason", "number", "paths", "labels"),
        )


def audit(
    store_path: str | Path,
    *,
    layer: str | Sequence[str] | None = None,
    out: str | Path | None = None,
    page: bool = True,
    fix: str | Path | None = None,
    seed: int = 0,
    listener: Listener = SILENT,
) -> Audit:
    """
    Find duplicates, wrong labels, outliers, and what gives the class away.

    Writes ``audit.json``, and ``audit.html`` with the photos. Nothing is computed by a backbone;
    photos are opened where they still are, to be shown and to see which are of one colour.

    Parameters
    ----------
    store_path : str or Path
        A store or a packed file.
    layer : str or sequence of str, optional
        Which codes; by default the first layer.
    out : str or Path, optional
        The folder of the findings; by default ``artifacts/reports/<store>-audit``.
    page : bool, default True
        Whether to write ``audit.html``.
    fix : str or Path, optional
        A CSV to be written that `extract` takes: all images but one of each pair, those whose
        label is almost surely wrong, and those of one colour.
    seed : int, default 0
        Of the folds.
    listener : Listener, optional
        Hears sentences for the user.

    Returns
    -------
    Audit

    Raises
    ------
    StoreError
        If the store is unfinished, damaged, lacks a layer or has no codes; with `fix`, if it does
        not say where its photos are.
    OutputError
        If the findings cannot be written.
    """
    if not isinstance(store_path, str | Path):
        raise StoreError("expected one store, found several; audit each by itself")
    opened = store.open_store(Path(store_path))
    if fix is not None:
        audit_fix.check_fixable(opened, Path(fix))
    folder = places.audit_of(opened) if out is None else Path(out)
    looked_at = audited(opened, layer)
    listener.tell(f"comparing {len(looked_at.rows)} images of {opened.location}")
    near = Neighbours(looked_at, listener.progress)
    twice = duplicates(looked_at, near)
    judged = judge(looked_at, near, seed=seed, progress=listener.progress)
    far = outliers(looked_at, near)
    seen = looks(opened, _to_open(opened, [*twice, *far]), listener.progress)
    findings = [*twice, *group_leaks(opened), *far, *small_classes(opened)]
    findings += [*constant(seen.found), *giveaways(opened, seen.found)]
    notes = [*looked_at.notes, *seen.notes]
    if isinstance(judged, Judged):
        findings += [*wrong_labels(looked_at, judged), *classes_alike(judged)]
        notes += judged.notes
    else:
        notes += judged
    ranked = _ranked(findings)
    gone = {} if fix is None else audit_fix.left_out(findings)
    kept = None if fix is None else audit_fix.write_manifest(Path(fix), opened, gone)
    result = Audit(
        store=str(store_path),
        out=str(folder),
        images=int(opened.usable.sum()),
        compared=len(looked_at.rows),
        counts={kind.value: len(some) for kind, some in ranked.items()},
        findings=named(opened, _first(ranked)),
        notes=tuple(notes),
        page=str(folder / "audit.html") if page else None,
        fix=None if fix is None else str(fix),
        kept=kept,
        left_out=audit_fix.counts_of(gone),
    )
    make_folder(folder)
    if page:
        facts = {
            "command": command_line(["pipeline", "audit", str(store_path)]),
            "images": f"{result.compared} of {result.images} compared by their codes",
            "near duplicates": f"cosine of at least {1 - near.limit:.4f}",
            "version": __version__,
        }
        shown = page_of(opened, _first(ranked), result.counts, notes=notes, facts=facts)
        write_durably(folder / "audit.html", shown.html().encode())
    else:
        (folder / "audit.html").unlink(missing_ok=True)  # it would be of other findings
    write_json(folder / "audit.json", asdict(result))
    return result


def _to_open(opened: store.Store, findings: Sequence[Finding]) -> NDArray[np.int64]:
    """Choose photos to open: those that were found, and others from all over."""
    usable = np.flatnonzero(opened.usable)
    first = [row for each in findings for row in each.rows][:MOST_LOOKED_AT]
    return np.unique(np.concatenate([np.array(first, np.int64), spread(usable, MOST_LOOKED_AT)]))


def _ranked(findings: Sequence[Finding]) -> dict[Kind, list[Finding]]:
    """Put findings in the order of their kinds; within a kind they are in order."""
    ranked = {kind: [each for each in findings if each.kind is kind] for kind in Kind}
    return {kind: some for kind, some in ranked.items() if some}


def _first(ranked: dict[Kind, list[Finding]]) -> list[Finding]:
    return [each for some in ranked.values() for each in some[:_MOST_KEPT]]
