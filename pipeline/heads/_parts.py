"""What a head takes: the codes of one layer, or of several layers side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.common.choices import Pool
from pipeline.heads._pool import pool, width


@dataclass(frozen=True, kw_only=True)
class Part:
    """
    A layer whose codes go into a head.

    Attributes
    ----------
    layer : str
        Its name; where it is of a further store, ``BACKBONE/LAYER``.
    pool : str or None
        How its maps become vectors; None where the codes are vectors already.
    shape : tuple of int
        Of one image's codes in the store, before pooling.
    source : int, default 0
        Which of the stores that a head was fitted on has it.
    """

    layer: str
    pool: str | None = None
    shape: tuple[int, ...] = ()
    source: int = 0

    @property
    def own(self) -> str:
        """The name that the layer has in its own store."""
        return self.layer.partition("/")[2] if self.source else self.layer

    @property
    def pooling(self) -> Pool | None:
        """How maps of codes become vectors, as `pool` takes it."""
        return None if self.pool is None else Pool(self.pool)

    @property
    def width(self) -> int:
        """Numbers per image, once pooled."""
        return width(self.shape, self.pooling)

    @property
    def name(self) -> str:
        """The layer and its pooling as ``--layer`` takes them: ``LAYER`` or ``LAYER:POOL``."""
        return self.layer if self.pool is None else f"{self.layer}:{self.pool}"

    def to_json(self) -> dict[str, Any]:
        """Return it as plain JSON values."""
        plain = {"layer": self.layer, "pool": self.pool, "shape": list(self.shape)}
        return plain | ({"source": self.source} if self.source else {})

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> Part:
        """
        Rebuild it from `to_json`.

        Raises
        ------
        KeyError, TypeError, ValueError
            If something is missing or of the wrong kind.
        """
        shape = tuple(int(edge) for edge in plain["shape"])
        source = int(plain.get("source", 0))
        return cls(layer=str(plain["layer"]), pool=plain["pool"], shape=shape, source=source)


def vectors(parts: Sequence[Part], codes: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
    """
    Pool the codes of some images or of their views, and put those of several layers side by side.

    Parameters
    ----------
    parts : sequence of Part
        In the order in which they are to stand.
    codes : mapping of str to array of shape (..., *part.shape)
        For each layer.

    Returns
    -------
    float32 array of shape (..., d)
        With d the sum of the parts' widths.

    Raises
    ------
    HeadError
        If codes are neither vectors nor maps.
    """
    each = [_pooled(part, codes[part.layer]) for part in parts]
    return each[0] if len(each) == 1 else np.concatenate(each, axis=-1)


def _pooled(part: Part, codes: NDArray[Any]) -> NDArray[np.float32]:
    leading = codes.shape[: codes.ndim - len(part.shape)]
    pooled = pool(codes.reshape(-1, *part.shape), part.pooling)
    return np.asarray(pooled.reshape(*leading, pooled.shape[1]), np.float32)


def units(codes: NDArray[np.float32]) -> NDArray[np.float32]:
    """Divide codes (n, d) by their lengths; zeros stay zeros."""
    lengths = np.linalg.norm(codes, axis=1, keepdims=True)
    return np.asarray(codes / np.where(lengths > 0, lengths, 1), np.float32)
