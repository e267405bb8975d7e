"""Stage two: store -> head, as often as you like."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline import heads, report, store
from pipeline.choices import HeadKind, Pool, Preset, Split, choose
from pipeline.errors import HeadError


@dataclass(frozen=True, kw_only=True)
class Fit:
    """
    What `fit_head` did.

    Attributes
    ----------
    head : str
        Where the head is.
    kind : str
    layer : str
        Which codes it was trained on.
    pool : str or None
        How maps became vectors; None where the codes are vectors.
    dimensions : int
        Numbers per image that the head sees.
    classes : tuple of str
    train_images, val_images : int
    val_accuracy : float or None
        Share of right answers on images that the head had not been trained on when it was
        measured; see `validated_on`.
    validated_on : str or None
        Which images these were.
    fitted_on : str
        ``"train"`` or ``"train and val"``: a linear head is fitted on both in the end.
    parameters : dict
        What was asked for and what was chosen.
    seconds : float
    """

    head: str
    kind: str
    layer: str
    pool: str | None
    dimensions: int
    classes: tuple[str, ...]
    train_images: int
    val_images: int
    val_accuracy: float | None
    validated_on: str | None
    fitted_on: str
    parameters: dict[str, Any]
    seconds: float


def fit_head(
    store_path: str | Path,
    *,
    kind: HeadKind | str,
    out: str | Path | None = None,
    layer: str | None = None,
    pool: Pool | str | None = None,
    C: float | str = "auto",
    k: int | str = "auto",
    preset: Preset | str | None = None,
    seed: int = 0,
    tell: Callable[[str], None] | None = None,
    progress: Callable[[int, int], None] | None = None,
    **mlp: Any,
) -> Fit:
    """
    Train a head on the cached codes of the training split.

    Of several views of each image all are trained on; validation is on the first, the image itself.

    Parameters
    ----------
    store_path : str or Path
        A store or a packed file.
    kind : HeadKind or str
        ``"svm"``, ``"softmax"``, ``"ridge"``, ``"knn"``, ``"centroid"`` or ``"mlp"``.
    out : str or Path, optional
        The head; by default ``artifacts/heads/<store>-<kind>``, with the layer between the two
        where the store has several.
    layer : str, optional
        Which codes; by default the first layer of the store.
    pool : Pool or str, optional
        How a map becomes a vector; by default its average, or what the preset's article does.
    C : float or "auto", default "auto"
        Inverse regularisation of svm, softmax and ridge; ``"auto"`` takes the value of a grid
        with the smallest loss on the validation split.
    k : int or "auto", default "auto"
        Neighbours of knn; ``"auto"`` takes what gets most validation images right.
    preset : Preset or str, optional
        The MLP of an article, as a start for the settings below.
    seed : int, default 0
        Decides everything random.
    tell : callable, optional
        Called with sentences for the user.
    progress : callable, optional
        Called with (epochs or values of C done, and in all).
    **mlp
        Settings of an MLP: ``hidden``, ``activation``, ``dropout``, ``l2``, ``optimizer``,
        ``learning_rate``, ``epochs``, ``batch_size``, ``early_stopping``.

    Returns
    -------
    Fit

    Raises
    ------
    StoreError
        If the store is unfinished, damaged or lacks the layer.
    HeadError
        If there is nothing to train on, or a parameter is impossible.
    OutputError
        If the head cannot be written.
    """
    started = time.monotonic()
    kind = choose(HeadKind, kind, what="kind")
    parameters = _parameters(kind, C, k, preset, mlp)
    opened = store.open_store(Path(store_path))
    layer = store.choose_layer(opened, layer)
    how = _pooling(opened, layer, pool, preset)
    folder = Path(out) if out is not None else _default_out(opened, layer, kind)
    heads.check_target(folder)
    if tell is not None and len(opened.layers) > 1:
        tell(f"layer {layer}, of {', '.join(opened.layers)}")
    val = _load(opened, layer, how, Split.val)
    # Without validation images a head is judged by folds, which must not part views of one image.
    learnt = opened.labels[store.rows_of(opened, Split.train)]
    several = opened.views > 1 and bool(np.isin(val.y, learnt).any())
    train = _load(opened, layer, how, Split.train, views=several)
    if tell is not None and opened.views > 1 and not several:
        tell("note: without validation images the head is fitted on the first views alone")
    classes, labels = _classes_with_images(opened, train.y)
    val = val.only(np.isin(val.y, labels))
    head = heads.build(kind, seed=seed, **parameters).fit(
        train.X,
        np.searchsorted(labels, train.y),
        X_val=val.X if len(val.y) else None,
        y_val=np.searchsorted(labels, val.y) if len(val.y) else None,
        n_classes=len(classes),
        progress=progress,
    )
    seen = opened.hashes(np.concatenate([train.rows, val.rows]))
    card = _card(opened, layer, how, classes, head, seen)
    heads.save(folder, head, card, attachments=_attachments(head))
    validation = head.validation_ or {}
    return Fit(
        head=str(folder),
        kind=kind.value,
        layer=layer,
        pool=card.pool,
        dimensions=train.X.shape[1],
        classes=classes,
        train_images=len(np.unique(train.rows)),
        val_images=len(val.y),
        val_accuracy=validation.get("accuracy"),
        validated_on=validation.get("how"),
        fitted_on=head.parameters["fitted_on"],
        parameters=head.parameters,
        seconds=round(time.monotonic() - started, 3),
    )


def _parameters(
    kind: HeadKind,
    C: float | str,
    k: int | str,
    preset: Preset | str | None,
    mlp: dict[str, Any],
) -> dict[str, Any]:
    """Sort out which settings belong to which kind, before anything is read."""
    regularised = (HeadKind.svm, HeadKind.softmax, HeadKind.ridge)
    if C != "auto" and kind not in regularised:
        other = "; try l2" if kind is HeadKind.mlp else ""
        raise HeadError(
            f"expected C with kind svm, softmax or ridge, found kind {kind.value} and C {C}{other}"
        )
    if k != "auto" and kind is not HeadKind.knn:
        raise HeadError(f"expected k with kind knn only, found kind {kind.value} and k {k}")
    if kind is HeadKind.mlp:
        start = choose(Preset, preset, what="preset") if preset is not None else None
        return {"config": heads.MlpConfig.from_options(start, **mlp)}
    if given := [*mlp, *(["preset"] if preset is not None else [])]:
        raise HeadError(
            f"expected {', '.join(given)} with kind mlp only, found kind {kind.value}; "
            "choose --kind mlp"
        )
    if kind in regularised:
        return {"C": C}
    return {"k": k} if kind is HeadKind.knn else {}


def _pooling(
    opened: store.Store, layer: str, pool: Pool | str | None, preset: Preset | str | None
) -> Pool | None:
    """Decide how maps become vectors; None where the codes are vectors already."""
    if len(opened.layers[layer]) == 1:
        if pool is not None:
            raise HeadError(
                f"expected a layer of maps to pool, found {layer} with vectors; drop --pool"
            )
        return None
    if pool is not None:
        return choose(Pool, pool, what="pool")
    return heads.PRESET_POOLS.get(Preset(preset), Pool.avg) if preset is not None else Pool.avg


@dataclass(frozen=True)
class _Rows:
    """Rows of a store in memory: where they stand there, pooled codes, labels."""

    rows: NDArray[np.int64]
    X: NDArray[np.float32]
    y: NDArray[np.int32]

    def only(self, chosen: NDArray[np.bool_]) -> _Rows:
        if chosen.all():
            return self
        return _Rows(self.rows[chosen], self.X[chosen], self.y[chosen])


def _load(
    opened: store.Store, layer: str, how: Pool | None, split: Split, *, views: bool = False
) -> _Rows:
    """Read the codes and labels of a split; only the pooled codes stay in memory."""
    rows, shape = store.rows_of(opened, split), opened.layers[layer]
    blocks = [
        (positions, heads.pool(codes.reshape(-1, *shape), how))
        for positions, codes in opened.blocks(layer, rows, views=views)
    ]
    width = blocks[0][1].shape[1] if blocks else 0
    count = opened.views if views else 1  # each view is a row with the label of its image
    X = np.empty((len(rows), count, width), np.float32)
    for positions, codes in blocks:
        X[positions] = codes.reshape(-1, count, width)
    rows = np.repeat(rows, count)
    return _Rows(rows, X.reshape(len(rows), width), opened.labels[rows])


def _classes_with_images(
    opened: store.Store, train: NDArray[np.int32]
) -> tuple[tuple[str, ...], NDArray[np.int32]]:
    """Return the classes that can be learnt: those with a training image."""
    labels = np.unique(train)
    if len(labels) < 2:
        found = ", ".join(opened.classes[label] for label in labels) or "none"
        raise HeadError(
            f"expected training images of at least two classes in {opened.location}, found "
            f"{len(labels)} ({found}); extract a source with a folder for each class"
        )
    return tuple(opened.classes[label] for label in labels), labels


def _card(
    opened: store.Store,
    layer: str,
    how: Pool | None,
    classes: tuple[str, ...],
    head: heads.Head,
    seen: NDArray[np.uint64] | None,
) -> heads.Card:
    """Write down everything that using the head later depends on."""
    header = opened.header
    return heads.Card(
        classes=classes,
        layer=layer,
        pool=how.value if how is not None else None,
        shape=tuple(opened.layers[layer]),
        space=header.space if header is not None else None,
        weights=dict(header.weights) if header is not None else {},
        batch_size=header.batch_size if header is not None else 32,
        engine=header.engine if header is not None else "tensorflow",
        precision=header.precision if header is not None else "float32",
        scores={"validation": head.validation_},
        seed=head.seed,
        versions=dict(header.versions) if header is not None else {},
        trained_on={"store": str(opened.location.absolute())},
        probe=opened.probe(layer),
        seen=np.unique(seen) if seen is not None else None,
    )


def _attachments(head: heads.Head) -> dict[str, bytes]:
    if head.history_ is None:
        return {}
    return {"curves.png": report.curves_png(head.history_)}


def _default_out(opened: store.Store, layer: str, kind: HeadKind) -> Path:
    path = opened.location.absolute()
    parts = [path.stem if path.is_file() else path.name, kind.value]
    if len(opened.layers) > 1:
        parts.insert(1, layer.replace(":", "-"))
    return Path("artifacts") / "heads" / "-".join(parts)
