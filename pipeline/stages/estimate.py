"""What extract would take: a few images tried, and nothing written."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Unpack

import numpy as np

from pipeline import store
from pipeline.common.files import free_bytes
from pipeline.common.listener import SILENT, Listener
from pipeline.flows import places
from pipeline.flows.extraction import Run, bottleneck
from pipeline.flows.sources import (
    ExtractOptions,
    find_source,
    parse_options,
)

_TRIED = 64  # images that an estimate rests on: two batches for TensorFlow


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """
    What `extract` would do, measured on a few images.

    Attributes
    ----------
    store : str
        Where the codes would be.
    images, to_compute, tried : int
        Images found; still to be read and computed; tried out for this.
    images_per_second : float
        Rate on those tried, which are of all images where all have their codes.
    seconds : float
        What the rest takes at this rate, start-up apart.
    bytes, free_bytes : int
        What the rest takes on disk at the most, and what is free there.
    profile, bottleneck
        As in `Extraction`.
    """

    store: str
    images: int
    to_compute: int
    tried: int
    images_per_second: float
    seconds: float
    bytes: int
    free_bytes: int
    profile: dict[str, float]
    bottleneck: str


def estimate(
    source: Any,
    *,
    out: str | Path | None = None,
    listener: Listener = SILENT,
    **options: Unpack[ExtractOptions],
) -> Estimate:
    """
    Try `extract` on a few images from all over the source, and write nothing.

    Parameters
    ----------
    source, out, listener, **options
        As for `extract`.

    Returns
    -------
    Estimate

    Raises
    ------
    SourceError, ChoiceError, BackboneError, SpaceMismatch, StoreDamaged
        As `extract` would.
    """
    request, how = parse_options(options)
    found = find_source(source, how, listener.tell)
    folder = Path(out) if out is not None else places.features_of(source)
    with store.Writer(folder) as writer:
        run = Run(found=found, writer=writer, request=request, listener=listener)
        run.check_header()
        todo = run.recall()
        # Where all is done already, the rate of the whole source is measured.
        tried = todo if len(todo) else np.arange(len(found))
        sample = np.unique(np.arange(_TRIED) * len(tried) // _TRIED)
        seconds = run.try_out(tried[sample])
        return Estimate(
            store=str(folder),
            images=len(found),
            to_compute=len(todo),
            tried=len(sample),
            images_per_second=round(len(sample) / seconds, 1),
            seconds=round(len(todo) * seconds / len(sample), 1),
            bytes=run.bytes_for(len(todo)),
            free_bytes=free_bytes(folder),
            profile=run.profile,
            bottleneck=bottleneck(run.profile),
        )
