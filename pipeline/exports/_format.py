"""One format: what writes a file, what runs it, how close it must come."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pipeline.common.choices import ExportFormat, Quantize
from pipeline.common.errors import ExportError
from pipeline.exports._content import ExportContent

Run: TypeAlias = Callable[[NDArray[Any]], NDArray[np.floating]]


@dataclass(frozen=True, kw_only=True)
class Tolerance:
    """
    How far a file may be from the head.

    Attributes
    ----------
    max_difference : float
        Between two probabilities.
    top1_agreement : float
        The share of images that must keep their best class.
    """

    max_difference: float
    top1_agreement: float


EXACT = Tolerance(max_difference=1e-4, top1_agreement=0.95)
"""Of 32 bits. Two classes that are equally likely but for 1e-4 may change places."""


@dataclass(frozen=True, kw_only=True)
class Format:
    """
    One format.

    Attributes
    ----------
    name : ExportFormat
    suffix : str
        What the name of a file ends in; a format without one is a folder.
    packages : tuple of str
        What must be installed.
    extra : str
        The extra of this package that brings them.
    takes_codes : bool
        Whether it takes codes, and not pixels.
    classifiers : bool
        Whether it can hold a classifier of scikit-learn's.
    write : callable
        Given the content and a path, writes the file or fills the folder.
    load : callable
        Given the path, returns what maps a batch to probabilities, by the format's own runtime.
    load_bytes : callable or None
        Likewise for image files (their bytes), where the format decodes them itself.
    usage : str
        Python that loads and runs it, with places for what `Facts.fills` names.
    notes : str
        Sentences for the model card.
    tolerance : mapping of Quantize to Tolerance
        Also says which ways to quantize it knows.
    """

    name: ExportFormat
    suffix: str = ""
    packages: tuple[str, ...] = ()
    extra: str = ""
    takes_codes: bool = False
    classifiers: bool = False
    write: Callable[[ExportContent, Path], None]
    load: Callable[[Path], Run]
    load_bytes: Callable[[Path], Callable[[list[bytes]], NDArray[np.floating]]] | None = None
    usage: str
    notes: str = ""
    tolerance: Mapping[Quantize, Tolerance]

    def check(self, quantize: Quantize) -> None:
        """
        See beforehand that such a file can be written and run here.

        Raises
        ------
        ExportError
            If it cannot.
        """
        if quantize not in self.tolerance:
            raise ExportError(
                f"expected --quantize {Quantize.none.value} for {self.name.value}, found "
                f"{quantize.value}; only --format {ExportFormat.tflite.value} is quantized"
            )
        missing = [name for name in self.packages if find_spec(name) is None]
        if missing:
            raise ExportError(
                f"expected the packages of {self.name.value}, found no {', '.join(missing)}; "
                f"run: pip install 'bottleneck-pipeline[{self.extra}]'"
            )
