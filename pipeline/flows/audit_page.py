"""What the page of an audit shows: findings, with their photos where these still are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby

import numpy as np

from pipeline import report, store
from pipeline.flows.findings import Finding, Kind, named
from pipeline.flows.thumbnails import thumbnails

_EACH = 120  # findings of a kind
_MOST_BYTES = 7 << 20  # of small pictures
_ABOUT = {
    Kind.leak: "The same photo, or nearly, on both sides: scores on val or test are too good. The "
    "first one would go.",
    Kind.group: "Images that belong together on both sides: scores on val or test are too good.",
    Kind.label: "Heads that had not seen the image say something else. Ranked by the probability "
    "of the given label.",
    Kind.duplicate: "The same photo twice, or nearly. The first one would go.",
    Kind.constant: "Nothing is to be seen on these.",
    Kind.outlier: "Farther from all other images than is usual in their class.",
    Kind.small: "Too few images to learn from.",
    Kind.alike: "Held-out images of these are often taken for each other.",
    Kind.giveaway: "A head may learn this instead of what is on the photos.",
}


def page_of(
    opened: store.Store,
    findings: Sequence[Finding],
    counts: Mapping[str, int],
    *,
    notes: Sequence[str],
    facts: Mapping[str, str],
) -> report.AuditPage:
    """
    Gather what the page of an audit says.

    Parameters
    ----------
    opened : Store
    findings : sequence of Finding
        In the order of their kinds.
    counts : mapping of str to int
        How many there are of each kind.
    notes : sequence of str
        What was not looked at.
    facts : mapping of str to str
        What was looked at.

    Returns
    -------
    AuditPage
    """
    kinds = [(kind, list(some)[:_EACH]) for kind, some in groupby(findings, lambda f: f.kind)]
    shown = [each for _, some in kinds for each in some]
    rows = list(dict.fromkeys(row for each in shown for row in each.rows))
    small = thumbnails(opened, np.array(rows, np.int64), most_bytes=_MOST_BYTES)
    sections = tuple(
        report.AuditSection(
            title=kind.value,
            about=_ABOUT[kind],
            of=counts[kind.value],
            cards=tuple(_card(opened, each, small.images) for each in some),
        )
        for kind, some in kinds
    )
    return report.AuditPage(
        title=f"Audit of {store.name_of(opened)}",
        sections=sections,
        notes=(*notes, *(note for note in small.notes if rows and note not in notes)),
        facts=dict(facts),
    )


def _card(opened: store.Store, finding: Finding, pictures: Mapping[int, bytes]) -> report.AuditCard:
    (about,) = named(opened, [finding])
    photos = zip(finding.rows, about.paths, about.labels, about.splits, strict=True)
    return report.AuditCard(
        reason=about.reason,
        photos=tuple(
            report.AuditPhoto(path=path, label=label, split=split, jpeg=pictures.get(row))
            for row, path, label, split in photos
        ),
    )
