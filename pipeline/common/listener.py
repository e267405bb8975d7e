"""Who hears of a run while it goes on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Tell = Callable[[str], None]
Progress = Callable[[int, int], None]


def _nobody(*_: Any) -> None:
    """Call nothing."""


@dataclass(frozen=True, kw_only=True)
class Listener:
    """
    What is called while a run goes on; each of the three may be left out.

    Attributes
    ----------
    tell : callable
        Called with sentences for the user.
    progress : callable
        Called with (steps done, steps in all): images, epochs or fits, as the run counts.
    show : callable
        Called with results of parts of the run as soon as they are there.

    Examples
    --------
    >>> said = []
    >>> listener = Listener(tell=said.append)
    >>> listener.tell("found 3 images")
    >>> listener.progress(1, 3)
    >>> said
    ['found 3 images']
    """

    tell: Tell = _nobody
    progress: Progress = _nobody
    show: Callable[[Any], None] = _nobody


SILENT = Listener()
