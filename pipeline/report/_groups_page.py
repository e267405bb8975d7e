"""Groups of like images as one HTML file: a contact sheet of each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pipeline.report._audit_page import AuditPhoto
from pipeline.report._template import rendered


@dataclass(frozen=True, kw_only=True)
class GroupSheet:
    """
    A group.

    Attributes
    ----------
    name : str
    size : int
    classes : mapping of str to int
        How many of its images have which label; the most frequent first.
    typical : tuple of AuditPhoto
        Those nearest to its centre first.
    unusual : tuple of AuditPhoto
        Those farthest from it.
    """

    name: str
    size: int
    classes: Mapping[str, int]
    typical: tuple[AuditPhoto, ...]
    unusual: tuple[AuditPhoto, ...]


@dataclass(frozen=True, kw_only=True)
class GroupsPage:
    """
    What the page says.

    Attributes
    ----------
    title : str
    images : int
    groups : tuple of GroupSheet
        The largest first.
    notes : tuple of str
        What was cut short or is not there.
    commands : tuple of str
        What names the groups.
    facts : mapping of str to str
        How it was made.
    """

    title: str
    images: int
    groups: tuple[GroupSheet, ...]
    notes: tuple[str, ...] = ()
    commands: tuple[str, ...] = ()
    facts: Mapping[str, str] = field(default_factory=dict)

    def html(self) -> str:
        """Return the page; names are escaped by Jinja2."""
        return rendered("groups.html", page=self)
