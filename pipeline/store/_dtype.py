"""How wide a stored number is: 32 bits, or 16 where every value fits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.common.choices import Dtype
from pipeline.common.errors import StoreError

LARGEST = float(np.finfo(np.float16).max)  # 65504


def narrowed(codes: Mapping[str, NDArray[np.float32]], dtype: Dtype) -> Mapping[str, NDArray[Any]]:
    """
    Round codes to the width that a store keeps.

    In 16 bits a value keeps 11 significant ones: it moves by 1 part in 2048 at the most. Values
    below 6e-5 keep fewer, those below 3e-8 become 0.

    Parameters
    ----------
    codes : mapping of str to float32 array
        For each layer.
    dtype : Dtype
        With `Dtype.float32` the codes pass as they are.

    Returns
    -------
    mapping of str to array
        Of the same shapes, in that dtype.

    Raises
    ------
    StoreError
        If a value is not finite or too large for 16 bits.
    """
    if dtype is Dtype.float32:
        return codes
    for layer, block in codes.items():
        largest = max(float(block.max()), -float(block.min()))
        if not largest <= LARGEST:  # NaN is not, either
            raise StoreError(
                f"expected codes of up to {LARGEST:g}, which is what float16 holds, found "
                f"{largest:g} in layer {layer}; use --dtype float32, with another --out if the "
                "store is there already"
            )
    return {layer: block.astype(dtype.value) for layer, block in codes.items()}


def widened(codes: NDArray[Any]) -> NDArray[np.float32]:
    """
    Return stored codes as what every reader is given: float32, a copy only where it must be.

    Raises
    ------
    ValueError
        If a number of another program is too large for that.
    """
    with np.errstate(over="ignore"):
        wide = codes.astype(np.float32, copy=False)
    if codes.dtype.itemsize > wide.dtype.itemsize and (np.isinf(wide) & np.isfinite(codes)).any():
        raise ValueError(f"a number of {np.abs(codes).max():g} does not fit into 32 bits")
    return wide
