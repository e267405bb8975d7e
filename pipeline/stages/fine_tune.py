"""Beyond stage two: the last block of the backbone and a head, trained together from the cache."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline import backbones, heads, images, report, store
from pipeline.choices import ClassWeight, HeadKind, Optimizer, Pool, Precision, Schedule, choose
from pipeline.errors import HeadError, Interrupted, OutputError, SpaceMismatch, StoreError, counted
from pipeline.memory import memory_limit, resident_bytes
from pipeline.space import Space
from pipeline.stages._command import extract_command
from pipeline.stages._fitting import Examples, card_of, examples
from pipeline.stages._influence import CALIBRATED
from pipeline.stages._layers import named, part
from pipeline.stages._photos import Originals
from pipeline.stages._recognise import space_of
from pipeline.stages._voice import quiet, silent


@dataclass(frozen=True, kw_only=True)
class FineTuning:
    """
    What `fine_tune` did.

    Attributes
    ----------
    head : str
        Where the new head is.
    kind : str
    start, stop : str
        Between which layers the backbone was trained.
    classes : tuple of str
    train_images, val_images : int
    weights : int
        How many numbers were trained.
    precision : str
        What the layers computed in while they were trained.
    learning_rate : float
        At the first step, or the largest of a cycle.
    val_accuracy_before, val_accuracy : float or None
        On the validation images: of the head as it was, fitted on the training images alone, and
        of the best epoch.
    epochs_run, best_epoch : int
        Epoch 0 is the head as it was.
    still_falling : bool
        Whether the last epoch made the validation loss smaller by a hundredth or more, so that
        further epochs may help.
    images_per_second : float or None
        Training images by the clock, validation included.
    memory_bytes : int
        What the process was expected to take.
    in_memory : bool
        Whether the codes were loaded once, or read in every epoch.
    seconds : float
    """

    head: str
    kind: str
    start: str
    stop: str
    classes: tuple[str, ...]
    train_images: int
    val_images: int
    weights: int
    precision: str
    learning_rate: float
    val_accuracy_before: float | None
    val_accuracy: float | None
    epochs_run: int
    best_epoch: int
    still_falling: bool
    images_per_second: float | None
    memory_bytes: int
    in_memory: bool
    seconds: float


def fine_tune(
    head: str | Path,
    *,
    start: str,
    store_path: str | Path | None = None,
    out: str | Path | None = None,
    optimizer: Optimizer | str = Optimizer.adam,
    learning_rate: float | str = "auto",
    momentum: float = 0.0,
    nesterov: bool = False,
    schedule: Schedule | str = Schedule.one_cycle,
    decay_rate: float = 1.0,
    decay_steps: int = 1000,
    epochs: int = 10,
    batch_size: int = 32,
    early_stopping: int | None = None,
    augment: str | None = None,
    precision: Precision | str = Precision.auto,
    seed: int = 0,
    memory: str | int | None = None,
    weights: str | None = None,
    tell: Callable[[str], None] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> FineTuning:
    """
    Train the upper layers of the backbone further, together with a head.

    The layers below `start` are never run: what they give is in the store. The statistics of
    batch normalization stay as they are.

    Parameters
    ----------
    head : str or Path
        A head of kind svm, softmax, ridge or mlp, made by `fit_head`. Its kind and its settings
        are taken; it is fitted anew on the training images alone, so that the validation images
        can judge.
    start : str
        A block boundary below the head's layer, or ``"input"`` to train everything on the photos
        themselves, each augmented anew in every epoch.
    store_path : str or Path, optional
        A store with codes of `start`; by default the one that the head was fitted on.
    out : str or Path, optional
        The new head; by default the name of the head and ``-tuned``.
    optimizer : Optimizer or str, default "adam"
    learning_rate : float or "auto", default "auto"
        The largest of the schedule; auto finds one by short trainings on some images, judged by
        the validation loss that they end with.
    momentum, nesterov : float, bool
        Of sgd.
    schedule : Schedule or str, default "one-cycle"
        ``one-cycle``: the rate grows during a tenth of all steps and ends at 0; ``constant``:
        it stays, or decays.
    decay_rate, decay_steps : float, int
        Of the schedule ``constant``: the learning rate is multiplied by `decay_rate` every
        `decay_steps` steps, smoothly.
    epochs, batch_size : int
    early_stopping : int, optional
        Epochs without a smaller validation loss after which training ends; 0 for never, which is
        the default of a cycle, whose last epochs are the best; of ``constant`` it is 5. The best
        epoch is kept in any case.
    augment : str, optional
        How photos differ from epoch to epoch, see `extract`; flip and crop by default. For
        ``start="input"`` only.
    precision : Precision or str, default "auto"
        What the layers compute in while they are trained; auto is bfloat16 where that is faster.
        Afterwards it is float32.
    seed : int, default 0
        Decides dropout, augmentation and the order of the images.
    memory : str or int, optional
        What the process may take, such as ``"2GB"``; by default most of what is free.
    weights : str, optional
        The backbone's weights, if they are no longer where they were.
    tell : callable, optional
        Called with sentences for the user.
    progress : callable, optional
        Called with (images done, images there are at the most), first of the head, then of all
        epochs.

    Returns
    -------
    FineTuning

    Raises
    ------
    BackboneError
        If `start` is no boundary; the message names those that are.
    StoreError
        If the store has no codes of `start`; the message says how to make one.
    HeadError
        If the head cannot be trained further, or a value is impossible.
    SpaceMismatch
        If the store, or the weights, are of another network.
    Interrupted
        If it was stopped; the same call goes on.
    """
    began = time.monotonic()
    tell = tell or quiet
    saved = heads.load(Path(head))
    _check_layers(saved)
    schedule = choose(Schedule, schedule, what="schedule")
    if early_stopping is None:
        early_stopping = 0 if schedule is Schedule.one_cycle else 5
    find_rate = learning_rate == "auto"
    if isinstance(learning_rate, str) and not find_rate:
        raise HeadError(f"expected --learning-rate auto or a number, found {learning_rate!r}")
    config = heads.tuning_config(
        saved.head,
        optimizer=choose(Optimizer, optimizer, what="optimizer"),
        **({} if find_rate else {"learning_rate": learning_rate}),
        momentum=momentum,
        nesterov=nesterov,
        schedule=schedule,
        decay_rate=decay_rate,
        decay_steps=decay_steps,
        epochs=epochs,
        batch_size=batch_size,
        early_stopping=early_stopping,
    )
    views = _augmentation(start, augment)
    limit = memory_limit(memory)
    folder = Path(out) if out is not None else _default_out(saved)
    if folder.absolute() == saved.directory.absolute():
        raise OutputError(
            f"expected another folder than that of the head itself, found {folder}; choose "
            "another --out"
        )
    heads.check_target(folder)
    precision = choose(Precision, precision, what="precision")
    tail = _layers(saved, start, weights, precision)
    opened = store.open_store(Path(store_path or saved.card.trained_on["store"]))
    _check_space(saved, opened, tail)
    task = _Task(saved=saved, opened=opened, tail=tail, views=views)
    task.check_classes()
    if warning := task.left_out():
        tell(warning)
    plan = heads.plan_tuning(
        task.size,
        weights=4 * tail.count,
        batch=4 * min(batch_size, task.size.train) * tail.activations,
        limit=limit,
        resident=resident_bytes(),
        read=start == backbones.INPUT,
    )
    first = ", short trainings to find the learning rate first" if find_rate else ""
    tell(f"{plan}; training in {tail.precision.value}{first}")
    progress = progress or silent
    lines: list[heads.Epoch] = []
    clock: list[float] = []

    def note(epoch: heads.Epoch) -> None:
        lines.append(epoch)
        clock.append(time.monotonic())
        tell(_line(epoch))

    unfinished = folder / heads.UNFINISHED
    with heads.writing(folder, name=heads.TRAINING):
        try:
            material, fitted = task.prepare(plan, progress)
            clock.append(time.monotonic())
            tuned = heads.tune(
                fitted,
                tail,
                material,
                config=config,
                find_rate=find_rate,
                how=saved.card.pooling,
                seed=seed,
                unfinished=unfinished,
                identity=task.identity,
                tell=note,
                progress=progress,
            )
        except KeyboardInterrupt:
            if not unfinished.exists():
                raise Interrupted(
                    "interrupted before the first epoch was done; run the same command again"
                ) from None
            raise Interrupted(
                "interrupted: what was learned up to the last whole epoch is kept; run the same "
                "command again to go on"
            ) from None
        heads.save(
            folder,
            tuned,
            task.card(tuned, head=head),
            attachments={"curves.png": report.curves_png(tuned.history_)} if tuned.history_ else {},
            tuned=tail.arrays(),
        )
    done = len(lines) - 1
    return FineTuning(
        head=str(folder),
        kind=tuned.kind.value,
        start=start,
        stop=saved.card.layer,
        classes=task.examples.classes,
        train_images=len(task.examples.train),
        val_images=len(task.examples.val),
        weights=tail.count,
        precision=tail.precision.value,
        learning_rate=tuned.parameters["learning_rate"],
        val_accuracy_before=(fitted.validation_ or {}).get("accuracy"),
        val_accuracy=(tuned.validation_ or {}).get("accuracy"),
        epochs_run=tuned.parameters["epochs_run"],
        best_epoch=tuned.parameters["best_epoch"],
        still_falling=_falls((tuned.history_ or {}).get("val_loss", [])),
        images_per_second=_rate(clock, done * len(task.examples.train)),
        memory_bytes=plan.bytes,
        in_memory=plan.in_memory,
        seconds=round(time.monotonic() - began, 3),
    )


@dataclass(frozen=True, kw_only=True)
class _Task:
    """The head, its store and the layers between, and how the one becomes food for the other."""

    saved: heads.SavedHead
    opened: store.Store
    tail: backbones.Tail
    views: images.Views | None

    @property
    def photos(self) -> bool:
        """Whether the photos themselves are learned from."""
        return self.tail.start == backbones.INPUT

    @cached_property
    def examples(self) -> Examples:
        """Which rows of the store are learned from."""
        if not self.photos:
            return examples(self.opened, [part(self.opened, self.tail.start, Pool.flat)])
        first = part(self.opened, next(iter(self.opened.layers)), Pool.flat)
        found = examples(self.opened, [first])
        return replace(found, views=1)

    def check_classes(self) -> None:
        """Raise HeadError unless the store has training images of just the head's classes."""
        known, found = self.saved.card.classes, self.examples.classes
        if known != found:
            missing = ", ".join(name for name in known if name not in found) or "none of these"
            others = ", ".join(name for name in found if name not in known) or "no others"
            raise HeadError(
                f"expected training images of the classes of head {self.saved.directory}, found "
                f"that {self.opened.location} lacks {missing} and has {others}; fit a head on "
                "codes of this store's images first"
            )

    def left_out(self) -> str | None:
        """Say when the head was fitted on images that are not learned from here."""
        used, seen = self.examples, self.saved.card.part
        here = self.opened.hashes(np.concatenate([used.train, used.val]))
        if seen is None or here is None:
            return None
        missing = int((~np.isin(seen, here)).sum())
        if not missing:
            return None
        return (
            f"warning: {counted(missing, 'image')} that the head was fitted on took other sides of "
            f"the split in {self.opened.location}, or are not there; extract with the --val, "
            "--test and --limit of the head's store to learn from the same"
        )

    @property
    def size(self) -> heads.Size:
        """How much there is to learn."""
        return replace(self.examples.size, width=int(np.prod(self.tail.shape)))

    @property
    def identity(self) -> str:
        """What decides the result beside the settings of the training."""
        used, tail, digest = self.examples, self.tail, hashlib.sha256()
        for rows in (used.train, used.val):
            hashes = self.opened.hashes(rows)
            digest.update((rows if hashes is None else hashes).tobytes())
        about = [tail.start, tail.stop, tail.precision, dict(tail.weights_sha256), self.views]
        return repr([*about, digest.hexdigest(), self.saved.head.kind.value, self.saved.card.pool])

    def prepare(
        self, plan: heads.Plan, progress: Callable[[int, int], None]
    ) -> tuple[heads.Material, heads.Head]:
        """Find the codes, and fit the head anew on those of the training images alone."""
        used = self.examples
        train, val, plain = self._codes(plan)
        vectors = heads.through(self.tail, plain, self.saved.card.pooling, progress=progress)
        before = heads.through(self.tail, val, self.saved.card.pooling) if val is not None else None
        y_val = used.y_val if val is not None else None
        own = heads.build(self.saved.head.kind, seed=self.saved.card.seed, **_again(self.saved))
        fitted = own.fit(vectors, used.y, X_val=before, y_val=y_val)
        material = heads.Material(
            train=train,
            y=used.y,
            val=val,
            y_val=y_val,
            before=before,
            room=plan.room,
            views=used.views,
        )
        return material, fitted

    def _codes(self, plan: heads.Plan) -> tuple[heads.Codes, heads.Codes | None, heads.Codes]:
        """Return what is trained on, what judges, and what is trained on without augmentation."""
        used = self.examples
        if not self.photos:
            train, val = used.codes(plan)
            return train, val, train
        plain = self._of_photos(used.train, None)
        judge = self._of_photos(used.val, None) if len(used.val) else None
        return self._of_photos(used.train, self.views), judge, plain

    def _of_photos(self, rows: NDArray[np.int64], views: images.Views | None) -> heads.Codes:
        originals = Originals(self.opened, rows)  # looked up once, not in every epoch

        def read(
            wanted: NDArray[np.int64], rng: np.random.Generator | None
        ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
            own = None
            if views is not None and rng is not None:  # other copies in every epoch
                own = replace(views, seed=int(rng.integers(2**32)))
            for positions, pixels in originals.blocks(wanted, views=own, rng=rng):
                chosen = pixels[:, -1] if own is not None else pixels
                yield positions, chosen.reshape(len(chosen), -1).astype(np.float32)

        width = int(np.prod(self.tail.shape))
        return heads.Streamed(read, np.arange(len(rows)), width=width)

    def card(self, tuned: heads.Head, *, head: str | Path) -> heads.Card:
        """Describe the new head."""
        used, card, start = self.examples, self.saved.card, self.tail.start
        others: dict[str, Any] = {"layer": start, "shape": self.tail.shape, "pool": card.pool}
        others |= {"tuned_to": self.tail.stop, "weights": dict(card.weights)}
        if self.photos:
            others |= {"probe": None}
        about = {"store": str(self.opened.location.absolute()), "head": str(head), "from": start}
        judged = ["chose its epoch"] + [CALIBRATED] * (tuned.calibration_ is not None)
        return card_of(used, tuned, judged=judged, **others, trained_on=about)


def _check_layers(saved: heads.SavedHead) -> None:
    """Refuse a head on several layers: the layers to train would have to end in all of them."""
    card = saved.card
    if card.also:
        raise HeadError(
            f"expected a head on one layer, found {saved.directory} on {named(card.inputs)}; fit "
            f"one with `pipeline fit-head STORE --layer {card.inputs[0].name}` and fine-tune that"
        )


def _augmentation(start: str, augment: str | None) -> images.Views | None:
    """Return two views: the photo and a copy; None where codes are cached."""
    if start == backbones.INPUT:
        return images.parse_views(2, augment=augment)
    if augment is not None:
        raise HeadError(
            f"expected --augment with --from {backbones.INPUT} only, found --from {start}: cached "
            "codes stay what they are; cache augmented ones with `pipeline extract --views 4`"
        )
    return None


def _layers(
    saved: heads.SavedHead, start: str, weights: str | None, precision: Precision
) -> backbones.Tail:
    """Load the layers between the boundary and the head, and see that they are the head's own."""
    card = saved.card
    if card.tuned_to is not None:
        raise HeadError(
            f"expected a head as fit-head makes it, found {saved.directory}, fine-tuned already; "
            "fine-tune the head that it came from, with --from an earlier layer"
        )
    space = space_of(saved)
    tail = backbones.load_tail(
        backbones.find(space.backbone),
        start=start,
        stop=card.layer,
        size=space.size,
        weights=weights or card.weights["source"],
        precision=precision,
    )
    if tail.weights_sha256[card.layer] != space.weights_sha256[card.layer]:
        raise SpaceMismatch(
            f"expected the weights that head {saved.directory} was fitted on, found others; name "
            "the right ones with --weights"
        )
    return tail


def _check_space(saved: heads.SavedHead, opened: store.Store, tail: backbones.Tail) -> None:
    """See that the store has the codes that these layers take."""
    start, header = tail.start, opened.header
    if start != backbones.INPUT and start not in opened.layers:
        raise StoreError(
            f"expected a store with the layer {start}, found {', '.join(opened.layers)} in "
            f"{opened.location}; type: {_extract_command(saved, opened, start)} and name that "
            "store with --store"
        )
    if header is None:
        raise StoreError(
            f"expected a store made by extract, found {opened.location}, of another program"
        )
    differences = _of_boundary(space_of(saved), tail).differences(header.space.of_layer(start))
    if differences:
        raise SpaceMismatch(
            f"expected codes of the network that head {saved.directory} was fitted on, found "
            f"others in {opened.location} ({'; '.join(differences)}); extract again"
        )


def _of_boundary(space: Space, tail: backbones.Tail) -> Space:
    """Return the space of the codes that the layers take."""
    start = tail.start
    if start == backbones.INPUT:
        return space.of_layer(start)
    return replace(
        space,
        weights_sha256={start: tail.weights_sha256[start]},
        layers={start: tail.shape},
        pooling={start: "none"},
    ).of_layer(start)


def _extract_command(saved: heads.SavedHead, opened: store.Store, start: str) -> str:
    """Write down the command that makes a store with a layer."""
    return extract_command(
        space_of(saved),
        weights=saved.card.weights,
        source=opened.table.source if isinstance(opened, store.FolderStore) else {},
        layers=[start],
        dtype="float16",
        out=Path("artifacts") / "features" / f"{store.name_of(opened)}-{start}",
    )


def _again(saved: heads.SavedHead) -> dict[str, Any]:
    """Return what fits such a head again, on the training images alone."""
    own = saved.head.parameters
    weight = own["class_weight"]
    same = {"class_weight": None if weight == ClassWeight.none.value else weight}
    if saved.head.kind is HeadKind.mlp:
        return {"config": heads.MlpConfig.from_json(own["config"]), **same}
    return {"C": own["C_used"], "refit": False, **same}


def _line(epoch: heads.Epoch) -> str:
    name = f"epoch {epoch.number} of {epoch.of}"
    if not epoch.number:
        name = f"before, at a learning rate of {epoch.learning_rate:g}"
    if epoch.val_accuracy is None:
        return name
    return f"{name}: validation loss {epoch.val_loss:.4f}  accuracy {epoch.val_accuracy:.4f}"


def _falls(losses: list[float]) -> bool:
    """Whether the last of some losses is the smallest, and clearly smaller than the one before."""
    return len(losses) > 1 and losses[-1] < 0.99 * min(losses[:-1])


def _rate(clock: list[float], images: int) -> float | None:
    """Return images a second between the first two marks and the last."""
    if len(clock) < 3 or not images:
        return None
    return round(images / (clock[-1] - clock[1]), 1)


def _default_out(saved: heads.SavedHead) -> Path:
    return Path("artifacts") / "heads" / f"{saved.directory.absolute().name}-tuned"
