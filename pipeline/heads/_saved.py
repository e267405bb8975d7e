"""A head on disk: head.json, and a payload of plain arrays that it names and vouches for.

DIRECTORY/
├── weights-<12 hex digits>.h5   arrays of the head, `arrays/NAME`, `probe`, `seen`; of a
│                                fine-tuned one also `tuned/LAYER/...`, the weights of these layers
├── head.json                    everything else; replacing it is the commit
└── curves.png, ...              attachments, for people
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from pipeline.choices import HeadKind
from pipeline.errors import HeadDamaged, HeadError, HeadNotFound, OutputError
from pipeline.files import (
    HostileFile,
    canonical_json,
    hdf5_bytes,
    make_folder,
    open_hdf5,
    read_json,
    sha256_file,
    write_durably,
    write_json,
)
from pipeline.heads._card import Card
from pipeline.heads._head import Head
from pipeline.heads._kinds import KINDS
from pipeline.heads._pool import pool

# Heads whose codes go through fine-tuned layers first have a format of their own, or a version that
# knows nothing of these would leave them out.
FORMAT, TUNED_FORMAT = 1, 2
_JSON = "head.json"
_PAYLOAD = re.compile(r"weights-[0-9a-f]{12}\.h5")
# Where a head that is being trained writes down how far it has come.
UNFINISHED = "unfinished.h5"
# Payloads of heads replaced, and what a process that was killed left behind.
_OURS = re.compile(r"curves\.png|unfinished\.h5|weights-[0-9a-f]{12}\.h5|\..+\.[0-9a-f]{8}\.tmp")
_SAMPLE_ROWS = 4


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
        codes : float32 array of shape (n, *card.shape)

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
    """
    head.check_fitted()
    if len(card.classes) != head.n_classes_:
        raise HeadError(
            f"expected the names of {head.n_classes_} classes, found {len(card.classes)}"
        )
    if (tuned is None) is not (card.tuned_to is None):
        raise HeadError("expected the weights of fine-tuned layers and their end, found one of two")
    payload = hdf5_bytes(lambda file: _fill(file, head, card, tuned or {}))
    digest = hashlib.sha256(payload).hexdigest()
    description = _describe(head, card, digest)
    make_folder(directory)
    path = directory / description["payload"]
    write_durably(path, payload)
    again = _read(directory, description)
    _compare(head, again.head)
    _compare_arrays(tuned or {}, again.tuned or {})
    for name, data in (attachments or {}).items():
        write_durably(directory / name, data)
    write_json(directory / _JSON, description)
    current = {path.name, *(attachments or {})}
    for other in directory.iterdir():
        if _OURS.fullmatch(other.name) and other.name not in current:
            other.unlink(missing_ok=True)


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
        if not strangers or _JSON in strangers or any(map(_OURS.fullmatch, strangers)):
            return
    elif not directory.exists():
        return
    raise OutputError(
        f"expected a new folder or a head to replace, found {directory}; choose another --out"
    )


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
        If it was written by a later version of the pipeline.
    HeadDamaged
        If its files are not as they were written.
    """
    try:
        description = read_json(directory / _JSON)
    except (FileNotFoundError, NotADirectoryError) as error:
        found = "a store" if (directory / "store.json").exists() else f"no {_JSON}"
        raise HeadNotFound(
            f"expected a head in {directory}, found {found}; make one with "
            "`pipeline fit-head STORE --kind svm`"
        ) from error
    except (ValueError, RecursionError) as error:
        raise _damaged(directory, f"{_JSON} is not JSON: {error}") from error
    checksum = description.pop("checksum", None)
    if not _finite(description):
        raise _damaged(directory, f"a number in {_JSON} is none")
    if checksum != _checksum(description):
        if isinstance(description.get("format"), int) and description["format"] > TUNED_FORMAT:
            raise _unknown_format(directory, description)
        raise _damaged(directory, f"the checksum of {_JSON} differs")
    if description.get("format") not in (FORMAT, TUNED_FORMAT):
        raise _unknown_format(directory, description)
    return _read(directory, description)


def _describe(head: Head, card: Card, digest: str) -> dict[str, Any]:
    """Return the content of head.json."""
    description = {
        "format": FORMAT if card.tuned_to is None else TUNED_FORMAT,
        "kind": head.kind.value,
        "parameters": head.parameters,
        **card.to_json(),
        "history": head.history_,
        "validation": head.validation_,
        "calibration": head.calibration_,
        "payload": f"weights-{digest[:12]}.h5",
        "payload_sha256": digest,
    }
    return {**description, "checksum": _checksum(description)}


def _checksum(description: Mapping[str, Any]) -> str:
    return hashlib.sha256(canonical_json(description)).hexdigest()


def _finite(plain: Any) -> bool:
    """Whether there is no NaN and no infinity, which Python's JSON reads and nobody writes."""
    if isinstance(plain, Mapping):
        return all(map(_finite, plain.values()))
    if isinstance(plain, list):
        return all(map(_finite, plain))
    return not isinstance(plain, float) or math.isfinite(plain)


def _fill(
    file: h5py.File, head: Head, card: Card, tuned: Mapping[str, NDArray[np.floating]]
) -> None:
    """Write all arrays into an HDF5 file."""
    for name, array in head.arrays().items():
        file.create_dataset(f"arrays/{name}", data=array)
    for name, array in tuned.items():
        file.create_dataset(f"tuned/{name}", data=array)
    if card.probe is not None:
        file.create_dataset("probe", data=card.probe)
    if card.seen is not None:
        file.create_dataset("seen", data=card.seen)


def _read(directory: Path, description: Mapping[str, Any]) -> SavedHead:
    """Rebuild a head from its description and the payload that this names."""
    try:
        name = str(description["payload"])
        if not _PAYLOAD.fullmatch(name):
            raise _damaged(directory, f"{name!r} is no name of a payload")
        path = directory / name
        if sha256_file(path) != description["payload_sha256"]:
            raise _damaged(directory, f"the SHA-256 of {name} differs")
        arrays, probe, seen, tuned = _arrays(path)
        head_class = KINDS[HeadKind(description["kind"])]
        head = head_class.from_arrays(description["parameters"], arrays)
        head.history_, head.validation_ = description["history"], description["validation"]
        head.calibration_ = _calibration(description.get("calibration"))
        card = Card.from_json(description, probe, seen)
    except HeadDamaged:
        raise
    except (OSError, HostileFile, LookupError, TypeError, ValueError, AttributeError) as error:
        raise _damaged(directory, str(error)) from error
    if len(card.classes) != head.n_classes_:
        raise _damaged(directory, f"{len(card.classes)} classes and {head.n_classes_} scores")
    if bool(tuned) is (card.tuned_to is None):
        raise _damaged(directory, "fine-tuned layers without weights, or weights without layers")
    return SavedHead(head=head, card=card, directory=directory, tuned=tuned or None)


def _arrays(
    path: Path,
) -> tuple[
    dict[str, NDArray[Any]],
    NDArray[Any] | None,
    NDArray[np.uint64] | None,
    dict[str, NDArray[Any]],
]:
    """Read the head's numbers, its probe, the hashes of images it has seen, and tuned layers."""
    with open_hdf5(path) as file:
        _check_size(file, path)
        arrays = {name: _numbers(file["arrays"][name]) for name in file["arrays"]}
        probe = _numbers(file["probe"]) if "probe" in file else None
        seen = file["seen"][...].astype(np.uint64) if "seen" in file else None
        tuned: dict[str, NDArray[Any]] = {}

        def visit(name: str, item: Any) -> None:
            if not isinstance(item, h5py.Group):
                tuned[name] = _numbers(item)

        if "tuned" in file:
            file["tuned"].visititems(visit)
        return arrays, probe, seen, tuned


def _calibration(plain: Any) -> dict[str, Any] | None:
    """Take a calibration only with a slope that keeps the order of the classes."""
    if plain is None:
        return None
    slope = plain["slope"]
    if not isinstance(slope, float) or not 0 < slope < math.inf:
        raise ValueError(f"expected a slope above 0, found {slope!r}")
    return dict(plain)


def _check_size(file: h5py.File, path: Path) -> None:
    """Refuse arrays that need more memory than the file has bytes; ours are not compressed."""
    sizes: list[int] = []
    file.visititems(lambda _, item: sizes.append(getattr(item, "nbytes", 0)))
    if sum(sizes) > path.stat().st_size:
        raise HostileFile(f"arrays of {sum(sizes)} bytes in a file of {path.stat().st_size}")


def _numbers(dataset: Any) -> NDArray[Any]:
    if not isinstance(dataset, h5py.Dataset) or dataset.dtype.kind != "f":
        raise ValueError(f"expected floating-point numbers in {dataset.name}")
    return np.asarray(dataset[...])


def _compare(head: Head, again: Head) -> None:
    """Raise HeadDamaged unless a head that was read back has the same numbers and decides alike."""
    _compare_arrays(head.arrays(), again.arrays())
    codes = np.random.default_rng(0).random((_SAMPLE_ROWS, head.n_features_), dtype=np.float32)
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


def _damaged(directory: Path, why: str) -> HeadDamaged:
    return HeadDamaged(
        f"the head in {directory} is damaged ({why}); fit it again or restore a copy"
    )


def _unknown_format(directory: Path, description: Mapping[str, Any]) -> HeadError:
    return HeadError(
        f"expected a head of format {FORMAT} or {TUNED_FORMAT}, found "
        f"{description.get('format')!r} in {directory}; "
        "use the version of the pipeline that wrote it"
    )
