"""Stage one: images -> backbone -> store, each image once."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Unpack

from pipeline import images, report, store
from pipeline.common.listener import SILENT, Listener
from pipeline.common.space import Space
from pipeline.flows import adding, places
from pipeline.flows.command import DEFAULT_SHARE
from pipeline.flows.extraction import Run, bottleneck
from pipeline.flows.remarks import warnings_of
from pipeline.flows.sources import (
    ExtractOptions,
    check_shares,
    find_source,
    manifest_options,
    parse_bound,
    parse_options,
)

_REASONS_TOLD = 8


@dataclass(frozen=True, kw_only=True)
class Extraction(report.Displayed):
    """
    What `extract` did.

    Attributes
    ----------
    store : str
        Where the codes are.
    backbone : str
    layers : dict of str to tuple of int
        For each layer, the shape of one image's codes.
    views : int
        How many copies of each image have codes.
    layout : str
        How the source was understood.
    classes : tuple of str
    splits : dict of str to int
        Usable images in each split.
    unlabelled : dict of str to int
        Those of them without a label, where there are any.
    scanned, ok, rejected, pending : int
        Images found; with codes; that can never be used; that could not be read this time.
    reasons : dict of str to int
        The most frequent reasons why images were rejected or are pending, and how many have each.
    computed, reused : int
        Images whose codes were computed in this run; images whose codes were there, or that have
        the same content as another.
    rejected_allowed : int
        How many rejected images were accepted beforehand.
    seconds : float
        Time of the whole run.
    images_per_second : float or None
        Rate at which codes were computed, start-up apart; None if there was nothing to compute.
    profile : dict of str to float
        Where the time of computing went, in seconds: ``forward`` and ``waiting``, by the clock,
        during which the network computed and had nothing to compute; beside them, in other
        threads, ``read`` and ``write`` by the clock and ``decode`` of processor time.
    bottleneck : str or None
        What a faster run would need first: ``"forward"``, ``"decode"``, ``"read"`` or
        ``"write"``; None if there was nothing to compute.
    space_id : str
        SHA-256 of the space.
    """

    store: str
    backbone: str
    layers: dict[str, tuple[int, ...]]
    views: int
    layout: str
    classes: tuple[str, ...]
    splits: dict[str, int]
    unlabelled: dict[str, int]
    scanned: int
    ok: int
    rejected: int
    pending: int
    reasons: dict[str, int]
    computed: int
    reused: int
    rejected_allowed: int
    seconds: float
    images_per_second: float | None
    profile: dict[str, float]
    bottleneck: str | None
    space_id: str

    def display(self) -> report.Display:
        """Say what a notebook shows."""
        layers = (f"{name} {'x'.join(map(str, of))}" for name, of in self.layers.items())
        splits = (f"{name} {count:,}" for name, count in self.splits.items())
        return report.Display(
            title=f"{self.ok:,} of {self.scanned:,} images have codes",
            facts={
                "store": self.store,
                "backbone": self.backbone,
                "layers": ", ".join(layers),
                "classes": self.classes,
                "splits": ", ".join(splits),
                "rejected": self.rejected,
                "pending": self.pending,
                "images per second": self.images_per_second,
                "seconds": self.seconds,
            },
            sentences=[f"{count:,}: {reason}" for reason, count in self.reasons.items()],
        )

    @property
    def complete(self) -> bool:
        """Whether every image has its codes or its reason."""
        return self.pending == 0


def extract(
    source: Any,
    *,
    out: str | Path | None = None,
    val: float | None = None,
    test: float | None = None,
    max_rejected: str | int = "1%",
    add: bool = False,
    listener: Listener = SILENT,
    **options: Unpack[ExtractOptions],
) -> Extraction:
    """
    Run a headless convnet once over every image and keep its codes.

    Images whose content is in the store already are not computed again, whatever their name; so
    the same call continues an interrupted run and adds new images to an old store.

    Parameters
    ----------
    source : str, Path, data frame, mapping or sequence
        Class folders, train/val/test folders, flat files with the label in the name, a CSV or TSV
        manifest, a ``.npz`` archive, a folder of IDX files, or ``"digits"``. A DataFrame or a dict
        with the columns of a manifest; a pair of lists, of paths and of labels.
    out : str or Path, optional
        The store; by default ``artifacts/features/<name of the source>``.
    val, test : float, optional
        Shares of the images for validation and test, by default 0.2, where the source does not
        say. Where its own test has no labels, a share of test is taken only if it is asked for.
    max_rejected : str or int, default "1%"
        How many images may be unusable before the result is called bad: a number or a share.
    add : bool, default False
        Whether the store keeps the images that it has, with their labels and splits, beside those
        of this source. Without it the store becomes that of this source.
    listener : Listener, optional
        Hears sentences, and how many images are done.
    **options
        Which codes: ``backbone``, ``weights``, ``layers``, ``size``, ``resize``, ``batch_size``,
        ``engine``, ``precision``, ``views``, ``augment``, ``seed`` and ``dtype``, see
        `CodesOptions`; and how the source is read: ``limit``, ``follow_links``, ``folders``,
        ``root`` and ``columns``, see `SourceOptions`.

    Returns
    -------
    Extraction

    Raises
    ------
    SourceError
        If no images are found.
    ChoiceError
        If there are no such views.
    BackboneError
        If the backbone, a layer or the weights are not to be had.
    SpaceMismatch
        If the store holds codes of another space, or of another width.
    StoreError
        If a value does not fit into 16 bits where these are asked for; what was committed stays.
    StoreDamaged
        If the store is not what was written.
    OutputError
        If the store is of other photos, or cannot be written.
    ResourceError
        If the disk is too small.
    Interrupted
        If Ctrl-C was pressed; what was computed is kept.
    """
    started = time.monotonic()
    tell = listener.tell
    shares = {name: share for name, share in (("val", val), ("test", test)) if share is not None}
    val, test = (shares.get(name, DEFAULT_SHARE) for name in ("val", "test"))
    check_shares(val, test)
    allowed_share = parse_bound(str(max_rejected))
    request, how = parse_options(options)
    found = find_source(source, how, tell)
    folder = Path(out) if out is not None else places.features_of(source)
    if idle := images.idle_shares(found, **dict.fromkeys(shares, True)):
        tell(f"note: --{' and --'.join(idle)} does nothing here: the source has its own splits")
    if images.has_unlabelled_test(found) and "test" not in shares:
        test = 0.0
        tell("note: the source's test has no labels; --test 0.2 takes a labelled test from train")
    walked = isinstance(source, (str, Path)) and Path(source).is_dir()
    if walked and folder.resolve().is_relative_to(Path(found.location).resolve()):
        tell(f"note: {folder} is inside of the photos' folder; what it holds is not read as photos")
    kept = None
    with store.Writer(folder) as writer:
        new = found.location
        before = {} if writer.table is None else writer.table.source
        if add:
            found, kept = adding.add(writer.table, found)
        run = Run(
            found=found,
            writer=writer,
            request=request,
            listener=listener,
            how=how,
            asked={"asked": shares, **manifest_options(source, how)},
            kept=kept,
            added=new,
        )
        run.check_header()
        todo = run.recall()
        run.check_source(todo)
        writer.table = None  # it takes memory, and has been asked
        if len(todo) or writer.header is None:
            run.prepare(len(todo))
            run.compute(todo, val=val, test=test)
        table = writer.finish(run.scan(val=val, test=test))
        space = writer.space
    for sentence in warnings_of(table, gone=run.gone, before=str(before.get("location"))):
        tell(sentence)
    return _summary(
        run,
        table,
        folder=folder,
        space=space,
        allowed=allowed_share(len(table)),
        seconds=time.monotonic() - started,
    )


def _summary(
    run: Run, table: store.Table, *, folder: Path, space: Space, allowed: int, seconds: float
) -> Extraction:
    """Say what was done."""
    ok = table.count(store.Status.ok)
    return Extraction(
        store=str(folder),
        backbone=run.request.backbone.name,
        layers=dict(space.layers),
        views=space.views,
        layout=run.found.layout,
        classes=run.found.classes,
        splits=table.split_counts(),
        unlabelled=table.unlabelled_counts(),
        scanned=len(table),
        ok=ok,
        rejected=table.count(store.Status.rejected),
        pending=table.count(store.Status.pending),
        reasons=dict(list(table.reason_counts().items())[:_REASONS_TOLD]),
        computed=run.computed,
        reused=ok - run.computed,
        rejected_allowed=allowed,
        seconds=round(seconds, 3),
        images_per_second=round(run.computed / run.seconds, 1) if run.computed else None,
        profile=run.profile,
        bottleneck=bottleneck(run.profile) if run.computed else None,
        space_id=space.space_id,
    )
