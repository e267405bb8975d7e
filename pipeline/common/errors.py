"""Every error that the pipeline raises on purpose, and the exit code it becomes.

PipelineError                     1
├── SourceError                   1   (also ValueError)
│   └── SourceNotFound            1   (also FileNotFoundError)
├── BackboneError                 1   (also ValueError)
│   └── WeightsNotFound           1   (also FileNotFoundError)
├── StoreError                    1   (also ValueError)
│   ├── StoreNotFound             1   (also FileNotFoundError)
│   ├── StoreIncomplete           1
│   ├── StoreLocked               1
│   └── StoreDamaged              5
├── HeadError                     1   (also ValueError)
│   ├── HeadNotFound              1   (also FileNotFoundError)
│   ├── HeadLocked                1
│   └── HeadDamaged               5
├── ExportError                   1   (also ValueError)
├── SpaceMismatch                 1   (also ValueError)
├── ChoiceError                   1   (also ValueError)
├── OutputError                   1   (also ValueError)
├── ResourceError                 4   (also OSError)
└── Interrupted                 130
"""

from __future__ import annotations

from collections.abc import Iterable


class PipelineError(Exception):
    """
    Base class of all errors of the pipeline.

    The message is one line: what was expected, what was found, what to do next.

    Examples
    --------
    >>> import pipeline
    >>> try:
    ...     pipeline.info("no/such/store")
    ... except pipeline.PipelineError as error:
    ...     print(type(error).__name__)
    StoreNotFound
    """

    exit_code = 1


class SourceError(PipelineError, ValueError):
    """The images could not be found or labelled as asked."""


class SourceNotFound(SourceError, FileNotFoundError):
    """Nothing exists under the name given as the source of images."""


class BackboneError(PipelineError, ValueError):
    """The backbone, its layer or its weights are not what was asked for."""


class WeightsNotFound(BackboneError, FileNotFoundError):
    """The weights are neither on this machine nor within reach."""


class StoreError(PipelineError, ValueError):
    """The feature store cannot do what was asked."""


class StoreNotFound(StoreError, FileNotFoundError):
    """There is no feature store under this name."""


class StoreIncomplete(StoreError):
    """Some images of the store still wait for their codes."""


class StoreLocked(StoreError):
    """Another process is writing to the store."""


class StoreDamaged(StoreError):
    """The bytes on disk are not those that were written."""

    exit_code = 5


class HeadError(PipelineError, ValueError):
    """The head cannot be fitted or used as asked."""


class HeadNotFound(HeadError, FileNotFoundError):
    """There is no head under this name."""


class HeadLocked(HeadError):
    """Another process is writing to the folder of the head."""


class HeadDamaged(HeadError):
    """The bytes of a saved head are not those that were written."""

    exit_code = 5


class ExportError(PipelineError, ValueError):
    """A head cannot become such a file, or the file does not say what the head says."""


class SpaceMismatch(PipelineError, ValueError):
    """Codes of one space were offered to something that was made in another."""


class ChoiceError(PipelineError, ValueError):
    """What was asked for is none of the choices."""


class OutputError(PipelineError, ValueError):
    """The place to write to is taken or cannot be written."""


class ResourceError(PipelineError, OSError):
    """Disk or memory ran out; what was already committed is kept."""

    exit_code = 4


class Interrupted(PipelineError):
    """The user stopped the run; the same command continues it."""

    exit_code = 130


def counted(number: int, noun: str) -> str:
    """Write a number with its noun: ``"1 image"``, ``"2 images"``, ``"2 classes"``."""
    ending = "" if number == 1 else "es" if noun.endswith("s") else "s"
    return f"{number} {noun}{ending}"


def nearest(name: str, names: Iterable[str], *, count: int = 3) -> str:
    """
    Name the candidates that look most like a mistyped name.

    Parameters
    ----------
    name : str
        What was typed.
    names : iterable of str
        What could have been meant.
    count : int, default 3
        How many to name at the most.

    Returns
    -------
    str
        The candidates joined by commas, best first; all of them (up to `count`) when none is
        similar.
    """
    import difflib

    candidates = list(names)
    lowered = {candidate.lower(): candidate for candidate in candidates}
    close = difflib.get_close_matches(name.lower(), list(lowered), n=count, cutoff=0.5)
    return ", ".join([lowered[match] for match in close] or candidates[:count])
