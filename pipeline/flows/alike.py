"""Images that a network cannot tell apart: nearly constant ones, and those of the same codes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline import images, store
from pipeline.common.errors import counted

_KEPT = 4096  # codes that later ones are compared with: what many have, soon comes
_MANY = 0.05  # of all images
_KEY = "alike"


class Alike:
    """
    Counts of a source's images that say nothing.

    Parameters
    ----------
    table : Table or None
        Of the store, which has the counts of earlier runs.
    """

    def __init__(self, table: store.Table | None) -> None:
        earlier = table.source.get(_KEY) if table is not None else None
        kept = earlier if isinstance(earlier, dict) else {}
        self._counts = {name: int(kept.get(name, 0)) for name in ("constant", "same")}
        self._first: dict[int, None] = {}

    def look(self, loaded: images.Loaded, codes: Mapping[str, NDArray[np.float32]]) -> None:
        """Count one image whose codes were computed."""
        self._counts["constant"] += loaded.nearly_constant
        code = hash(b"".join(block.tobytes() for block in codes.values()))
        if code in self._first:
            self._counts["same"] += 1
        elif len(self._first) < _KEPT:
            self._first[code] = None

    @property
    def source(self) -> dict[str, Any]:
        """What a table says of its source."""
        return {_KEY: self._counts} if any(self._counts.values()) else {}


def warnings_of(table: store.Table) -> list[str]:
    """Say so where many images of a store are nearly constant, or have the codes of others."""
    counts, ok = table.source.get(_KEY), table.count(store.Status.ok)
    if not isinstance(counts, dict):
        return []
    constant, same = (min(ok, int(counts.get(name, 0))) for name in ("constant", "same"))
    said = []
    if constant > 1 and constant >= _MANY * ok:
        said.append(
            f"warning: {constant} of {counted(ok, 'image')} are nearly constant once they are "
            "decoded: heads learn nothing from them"
        )
    if same > 1 and same >= _MANY * ok:
        said.append(
            f"warning: {same} of {counted(ok, 'image')} gave the very codes that another gave: "
            "they are copies, or the network cannot tell them apart"
        )
    return said
