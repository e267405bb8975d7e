"""`pipeline show`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli import next_step
from pipeline.cli.options import JsonOption
from pipeline.cli.screen import Screen, open_in_browser, print_json


def show(
    source: Annotated[
        str,
        typer.Argument(
            help="Photos as extract takes them, a store, or a CSV of predict or evaluate."
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            help="The PNG file.", show_default="artifacts/reports/<name of SOURCE>/samples.png"
        ),
    ] = None,
    root: Annotated[
        Path | None, typer.Option(help="The folder that paths in a CSV are relative to.")
    ] = None,
    open_: Annotated[bool, typer.Option("--open", help="Show it.")] = False,
    json_: JsonOption = False,
) -> None:
    """Draw photos of each class, or photos with the answers that they got."""
    from pipeline.stages.show import show as stage

    with Screen("images", json_=json_) as screen:
        result = stage(source, out=out, root=root, listener=screen.listener())
    if open_:
        open_in_browser(result.out)
    if json_:
        print_json(asdict(result))
        return
    typer.echo(f"{result.shown} of {result.images} photos in {result.out}")
    next_step.say(next_step.after_show(source, root))
