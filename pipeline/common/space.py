"""A space: everything that decides what a number in a store means."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from pipeline.common.choices import Resize
from pipeline.common.errors import SpaceMismatch
from pipeline.common.files import canonical_json

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# Least cosine between a probe image's codes then and now. float32 kernels of different machines
# agree to 1e-6; where either side computed in bfloat16, Lite0 on photos gave 0.9975 at the least.
_PROBE_FLOAT32 = 0.9999
_PROBE_16_BIT = 0.99


# What one axis of an image or of its codes, a batch or a number of views is at the most.
LARGEST_EDGE = 10_000_000
_TEXTS = (
    "backbone",
    "resize",
    "kernel",
    "colour",
    "alpha",
    "exif",
    "depth16",
    "preprocessing",
    "augment",
)


@dataclass(frozen=True, kw_only=True)
class Space:
    """
    The meaning of codes; two codes may be compared only when their spaces agree.

    Attributes
    ----------
    backbone : str
        Name of the row in the table of backbones.
    weights_sha256 : mapping of str to str
        For each layer, the SHA-256 of all weights between the pixels and this layer.
    layers : mapping of str to tuple of int
        For each layer, the shape of one image's codes.
    pooling : mapping of str to str
        For each layer, ``"none"``, ``"avg"`` or ``"max"``: what was done before storing.
    size : int
        Edge of the square input in pixels.
    resize, kernel, colour, alpha, exif, depth16 : str
        How an image file becomes that square; see `pipeline.images.POLICY`.
    preprocessing : str
        How uint8 RGB becomes the network's input.
    views : int, default 1
        How many copies of each image there are: the image itself, and augmented ones.
    augment : str, default ""
        What the copies differ by: names of `pipeline.common.choices.Augment`, joined by commas.
    augment_seed : int, default 0
        What decided how.
    """

    backbone: str
    weights_sha256: Mapping[str, str]
    layers: Mapping[str, tuple[int, ...]]
    pooling: Mapping[str, str]
    size: int
    resize: str
    kernel: str
    colour: str
    alpha: str
    exif: str
    depth16: str
    preprocessing: str
    views: int = 1
    augment: str = ""
    augment_seed: int = 0

    def to_json(self) -> dict[str, Any]:
        """Return the space as plain JSON values; of one view there is no more to say than that."""
        plain = asdict(self)
        if self.views == 1:
            del plain["augment"], plain["augment_seed"]
        plain["layers"] = {name: list(shape) for name, shape in self.layers.items()}
        return plain

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> Space:
        """
        Rebuild a space from `to_json`.

        Raises
        ------
        ValueError
            If fields are missing or unknown.
        """
        try:
            fields = dict(plain)
            fields["layers"] = {name: tuple(shape) for name, shape in plain["layers"].items()}
            space = cls(**fields)
            space._check()
            return space
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"not a space: {error}") from error

    def _check(self) -> None:
        """Raise TypeError for what no space has."""
        counts = {"size": self.size, "views": self.views}
        texts = {name: getattr(self, name) for name in _TEXTS}
        for name, count in counts.items():
            if not _is_whole(count) or not 0 < count <= LARGEST_EDGE:
                raise TypeError(f"{name} is {count!r}")
        if not _is_whole(self.augment_seed) or self.augment_seed < 0:
            raise TypeError(f"augment_seed is {self.augment_seed!r}")
        for name, text in texts.items():
            if not isinstance(text, str):
                raise TypeError(f"{name} is {text!r}")
        if self.resize not in set(Resize):
            raise TypeError(f"resize is {self.resize!r}, which this version does not know")
        if not set(self.layers) == set(self.pooling) == set(self.weights_sha256):
            raise TypeError("layers, pooling and weights_sha256 name different layers")
        if not all(isinstance(text, str) for text in self.weights_sha256.values()):
            raise TypeError("weights_sha256 has hashes that are none")
        for name, shape in self.layers.items():
            if not all(_is_whole(edge) and 0 < edge <= LARGEST_EDGE for edge in shape) or not shape:
                raise TypeError(f"layer {name} has the shape {shape!r}")
            if self.pooling[name] not in ("none", "avg", "max"):
                raise TypeError(f"the pooling of layer {name} is {self.pooling[name]!r}")

    @property
    def space_id(self) -> str:
        """SHA-256 of the canonical JSON, in hex."""
        return hashlib.sha256(canonical_json(self.to_json())).hexdigest()

    def of_layer(self, layer: str) -> Space:
        """
        Return the part of the space that gives one layer's codes their meaning.

        How many copies of an image were computed is no part of it: the codes of an image mean the
        same with copies beside them and without.
        """
        fields = replace(self, views=1).to_json()
        for name in ("weights_sha256", "layers", "pooling"):
            fields[name] = {layer: fields[name][layer]} if layer in fields[name] else {}
        return Space.from_json(fields)

    def differences(self, other: Space) -> list[str]:
        """
        Name each field in which another space differs.

        Returns
        -------
        list of str
            Such as ``"size: 224 against 299"``; empty when the spaces agree.
        """
        mine, theirs = self.to_json(), other.to_json()
        return [
            f"{name}: {_short(mine.get(name, 'none'))} against {_short(theirs.get(name, 'none'))}"
            for name in mine | theirs
            if mine.get(name) != theirs.get(name)
        ]


def check_probe(
    kept: NDArray[np.float32], now: NDArray[np.float32], *, layer: str, exact: bool = True
) -> None:
    """
    Compare the codes of the probe images with those that were kept when the space was made.

    Parameters
    ----------
    kept, now : float32 arrays of shape (images, ...)
        Codes of the same layer.
    layer : str
        Its name, for the message.
    exact : bool, default True
        Whether both sides computed in float32.

    Raises
    ------
    SpaceMismatch
        If one image's codes point in another direction: other weights, a changed decoder or a
        processor that computes wrongly.
    """
    import numpy as np

    if kept.shape != now.shape:
        raise SpaceMismatch(
            f"expected probe codes of shape {kept.shape} for layer {layer}, found {now.shape}; "
            "use the weights and the version of this program that made the store"
        )
    a = kept.reshape(len(kept), -1).astype(np.float64)
    b = now.reshape(len(now), -1).astype(np.float64)
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    dots = (a * b).sum(axis=1)
    # Codes that are all zero have no direction; they agree only with themselves.
    cosines = np.where(lengths > 0, dots / np.where(lengths > 0, lengths, 1), (a == b).all(axis=1))
    bound = _PROBE_FLOAT32 if exact else _PROBE_16_BIT
    if not cosines.min() >= bound:
        raise SpaceMismatch(
            f"expected the probe images to give the codes they gave before (cosine {bound} or "
            f"more), found {cosines.min():.4f} for layer {layer}: the weights, the decoder or this "
            "machine's arithmetic is not the same; extract again into a new store"
        )


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _short(value: object) -> str:
    """Show a value of a space in a message; of a hash the first digits."""
    if isinstance(value, dict):
        return ", ".join(f"{name} {_short(item)}" for name, item in value.items()) or "none"
    if isinstance(value, list):
        return "x".join(map(str, value))
    text = str(value)
    return text[:12] if len(text) == 64 else text
