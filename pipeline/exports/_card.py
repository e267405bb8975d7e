"""The page beside an exported file: what it is, how good, how far from the head, how to run it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pipeline.common.choices import Resize
from pipeline.exports._format import Format


@dataclass(frozen=True, kw_only=True)
class Facts:
    """
    What a model card says.

    Attributes
    ----------
    title : str
    fills : mapping of str to str
        For the places in a format's `usage`: ``path`` of the file; ``squared``, what makes a
        photo the square; ``store`` of the codes, and in Python's spelling ``layer`` and ``pool``.
    size : int
        Edge of the input in pixels, 0 for codes.
    made_of, space, scores, parity : mapping of str to object
        Rows of the tables.
    classes : tuple of str
    commands : tuple of str
        What makes the file again.
    """

    title: str
    fills: Mapping[str, str]
    size: int
    made_of: Mapping[str, object]
    space: Mapping[str, object]
    scores: Mapping[str, object]
    parity: Mapping[str, object]
    classes: tuple[str, ...]
    commands: tuple[str, ...]


def squared(size: int, resize: Resize) -> str:
    """Write the Python by which Pillow makes a square of a photo as the decoder does."""
    target = f"({size}, {size}), Image.Resampling.HAMMING"
    return {
        Resize.crop: f"ImageOps.fit(photo, {target})",
        Resize.squash: f"photo.resize({target})",
        Resize.pad: f"ImageOps.pad(photo, {target}, color=(127, 127, 127))",
    }[resize]


def card_text(facts: Facts, form: Format) -> str:
    """
    Write the page.

    Parameters
    ----------
    facts : Facts
    form : Format

    Returns
    -------
    str
        Markdown.
    """
    takes = "codes" if form.takes_codes else f"uint8 RGB pixels {facts.size} x {facts.size}"
    usage = form.usage.format(**facts.fills)
    notes = form.notes.replace("{size}", str(facts.size))
    tables = {
        "Data": facts.made_of,
        "Space": facts.space,
        "Scores": facts.scores,
        "The file against the head": facts.parity,
    }
    sections = [f"## {title}\n\n{_table(rows)}" for title, rows in tables.items()]
    return "\n\n".join(
        [
            f"# {_cell(facts.title)}",
            f"From {takes} to the probabilities of {len(facts.classes)} classes: "
            f"{', '.join(map(_cell, facts.classes))}.",
            *sections,
            f"## Use\n\n```python\n{usage}```\n\n{notes}",
            _block("## Made by", facts.commands),
        ]
    )


def _table(rows: Mapping[str, object]) -> str:
    lines = [f"| {name} | {_cell(value)} |" for name, value in rows.items() if value is not None]
    return "\n".join(["| | |", "|---|---|", *lines])


def _cell(value: object) -> str:
    """Write a value so that it stays in its cell and is no markup."""
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    escaped = "".join(f"\\{c}" if c in r"\|<>[]`*" else c for c in text)
    return " ".join(escaped.split()).encode("utf-8", "backslashreplace").decode()


def _block(title: str, lines: tuple[str, ...]) -> str:
    return "\n".join([title, "", "```sh", *lines, "```", ""])
