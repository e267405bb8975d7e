"""A head and its backbone as one file, from photos to probabilities, compared with predict."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pipeline import exports, heads
from pipeline.common.choices import ExportFormat, Quantize, choose
from pipeline.common.errors import ExportError
from pipeline.common.files import building, command_line, make_folder, put_in_place
from pipeline.common.listener import SILENT, Listener
from pipeline.common.steps import Classifier
from pipeline.flows import tuned_heads
from pipeline.flows.export_content import (
    CARD,
    Exportable,
    card_of_export,
    of_codes,
    of_pixels,
    target_of,
)
from pipeline.flows.model_card import facts_of


@dataclass(frozen=True, kw_only=True)
class Export:
    """
    What `export` wrote, and how far it is from the head.

    Attributes
    ----------
    path : str
        The file or folder.
    format, quantize : str
    bytes : int
        Its size, without the model card.
    images : int
        How many were compared.
    compared_on : str
        Which.
    compared_with : str
        What computed the probabilities that were expected.
    max_difference : float
        The largest between two probabilities.
    top1_agreement : float
        The share of images with the same best class.
    tolerance : float
        The largest difference that is allowed.
    max_difference_bytes, top1_agreement_bytes : float or None
        Likewise of the entry that decodes image files itself, where there is one; it is told and
        not bounded, for another decoder gives other pixels.
    latency_ms : float
        What one image takes in the format's own runtime.
    model_card : str
        The page beside it.
    """

    path: str
    format: str
    quantize: str
    bytes: int
    images: int
    compared_on: str
    compared_with: str
    max_difference: float
    top1_agreement: float
    tolerance: float
    max_difference_bytes: float | None
    top1_agreement_bytes: float | None
    latency_ms: float
    model_card: str


def export(
    head: str | Path,
    *,
    format: ExportFormat | str,
    out: str | Path | None = None,
    weights: str | None = None,
    quantize: Quantize | str = Quantize.none,
    listener: Listener = SILENT,
) -> Export:
    """
    Write a head and its backbone as one file that other programs run.

    The file is run again by the format's own runtime, on photos of the head's store, and is kept
    only if it says what `predict` says.

    Parameters
    ----------
    head : str or Path
        A head made by `fit_head`.
    format : ExportFormat or str
        ``keras``, ``saved-model``, ``tflite``, ``onnx``, ``openvino``: from uint8 pixels of the
        head's size to probabilities. ``joblib``: from codes, for scikit-learn.
    out : str or Path, optional
        The file, or the folder of formats that are one; by default below ``artifacts/exports``.
    weights : str, optional
        The backbone's weights, if they are no longer where they were.
    quantize : Quantize or str, default Quantize.none
        For ``tflite``: ``dynamic`` keeps weights in 8 bits, ``int8`` computes in them.
    listener : Listener, optional
        Hears sentences for the user.

    Returns
    -------
    Export

    Raises
    ------
    OutputError
        If something stands where the file should go.
    HeadError
        If the head has no probabilities, or nobody knows its backbone.
    ExportError
        If the format cannot express the head, a package is missing, or the file differs from the
        head by more than is allowed.
    """
    form = exports.TABLE[choose(ExportFormat, format, what="format")]
    quantize = choose(Quantize, quantize, what="quantize")
    form.check(quantize)
    target = target_of(Path(head), form, quantize, out)
    saved = tuned_heads.load(head)
    steps = saved.head.folded()
    if isinstance(steps[-1], Classifier) and not form.classifiers:
        raise ExportError(
            f"expected --format joblib or onnx for a classifier of scikit-learn's, found "
            f"{form.name.value}; choose one of these"
        )
    if form.takes_codes:
        made = of_codes(saved, steps)
    else:
        made = of_pixels(saved, steps, weights, quantize, listener.tell)
    make_folder(target.parent)
    with building(target) as aside:
        fresh = aside / target.name
        exports.write(form, made.content, fresh)
        result = _compare(form, made, fresh, target)
        page = aside / CARD if fresh.is_file() else fresh / CARD
        page.write_text(_text(saved, form, made, result, weights), encoding="utf-8")
        if fresh.is_file():
            put_in_place(page, Path(result.model_card))
        put_in_place(fresh, target)
    return result


def _compare(form: exports.Format, made: Exportable, path: Path, target: Path) -> Export:
    """Run the file by its own runtime; refuse it if it does not say what the head says."""
    quantize = made.content.quantize
    allowed = form.tolerance[quantize]
    run = form.load(path)
    found = exports.compare(run(made.inputs), made.expected)
    if not found.within(allowed):
        raise ExportError(
            f"expected probabilities within {allowed.max_difference:g} of those of "
            f"{made.compared_with}, and {allowed.top1_agreement:.0%} of the best classes, found a "
            f"difference of {found.max_difference:.3g} and {found.top1_agreement:.0%} in the "
            f"{form.name.value} file, which was deleted; "
            + (
                "choose another --format"
                if quantize is Quantize.none
                else f"choose another --quantize than {quantize.value}"
            )
        )
    of_files = None
    if form.load_bytes is not None and made.files is not None:
        of_files = exports.compare(form.load_bytes(path)(made.files), made.expected)
    return Export(
        path=str(target),
        format=form.name.value,
        quantize=quantize.value,
        bytes=_bytes(path),
        images=len(made.inputs),
        compared_on=made.compared_on,
        compared_with=made.compared_with,
        max_difference=found.max_difference,
        top1_agreement=found.top1_agreement,
        tolerance=allowed.max_difference,
        max_difference_bytes=of_files.max_difference if of_files is not None else None,
        top1_agreement_bytes=of_files.top1_agreement if of_files is not None else None,
        latency_ms=exports.latency(run, made.inputs[:1]),
        model_card=str(card_of_export(form, target)),
    )


def _bytes(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())


def _text(
    saved: heads.SavedHead,
    form: exports.Format,
    made: Exportable,
    result: Export,
    weights: str | None,
) -> str:
    """Write the model card."""
    parity = {
        "compared with": result.compared_with,
        "images": f"{result.images}, {result.compared_on}",
        "largest difference of a probability": result.max_difference,
        "allowed": result.tolerance,
        "same best class": f"{result.top1_agreement:.1%}",
        "from image files, largest difference": result.max_difference_bytes,
        "one image, milliseconds where it was written": result.latency_ms,
        "bytes": result.bytes,
        "quantized": result.quantize if result.quantize != Quantize.none.value else None,
    }
    options = {"--format": result.format, "--out": result.path}
    options |= {"--quantize": result.quantize} if parity["quantized"] else {}
    options |= {"--weights": weights} if weights is not None else {}
    words = [word for option in options.items() for word in option]
    facts = facts_of(
        saved,
        form,
        path=Path(result.path),
        squared=exports.squared(made.size, made.content.resize),
        parity=parity,
        command=command_line(["pipeline", "export", str(saved.directory), *words]),
    )
    return exports.card_text(facts, form)
