"""What is wrong with data as one HTML file that fetches nothing and runs no script."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pipeline.report._template import as_text, rendered


@dataclass(frozen=True, kw_only=True)
class AuditPhoto:
    """
    A photo of a finding.

    Attributes
    ----------
    path, label, split : str
    jpeg : bytes or None
        A small picture; None where there is none.
    """

    path: str
    label: str
    split: str
    jpeg: bytes | None = None

    @property
    def data(self) -> str | None:
        """The picture as text."""
        return None if self.jpeg is None else as_text(self.jpeg)


@dataclass(frozen=True, kw_only=True)
class AuditCard:
    """A finding: why, and photos side by side."""

    reason: str
    photos: tuple[AuditPhoto, ...] = ()


@dataclass(frozen=True, kw_only=True)
class AuditSection:
    """
    Findings of one kind.

    Attributes
    ----------
    title, about : str
    of : int
        How many there are; the page may show fewer.
    cards : tuple of AuditCard
    """

    title: str
    about: str
    of: int
    cards: tuple[AuditCard, ...]

    @property
    def id(self) -> str:
        """A name for links."""
        return self.title.replace(" ", "-")


@dataclass(frozen=True, kw_only=True)
class AuditPage:
    """
    What the page says.

    Attributes
    ----------
    title : str
    sections : tuple of AuditSection
    notes : tuple of str
        What was not looked at.
    facts : mapping of str to str
        What was looked at.
    """

    title: str
    sections: tuple[AuditSection, ...] = ()
    notes: tuple[str, ...] = ()
    facts: Mapping[str, str] = field(default_factory=dict)

    def html(self) -> str:
        """Return the page; names are escaped by Jinja2."""
        return rendered("audit.html", page=self)
