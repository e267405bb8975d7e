"""Pages from the templates in `page/`: one HTML file each, which fetches nothing."""

from __future__ import annotations

import base64
from importlib import resources
from typing import Any


def rendered(name: str, **values: Any) -> str:
    """
    Fill in a template; names are escaped by Jinja2.

    Parameters
    ----------
    name : str
        A file in `page/`; it extends ``base.html``.
    **values
        What it is filled with; a name that it needs and is not given is an error.

    Returns
    -------
    str
        Bytes of names on disk that are no text are written as escapes.
    """
    from jinja2 import Environment, FunctionLoader, StrictUndefined

    environment = Environment(
        autoescape=True, undefined=StrictUndefined, loader=FunctionLoader(page_file)
    )
    text = environment.get_template(name).render(style=page_file("report.css"), **values)
    return text.encode("utf-8", "backslashreplace").decode()


def page_file(name: str) -> str:
    """Read a file of `page/`."""
    return (resources.files("pipeline.report") / "page" / name).read_text(encoding="utf-8")


def as_text(jpeg: bytes) -> str:
    """Write a picture in base64, of letters that mean nothing in HTML."""
    return base64.b64encode(jpeg).decode()
