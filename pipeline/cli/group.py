"""`pipeline group`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli import next_step
from pipeline.cli.options import JsonOption, LayersOption, SeedOption, StoreArgument
from pipeline.cli.screen import Screen, open_in_browser, print_json, print_table
from pipeline.common.errors import counted
from pipeline.common.text import printable

if TYPE_CHECKING:
    from pipeline.stages.group import Grouping

_CLASSES_TOLD = 3


def group(
    store: StoreArgument,
    groups: Annotated[
        int | None,
        typer.Option(min=1, help="How many groups.", show_default="by the silhouette"),
    ] = None,
    layer: LayersOption = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder of the result.", show_default="artifacts/reports/<store>-groups"),
    ] = None,
    seed: SeedOption = 0,
    open_: Annotated[bool, typer.Option("--open", help="Show groups.html in the browser.")] = False,
    json_: JsonOption = False,
) -> None:
    """Put photos into groups of like ones, with a contact sheet of each; labels are not needed."""
    from pipeline.stages.group import group as stage

    with Screen("images", json_=json_) as screen:
        result = stage(
            store, groups=groups, layer=layer, out=out, seed=seed, listener=screen.listener()
        )
    if open_:
        open_in_browser(result.page)
    if json_:
        print_json(asdict(result))
        return
    _say(result)
    next_step.say(next_step.after_group(result))


def _say(result: Grouping) -> None:
    from rich.markup import escape
    from rich.table import Table

    for note in result.notes:
        typer.echo(printable(f"note: {note}"))
    table = Table("group", "photos", "most typical", box=None)
    if result.labelled:
        table.add_column("labels")
    for each in result.groups:
        classes = list(each.classes.items())
        told = ", ".join(f"{name} {count}" for name, count in classes[:_CLASSES_TOLD])
        more = ", ..." if len(classes) > _CLASSES_TOLD else ""
        cells = [each.name, str(each.size), escape(printable(each.typical))]
        table.add_row(*cells, *([escape(printable(told + more))] if result.labelled else []))
    print_table(table)
    count = counted(len(result.groups), "group")
    typer.echo(f"{count} of {counted(result.images, 'image')} in {result.page}")
