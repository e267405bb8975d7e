"""The whole job in one go: three layers in one pass, two heads on each, and which wins."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path

from pipeline.common.choices import HeadKind
from pipeline.common.listener import SILENT, Listener
from pipeline.stages.compare import Comparison, compare
from pipeline.stages.extract import Extraction, extract

# The last layer is what everybody takes; the two before it often win on images that are unlike
# ImageNet. Pooled, the three cost some 6 KB an image.
_BACKBONE = "efficientnet-lite0"
_LAYERS = ("block5c_add:avg", "block6d_add:avg", "avg")
_KINDS = (HeadKind.svm, HeadKind.mlp)


@dataclass(frozen=True, kw_only=True)
class Demo:
    """
    What `demo` found.

    Attributes
    ----------
    extraction : Extraction
    comparison : Comparison
        Two kinds of heads on three layers, and the winner's scores on the test split.
    seconds : float
    """

    extraction: Extraction
    comparison: Comparison
    seconds: float


def demo(
    source: str | Path = "digits",
    *,
    out: str | Path = "artifacts",
    listener: Listener = SILENT,
) -> Demo:
    """
    Extract, compare heads and evaluate, on scikit-learn's digits or on your own photos.

    Parameters
    ----------
    source : str or Path, default "digits"
        Any source of images.
    out : str or Path, default "artifacts"
        Folder for the store, the head and the report.
    listener : Listener, optional
        Hears sentences, images done, the `Extraction` and each `Candidate`.

    Returns
    -------
    Demo

    Raises
    ------
    PipelineError
        Whatever the stages raise.
    """
    started = time.monotonic()
    out, name = Path(out), f"demo-{Path(source).absolute().name}"
    extraction = extract(
        source,
        out=out / "features" / name,
        backbone=_BACKBONE,
        layers=_LAYERS,
        listener=listener,
    )
    listener.show(extraction)
    comparison = compare(
        extraction.store,
        kinds=_KINDS,
        out=out / "heads" / name,
        report_out=out / "reports" / name,
        listener=replace(listener, progress=SILENT.progress),
    )
    return Demo(
        extraction=extraction,
        comparison=comparison,
        seconds=round(time.monotonic() - started, 1),
    )
