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
from pipeline.choices import HeadKind, Pool, Split
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
    layer, pool : str
        Which codes it was trained on; `pool` is ``"none"`` for vectors.
    dimensions : int
        Numbers per image that the head sees.
    classes : tuple of str
    train_images, val_images : int
    val_accuracy : float or None
        Share of right answers on the validation split, before a refit that includes it.
    parameters : dict
        What was asked for and what was chosen.
    seconds : float
    """

    head: str
    kind: str
    layer: str
    pool: str
    dimensions: int
    classes: tuple[str, ...]
    train_images: int
    val_images: int
    val_accuracy: float | None
    parameters: dict[str, Any]
    seconds: float


def fit_head(
    store_path: str | Path,
    *,
    kind: HeadKind,
    out: str | Path | None = None,
    layer: str | None = None,
    pool: Pool | None = None,
    C: float | str = "auto",
    config: heads.MlpConfig | None = None,
    seed: int = 0,
    tell: Callable[[str], None] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Fit:
    """
    Train a head on the cached codes of the training split.

    Parameters
    ----------
    store_path : str or Path
        A store or a packed file.
    kind : HeadKind
        Which classifier.
    out : str or Path, optional
        The head; by default ``artifacts/heads/<store>-<kind>``.
    layer : str, optional
        Which codes; by default the first layer of the store.
    pool : Pool, optional
        How a map becomes a vector; by default its average.
    C : float or "auto", default "auto"
        Inverse regularisation of svm and softmax; ``"auto"`` takes the best of a grid on the
        validation split.
    config : MlpConfig, optional
        The MLP, for that kind.
    seed : int, default 0
        Decides everything random.
    tell : callable, optional
        Called with sentences for the user.
    progress : callable, optional
        Called with (epochs done, epochs in all).

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
    opened = store.open_store(Path(store_path))
    layer = store.choose_layer(opened, layer)
    if tell is not None and len(opened.layers) > 1:
        tell(f"layer {layer} of {', '.join(opened.layers)}")
    folder = Path(out) if out is not None else _default_out(opened.location, kind)
    heads.check_target(folder)
    train, val = _load(opened, layer, pool, Split.train), _load(opened, layer, pool, Split.val)
    classes, labels = _classes_with_images(opened, train.y)
    known = np.isin(val.y, labels)
    head = heads.build(kind, seed=seed, **_parameters(kind, C, config)).fit(
        train.X,
        np.searchsorted(labels, train.y),
        X_val=val.X[known] if known.any() else None,
        y_val=np.searchsorted(labels, val.y[known]) if known.any() else None,
        n_classes=len(classes),
        progress=progress,
    )
    card = _card(opened, layer, pool, classes, head)
    heads.save(folder, head, card, attachments=_attachments(head))
    validation = head.validation_ or {}
    return Fit(
        head=str(folder),
        kind=kind.value,
        layer=layer,
        pool=card.pool or "none",
        dimensions=train.X.shape[1],
        classes=classes,
        train_images=len(train.y),
        val_images=int(known.sum()),
        val_accuracy=validation.get("accuracy"),
        parameters=head.parameters,
        seconds=round(time.monotonic() - started, 3),
    )


@dataclass(frozen=True)
class _Rows:
    X: NDArray[np.float32]
    y: NDArray[np.int32]


def _load(opened: store.Store, layer: str, pool: Pool | None, split: Split) -> _Rows:
    """Read the pooled codes and labels of a split; only the pooled codes stay in memory."""
    rows = store.rows_of(opened, split)
    blocks = [
        (positions, heads.pool(codes, pool)) for positions, codes in opened.blocks(layer, rows)
    ]
    width = blocks[0][1].shape[1] if blocks else 0
    X = np.empty((len(rows), width), np.float32)
    for positions, codes in blocks:
        X[positions] = codes
    return _Rows(X, opened.labels[rows])


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


def _parameters(kind: HeadKind, C: float | str, config: heads.MlpConfig | None) -> dict[str, Any]:
    if kind is HeadKind.mlp:
        return {"config": config or heads.MlpConfig.from_options(None)}
    if config is not None:
        raise HeadError(f"expected mlp settings only with --kind mlp, found --kind {kind.value}")
    return {"C": C}


def _card(
    opened: store.Store,
    layer: str,
    pool: Pool | None,
    classes: tuple[str, ...],
    head: heads.Head,
) -> heads.Card:
    """Write down everything that using the head later depends on."""
    header = opened.header
    shape = tuple(opened.layers[layer])
    chosen = (pool or Pool.avg).value if len(shape) > 1 else None
    return heads.Card(
        classes=classes,
        layer=layer,
        pool=chosen,
        shape=shape,
        space=header.space if header is not None else None,
        weights=dict(header.weights) if header is not None else {},
        batch_size=header.batch_size if header is not None else 32,
        scores={"validation": head.validation_},
        seed=head.seed,
        versions=dict(header.versions) if header is not None else {},
        trained_on={"store": str(opened.location.absolute())},
        probe=opened.probe(layer),
    )


def _attachments(head: heads.Head) -> dict[str, bytes]:
    if head.history_ is None:
        return {}
    return {"curves.png": report.curves_png(head.history_)}


def _default_out(location: Path, kind: HeadKind) -> Path:
    return Path("artifacts") / "heads" / f"{location.stem}-{kind.value}"
