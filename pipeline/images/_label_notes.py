"""Labels of a table that are probably something else: numbers, lists, columns of bits."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np

from pipeline.common.errors import SourceError, counted
from pipeline.common.names import hashed, one_by_one

from ._text import printable

_FEW = 20


_SEPARATORS = ("|", ";", ",", "+", "/", "&", " ")


_BITS = re.compile(r"[01]([ ,;|][01])+")


_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


def check_labels(names: Sequence[str | None], paths: Sequence[bytes]) -> None:
    """
    Refuse labels that do not put each image into one class.

    Raises
    ------
    SourceError
        If they are numbers of a scale, or several for one image.
    """
    counts = Counter(name for name in names if name is not None)
    # In many languages a comma stands before the decimals.
    numbers = {name: name.replace(",", ".", 1).removesuffix("%").strip() for name in counts}
    numbers = {name: text for name, text in numbers.items() if _NUMBER.fullmatch(text)}
    broken = [name for name, text in numbers.items() if not float(text).is_integer()]
    if len(counts) > 2 and len(numbers) == len(counts) and 4 * len(broken) >= len(counts):
        raise SourceError(
            f"expected a class for each image, found numbers of a scale, such as {broken[0]} "
            f"({len(counts)} different ones); put them into classes, such as low and high"
        )
    joined = (_several(counts, separator) for separator in _SEPARATORS)
    example = next((name for name in joined if name is not None), None) or _listed(counts)
    if example is not None:
        raise SourceError(
            f"expected one class for each image, found several, such as '{printable(example)}' "
            f"({len(counts)} combinations); keep one of them, or make one manifest for each class "
            "with the labels yes and no"
        )
    rows = np.array([row for row, name in enumerate(names) if name is not None], np.int64)
    hashes = hashed(paths[row] for row in one_by_one(rows))
    different, times = np.unique(hashes, return_counts=True)
    labels: dict[bytes, set[str | None]] = {}  # of paths that come twice
    for row in one_by_one(rows[np.isin(hashes, different[times > 1])]):
        labels.setdefault(paths[row], set()).add(names[row])
    twice = [path for path, several in labels.items() if len(several) > 1]
    if len(twice) > 1 and 10 * len(twice) > len(different):
        raise SourceError(
            f"expected one class for each image, found {len(twice)} of {len(different)} images on "
            f"several lines with different labels, such as {printable(twice[0])}; keep one of them"
        )


def _listed(counts: Counter[str]) -> str | None:
    """Return a label that is a list as Python writes it, or bits such as 1 0 1, if there is one."""
    ends = {"[": "]", "{": "}"}
    lists = (name for name in counts if ends.get(name[0]) == name[-1] or _BITS.fullmatch(name))
    return next(lists, None)


def _several(counts: Counter[str], separator: str) -> str | None:
    """Return a label that joins others by a separator, if that is how these labels are made."""
    parts = {name: [part.strip() for part in name.split(separator)] for name in counts}
    joined = [name for name, several in parts.items() if len(several) > 1 and all(several)]
    used = Counter(part for several in parts.values() for part in several)
    again = [name for name in joined if all(used[part] > 1 for part in parts[name])]
    # Names of two parts each, such as "black cat" and "white dog", are classes; and words that
    # are joined by spaces or commas mean several classes only where few make up many.
    if joined and all(part in counts for name in joined for part in parts[name]):
        return joined[0] if separator != " " or len(joined) > 2 else None
    lengths = {len(several) for several in parts.values()}
    usual = separator in ", "
    if (
        len(lengths) > 1 + usual
        and (1 + usual) * len(used) <= len(counts)
        and 2 * len(again) > len(joined)
    ):
        return again[0]
    return None


def note_on_bytes(count: int) -> list[str]:
    return [f"{count} labels are no UTF-8 and are read as Windows-1252"] if count else []


def notes_on(names: Sequence[str | None], paths: Sequence[bytes]) -> list[str]:
    notes = []
    if unlabelled := sum(name is None for name in names):
        have = "has" if unlabelled == 1 else "have"
        notes.append(f"{counted(unlabelled, 'line')} {have} no label")
    if repeated := len(paths) - len(np.unique(hashed(paths))):
        name = "names" if repeated == 1 else "name"
        notes.append(f"{counted(repeated, 'line')} {name} a path that an earlier line names")
    different = len(set(names) - {None})
    if different >= _FEW and 2 * different > len(names):
        notes.append(
            f"warning: {different} classes for {len(names)} images; is the column of labels one?"
        )
    return notes
