"""What a user sees: sentences, tables, JSON, and a bar while a stage works."""

from __future__ import annotations

import json
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from pipeline.common.listener import Listener
from pipeline.common.text import printable

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.progress import Progress
    from rich.table import Table


class Screen:
    """
    What a user sees while a stage works: sentences, and on a terminal a bar below them.

    The bar goes to stderr; it is taken away before anything else is printed.
    """

    def __init__(self, unit: str, *, json_: bool = False) -> None:
        self._unit = unit
        self._json = json_
        self._bar: Progress | None = None
        self._first = (0.0, 0)

    def __enter__(self) -> Screen:
        return self

    def __exit__(self, *error: object) -> None:
        self.clear()

    def tell(self, sentence: str) -> None:
        """Print a sentence; beside JSON it goes to stderr."""
        self.clear()
        typer.echo(printable(sentence), err=self._json)

    def progress(self, done: int, total: int) -> None:
        """Move the bar."""
        if not sys.stderr.isatty():
            return
        now = time.monotonic()
        if self._bar is None:
            self._bar, self._first = _bar(self._unit), (now, done)
            self._bar.start()
        seconds, count = now - self._first[0], done - self._first[1]
        rate = count / seconds if seconds > 0 else 0.0
        pace = ""
        if count and seconds > 1:
            left = timedelta(seconds=round((total - done) / rate))
            pace = f"{rate:.3g} {self._unit}/s, {left} left"
        self._bar.update(self._bar.task_ids[0], completed=done, total=total, pace=pace)

    def listener(self, show: Callable[[Any], None] | None = None) -> Listener:
        """Return what a stage calls; nothing is shown of its parts unless `show` does."""
        given = {} if show is None else {"show": show}
        return Listener(tell=self.tell, progress=self.progress, **given)

    def clear(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


def _bar(unit: str) -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("{task.fields[pace]}"),
        console=Console(stderr=True),
        transient=True,
        redirect_stdout=False,
        redirect_stderr=False,
    )
    bar.add_task(unit, total=None, pace="")
    return bar


def open_in_browser(path: str) -> None:
    """Show a page or a picture."""
    import webbrowser

    webbrowser.open(Path(path).absolute().as_uri())


def print_json(plain: Any) -> None:
    """Print a result for machines."""
    typer.echo(json.dumps(plain, indent=2, default=str))


def print_table(table: Table) -> None:
    """Print a table, in colours on a terminal."""
    from rich.console import Console

    # Piped into a file, a table should be as wide as it needs and no wider.
    console = Console() if sys.stdout.isatty() else Console(width=250)
    with console.capture() as capture:
        console.print(table)
    for line in capture.get().splitlines():
        typer.echo(line.rstrip())


def dimensions(shape: Any) -> str:
    """Say how many numbers the codes of an image are, such as 1280-D or 7x7x512."""
    return "x".join(map(str, shape)) + ("-D" if len(shape) == 1 else "")
