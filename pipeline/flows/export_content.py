"""What goes into an export, and what it must then say of some photos or codes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline import backbones, exports, heads, store
from pipeline.common.choices import Quantize, Resize
from pipeline.common.errors import ExportError, OutputError
from pipeline.common.listener import Tell
from pipeline.common.steps import Classifier, Step
from pipeline.flows import originals as photos
from pipeline.flows import places
from pipeline.flows.classifier import recognise, space_of

_COMPARED = 32  # images


_CALIBRATED = 100  # training photos by which 8 bits are spread


@dataclass(frozen=True, kw_only=True)
class Exportable:
    """What goes into the file, and what the file must then say of some images or codes."""

    content: exports.ExportContent
    inputs: NDArray[Any]
    expected: NDArray[np.floating]
    compared_on: str
    compared_with: str
    size: int = 0
    files: list[bytes] | None = None


def of_pixels(
    saved: heads.SavedHead,
    steps: Sequence[Step],
    weights: str | None,
    quantize: Quantize,
    tell: Tell,
) -> Exportable:
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
    with backbones.sharing():
        expected = _probabilities(saved, found.pixels, weights)  # first: it knows wrong weights
        model = _whole_model(saved, steps, weights)
    return Exportable(
        content=exports.ExportContent(
            classes=saved.card.classes,
            steps=steps,
            model=model,
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


def _whole_model(saved: heads.SavedHead, steps: Sequence[Step], weights: str | None) -> Any:
    """Build the Keras model up to the probabilities, or up to what scikit-learn goes on from."""
    model = _codes_model(saved, weights)
    return model if isinstance(steps[-1], Classifier) else exports.joined(model, steps)


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


def of_codes(saved: heads.SavedHead, steps: Sequence[Step]) -> Exportable:
    """Take the head alone, and ask what it says of some codes."""
    if saved.tuned is not None:
        raise ExportError(
            f"expected a head on the codes of a store for joblib, found {saved.directory}, which "
            "has fine-tuned layers of its own below it; choose --format keras"
        )
    codes, compared_on = _some_codes(saved)
    return Exportable(
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


CARD = "model_card.md"


def target_of(head: Path, form: exports.Format, quantize: Quantize, out: str | Path | None) -> Path:
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
    taken = [path for path in (target, card_of_export(form, target)) if path.exists()]
    if taken:
        raise OutputError(
            f"expected a new name, found {taken[0]}; delete it, or choose another with --out"
        )
    return target


def card_of_export(form: exports.Format, target: Path) -> Path:
    """Return where the model card goes: into a folder, or beside a file."""
    return target.with_name(f"{target.name}.md") if form.suffix else target / CARD
