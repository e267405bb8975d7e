"""`pipeline audit`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli import next_step
from pipeline.cli.options import JsonOption, LayersOption, SeedOption, StoreArgument
from pipeline.cli.screen import Screen, open_in_browser, print_json, print_table
from pipeline.common.text import printable

if TYPE_CHECKING:
    from pipeline.stages.audit import Audit


def audit(
    store: StoreArgument,
    layer: LayersOption = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the findings.", show_default="artifacts/reports/<store>-audit"
        ),
    ] = None,
    fix: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.csv",
            help="Write what extract takes: all images but one of each pair, almost surely wrong "
            "labels, and images of one colour.",
        ),
    ] = None,
    seed: SeedOption = 0,
    open_: Annotated[bool, typer.Option("--open", help="Show audit.html in the browser.")] = False,
    json_: JsonOption = False,
) -> None:
    """Find duplicates, wrong labels, outliers, and what gives the class away."""
    from pipeline.stages.audit import audit as stage

    with Screen("images", json_=json_) as screen:
        result = stage(store, layer=layer, out=out, fix=fix, seed=seed, listener=screen.listener())
    if open_ and result.page is not None:
        open_in_browser(result.page)
    if json_:
        print_json(asdict(result))
        return
    _say(result)
    next_step.say(next_step.after_audit(result))


def _say(result: Audit) -> None:
    from rich.markup import escape
    from rich.table import Table

    for note in result.notes:
        typer.echo(printable(f"note: {note}"))
    if result.counts:
        table = Table("found", "number", "the first of them", box=None)
        for kind, count in result.counts.items():
            first = next(each for each in result.findings if each.kind == kind)
            where = f"{' and '.join(first.paths)}: " if first.paths else ""
            table.add_row(kind, str(count), escape(printable(where + first.reason)))
        print_table(table)
    if result.fix is not None:
        gone = sum(result.left_out.values())
        why = ", ".join(f"{count} {words}" for words, count in result.left_out.items())
        typer.echo(
            f"{result.kept} images in {result.fix}, {gone} left out" + (f": {why}" if why else "")
        )
    found = sum(result.counts.values())
    typer.echo(f"{found} findings in {result.page or result.out}")
