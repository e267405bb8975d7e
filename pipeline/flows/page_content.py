"""What the page of a report shows beside numbers: photos, their neighbours, a map, and facts."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib import metadata

import numpy as np
from numpy.typing import NDArray

from pipeline import heads, report, store
from pipeline._version import __version__
from pipeline.common.choices import Split
from pipeline.common.files import command_line
from pipeline.flows import tuned_heads
from pipeline.flows.command import extract_command
from pipeline.flows.evaluation import Scoring
from pipeline.flows.layers import named
from pipeline.flows.originals import spread
from pipeline.flows.thumbnails import thumbnails

_EACH_WRONG, _EACH_RIGHT = 24, 12  # photos of a cell of the matrix
_MOST_PHOTOS = 4000  # on a page
_MOST_BYTES = 7 << 20  # of small pictures; a third more in base64
_QUERIES, _NEIGHBOURS = 200, 3  # wrong photos with neighbours, and how many each has
_DOTS = 1500
_MOST_MAPPED = 256 << 20  # bytes of codes for the map


def page_of(found: Scoring, *, options: Sequence[str]) -> report.Page:
    """
    Gather what the page of a report says.

    Parameters
    ----------
    found : Scoring
    options : sequence of str
        Of `pipeline evaluate`, behind head and store.

    Returns
    -------
    Page
    """
    head = found.saved.head
    charts = report.curve_svgs(found.scored, found.report)
    if head.history_:
        charts["Training"] = report.history_svg(
            head.history_, kept=head.parameters.get("best_epoch")
        )
    return report.Page(
        title=found.title,
        report=found.report,
        notes=found.notes,
        charts=charts,
        facts=_facts(found.saved, found.opened, options),
        photos=_photos(found),
    )


def _photos(found: Scoring) -> report.PagePhotos:
    """Choose the photos of a page, and read them again."""
    saved, opened, rows, scored = found.saved, found.opened, found.rows, found.scored
    best = scored.best
    places = report.shown_of(
        found.report,
        scored.true,
        scored.predicted,
        best,
        each_wrong=_EACH_WRONG,
        each_right=_EACH_RIGHT,
        most=_MOST_PHOTOS,
    )
    dots, dots_by, mapped = _map(saved, opened, rows)
    wrong = places[~scored.right[places]][:_QUERIES]
    training, near = _neighbours(saved, opened, rows[wrong])
    more = mapped[~np.isin(mapped, places)]
    shown = np.concatenate([places, more])
    wanted = np.concatenate([rows[places], training, rows[more]])
    small = thumbnails(opened, wanted, most_bytes=_MOST_BYTES)
    files = {row: number for number, row in enumerate(small.images)}

    def texts(which: NDArray[np.int64]) -> list[str]:
        return [os.fsdecode(path) for path in opened.paths(which)]

    photos = [
        report.Photo(
            path=path,
            true=int(scored.true[place]),
            predicted=int(scored.predicted[place]),
            score=float(best[place]),
            image=files.get(int(rows[place])),
            neighbours=near.get(int(rows[place]), ()),
        )
        for path, place in zip(texts(rows[shown]), shown.tolist(), strict=True)
    ]
    names = {name: number for number, name in enumerate(found.report.names)}
    labels = [names[opened.classes[label]] for label in opened.labels[training]]
    known = [
        report.Photo(path=path, true=label, predicted=label, score=1.0, image=files.get(int(row)))
        for path, label, row in zip(texts(training), labels, training.tolist(), strict=True)
    ]
    at = {int(place): number for number, place in enumerate(shown.tolist())}
    return report.PagePhotos(
        photos=tuple(photos),
        training=tuple(known),
        images=tuple(small.images.values()),
        dots=tuple((x, y, at[place]) for (x, y), place in zip(dots, mapped.tolist(), strict=True)),
        dots_by=dots_by,
        notes=small.notes,
    )


def _neighbours(
    saved: heads.SavedHead, opened: store.Store, wrong: NDArray[np.int64]
) -> tuple[NDArray[np.int64], dict[int, tuple[tuple[int, float], ...]]]:
    """Find the training images whose codes point most nearly in the same direction."""
    known = store.rows_of(opened, Split.train)
    labels = set(saved.card.classes)
    known = known[[opened.classes[label] in labels for label in opened.labels[known]]]
    if not len(wrong) or not len(known) or saved.tuned is not None:
        return np.empty(0, np.int64), {}
    queries = heads.units(tuned_heads.vectors(saved, opened, wrong))
    alike = np.full((len(wrong), _NEIGHBOURS), -np.inf, np.float32)
    which = np.zeros((len(wrong), _NEIGHBOURS), np.int64)
    for positions, codes in tuned_heads.blocks(saved.card, opened, known, views=False):
        cosines = queries @ heads.units(heads.pool(codes, saved.card.pooling)).T
        both = np.hstack([alike, cosines])
        rows = np.hstack([which, np.broadcast_to(known[positions], cosines.shape)])
        order = np.argsort(-both, axis=1, kind="stable")[:, :_NEIGHBOURS]
        alike, which = (np.take_along_axis(each, order, axis=1) for each in (both, rows))
    training = np.unique(which[np.isfinite(alike)])
    places = {int(row): place for place, row in enumerate(training.tolist())}
    return training, {
        int(row): tuple(
            (places[int(other)], float(how))
            for other, how in zip(others, hows, strict=True)
            if np.isfinite(how)
        )
        for row, others, hows in zip(wrong, which, alike, strict=True)
    }


def _map(
    saved: heads.SavedHead, opened: store.Store, rows: NDArray[np.int64]
) -> tuple[list[tuple[float, float]], str, NDArray[np.int64]]:
    """Lay codes out in the plane; return places, how, and which of the rows they are."""
    nothing: NDArray[np.int64] = np.empty(0, np.int64)
    if saved.tuned is not None or len(rows) < 3:
        return [], "", nothing
    width = saved.head.n_features_in_
    count = min(len(rows), _DOTS, max(3, _MOST_MAPPED // (4 * width)))
    chosen = spread(np.arange(len(rows)), count)
    codes = tuned_heads.vectors(saved, opened, rows[chosen])
    found, how = _plane(codes)
    of = f"{count} of {len(rows)} images" if count < len(rows) else f"All {count} images"
    return [(round(float(x), 4), round(float(y), 4)) for x, y in found], f"{of}, by {how}.", chosen


def _plane(codes: NDArray[np.float32]) -> tuple[NDArray[np.floating], str]:
    try:
        from umap import UMAP
    except ImportError:
        from sklearn.decomposition import PCA

        pca = PCA(2, random_state=0)
        places = pca.fit_transform(codes)
        share = pca.explained_variance_ratio_.sum()
        return places, f"their two principal components ({share:.0%} of the variance)"
    return UMAP(random_state=0).fit_transform(codes), "UMAP"


def _facts(
    saved: heads.SavedHead, opened: store.Store, options: Sequence[str]
) -> Mapping[str, str]:
    """Say how scores came about: what was typed, with which versions, in which space."""
    card = saved.card
    words = ["pipeline", "evaluate", str(saved.directory), str(opened.location), *options]
    facts = {
        "evaluate": command_line(words),
        "head": f"{saved.head.kind.value} on {named(card.inputs)}, {saved.head.n_features_in_}-D",
        "head's settings": _settings(saved),
        "store": str(opened.location),
    }
    first = opened.stores[0]
    if first.header is not None:
        space = first.header.space
        facts["backbone"] = f"{space.backbone}, {space.size} x {space.size} pixels, {space.resize}"
        facts["space"] = space.space_id
        facts["engine"] = f"{first.header.engine}, {first.header.precision}"
        if isinstance(first, store.FolderStore):
            facts["extract"] = extract_command(
                space,
                weights=first.header.weights,
                source=first.table.source,
                layers=list(first.layers),
                dtype=first.header.dtype.value,
                out=first.location,
            )
    found = {"pipeline": __version__, "Python": platform.python_version()}
    for name in ("numpy", "scikit-learn", "tensorflow", "keras"):
        with suppress(metadata.PackageNotFoundError):  # TensorFlow comes under several names
            found[name] = metadata.version(name)
    facts["versions"] = ", ".join(f"{name} {version}" for name, version in found.items())
    return facts


def _settings(saved: heads.SavedHead) -> str:
    plain = saved.head.parameters
    shown = ("C_used", "C", "k", "class_weight", "seed", "folds", "fitted_on", "best_epoch")
    return ", ".join(f"{name} {plain[name]}" for name in shown if plain.get(name) is not None)
