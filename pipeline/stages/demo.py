"""The whole job in one go: three layers in one pass, two heads on each, and which of them wins."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pipeline import backbones
from pipeline.choices import HeadKind
from pipeline.errors import HeadError
from pipeline.stages.evaluate import Evaluation, evaluate
from pipeline.stages.extract import Extraction, extract
from pipeline.stages.fit_head import Fit, fit_head

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
    fits : tuple of Fit
        One for each layer and kind, best on validation first.
    evaluation : Evaluation
        The winner's scores on the test split.
    seconds : float
    """

    extraction: Extraction
    fits: tuple[Fit, ...]
    evaluation: Evaluation
    seconds: float


def demo(
    source: str | Path = "digits",
    *,
    out: str | Path = "artifacts",
    tell: Callable[[str], None] | None = None,
    progress: Callable[[int, int], None] | None = None,
    show: Callable[[Extraction | Fit], None] | None = None,
) -> Demo:
    """
    Extract, fit and evaluate on scikit-learn's digits or on your own photos.

    Parameters
    ----------
    source : str or Path, default "digits"
        Any source of images.
    out : str or Path, default "artifacts"
        Folder for the store, the heads and the report.
    tell, progress : callable, optional
        As in `extract`.
    show : callable, optional
        Called with the result of each stage as it ends.

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
        tell=tell,
        progress=progress,
    )
    show = show or _nothing
    show(extraction)
    fits = []
    for layer in extraction.layers:
        for kind in _KINDS:
            fits.append(_fit(extraction, out / "heads", layer=layer, kind=kind))
            show(fits[-1])
    if any(fit.val_accuracy is None for fit in fits):
        raise HeadError(
            f"expected validation images to compare heads on, found none in {source}; "
            "add images, or a val/ folder"
        )
    # Of heads that are equally good, the one with fewer numbers per image.
    fits.sort(key=lambda fit: (-(fit.val_accuracy or 0), fit.dimensions))
    evaluation = evaluate(
        fits[0].head, extraction.store, out=out / "reports" / Path(fits[0].head).name, tell=tell
    )
    return Demo(
        extraction=extraction,
        fits=tuple(fits),
        evaluation=evaluation,
        seconds=round(time.monotonic() - started, 1),
    )


def _fit(extraction: Extraction, folder: Path, *, layer: str, kind: HeadKind) -> Fit:
    short = backbones.parse_layer(layer)[0]
    name = f"{Path(extraction.store).name}-{short}-{kind.value}"
    return fit_head(extraction.store, kind=kind, layer=layer, out=folder / name)


def _nothing(result: Extraction | Fit) -> None:
    """Show nothing."""
