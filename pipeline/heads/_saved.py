"""A head on disk: head.json, and a payload of plain arrays that it names and vouches for.

DIRECTORY/
├── weights-<12 hex digits>.h5   arrays of the head, `arrays/NAME`, `probe`, `seen`, `judged`,
│                                `held`, `held_scores`; of a fine-tuned one also `tuned/LAYER/...`,
│                                the weights of these layers
├── head.json                    everything else; replacing it is the commit
└── curves.png, ...              attachments, for people
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.common.errors import HeadDamaged, HeadError, HeadLocked, HeadNotFound, OutputError
from pipeline.common.files import (
    canonical_json,
    final_name,
    is_absent,
    make_folder,
    read_json,
    write_durably,
    write_json,
)
from pipeline.common.hdf5 import HostileFile
from pipeline.common.locks import NAME, Locked, locked
from pipeline.heads import _payload
from pipeline.heads._card import Card
from pipeline.heads._estimator import EstimatorHead, HeadOfAnotherVersion
from pipeline.heads._head import Head
from pipeline.heads._kinds import KINDS, kind_of
from pipeline.heads._payload import Payload
from pipeline.heads._pool import pool

# Heads whose codes go through fine-tuned layers first have a format of their own, or a version that
# knows nothing of these would leave them out; and so have heads on the codes of several layers, any
# classifiers of scikit-learn's, and heads on the codes of several stores.
FORMAT, TUNED_FORMAT, JOINED_FORMAT, SKLEARN_FORMAT, STORES_FORMAT = _FORMATS = (1, 2, 3, 4, 5)
_JSON = "head.json"
_PAYLOAD = re.compile(r"weights-[0-9a-f]{12}\.h5")
# Held while one is trained there; NAME is held while one is saved.
TRAINING = "LOCK.training"
_UNFINISHED = "unfinished"
# Payloads of heads replaced, and what a process that was killed left behind.
_OURS = re.compile(r"curves\.png|unfinished(-[0-9a-f]{12})?\.h5|weights-[0-9a-f]{12}\.h5")
_SAMPLE_ROWS = 4
# Saving takes milliseconds: whoever saves a head to the same place waits for it.
_PATIENCE = 60.0
# A head may be replaced while it is read; so many times in a row nobody replaces it.
_TRIES = 5


@dataclass(frozen=True, kw_only=True)
class SavedHead:
    """
    A head as loaded.

    Attributes
    ----------
    head : Head
    card : Card
    directory : Path
        Where it was found.
    tuned : mapping of str to array, or None
        Of a fine-tuned head, the weights of the layers between `card.layer` and `card.tuned_to`.
    above : callable, or None
        These layers: maps float32 (n, *card.shape) to codes. Whoever knows the backbone puts them
        here.
    """

    head: Head
    card: Card
    directory: Path
    tuned: Mapping[str, NDArray[Any]] | None = None
    above: Callable[[NDArray[np.float32]], NDArray[np.float32]] | None = None

    def decision(self, codes: NDArray[np.float32]) -> NDArray[np.float64]:
        """
        Score codes as they are in a store, see `Head.decision`.

        Parameters
        ----------
        codes : float32 array of shape (n, *card.taken)
            What `Card.take` picks out of the codes of some images.

        Returns
        -------
        array of shape (n, n_classes)
        """
        if self.tuned is not None:
            assert self.above is not None  # noqa: S101 - a stage has rebuilt the layers
            codes = self.above(codes)
        return self.head.decision(pool(codes, self.card.pooling))


def save(
    directory: Path,
    head: Head,
    card: Card,
    *,
    attachments: Mapping[str, bytes] | None = None,
    tuned: Mapping[str, NDArray[Any]] | None = None,
) -> None:
    """
    Save a fitted head; the one that stood there stays until the new one is known to be good.

    The payload is written under a name of its own and read back; then head.json, which names
    it, is replaced in one step; then what is no longer named is deleted.

    Parameters
    ----------
    directory : Path
        Is made where missing.
    head : Head
        A fitted head.
    card : Card
        What is known about it.
    attachments : mapping of str to bytes, optional
        Further files by name.
    tuned : mapping of str to array, optional
        Weights of fine-tuned layers, see `SavedHead`.

    Raises
    ------
    HeadError
        If the head is not fitted or the card does not belong to it.
    HeadDamaged
        If what was read back is not what was written.
    HeadLocked
        If another process saves to the same place for a minute.
    """
    head.check_fitted()
    if len(card.classes) != head.n_classes_:
        raise HeadError(
            f"expected the names of {head.n_classes_} classes, found {len(card.classes)}"
        )
    if (tuned is None) is not (card.tuned_to is None):
        raise HeadError("expected the weights of fine-tuned layers and their end, found one of two")
    data, places = _payload.write(
        Payload(
            arrays=head.arrays(),
            probe=card.probe,
            seen=card.seen,
            tuned=dict(tuned or {}),
            judged=card.judged,
            held=card.held,
            held_scores=card.held_scores,
        )
    )
    digest = hashlib.sha256(data).hexdigest()
    description = _describe(head, card, digest) | {"arrays": places}
    with writing(directory, seconds=_PATIENCE):
        path = directory / description["payload"]
        write_durably(path, data)
        again = _read(directory, description)
        _compare(head, again.head)
        _compare_arrays(tuned or {}, again.tuned or {})
        for name, attached in (attachments or {}).items():
            write_durably(directory / name, attached)
        write_json(directory / _JSON, description | {"checksum": _checksum(description)})
        current = {path.name, *(attachments or {})}
        for other in directory.iterdir():
            # What another process is training here is its own.
            theirs = _UNFINISHED in other.name and tuned is None
            if is_ours(other.name) and other.name not in current and not theirs:
                other.unlink(missing_ok=True)


@contextmanager
def writing(directory: Path, *, seconds: float = 0.0, name: str = NAME) -> Iterator[None]:
    """
    Be the only one who writes to the folder of a head.

    Parameters
    ----------
    directory : Path
        Made where missing, and removed again if nothing is in it in the end.
    seconds : float, default 0.0
        How long to wait for others.
    name : str
        Of the lock: saving has one, and training for hours another.

    Raises
    ------
    HeadLocked
        If another process does.
    """
    new = not directory.exists()
    make_folder(directory)
    try:
        with locked(directory, seconds=seconds, name=name) as lock:
            try:
                yield
            finally:
                with suppress(OSError):  # not even a lock file stays
                    lock.unlink()
                    if new:
                        directory.rmdir()
    except Locked as holder:
        raise HeadLocked(
            f"expected to be alone in {directory}, found it locked by {holder}; wait until that "
            "run ends or choose another --out"
        ) from None


def unfinished(directory: Path, start: str) -> Path:
    """Name the file in which a training of the layers above `start` writes how far it has come."""
    return directory / f"{_UNFINISHED}-{hashlib.sha256(start.encode()).hexdigest()[:12]}.h5"


def is_ours(name: str) -> bool:
    """Whether a file beside head.json is one that only this program makes."""
    final = final_name(name)
    return final == _JSON or _OURS.fullmatch(final or name) is not None


def check_target(directory: Path) -> None:
    """
    See beforehand, when a fit has cost nothing yet, that a head can be saved here.

    Raises
    ------
    OutputError
        If there is something else than a head.
    """
    if directory.is_dir():
        strangers = {entry.name for entry in directory.iterdir()}
        strangers -= {NAME, TRAINING}
        if not strangers or _JSON in strangers or any(map(is_ours, strangers)):
            return
    elif not directory.exists():
        return
    raise OutputError(
        f"expected a new folder or a head to replace, found {directory}; choose another --out"
    )


def described(directory: Path) -> dict[str, Any] | None:
    """Return what the head in a folder says of itself, unchecked; None where there is none."""
    try:
        return _description(directory)
    except HeadError:
        return None


def load(directory: Path) -> SavedHead:
    """
    Load a head; nothing in its files is ever run.

    Parameters
    ----------
    directory : Path
        Where it was saved.

    Returns
    -------
    SavedHead

    Raises
    ------
    HeadNotFound
        If there is no head.
    HeadError
        If it was written by a later version of the pipeline, or cannot be read this time.
    HeadDamaged
        If its files are not as they were written.
    """
    for _ in range(_TRIES):
        description = _description(directory)
        try:
            return _read(directory, description)
        except HeadDamaged:
            # Its payload is gone once a new head is in place.
            if _description(directory) == description:
                raise
    return _read(directory, description)


def _description(directory: Path) -> dict[str, Any]:
    """Read head.json and see that it is what was written."""
    path = directory / _JSON
    try:
        description: dict[str, Any] = read_json(path)
    except OSError as error:
        if isinstance(error, NotADirectoryError) or is_absent(path, error):
            raise _not_found(directory) from error
        if error.errno is None:
            raise _damaged(directory, f"{_JSON} is no file") from error
        raise _unreadable(path, error) from error
    except (ValueError, RecursionError) as error:
        raise _damaged(directory, f"{_JSON} is not JSON: {error}") from error
    try:
        plain = {name: value for name, value in description.items() if name != "checksum"}
        if not _finite(plain):
            raise _damaged(directory, f"a number in {_JSON} is none")
        if description.get("checksum") != _checksum(plain):
            if isinstance(plain.get("format"), int) and plain["format"] > max(_FORMATS):
                raise _unknown_format(directory, plain)
            raise _damaged(directory, f"the checksum of {_JSON} differs")
    except RecursionError as error:
        raise _damaged(directory, f"{_JSON} is nested too deep") from error
    if plain.get("format") not in _FORMATS:
        raise _unknown_format(directory, plain)
    return plain


def _not_found(directory: Path) -> HeadNotFound:
    found = "a store" if (directory / "store.json").exists() else f"no {_JSON}"
    return HeadNotFound(
        f"expected a head in {directory}, found {found}; make one with "
        "`pipeline fit-head STORE --kind svm`"
    )


def _describe(head: Head, card: Card, digest: str) -> dict[str, Any]:
    """Return the content of head.json."""
    return {
        "format": _format_of(head, card),
        "kind": head.kind.value,
        "parameters": head.parameters,
        **card.to_json(),
        "history": head.history_,
        "validation": head.validation_,
        "calibration": head.calibration_,
        "payload": f"weights-{digest[:12]}.h5",
        "payload_sha256": digest,
    }


def _format_of(head: Head, card: Card) -> int:
    if card.further:
        return STORES_FORMAT
    if isinstance(head, EstimatorHead):
        return SKLEARN_FORMAT
    if card.also:
        return JOINED_FORMAT
    return FORMAT if card.tuned_to is None else TUNED_FORMAT


def _checksum(description: Mapping[str, Any]) -> str:
    return hashlib.sha256(canonical_json(description)).hexdigest()


def _finite(plain: Any) -> bool:
    """Whether there is no NaN and no infinity, which Python's JSON reads and nobody writes."""
    if isinstance(plain, Mapping):
        return all(map(_finite, plain.values()))
    if isinstance(plain, list):
        return all(map(_finite, plain))
    return not isinstance(plain, float) or math.isfinite(plain)


def _read(directory: Path, description: Mapping[str, Any]) -> SavedHead:
    """Rebuild a head from its description and the payload that this names."""
    try:
        name = str(description["payload"])
        if not _PAYLOAD.fullmatch(name):
            raise _damaged(directory, f"{name!r} is no name of a payload")
        payload = _payload.read(
            directory / name,
            sha256=description["payload_sha256"],
            places=description.get("arrays"),
        )
        head_class = KINDS[kind_of(description["kind"])]
        head = head_class.from_arrays(description["parameters"], payload.arrays)
        head.history_ = _history(description["history"])
        head.validation_ = _validation(description["validation"])
        head.calibration_ = _calibration(description.get("calibration"))
        card = Card.from_json(
            description,
            probe=payload.probe,
            seen=payload.seen,
            judged=payload.judged,
            held=payload.held,
            held_scores=payload.held_scores,
        )
        _check_same(description, _describe(head, card, description["payload_sha256"]))
        _check_widths(head, card)
    except (HeadDamaged, HeadOfAnotherVersion):
        raise
    except FileNotFoundError as error:
        raise _damaged(directory, f"{name} is missing") from error
    except OSError as error:
        if error.errno is not None:
            raise _unreadable(directory / name, error) from error
        raise _damaged(directory, str(error)) from error
    except (
        HostileFile,
        ArithmeticError,
        AttributeError,
        LookupError,
        RecursionError,
        TypeError,
        ValueError,
    ) as error:
        raise _damaged(directory, str(error)) from error
    return SavedHead(head=head, card=card, directory=directory, tuned=payload.tuned or None)


def _check_same(found: Mapping[str, Any], again: Mapping[str, Any]) -> None:
    """See that a description says just what the head that was made of it would say."""
    # Earlier versions did not write down these.
    optional = {"calibration": None}
    mine = {name: value for name, value in found.items() if name != "arrays"}
    for name in {*mine, *again}:
        kept, own = mine.get(name, optional.get(name)), again.get(name, optional.get(name))
        if canonical_json(kept) != canonical_json(own):
            raise ValueError(f"'{name}' is not what such a head has")


def _check_widths(head: Head, card: Card) -> None:
    """See that head, card and space belong together."""
    if len(card.classes) != head.n_classes_:
        raise ValueError(f"{len(card.classes)} classes and {head.n_classes_} scores")
    if card.tuned_to is not None:
        return
    if sum(part.width for part in card.inputs) != head.n_features_in_:
        shapes = " and ".join(str(part.shape) for part in card.inputs)
        raise ValueError(f"codes of shape {shapes} for {head.n_features_in_} weights")


def _history(plain: Any) -> dict[str, list[float]] | None:
    """Take curves only as lists of numbers, one for each epoch."""
    if plain is None:
        return None
    for name, values in plain.items():
        if not all(_is_number(value) for value in values):
            raise ValueError(f"the history of {name} has values that are no numbers")
    if len({len(values) for values in plain.values()}) > 1:
        raise ValueError("histories of different length")
    return {str(name): list(values) for name, values in plain.items()}


def _validation(plain: Any) -> dict[str, Any] | None:
    """Take the score of held-out images only as it is written."""
    if plain is None:
        return None
    known = _is_number(plain["accuracy"]) and isinstance(plain["how"], str)
    if not known or not isinstance(plain["images"], int):
        raise ValueError("a validation that is none")
    return dict(plain)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _calibration(plain: Any) -> dict[str, Any] | None:
    """Take a calibration only with a slope that keeps the order of the classes."""
    if plain is None:
        return None
    slope = plain["slope"]
    if not isinstance(slope, float) or not 0 < slope < math.inf:
        raise ValueError(f"expected a slope above 0, found {slope!r}")
    return dict(plain)


def _compare(head: Head, again: Head) -> None:
    """Raise HeadDamaged unless a head that was read back has the same numbers and decides alike."""
    _compare_arrays(head.arrays(), again.arrays())
    codes = np.random.default_rng(0).random((_SAMPLE_ROWS, head.n_features_in_), dtype=np.float32)
    if not np.array_equal(head.decision(codes), again.decision(codes)):
        raise _differs()


def _compare_arrays(mine: Mapping[str, NDArray[Any]], theirs: Mapping[str, NDArray[Any]]) -> None:
    """Raise HeadDamaged unless both have the same bytes."""
    same = mine.keys() == theirs.keys() and all(
        mine[name].dtype == theirs[name].dtype and mine[name].tobytes() == theirs[name].tobytes()
        for name in mine
    )
    if not same:
        raise _differs()


def _differs() -> HeadDamaged:
    return HeadDamaged(
        "the head read back differs from the one written; check the disk and save again"
    )


def _unreadable(path: Path, error: OSError) -> HeadError:
    """Say that a file of a head cannot be read this time, which says nothing of its bytes."""
    said = str(error.strerror or error).lower()
    return HeadError(f"cannot read {path} this time ({said}); mend that and try again")


def _damaged(directory: Path, why: str) -> HeadDamaged:
    return HeadDamaged(
        f"the head in {directory} is damaged ({why}); fit it again or restore a copy"
    )


def _unknown_format(directory: Path, description: Mapping[str, Any]) -> HeadError:
    return HeadError(
        f"expected a head of format {FORMAT} to {max(_FORMATS)}, found "
        f"{description.get('format')!r} in {directory}; "
        "use the version of the pipeline that wrote it"
    )
