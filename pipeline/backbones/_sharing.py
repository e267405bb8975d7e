"""Networks that are built once where several need them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from pipeline.backbones._backbone import Backbone

T = TypeVar("T")

_kept: dict[tuple[Any, ...], Any] | None = None


@contextmanager
def sharing() -> Iterator[None]:
    """Keep what is built inside, for whoever asks for the same; whoever changes weights builds."""
    global _kept
    outer = _kept
    _kept = {} if outer is None else outer
    try:
        yield
    finally:
        _kept = outer


def once(what: str, key: tuple[Any, ...], make: Callable[[], T]) -> T:
    """Return what was made for a key before, or make it; outside of `sharing` always make it."""
    if _kept is None:
        return make()
    if (what, key) not in _kept:
        _kept[what, key] = make()
    found: T = _kept[what, key]
    return found


def key_of(backbone: Backbone, weights: str, *, top: bool, size: int) -> tuple[Any, ...]:
    """Return what tells a network with its weights from others."""
    network = (backbone.name, backbone.builder, *sorted(backbone.arguments.items()), top, size)
    if weights == "random":
        return (*network, weights)
    if weights == "imagenet":  # as Keras keeps them
        return (*network, weights, os.environ.get("KERAS_HOME"), os.environ.get("HOME"))
    stat = Path(weights).expanduser().stat()
    return (*network, weights, stat.st_ino, stat.st_size, stat.st_mtime_ns)
