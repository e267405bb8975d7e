"""Letters of names and titles: drawn in a font that has them, written as escapes where none has."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

_OURS = "DejaVu Sans"  # comes with matplotlib
_NO_LETTERS = "Last Resort"  # has a box for every letter that there is
_MOST_FONTS = 8  # beside ours


@contextmanager
def plain_style(texts: Iterable[str] = ()) -> Iterator[None]:
    """
    Draw the same on all machines, whatever the user's own settings of matplotlib.

    Parameters
    ----------
    texts : iterable of str, optional
        What will be written. Letters that matplotlib's own font lacks are taken from installed
        fonts; `drawable` writes those that no font has as escapes.
    """
    import matplotlib as mpl
    import matplotlib.style

    with matplotlib.style.context("default"):
        fonts = _fonts_of(frozenset("".join(texts)))
        with mpl.rc_context({"font.family": [_OURS, *fonts]}):
            yield


def drawable(text: str) -> str:
    r"""
    Write letters that cannot be drawn in the style at hand as escapes.

    Parameters
    ----------
    text : str
        Bytes of names on disk that are no text may be in it as surrogates.

    Returns
    -------
    str
        Escapes are those of Python: ``\x07``, ``\u4e2d``; a byte that is no text becomes
        ``\xe9``.
    """
    import matplotlib as mpl

    families = tuple(mpl.rcParams["font.family"])
    return "".join(
        letter if letter.isprintable() and _has(families, letter) else _escape(letter)
        for letter in text
    )


def shortened(text: str, most: int) -> str:
    """Cut a text to so many letters; what is no letter becomes a box, for a browser to draw."""
    text = text.encode(errors="replace").decode()
    text = "".join(
        letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text
    )
    return _cut(text, most)


def drawn(text: str, most: int) -> str:
    """Write a text with what can be drawn, and cut it to so many letters."""
    return _cut(drawable(text), most)


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def _escape(letter: str) -> str:
    number = ord(letter)
    if 0xDC80 <= number <= 0xDCFF:  # a byte of a name, see os.fsdecode
        return f"\\x{number - 0xDC00:02x}"
    return letter.encode("unicode_escape").decode()


@lru_cache(maxsize=64)
def _fonts_of(letters: frozenset[str]) -> tuple[str, ...]:
    """Name installed fonts that have the letters which matplotlib's own font lacks."""
    from matplotlib.font_manager import fontManager

    missing = {each for each in letters if each.isprintable() and not _has((_OURS,), each)}
    found: list[str] = []
    upright = (font for font in fontManager.ttflist if font.style == "normal")
    # Fonts without serifs first: the rest of the text has none. Names decide between equals.
    for font in sorted(upright, key=lambda each: ("Sans" not in each.name, each.name)):
        if not missing or len(found) == _MOST_FONTS:
            break
        if font.name in found or font.name.startswith(_NO_LETTERS):
            continue
        # Opening the file takes less time than looking for the name.
        if not any(_glyph(font.fname, each) for each in missing):
            continue
        if had := {each for each in missing if _has((font.name,), each)}:
            found.append(font.name)
            missing -= had
    return tuple(found)


def _has(families: tuple[str, ...], letter: str) -> bool:
    """Whether one of these fonts draws a letter."""
    return any(path is not None and _glyph(path, letter) for path in map(_path_of, families))


@lru_cache(maxsize=256)
def _path_of(family: str) -> Any:
    """Find a font as matplotlib will, by its name."""
    from matplotlib.font_manager import FontProperties, findfont

    try:
        return findfont(FontProperties(family=family), fallback_to_default=False)
    except ValueError:
        return None


@lru_cache(maxsize=65536)
def _glyph(path: Any, letter: str) -> bool:
    from matplotlib.font_manager import get_font

    try:
        font = get_font(path)
        font.set_size(10, 72)  # a font of pictures has no such size
        return bool(font.get_char_index(ord(letter)))
    except (RuntimeError, OSError):
        return False
