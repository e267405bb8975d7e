"""Stage one: images -> backbone -> store, each image once."""

from __future__ import annotations

import math
import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline import backbones, images, store
from pipeline.choices import Engine, Precision, Resize, choose
from pipeline.errors import Interrupted, ResourceError, SourceError, SpaceMismatch, counted
from pipeline.files import in_words, sha256_file
from pipeline.space import Space, check_probe

# Decoding needs a third of the time that the fastest backbone takes; more threads than this only
# take processors from it.
_WORKERS = min(4, os.cpu_count() or 1)
_FORWARD, _IMAGES, _STORE = "forward", "waiting for images", "waiting for the store"
# Of files that are no images, name the most frequent kinds.
_KINDS_TOLD = 8


@dataclass(frozen=True, kw_only=True)
class Extraction:
    """
    What `extract` did.

    Attributes
    ----------
    store : str
        Where the codes are.
    backbone : str
    layers : dict of str to tuple of int
        For each layer, the shape of one image's codes.
    layout : str
        How the source was understood.
    classes : tuple of str
    splits : dict of str to int
        Usable images in each split.
    scanned, ok, rejected, pending : int
        Images found; with codes; that can never be used; that could not be read this time.
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
        Where the time of computing went, in seconds: ``forward``, ``waiting for images`` (that
        is, for the disk and the decoder), ``waiting for the store``.
    space_id : str
        SHA-256 of the space.
    """

    store: str
    backbone: str
    layers: dict[str, tuple[int, ...]]
    layout: str
    classes: tuple[str, ...]
    splits: dict[str, int]
    scanned: int
    ok: int
    rejected: int
    pending: int
    computed: int
    reused: int
    rejected_allowed: int
    seconds: float
    images_per_second: float | None
    profile: dict[str, float]
    space_id: str

    @property
    def complete(self) -> bool:
        """Whether every image has its codes or its reason."""
        return self.pending == 0


@dataclass(frozen=True, kw_only=True)
class _Request:
    """Which codes are asked for."""

    backbone: backbones.Backbone
    weights: str
    layers: tuple[str, ...]
    size: int
    resize: Resize
    batch_size: int
    engine: Engine
    precision: Precision

    def load(self, tell: Callable[[str], None]) -> backbones.Network:
        if self.weights == "imagenet" and self.backbone.builder.startswith("keras."):
            tell(f"weights: Keras downloads those of {self.backbone.name} unless ~/.keras has them")
        network = backbones.load(
            self.backbone,
            weights=self.weights,
            layers=self.layers,
            size=self.size,
            batch_size=self.batch_size,
            engine=self.engine,
            precision=self.precision,
            probe=images.probe_pixels(size=self.size, resize=self.resize),
        )
        for note in network.notes:
            tell(note)
        return network


def extract(
    source: str | Path,
    *,
    out: str | Path | None = None,
    backbone: str = "efficientnet-lite0",
    weights: str = "imagenet",
    layers: str | Sequence[str] = (),
    size: int | None = None,
    resize: Resize | str = Resize.crop,
    val: float = 0.2,
    test: float = 0.2,
    batch_size: int = 32,
    engine: Engine | str = Engine.auto,
    precision: Precision | str = Precision.auto,
    max_rejected: str | int = "1%",
    limit: str | int | None = None,
    tell: Callable[[str], None] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Extraction:
    """
    Run a headless convnet once over every image and keep its codes.

    Images whose content is in the store already are not computed again, whatever their name; so
    the same call continues an interrupted run and adds new images to an old store.

    Parameters
    ----------
    source : str or Path
        Class folders, train/val/test folders, flat files with the label in the name, a CSV or TSV
        manifest, a ``.npz`` archive, a folder of IDX files, or ``"digits"``.
    out : str or Path, optional
        The store; by default ``artifacts/features/<name of the source>``.
    backbone : str, default "efficientnet-lite0"
        A row of the table of backbones.
    weights : str, default "imagenet"
        ``"imagenet"``, ``"random"`` or the path of a weights file.
    layers : str or sequence of str
        Where to cut; by default the backbone's own choice. All come from one forward pass.
    size : int, optional
        Edge of the square input in pixels; by default the backbone's.
    resize : Resize or str, default Resize.crop
        How an image becomes a square.
    val, test : float, default 0.2
        Shares of the images for validation and test, where the source does not say.
    batch_size : int, default 32
        Images in one forward pass.
    engine : Engine or str, default Engine.auto
        What computes: TensorFlow on a GPU, else OpenVINO where it is installed.
    precision : Precision or str, default Precision.auto
        bfloat16 where the processor computes in it, else float32.
    max_rejected : str or int, default "1%"
        How many images may be unusable before the result is called bad: a number or a share.
    limit : str or int, optional
        Use only so many images: ``"500"``, or by split ``"train=2000,test=1000"``.
    tell : callable, optional
        Called with sentences for the user.
    progress : callable, optional
        Called with (images done, images in all).

    Returns
    -------
    Extraction

    Raises
    ------
    SourceError
        If no images are found.
    BackboneError
        If the backbone, a layer or the weights are not to be had.
    SpaceMismatch
        If the store holds codes of another space.
    StoreDamaged
        If the store is not what was written.
    ResourceError
        If the disk is too small.
    Interrupted
        If Ctrl-C was pressed; what was computed is kept.
    """
    started = time.monotonic()
    tell = tell or _quiet
    resize = choose(Resize, resize, what="resize")
    _check_shares(val, test)
    allowed_share = _parse_share(str(max_rejected))
    row = backbones.find(backbone)
    request = _Request(
        backbone=row,
        weights=weights,
        layers=tuple(dict.fromkeys([layers] if isinstance(layers, str) else layers))
        or (row.default,),
        size=size or row.size,
        resize=resize,
        batch_size=batch_size,
        engine=choose(Engine, engine, what="engine"),
        precision=choose(Precision, precision, what="precision"),
    )
    found = images.find(source)
    if limit is not None:
        found = found.limited(images.parse_limit(str(limit)))
    _describe(found, tell)
    folder = Path(out) if out is not None else _default_out(source)
    with store.Writer(folder) as writer:
        before = writer.table
        run = _Run(found=found, writer=writer, request=request, tell=tell)
        run.check_header()
        todo = run.recall()
        if todo or writer.header is None:
            run.prepare(len(todo))
            run.compute(todo, val=val, test=test, progress=progress or _no_progress)
        table = writer.finish(run.scan(val=val, test=test))
        space = writer.space
    for sentence in _warnings(before, table):
        tell(sentence)
    ok = table.count(store.Status.ok)
    return Extraction(
        store=str(folder),
        backbone=row.name,
        layers=dict(space.layers),
        layout=found.layout,
        classes=found.classes,
        splits=table.split_counts(),
        scanned=len(table),
        ok=ok,
        rejected=table.count(store.Status.rejected),
        pending=table.count(store.Status.pending),
        computed=run.computed,
        reused=ok - run.computed,
        rejected_allowed=allowed_share(len(table)),
        seconds=round(time.monotonic() - started, 3),
        images_per_second=round(run.computed / run.seconds, 1) if run.computed else None,
        profile={name: round(seconds, 3) for name, seconds in run.profile.items()},
        space_id=space.space_id,
    )


class _Run:
    """One run of extract: what is known of each image, and the network once it is needed."""

    def __init__(
        self,
        *,
        found: images.Source,
        writer: store.Writer,
        request: _Request,
        tell: Callable[[str], None],
    ) -> None:
        self.found, self.writer, self.request, self.tell = found, writer, request, tell
        self.computed = 0
        self.seconds = 0.0
        self.profile = dict.fromkeys((_FORWARD, _IMAGES, _STORE), 0.0)
        self._network: backbones.Network | None = None
        self._sha256 = np.zeros((len(found), 32), np.uint8)
        self._stat = np.zeros((len(found), 3), np.int64)
        self._rejected: dict[int, str] = {}
        self._pending: dict[int, str] = {}

    def check_header(self) -> None:
        """Compare an old store with what is asked for, as far as that needs no network."""
        header = self.writer.header
        if header is None:
            return
        asked = _asked(self.request)
        kept = header.space.to_json() | {"layers": ", ".join(sorted(header.space.layers))}
        differences = [
            f"{name}: {kept[name]} there, {value} asked for"
            for name, value in asked.items()
            if kept[name] != value
        ]
        if differences:
            raise _mismatch(self.writer.folder, differences)
        if not _same_weights(header.weights, self.request.weights):
            self._load()

    def recall(self) -> list[int]:
        """Find the images that must be read; the others are known by name, size and times."""
        todo = []
        for row, path in enumerate(self.found.paths):
            stat = self.found.stat(row)
            digest = self.writer.hint(path, stat)
            if digest is not None and stat is not None and self.writer.known(digest):
                self._sha256[row] = np.frombuffer(digest, np.uint8)
                self._stat[row] = stat
            else:
                todo.append(row)
        return todo

    def prepare(self, count: int) -> None:
        """Make a new store, or see that the disk has room for the rest of an old one."""
        if self.writer.header is None:
            self._load()
        header = self.writer.header
        layers = header.space.layers.values() if header is not None else ()
        needed = count * sum(4 * math.prod(shape) for shape in layers)
        free = store.free_bytes(self.writer.folder)
        if needed > free:
            raise ResourceError(
                f"{count} images need up to {in_words(needed)} in {self.writer.folder}, which "
                f"has {in_words(free)} free; make room, choose another place with --out, or "
                "cache pooled codes (--layer NAME:avg)"
            )

    def compute(
        self, todo: list[int], *, val: float, test: float, progress: Callable[[int, int], None]
    ) -> None:
        """Read the rest of the images and add their codes to the store."""
        started = time.monotonic()
        # From now on the store says that it is unfinished, so that nobody fits a head on a part.
        self.writer.finish(self.scan(val=val, test=test))
        total, done = len(self.found), len(self.found) - len(todo)
        stream = images.stream(
            self.found,
            todo,
            size=self.request.size,
            resize=self.request.resize,
            workers=_WORKERS,
            known=self.writer.known,
        )
        batch: list[images.Loaded] = []
        try:
            with closing(stream):
                for loaded in self._timed(stream):
                    self._note(loaded)
                    if loaded.pixels is not None:
                        batch.append(loaded)
                    if len(batch) == self.request.batch_size:
                        self._forward(batch)
                        batch = []
                    done += 1
                    progress(done - len(batch), total)
            self._forward(batch)
            self.seconds = time.monotonic() - started
        except KeyboardInterrupt:
            table = self.writer.finish(self.scan(val=val, test=test))
            raise Interrupted(
                f"interrupted: {table.count(store.Status.ok)} of {len(table)} images have their "
                "codes; run the same command again to go on"
            ) from None

    def scan(self, *, val: float, test: float) -> store.Scan:
        """Say what is known of every image, splits included."""
        found = self.found
        splits = images.split(
            self._sha256, given=found.splits, groups=found.groups, val=val, test=test
        )
        return store.Scan(
            paths=list(found.paths),
            classes=found.classes,
            labels=found.labels,
            splits=splits,
            sha256=self._sha256,
            stat=self._stat,
            rejected=self._rejected,
            pending=self._pending,
            source={"location": found.location, "layout": found.layout},
        )

    def _note(self, loaded: images.Loaded) -> None:
        """Write down what became of an image, whether it goes on to the network or not."""
        row = loaded.row
        if loaded.sha256 is not None:
            self._sha256[row] = np.frombuffer(loaded.sha256, np.uint8)
            self._stat[row] = store.lasting(loaded.stat)
            if loaded.reason is not None:
                self._append(loaded, codes=None, reason=loaded.reason)
        elif loaded.transient:
            self._pending[row] = loaded.reason or "could not be read"
        else:
            self._rejected[row] = loaded.reason or "could not be read"

    def _forward(self, batch: list[images.Loaded]) -> None:
        """Run one batch through the network and add its rows."""
        pixels = [loaded.pixels for loaded in batch if loaded.pixels is not None]
        if not pixels:
            return
        network = self._load()
        with self._clock(_FORWARD):
            codes = network(np.stack(pixels))
        finite = np.logical_and.reduce(
            [np.isfinite(block.reshape(len(block), -1)).all(axis=1) for block in codes.values()]
        )
        for i, loaded in enumerate(batch):
            if finite[i]:
                own = {layer: block[i] for layer, block in codes.items()}
                self._append(loaded, codes=own, reason="")
            else:
                self._append(loaded, codes=None, reason="the network gave NaN or infinite codes")

    def _append(
        self,
        loaded: images.Loaded,
        *,
        codes: Mapping[str, NDArray[np.float32]] | None,
        reason: str,
    ) -> None:
        row = store.Row(
            path=self.found.paths[loaded.row],
            sha256=loaded.sha256 or b"",
            stat=store.lasting(loaded.stat),
            codes=codes,
            reason=reason,
        )
        with self._clock(_STORE):
            added = self.writer.append(row)
        self.computed += added and codes is not None

    @contextmanager
    def _clock(self, what: str) -> Iterator[None]:
        started = time.monotonic()
        yield
        self.profile[what] += time.monotonic() - started

    def _timed(self, stream: Iterator[images.Loaded]) -> Iterator[images.Loaded]:
        """Pass images on, and count the time that they are waited for."""
        while True:
            with self._clock(_IMAGES):
                loaded = next(stream, None)
            if loaded is None:
                return
            yield loaded

    def _load(self) -> backbones.Network:
        """Load the network when first needed, and see that it is what made the store."""
        if self._network is not None:
            return self._network
        network = self.request.load(self.tell)
        space = network.space({"resize": self.request.resize.value, **images.POLICY})
        header = self.writer.header
        if header is None:
            self.writer.create(_header(network, space), network.reference)
        else:
            if differences := header.space.differences(space):
                raise _mismatch(self.writer.folder, differences)
            probe = network(images.probe_pixels(size=network.size, resize=self.request.resize))
            exact = network.precision == Precision.float32.value
            for layer, kept in self.writer.probe().items():
                check_probe(kept, probe[layer], layer=layer, exact=exact)
        self._network = network
        return network


def _header(network: backbones.Network, space: Space) -> store.Header:
    return store.Header(
        space=space,
        weights=network.weights.to_json(),
        batch_size=network.batch_size,
        engine=network.engine,
        precision=network.precision,
        versions=network.versions,
    )


def _asked(request: _Request) -> dict[str, Any]:
    """Return the fields of the space that are known before the network is loaded."""
    return {
        "backbone": request.backbone.name,
        "layers": ", ".join(sorted(request.layers)),
        "size": request.size,
        "resize": request.resize.value,
        **images.POLICY,
    }


def _same_weights(kept: Mapping[str, Any], asked: str) -> bool:
    """Whether the weights asked for are those that the store was made with."""
    if asked in ("imagenet", "random"):
        return bool(kept["source"] == asked)
    path = Path(asked)
    return path.is_file() and kept["file_sha256"] == sha256_file(path)


def _mismatch(folder: Path, differences: Iterable[str]) -> SpaceMismatch:
    return SpaceMismatch(
        f"expected codes of the space of {folder}, found another ({'; '.join(differences)}); "
        "choose another place with --out"
    )


def _describe(found: images.Source, tell: Callable[[str], None]) -> None:
    classes = counted(len(found.classes), "class") if found.classes else "no labels"
    count = counted(len(found), "image")
    tell(f"found {count}, {classes}: {found.layout} in {found.location}")
    if found.ignored:
        common = Counter(found.ignored).most_common()
        kinds = ", ".join(f"{count} {kind}" for kind, count in common[:_KINDS_TOLD])
        others = sum(count for _, count in common[_KINDS_TOLD:])
        tell(f"ignored: {kinds}" + (f", {others} others" if others else ""))
    for note in found.notes:
        tell(note)


def _warnings(before: store.Table | None, table: store.Table) -> list[str]:
    """Say what a user should know of the result before trusting a score."""
    sentences = [
        f"warning: class '{name}' has no training image"
        for name in table.classes_without_training()
    ]
    if before is not None and (gone := len(set(before.paths) - set(table.paths))):
        sentences.append(
            f"note: {counted(gone, 'image')} of this store's last run, on "
            f"{before.source['location']}, left its table (the codes stay, should they come back)"
        )
    if twice := table.contradictions():
        sentences.append(
            f"warning: {counted(twice, 'image')} with the very same bytes under different labels"
        )
    if leaks := table.leaks():
        sentences.append(
            f"warning: the source has {counted(leaks, 'image')} of val or test byte for byte in "
            "train as well: scores on them are too good"
        )
    return sentences


def _default_out(source: str | Path) -> Path:
    path = Path(source).absolute()
    name = path.stem if path.is_file() else path.name
    return Path("artifacts") / "features" / (name or "photos")


def _check_shares(val: float, test: float) -> None:
    if not (val >= 0 and test >= 0 and val + test < 1):
        raise SourceError(
            f"expected shares --val and --test of 0 or more that leave images to train on, "
            f"found {val:g} and {test:g}; try --val 0.2 --test 0.2"
        )


def _parse_share(text: str) -> Callable[[int], int]:
    """Understand ``"1%"`` and ``"10"`` as a bound on a count."""
    try:
        number = float(text.removesuffix("%"))
    except ValueError:
        number = -1.0
    if not 0 <= number < math.inf:
        raise SourceError(
            f"expected --max-rejected as a number or a share, found '{text}'; try 1% or 10"
        )
    if text.endswith("%"):
        return lambda count: int(count * number / 100)
    return lambda count: int(number)


def _quiet(sentence: str) -> None:
    """Tell nobody."""


def _no_progress(done: int, total: int) -> None:
    """Show nothing."""
