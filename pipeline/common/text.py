"""Text from strangers, fit for a terminal."""

from __future__ import annotations


def printable(text: str) -> str:
    r"""
    Return a text on one line that moves no cursor and changes no colours.

    Parameters
    ----------
    text : str
        A path, the name of a class, ...

    Returns
    -------
    str
        With line breaks, control characters and bytes that are not UTF-8 written as escapes.

    Examples
    --------
    >>> print(printable("two\nlines"))
    two\nlines
    """
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in text
    )


def one_line(error: BaseException) -> str:
    """Return what an error says on one line, its type where it says nothing."""
    return " ".join(str(error).split()) or type(error).__name__
