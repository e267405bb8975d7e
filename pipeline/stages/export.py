"""A head leaves the house: one file from photos to probabilities, compared with predict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline import backbones, exports, heads, store
from pipeline.common.choices import ExportFormat, Quantize, Resize, choose
from pipeline.common.errors import ExportError, OutputError, PipelineError
from pipeline.common.files import building, command_line, make_folder, put_in_place
from pipeline.common.listener import SILENT, Listener, Tell
from pipeline.flows import originals as photos
from pipeline.flows import places, tuned_heads
from pipeline.flows.classifier import recognise, space_of
from pipeline.flows.model_card import facts_of

_COMPARED = 32  # images
_CALIBRATED = 100  # training photos by which 8 bits are spread
_CARD = "model_card.md"


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
    target = _target(Path(head), form, quantize, out)
    saved = tuned_heads.load(head)
    steps = saved.head.folded()
    if isinstance(steps[-1], heads.Classifier) and not form.classifiers:
        raise ExportError(
            f"expected --format joblib or onnx for a classifier of scikit-learn's, found "
            f"{form.name.value}; choose one of these"
        )
    if form.takes_codes:
        made = _of_codes(saved, steps)
    else:
        made = _of_pixels(saved, steps, weights, quantize, listener.tell)
    make_folder(target.parent)
    with building(target) as aside:
        fresh = aside / target.name
        _write(form, made.content, fresh)
        result = _compare(form, made, fresh, target)
        page = aside / _CARD if fresh.is_file() else fresh / _CARD
        page.write_text(_text(saved, form, made, result, weights), encoding="utf-8")
        if fresh.is_file():
            put_in_place(page, Path(result.model_card))
        put_in_place(fresh, target)
    return result


@dataclass(frozen=True, kw_only=True)
class _Made:
    """What goes into the file, and what the file must then say of some images or codes."""

    content: exports.ExportContent
    inputs: NDArray[Any]
    expected: NDArray[np.floating]
    compared_on: str
    compared_with: str
    size: int = 0
    files: list[bytes] | None = None


def _of_pixels(
    saved: heads.SavedHead,
    steps: Sequence[heads.Step],
    weights: str | None,
    quantize: Quantize,
    tell: Tell,
) -> _Made:
    """Join backbone and head, and ask what predict says of some photos."""
    space = space_of(saved)
    resize = Resize(space.resize)
    opened = photos.store_of(saved)
    samples = None
    if quantize is Quantize.int8:
        samples = _samples(saved, photos.read(opened, photos.trained_on, _CALIBRATED, space))
    found = photos.read(opened, photos.held_out, _COMPARED, space)
    compared_on = "photos of the head's store"
    if found is None:
        compared_on = "the bundled probe images (the photos of the head's store are gone)"
        tell(f"comparing on {compared_on}")
        found = photos.probe(space)
    expected = _probabilities(saved, found.pixels, weights)  # first: it knows wrong weights
    return _Made(
        content=exports.ExportContent(
            classes=saved.card.classes,
            steps=steps,
            model=_whole_model(saved, steps, weights),
            resize=resize,
            quantize=quantize,
            samples=samples,
        ),
        inputs=found.pixels,
        expected=expected,
        compared_on=compared_on,
        compared_with="predict, computed by TensorFlow in float32",
        size=space.size,
        files=found.files,
    )


def _whole_model(saved: heads.SavedHead, steps: Sequence[heads.Step], weights: str | None) -> Any:
    """Build the Keras model up to the probabilities, or up to what scikit-learn goes on from."""
    model = _codes_model(saved, weights)
    return model if isinstance(steps[-1], heads.Classifier) else exports.joined(model, steps)


def _codes_model(saved: heads.SavedHead, weights: str | None) -> Any:
    """Build the Keras model from pixels to the vectors that the head's steps take."""
    card = saved.card
    models = [
        backbones.codes_model(
            backbones.find(origin.space.backbone),
            weights=(None if number else weights) or origin.weights["source"],
            layers=[card.tuned_to or part.own for part in card.of_source(number)],
            size=origin.space.size,
            tuned=saved.tuned,
        )
        for number, origin in enumerate(card.origins)
    ]
    return exports.pooled(exports.merged(models), [part.pooling for part in card.inputs])


def _probabilities(
    saved: heads.SavedHead, pixels: NDArray[np.uint8], weights: str | None
) -> NDArray[np.float64]:
    """Return what predict says, by its own way: NumPy's preprocessing, the backbone, the head."""
    card = saved.card
    if card.layer == backbones.INPUT:
        codes = pixels.astype(np.float32)
    else:
        codes = card.take(recognise(saved, weights, exactly=True)(pixels))
    return saved.head.as_scores(saved.decision(codes))


def _samples(saved: heads.SavedHead, found: photos.Photos | None) -> NDArray[np.uint8]:
    """Return training photos to calibrate 8 bits by."""
    if found is None:
        raise ExportError(
            "expected the training photos, by which 8 bits are spread, found none of those that "
            f"{saved.card.trained_on.get('store', 'the store')} names; export where they are, or "
            f"with --quantize {Quantize.dynamic.value}"
        )
    return found.pixels


def _of_codes(saved: heads.SavedHead, steps: Sequence[heads.Step]) -> _Made:
    """Take the head alone, and ask what it says of some codes."""
    if saved.tuned is not None:
        raise ExportError(
            f"expected a head on the codes of a store for joblib, found {saved.directory}, which "
            "has fine-tuned layers of its own below it; choose --format keras"
        )
    codes, compared_on = _some_codes(saved)
    return _Made(
        content=exports.ExportContent(classes=saved.card.classes, steps=steps),
        inputs=codes,
        expected=saved.head.predict_proba(codes),
        compared_on=compared_on,
        compared_with="the head",
    )


def _some_codes(saved: heads.SavedHead) -> tuple[NDArray[np.float32], str]:
    """Return codes of the head's store, of the probe images, or, where both are gone, any."""
    card = saved.card
    opened = photos.store_of(saved, joined=True)
    layers = {} if opened is None else opened.layers
    if opened is not None and all(layers.get(part.layer) == part.shape for part in card.inputs):
        rows = photos.held_out(opened, _COMPARED)
        codes = card.take(store.read_together(opened, card.layers, rows))
        return heads.pool(codes, card.pooling), "codes of the head's store"
    if card.probe is not None:
        return heads.pool(card.probe, card.pooling), "codes of the bundled probe images"
    shape = (_COMPARED, saved.head.n_features_in_)
    return np.random.default_rng(0).random(shape, dtype=np.float32), "random codes"


def _target(head: Path, form: exports.Format, quantize: Quantize, out: str | Path | None) -> Path:
    """Decide where the file goes, and see beforehand that nothing is there."""
    name = head.absolute().name
    name += "" if quantize is Quantize.none else f"-{quantize.value}"
    default = f"{name}{form.suffix}" if form.suffix else f"{name}-{form.name.value}"
    target = Path(out) if out is not None else places.export_of(default)
    if form.suffix and target.suffix != form.suffix:
        raise OutputError(
            f"expected a file name that ends in {form.suffix} for --out, found {target}; "
            f"type --out {target}{form.suffix}"
        )
    taken = [path for path in (target, _card_of(form, target)) if path.exists()]
    if taken:
        raise OutputError(
            f"expected a new name, found {taken[0]}; delete it, or choose another with --out"
        )
    return target


def _card_of(form: exports.Format, target: Path) -> Path:
    """Return where the model card goes: into a folder, or beside a file."""
    return target.with_name(f"{target.name}.md") if form.suffix else target / _CARD


def _write(form: exports.Format, content: exports.ExportContent, path: Path) -> None:
    """Write a file; a converter that gives up becomes one line."""
    if not form.suffix:
        path.mkdir()
    try:
        form.write(content, path)
    except (PipelineError, OSError, MemoryError):
        raise
    except Exception as error:
        said = " ".join(str(error).split())[:200]
        raise ExportError(
            f"expected a head that {form.name.value} can express, found one that its converter "
            f"refuses ({type(error).__name__}: {said}); choose another --format, such as "
            f"{ExportFormat.keras.value}"
        ) from error


def _compare(form: exports.Format, made: _Made, path: Path, target: Path) -> Export:
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
        model_card=str(_card_of(form, target)),
    )


def _bytes(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())


def _text(
    saved: heads.SavedHead, form: exports.Format, made: _Made, result: Export, weights: str | None
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
