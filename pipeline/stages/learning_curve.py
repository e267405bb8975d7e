"""How accuracy grows with the number of images, and whether more of them would help."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from pipeline import heads, report, store
from pipeline.common.choices import HeadKind, Pool
from pipeline.common.errors import ChoiceError, HeadError
from pipeline.common.files import make_folder, write_durably, write_json
from pipeline.common.listener import SILENT, Listener
from pipeline.common.memory import memory_limit, resident_bytes
from pipeline.flows import places
from pipeline.flows.curve_points import points_of
from pipeline.flows.examples import examples
from pipeline.flows.kinds import choose_kind
from pipeline.flows.layers import choose_parts, named, pooled
from pipeline.report import CurvePoint, CurveReading


@dataclass(frozen=True, kw_only=True)
class LearningCurve(report.Tabled):
    """
    What `learning_curve` found.

    Attributes
    ----------
    store, kind, layer : str
    pool : str or None
    points : tuple of CurvePoint
        Accuracies by images per class, few first.
    reading : CurveReading
        What they say.
    out : str
        Where ``learning_curve.json`` and ``learning_curve.png`` are.
    seconds : float
    """

    store: str
    kind: str
    layer: str
    pool: str | None
    points: tuple[CurvePoint, ...]
    reading: CurveReading
    out: str
    seconds: float

    def display(self) -> report.Display:
        """Say what a notebook shows."""
        columns = ("images_per_class", "images", "train_accuracy", "val_accuracy")
        return report.Display(
            title=f"Learning curve of {self.kind} on {self.layer} of {self.store}",
            sentences=[self.reading.sentence],
            svg=report.learning_curve_svg(self.points, self.reading),
            table=report.Table.of(self.points, *columns, "val_deviation", "seeds"),
        )


def learning_curve(
    store_path: str | Path,
    *,
    kind: HeadKind | str = HeadKind.svm,
    layer: str | Sequence[str] | None = None,
    pool: Pool | str | None = None,
    seeds: Sequence[int] = (0, 1, 2, 3, 4),
    desired: float | None = None,
    out: str | Path | None = None,
    memory: str | int | None = None,
    listener: Listener = SILENT,
) -> LearningCurve:
    """
    Fit heads on growing parts of the training split and score them on the validation split.

    The test split is not looked at: the curve is there to decide what to do next.

    Parameters
    ----------
    store_path : str or Path
        A store or a packed file with train and val images.
    kind : HeadKind or str, default HeadKind.svm
        Which head.
    layer : str or sequence of str, optional
        Which codes; by default the first layer of the store. Several as for `fit_head`.
    pool : Pool or str, optional
        How a map becomes a vector where its layer does not say; by default its average.
    seeds : sequence of int, default (0, 1, 2, 3, 4)
        Each chooses other images.
    desired : float, optional
        An accuracy that is wanted, above 0 and below 1: drawn as a line, and the reading says how
        many images would reach it, by a power law through the curve.
    out : str or Path, optional
        Where to write; by default ``artifacts/reports/<store>-<kind>-learning-curve``.
    memory : str or int, optional
        What the process may take; see `fit_head`.
    listener : Listener, optional
        Hears sentences, and how many fits are done.

    Returns
    -------
    LearningCurve

    Raises
    ------
    ChoiceError
        If `desired` is no such number.
    StoreError
        If the store is unfinished, damaged or lacks the layer.
    HeadError
        If there are no validation images, or too few to learn from.
    """
    started = time.monotonic()
    asked = choose_kind(kind)
    if desired is not None and not 0 < desired < 1:
        raise ChoiceError(
            f"expected a desired accuracy above 0 and below 1, such as 0.95, found {desired:g}"
        )
    opened = store.open_store(Path(store_path))
    parts = choose_parts(opened, layer, pool)
    everything = examples(opened, parts)
    if not len(everything.val):
        raise HeadError(
            f"expected images in split 'val' of {opened.location}, found none; extract with "
            "--val 0.2"
        )
    seeds = list(dict.fromkeys(seeds)) or [0]
    plan = heads.plan(
        asked.kind, everything.size, limit=memory_limit(memory), resident=resident_bytes()
    )
    listener.tell(str(plan))
    points = tuple(points_of(everything, asked, seeds, plan, listener))
    reading = report.read_curve(points, val_images=len(everything.val), desired=desired)
    folder = Path(out) if out is not None else places.curve_of(opened, asked.short)
    about = {
        "store": str(store_path),
        "kind": asked.name,
        "layer": named(parts),
        "pool": pooled(parts),
    }
    title = f"{asked.name} on {named(parts)} of {opened.location.name}"
    make_folder(folder)
    plain = about | {"points": [asdict(point) for point in points], "reading": asdict(reading)}
    write_json(folder / "learning_curve.json", plain)
    write_durably(
        folder / "learning_curve.png",
        report.learning_curve_png(points, title=title, reading=reading),
    )
    return LearningCurve(
        store=str(store_path),
        kind=asked.name,
        layer=named(parts),
        pool=pooled(parts),
        points=points,
        reading=reading,
        out=str(folder),
        seconds=round(time.monotonic() - started, 1),
    )
