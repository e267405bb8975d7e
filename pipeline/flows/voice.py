"""What a stage says to a caller who does not listen."""

from __future__ import annotations


def quiet(sentence: str) -> None:
    """Tell nobody."""


def silent(done: int, total: int) -> None:
    """Show nothing."""
