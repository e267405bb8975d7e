"""Photos put into a folder for each of their answers, beside where they are."""

from __future__ import annotations

import filecmp
import functools
import hashlib
import os
import re
import shutil
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pipeline import images
from pipeline.common.errors import OutputError, PipelineError, SourceError, counted
from pipeline.common.files import check_place, make_folder, replacing, sha256_file
from pipeline.flows.answers import PhotoOptions, Prediction

_OPTION = "--sort-into"
_WHY = "not every system takes its own name"
_AT_ONCE = 1 << 20  # bytes
_MOST_BYTES = 180  # of a name; 255 are allowed, and a hash and a temporary name's ending must fit
# What Windows, or FAT on a camera's card, does not take in a name.
_UNFIT = re.compile(r'[\x00-\x1f\x7f-\x9f<>:"/\\|?*\ud800-\udfff]')
_RESERVED = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?", re.IGNORECASE)


class SortingOptions(PhotoOptions, total=False):
    """
    How photos are read, and where they are sorted into; every option may be left out.

    Attributes
    ----------
    sort_into : str or Path
        A folder that gets a folder for each class, with a copy of each photo of that answer.
    link : bool
        Whether these are hard links, which take no room on the disk: changing such a photo in
        place changes the photo that it is a link to. Copies where the file system has no links.
    """

    sort_into: str | Path | None
    link: bool


@dataclass(frozen=True, kw_only=True)
class Sorted:
    """
    What was sorted where.

    Attributes
    ----------
    folder : str
    photos : int
        Photos with an answer that are there now.
    present : int
        Of these, how many were there already.
    classes : dict of str to int
        How many of each answer, by its name.
    notes : tuple of str
        Such as names that were changed, and what else there is in the folder.
    """

    folder: str
    photos: int
    present: int
    classes: dict[str, int]
    notes: tuple[str, ...]


class Sorter:
    """
    Puts photos into the folders of their answers, one after the other; moves and replaces nothing.

    Parameters
    ----------
    folder : Path
        Made where it is missing.
    classes : sequence of str
        Known answers; further ones get folders as they come.
    link : bool
        Whether to make hard links where the file system has them.

    Raises
    ------
    OutputError
        If the folder cannot be made or written to.
    """

    def __init__(self, folder: Path, classes: Sequence[str], *, link: bool) -> None:
        make_folder(folder, option=_OPTION)
        check_place(folder / "photo")
        self._folder, self._link = folder, link
        self._names: dict[str, str] = {}  # of answers
        self._taken: set[str] = set()
        self._counts: Counter[str] = Counter()
        self._places: set[Path] = set()
        self._present = self._copied = self._renamed = self._left = 0
        for label in sorted(classes):
            self._name_of(label)

    def outside(self, found: images.Source) -> images.Source:
        """
        Leave out the photos that are sorted already: they are in the folders of known answers.

        Raises
        ------
        SourceError
            If there are no others.
        """
        sorted_ = {os.path.realpath(self._folder / name) for name in self._names.values()}
        inside = functools.cache(lambda folder: _is_in(os.path.realpath(folder), sorted_))
        rows = [
            row
            for row, path in enumerate(found.paths)
            if not inside(os.path.dirname(os.fsdecode(path)))
        ]
        self._left = len(found) - len(rows)
        if not rows:
            raise SourceError(
                f"expected photos to sort into {self._folder}, found only what is in its folders "
                f"already ({counted(self._left, 'photo')}); name another folder with {_OPTION}"
            )
        return found.subset(rows) if self._left else found

    def add(self, prediction: Prediction) -> None:
        """
        Put a photo where its answer says; one without an answer stays out.

        Raises
        ------
        OutputError
            If the photo cannot be copied.
        ResourceError
            If the disk is full.
        """
        if prediction.label is None:
            return
        source = Path(prediction.path)
        folder = self._folder / self._name_of(prediction.label)
        make_folder(folder, option=_OPTION)
        name = _fit(source.name, ending=source.suffix)
        try:
            place, present = self._place(source, folder, name)
            if not present and not (self._link and _linked(source, place)):
                _copy(source, place)
                self._copied += 1
        except PipelineError:
            raise
        except OSError as error:
            raise OutputError(
                f"cannot sort {source} into {folder} ({error.strerror}); what was sorted stays: "
                "mend that and run the same command again"
            ) from error
        self._renamed += name != source.name
        self._present += present
        self._places.add(place)
        self._counts[prediction.label] += 1

    def result(self) -> Sorted:
        """Say what was done."""
        return Sorted(
            folder=str(self._folder),
            photos=self._counts.total(),
            present=self._present,
            classes=dict(sorted(self._counts.items())),
            notes=tuple(f"note: {note}" for note in self._notes()),
        )

    def _notes(self) -> Iterator[str]:
        for label, name in self._names.items():
            if name != label and self._counts[label]:
                yield f"class {images.printable(repr(label))} is in {name}: {_WHY}"
        if self._renamed:
            yield f"{counted(self._renamed, 'photo')} got another name there: {_WHY}"
        if self._link and self._copied:
            yield f"copied, for no link can be made there: {counted(self._copied, 'photo')}"
        if self._left:
            yield f"left out, for they are sorted already: {counted(self._left, 'photo')}"
        if others := self._others():
            yield (
                f"beside these photos there: {counted(others, 'file')} of before; a photo that had "
                "another answer then is in both folders"
            )

    def _name_of(self, label: str) -> str:
        """Return the name of an answer's folder: the same in every run with the same classes."""
        if label not in self._names:
            name = _fit(label)
            if _folded(name) in self._taken:
                name = f"{name}-{_short_hash(label)}"
            self._taken.add(_folded(name))
            self._names[label] = name
        return self._names[label]

    def _place(self, source: Path, folder: Path, name: str) -> tuple[Path, bool]:
        """Find a name that is free, or has this very photo; say whether it has."""
        stem, ending = os.path.splitext(name)
        place, number = folder / name, 1
        while os.path.lexists(place):
            if _same(source, place):
                return place, True
            # A number alone would have to be looked for among all photos of one name.
            again = "" if number == 1 else f"-{number}"
            place = folder / f"{stem}-{sha256_file(source)[:8]}{again}{ending}"
            number += 1
        return place, False

    def _others(self) -> int:
        """Count the files in the folders of answers that are none of these photos."""
        found = 0
        for name in self._names.values():
            with suppress(OSError), os.scandir(self._folder / name) as entries:
                found += sum(each.is_file() and not each.name.startswith(".") for each in entries)
        return found - len(self._places)


def _is_in(folder: str, folders: set[str]) -> bool:
    return any(str(each) in folders for each in (folder, *Path(folder).parents))


def _fit(name: str, *, ending: str = "") -> str:
    """Return a name if every system takes it, else one like it that ends in its hash."""
    fit = _UNFIT.sub("_", name).rstrip(". ")
    if fit.startswith(".") or _RESERVED.fullmatch(fit):
        fit = f"_{fit}"
    if fit == name and fit and len(fit.encode()) <= _MOST_BYTES:
        return name
    ending = _UNFIT.sub("_", ending).rstrip(". ")[:16]
    stem = fit.removesuffix(ending).encode()[:_MOST_BYTES].decode(errors="ignore")
    return f"{stem or '_'}-{_short_hash(name)}{ending}"


def _folded(name: str) -> str:
    """Spell a name so that two that some system takes for one are equal."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def _short_hash(name: str) -> str:
    return hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:8]


def _same(source: Path, place: Path) -> bool:
    """Whether a place has a photo's bytes; a link that leads nowhere has none."""
    if not place.is_file():
        return False
    return os.path.samefile(source, place) or filecmp.cmp(source, place, shallow=False)


def _linked(source: Path, place: Path) -> bool:
    """Make a hard link, unless the file system has none or the photo is on another one."""
    try:
        os.link(os.path.realpath(source), place)
    except OSError:
        return False  # whatever hinders a copy, too, is said of the copy
    return True


def _copy(source: Path, place: Path) -> None:
    """Copy a photo with its times, by which photos are sorted."""
    with source.open("rb") as photo, replacing(place) as file:
        shutil.copyfileobj(photo, file, _AT_ONCE)
        file.flush()
        shutil.copystat(source, file.name)
