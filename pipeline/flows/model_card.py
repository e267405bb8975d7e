"""What a model card says of a head."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from pipeline import exports, heads
from pipeline._version import __version__
from pipeline.flows.layers import named, pooled


def facts_of(
    saved: heads.SavedHead,
    form: exports.Format,
    *,
    path: Path,
    squared: str,
    parity: Mapping[str, object],
    command: str,
) -> exports.Facts:
    """
    Gather what is known of a head and the file that was made of it.

    Parameters
    ----------
    saved : SavedHead
    form : Format
    path : Path
        Of the file.
    squared : str
        The Python that makes a photo the square.
    parity : mapping of str to object
        How far the file is from the head.
    command : str
        What makes the file again.

    Returns
    -------
    Facts
    """
    card = saved.card
    validation = card.scores.get("validation") or {}
    store, others = card.trained_on.get("store"), card.trained_on.get("with")
    return exports.Facts(
        title=f"{saved.directory.absolute().name}: {saved.head.kind.value} as {form.name.value}",
        fills={
            "path": path.name,
            "squared": squared,
            "store": str(store or "STORE"),
            "layer": repr([part.name for part in card.inputs] if card.also else card.layer),
            "pool": repr(pooled(card.inputs)),
            "joined_with": f", joined_with={others}" if others else "",
        },
        size=card.space.size if card.space is not None else 0,
        made_of={
            "store": store,
            "joined with": ", ".join(others) if others else None,
            "images that took part in fitting": len(card.seen) if card.seen is not None else None,
            "classes": len(card.classes),
        },
        space=_space(card),
        scores={
            "validation accuracy": validation.get("accuracy"),
            "validation images": validation.get("images"),
            "measured on": validation.get("how"),
        },
        parity=parity,
        classes=card.classes,
        commands=(command,),
    )


def _space(card: heads.Card) -> dict[str, object]:
    """Say what goes into the head."""
    about: dict[str, object] = {
        "layer": card.tuned_to or named(card.inputs),
        "pool": pooled(card.inputs),
    }
    if card.tuned_to is not None:
        about["fine-tuned"] = f"the layers above {card.layer}"
    if card.space is None:
        return {"backbone": "unknown: the codes are of another program", **about}
    space = card.space
    hashes = dict.fromkeys(
        card.origins[part.source].space.weights_sha256.get(part.own, "all fine-tuned")
        for part in card.inputs
    )
    return {
        "backbone": " and ".join(origin.space.backbone for origin in card.origins),
        "weights": ", ".join(str(origin.weights.get("source")) for origin in card.origins),
        "weights, SHA-256": ", ".join(hashes),
        **about,
        "image size": space.size,
        "resize": f"{space.resize}; {space.kernel}",
        "colour": f"{space.colour}, transparency {space.alpha}, EXIF {space.exif}",
        "preprocessing": f"{_each(each.space.preprocessing for each in card.origins)}, inside the "
        "file",
        "computed for the store by": _each(
            f"{each.engine} in {each.precision}" for each in card.origins
        )
        + ", as predict does",
        "pipeline": __version__,
    }


def _each(said: Iterable[str]) -> str:
    """Say of each store what differs between them, once."""
    return " and ".join(dict.fromkeys(said))
