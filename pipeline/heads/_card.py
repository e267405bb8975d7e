"""What is known about a head besides its numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.common.choices import Engine, Pool, Precision
from pipeline.common.errors import HeadError
from pipeline.common.names import among
from pipeline.common.space import LARGEST_EDGE, Space
from pipeline.heads._novelty import Novelty
from pipeline.heads._parts import Part, vectors


@dataclass(frozen=True, kw_only=True)
class Origin:
    """
    What computed the codes of a store, and what they mean.

    Attributes
    ----------
    space : Space
    weights : dict
        Where the backbone's weights came from.
    batch_size : int
        Of the forward pass.
    engine, precision : str
    versions : dict
        Libraries and their versions.
    """

    space: Space
    weights: Mapping[str, Any]
    batch_size: int
    engine: str
    precision: str
    versions: Mapping[str, Any]

    def to_json(self) -> dict[str, Any]:
        """Return it as plain JSON values."""
        return _written(self)

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> Origin:
        """
        Rebuild it from `to_json`.

        Raises
        ------
        KeyError, TypeError, ValueError
            If something is missing or of the wrong kind.
        """
        origin = cls(**_read(plain))
        if not isinstance(origin.space, Space):
            raise ValueError("a further store of unknown origin")
        _check_origin(origin)
        return origin


@dataclass(frozen=True, kw_only=True)
class Card:
    """
    What a saved head says about itself.

    Attributes
    ----------
    classes : tuple of str
        Names of the classes, in the order of the columns of its scores.
    layer : str
        The layer whose codes it takes.
    pool : str or None
        How maps of codes become vectors for it.
    tuned_to : str or None
        Of a fine-tuned head, the layer up to which the layers above `layer` have weights of their
        own; what comes out there is pooled and given to the head.
    shape : tuple of int
        Of one image's codes in the store, before pooling.
    also : tuple of Part
        The layers after this one, where the head takes the codes of several side by side.
    further : tuple of Origin
        Of the stores after the first, where the head takes the codes of several.
    space : Space or None
        What the codes of the first store mean; None for codes of unknown origin.
    weights : dict
        Where the backbone's weights came from.
    batch_size : int
        Of the forward pass that gave the codes.
    engine, precision : str
        What computed it.
    scores : dict
        Such as ``{"validation": {"accuracy": 0.9, "images": 100}}``.
    seed : int
        Of the fit.
    versions : dict
        Libraries and their versions.
    trained_on : dict
        Which rows it learned from.
    probe : array of shape (8, *taken) or None
        Codes of the probe images, see `take`.
    seen : sorted uint64 array or None
        The first 8 bytes of the content hash of every image that took part in fitting, so that
        nobody mistakes a score on them for a test.
    judged : sorted uint64 array or None
        The same of the images that only chose settings or calibrated; for what is in
        ``trained_on["judged"]``.
    held : uint64 array of shape (m,) or None
        The same, sorted, of images that the head was fitted on after it had been measured by them.
    held_scores : array of shape (m, n_classes) or None
        What it said of them then, as `Head.decision` gives it.
    novelty : Novelty or None
        Which scores and distances from the training images are usual.
    """

    classes: tuple[str, ...]
    layer: str
    pool: str | None = None
    tuned_to: str | None = None
    shape: tuple[int, ...] = ()
    also: tuple[Part, ...] = ()
    further: tuple[Origin, ...] = ()
    space: Space | None = None
    weights: Mapping[str, Any] = field(default_factory=dict)
    batch_size: int = 32
    engine: str = "tensorflow"
    precision: str = "float32"
    scores: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    versions: Mapping[str, Any] = field(default_factory=dict)
    trained_on: Mapping[str, Any] = field(default_factory=dict)
    probe: NDArray[Any] | None = None
    seen: NDArray[np.uint64] | None = None
    judged: NDArray[np.uint64] | None = None
    held: NDArray[np.uint64] | None = None
    held_scores: NDArray[np.float64] | None = None
    novelty: Novelty | None = None

    @property
    def pooling(self) -> Pool | None:
        """How maps of codes become vectors, as `pool` takes it."""
        return None if self.pool is None else Pool(self.pool)

    @property
    def inputs(self) -> tuple[Part, ...]:
        """All layers whose codes the head takes, in order."""
        return (Part(layer=self.layer, pool=self.pool, shape=self.shape), *self.also)

    @property
    def layers(self) -> list[str]:
        """Their names, in order."""
        return [part.layer for part in self.inputs]

    @property
    def origins(self) -> tuple[Origin, ...]:
        """What computed the codes of each store, in order; empty for codes of unknown origin."""
        if self.space is None:
            return ()
        first = Origin(
            space=self.space,
            weights=self.weights,
            batch_size=self.batch_size,
            engine=self.engine,
            precision=self.precision,
            versions=self.versions,
        )
        return (first, *self.further)

    def of_source(self, number: int) -> list[Part]:
        """Return the layers that are of one of the stores."""
        return [part for part in self.inputs if part.source == number]

    @property
    def taken(self) -> tuple[int, ...]:
        """Shape of one image's codes as `take` gives them."""
        return (sum(part.width for part in self.inputs),) if self.also else self.shape

    def take(self, codes: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
        """
        Pick what `SavedHead.decision` scores out of the codes of some images.

        Parameters
        ----------
        codes : mapping of str to array of shape (..., *shape)
            For each layer of the head, at least.

        Returns
        -------
        array of shape (..., *taken)
            Of one layer its codes, as they are. Those of several are pooled and joined.
        """
        return vectors(self.inputs, codes) if self.also else codes[self.layer]

    @property
    def part(self) -> NDArray[np.uint64] | None:
        """Hashes of all images that had a part in the head."""
        if self.seen is None or self.judged is None:
            return self.seen
        return np.union1d(self.seen, self.judged)

    def fitted_on(self, hashes: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """Say which of some images the head was fitted on, as far as that is known."""
        return _among(self.seen, hashes)

    def judged_by(self, hashes: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """Say which of some images only chose settings or calibrated, as far as that is known."""
        return _among(self.judged, hashes)

    def scores_of(self, hashes: NDArray[np.uint64]) -> NDArray[np.float64] | None:
        """
        Return what the head said of images while they were held out.

        Parameters
        ----------
        hashes : uint64 array of shape (n,)

        Returns
        -------
        array of shape (n, n_classes), or None
            None unless all of them were.
        """
        if self.held is None or self.held_scores is None or not _among(self.held, hashes).all():
            return None
        return np.asarray(self.held_scores[np.searchsorted(self.held, hashes)], np.float64)

    def to_json(self) -> dict[str, Any]:
        """Return everything but the arrays as plain JSON values."""
        return {
            "classes": list(self.classes),
            "layer": self.layer,
            "pool": self.pool,
            "shape": list(self.shape),
            **_written(self),
            "scores": dict(self.scores),
            "seed": self.seed,
            "trained_on": dict(self.trained_on),
            **({} if self.tuned_to is None else {"tuned_to": self.tuned_to}),
            **({"also": [part.to_json() for part in self.also]} if self.also else {}),
            **({"further": [each.to_json() for each in self.further]} if self.further else {}),
            **({} if self.novelty is None else {"novelty": self.novelty.to_json()}),
        }

    @classmethod
    def from_json(
        cls,
        plain: Mapping[str, Any],
        *,
        probe: NDArray[Any] | None = None,
        seen: NDArray[np.uint64] | None = None,
        judged: NDArray[np.uint64] | None = None,
        held: NDArray[np.uint64] | None = None,
        held_scores: NDArray[np.float64] | None = None,
        novelty: Mapping[str, NDArray[Any]] | None = None,
    ) -> Card:
        """
        Rebuild a card from `to_json` and the arrays.

        Raises
        ------
        HeadError
            If something is missing or of the wrong kind.
        """
        try:
            usual = None
            if novelty or "novelty" in plain:
                usual = Novelty.from_arrays(plain["novelty"], novelty or {})
            card = cls(
                classes=tuple(map(str, plain["classes"])),
                layer=str(plain["layer"]),
                pool=plain["pool"],
                tuned_to=plain.get("tuned_to"),
                shape=tuple(int(n) for n in plain["shape"]),
                also=tuple(map(Part.from_json, plain.get("also", ()))),
                further=tuple(map(Origin.from_json, plain.get("further", ()))),
                **_read(plain),
                scores=dict(plain["scores"]),
                seed=int(plain["seed"]),
                trained_on=dict(plain["trained_on"]),
                probe=None if probe is None else np.asarray(probe),
                seen=seen,
                judged=judged,
                held=held,
                held_scores=held_scores,
                novelty=usual,
            )
            card._check()
            return card
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise HeadError(f"not the card of a head: {error}") from error

    def _check(self) -> None:
        """Raise ValueError for what no head says of itself."""
        if len(set(self.classes)) < len(self.classes):
            raise ValueError("two classes of one name")
        for name in self.classes:
            name.encode("utf-8", "surrogateescape")  # ValueError for what no file is named
        if self.also and self.tuned_to is not None:
            raise ValueError("several layers below fine-tuned ones")
        if len(set(self.layers)) < len(self.layers):
            raise ValueError("two layers of one name")
        for part in self.inputs:
            _check_part(part)
        if self.held_scores is not None and self.held_scores.shape[1:] != (len(self.classes),):
            raise ValueError("scores of held-out images for other classes")
        _check_origin(self)
        stores = self.trained_on.get("with", ())
        texts = self.trained_on.get("store"), self.tuned_to, *stores
        if not all(text is None or isinstance(text, str) for text in texts):
            raise ValueError("a store or a layer whose name is no text")
        if {part.source for part in self.inputs} != set(range(1 + len(self.further))):
            raise ValueError("layers of other stores than it names")
        if self.space is None:
            if self.further:
                raise ValueError("several stores, the first of unknown origin")
            return
        for part in self.inputs:
            known = self.origins[part.source].space.layers.get(part.own)
            if known is not None and known != part.shape:
                raise ValueError(f"codes of shape {part.shape} in a layer of {known}")
            if known is None and self.tuned_to is None:
                raise ValueError(f"no layer {part.layer} in its space")
        if self.probe is not None and self.probe.shape[1:] != self.taken:
            raise ValueError(f"a probe of shape {self.probe.shape}")


def _written(origin: Origin | Card) -> dict[str, Any]:
    """Return what computed codes, and what these mean, as plain JSON values."""
    return {
        "space": None if origin.space is None else origin.space.to_json(),
        "space_id": None if origin.space is None else origin.space.space_id,
        "weights": dict(origin.weights),
        "batch_size": origin.batch_size,
        "engine": origin.engine,
        "precision": origin.precision,
        "versions": dict(origin.versions),
    }


def _read(plain: Mapping[str, Any]) -> dict[str, Any]:
    """Return it from plain JSON values; ValueError unless the space is that of `space_id`."""
    space = None if plain["space"] is None else Space.from_json(plain["space"])
    if space is not None and space.space_id != plain["space_id"]:
        raise ValueError("space and space_id do not belong together")
    return {
        "space": space,
        "weights": dict(plain["weights"]),
        "batch_size": int(plain["batch_size"]),
        "engine": Engine(plain["engine"]).value,
        "precision": Precision(plain["precision"]).value,
        "versions": dict(plain["versions"]),
    }


def _check_origin(origin: Origin | Card) -> None:
    """Raise ValueError for what no store says of itself."""
    if not 0 < origin.batch_size <= LARGEST_EDGE:
        raise ValueError(f"a batch of {origin.batch_size}")
    texts = origin.weights.get("source"), origin.weights.get("file_sha256")
    if not all(text is None or isinstance(text, str) for text in texts):
        raise ValueError("weights whose name is no text")
    if origin.space is not None and texts[0] is None:
        raise ValueError("a backbone without weights")


def _check_part(part: Part) -> None:
    """Raise ValueError for codes that no layer has."""
    if part.pooling is None and len(part.shape) not in (0, 1, 3):
        raise ValueError(f"codes of shape {part.shape}")
    if not part.shape or not all(0 < edge <= LARGEST_EDGE for edge in part.shape):
        raise ValueError(f"codes of shape {part.shape}")


def _among(known: NDArray[np.uint64] | None, hashes: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """Say which of some hashes are among known ones, which are sorted."""
    return np.zeros(len(hashes), bool) if known is None else among(hashes, known)
