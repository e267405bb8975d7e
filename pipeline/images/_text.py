"""Names as text: whatever bytes a file system has, they can be shown and written to JSON."""

from __future__ import annotations

import unicodedata

from pipeline.common import text


def decoded(name: bytes) -> str:
    """
    Return a name as text; bytes that are not UTF-8 are written as escapes.

    Letters with accents have one spelling (Unicode's NFC), however a file system writes them: two
    spellings of one name are one class.
    """
    return unicodedata.normalize("NFC", name.decode("utf-8", "backslashreplace"))


def printable(name: str | bytes) -> str:
    """
    Return a name on one line, fit for a terminal.

    Parameters
    ----------
    name : str or bytes
        A path, a class name, ...

    Returns
    -------
    str
        The name with line breaks, control characters and bytes that are not UTF-8 written as
        escapes.
    """
    return text.printable(decoded(name) if isinstance(name, bytes) else name)
