"""`pipeline relabel`."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from pipeline.cli import next_step
from pipeline.cli.options import JsonOption, StoreArgument
from pipeline.cli.screen import print_json
from pipeline.common.errors import counted
from pipeline.common.text import printable


def relabel(
    store: StoreArgument,
    manifest: Annotated[
        str | None, typer.Argument(help="A CSV with path,label and, if you like, split,group.")
    ] = None,
    rename: Annotated[
        list[str] | None,
        typer.Option(help="OLD=NEW, a class and its new name; repeat for several."),
    ] = None,
    columns: Annotated[
        str | None,
        typer.Option(help="Names of the CSV's columns, such as path=filename,label=class."),
    ] = None,
    json_: JsonOption = False,
) -> None:
    """Give a store's images other labels, without their photos and without computing."""
    from pipeline.stages.relabel import relabel as stage

    pairs = [text.partition("=") for text in rename or ()]
    if not all(old and separator and new for old, separator, new in pairs):
        raise typer.BadParameter("expected OLD=NEW", param_hint="--rename")
    names = {old: new for old, _, new in pairs}
    result = stage(store, manifest, rename=names, columns=columns)
    if json_:
        print_json(asdict(result))
        return
    for warning in result.warnings:
        typer.echo(warning, err=True)
    if result.not_found:
        count = counted(result.not_found, "line")
        typer.echo(f"note: {count} of the manifest name no image of the store", err=True)
    if manifest is not None and result.not_named:
        count = counted(result.not_named, "image")
        typer.echo(f"note: {count} that it does not name stay as they were", err=True)
    classes = "  ".join(f"{printable(name)} {n}" for name, n in result.classes.items())
    typer.echo(f"classes: {classes}")
    typer.echo("splits: " + "  ".join(f"{name} {n}" for name, n in result.splits.items()))
    typer.echo(f"relabelled {result.changed} of {counted(result.images, 'image')}")
    next_step.say(next_step.learn(store))
