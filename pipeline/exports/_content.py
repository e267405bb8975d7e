"""What goes into a file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.common.choices import Quantize, Resize
from pipeline.common.steps import Step


@dataclass(frozen=True, kw_only=True)
class ExportContent:
    """
    What goes into a file.

    Attributes
    ----------
    classes : tuple of str
        Names, in the order of the probabilities.
    steps : sequence of Step
        The head alone, on codes.
    model : keras.Model or None
        From uint8 pixels to probabilities, or where the last step is a classifier of
        scikit-learn's, to its codes; None for formats that take codes.
    resize : Resize
        How a photo becomes the square, for an entry that decodes files itself.
    quantize : Quantize
        What to compute with.
    samples : uint8 array of shape (n, size, size, 3) or None
        Training photos, to choose the ranges of 8 bits by.
    """

    classes: tuple[str, ...]
    steps: Sequence[Step]
    model: Any = None
    resize: Resize = Resize.crop
    quantize: Quantize = Quantize.none
    samples: NDArray[np.uint8] | None = None
