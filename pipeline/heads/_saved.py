"""A head on disk: head.json, and a payload of plain arrays that it names and vouches for.

DIRECTORY/
├── weights-<12 hex digits>.h5   arrays of the head, `arrays/NAME`, `probe`, `seen`, `judged`,
│                                `held`, `held_scores`, `novelty/NAME`; of a fine-tuned one also
│                                `tuned/LAYER/...`, the weights of these layers
├── head.json                    everything else; replacing it is the commit
└── curves.png, ...              attachments, for people
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.common.errors import HeadDamaged, HeadError, HeadNotFound
from pipeline.common.files import (
    canonical_json,
    is_absent,
    read_json,
    write_durably,
    write_json,
)
from pipeline.common.hostile import HostileFile
from pipeline.heads import _payload
from pipeline.heads._card import Card
from pipeline.heads._checks import (
    _compare_arrays,
    calibration_of,
    check_same_head,
    finite,
    history_of,
    validation_of,
)
from pipeline.heads._estimator import EstimatorHead, HeadOfAnotherVersion
from pipeline.heads._folder import _UNFINISHED, JSON, is_ours, writing
from pipeline.heads._head import Head
from pipeline.heads._kinds import KINDS, kind_of
from pipeline.heads._payload import Payload
from pipeline.heads._pool import pool

# Heads whose codes go through fine-tuned layers first have a format of their own, or a version that
# knows nothing of these would leave them out; and so have heads on the codes of several layers, any
# classifiers of scikit-learn's, and heads on the codes of several stores.
FORMAT, TUNED_FORMAT, JOINED_FORMAT, SKLEARN_FORMAT, STORES_FORMAT = _FORMATS = (1, 2, 3, 4, 5)
_PAYLOAD = re.compile(r"weights-[0-9a-f]{12}\.h5")
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
        return self.head.decision(self.vectors(codes))

    def vectors(self, codes: NDArray[np.float32]) -> NDArray[np.float32]:
        """
        Return what the head itself sees of codes as they are in a store.

        Parameters
        ----------
        codes : float32 array of shape (n, *card.taken)

        Returns
        -------
        float32 array of shape (n, d)
            Gone through the fine-tuned layers, if there are any, and pooled.
        """
        if self.tuned is not None:
            assert self.above is not None  # noqa: S101 - a stage has rebuilt the layers
            codes = self.above(codes)
        return pool(codes, self.card.pooling)


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
            novelty={} if card.novelty is None else card.novelty.arrays(),
        )
    )
    digest = hashlib.sha256(data).hexdigest()
    description = _describe(head, card, digest) | {"arrays": places}
    with writing(directory, seconds=_PATIENCE):
        path = directory / description["payload"]
        write_durably(path, data)
        again = _read(directory, description)
        check_same_head(head, again.head)
        _compare_arrays(tuned or {}, again.tuned or {})
        for name, attached in (attachments or {}).items():
            write_durably(directory / name, attached)
        write_json(directory / JSON, description | {"checksum": _checksum(description)})
        current = {path.name, *(attachments or {})}
        for other in directory.iterdir():
            # What another process is training here is its own.
            theirs = _UNFINISHED in other.name and tuned is None
            if is_ours(other.name) and other.name not in current and not theirs:
                other.unlink(missing_ok=True)


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
    path = directory / JSON
    try:
        description: dict[str, Any] = read_json(path)
    except OSError as error:
        if isinstance(error, NotADirectoryError) or is_absent(path, error):
            raise _not_found(directory) from error
        if error.errno is None:
            raise _damaged(directory, f"{JSON} is no file") from error
        raise _unreadable(path, error) from error
    except (ValueError, RecursionError) as error:
        raise _damaged(directory, f"{JSON} is not JSON: {error}") from error
    try:
        plain = {name: value for name, value in description.items() if name != "checksum"}
        if not finite(plain):
            raise _damaged(directory, f"a number in {JSON} is none")
        if description.get("checksum") != _checksum(plain):
            if isinstance(plain.get("format"), int) and plain["format"] > max(_FORMATS):
                raise _unknown_format(directory, plain)
            raise _damaged(directory, f"the checksum of {JSON} differs")
    except RecursionError as error:
        raise _damaged(directory, f"{JSON} is nested too deep") from error
    if plain.get("format") not in _FORMATS:
        raise _unknown_format(directory, plain)
    return plain


def _not_found(directory: Path) -> HeadNotFound:
    found = "a store" if (directory / "store.json").exists() else f"no {JSON}"
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
        head.history_ = history_of(description["history"])
        head.validation_ = validation_of(description["validation"])
        head.calibration_ = calibration_of(description.get("calibration"))
        card = Card.from_json(
            description,
            probe=payload.probe,
            seen=payload.seen,
            judged=payload.judged,
            held=payload.held,
            held_scores=payload.held_scores,
            novelty=payload.novelty,
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
    if card.novelty is not None and card.novelty.references.shape[1] != head.n_features_in_:
        raise ValueError("codes of training images of another width than the head's")
    if card.tuned_to is not None:
        return
    if sum(part.width for part in card.inputs) != head.n_features_in_:
        shapes = " and ".join(str(part.shape) for part in card.inputs)
        raise ValueError(f"codes of shape {shapes} for {head.n_features_in_} weights")


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
