"""`pipeline repair`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli import next_step
from pipeline.cli.options import JsonOption
from pipeline.cli.screen import Screen, print_json
from pipeline.cli.tables import FAULTS_TOLD, say_faults
from pipeline.common.errors import counted
from pipeline.common.text import printable

if TYPE_CHECKING:
    from pipeline.stages.repair import Repairing


def repair(
    store: Annotated[Path, typer.Argument(help="A store.")], json_: JsonOption = False
) -> None:
    """Set aside what is damaged in a store, and make again what can be."""
    from pipeline.stages.repair import repair as stage

    with Screen("shards") as screen:
        result = stage(store, listener=screen.listener())
    say_faults(result.unreadable)
    if json_:
        print_json(asdict(result))
    else:
        _say_repair(result)
    if not json_:
        next_step.say(next_step.after_repair(result))
    if result.unreadable:
        raise typer.Exit(1)


def _say_repair(result: Repairing) -> None:
    for line in result.set_aside[:FAULTS_TOLD]:
        typer.echo(printable(f"set aside {line}"))
    if (others := len(result.set_aside) - FAULTS_TOLD) > 0:
        typer.echo(f"set aside {others} more; they lie in {result.store}/set-aside")
    if result.found:
        typer.echo(f"found again the codes of {counted(result.found, 'image')}")
    if result.made:
        typer.echo(f"made again: {', '.join(result.made)}")
    sound = f"{result.rows} rows of codes are sound"
    if result.unreadable:
        typer.echo(f"{sound}; what cannot be read this time was left where it is")
    if result.command is None:
        if not result.unreadable:
            done = "mended" if result.made or result.set_aside else "nothing to repair"
            typer.echo(f"{done}: {sound}")
        return
    if result.waiting is None:
        what = "to make the table again from the photos (what is sound is not computed again)"
    elif result.waiting:
        what = f"to compute {counted(result.waiting, 'image')}"
    else:
        what = "to finish the last extract"
    typer.echo(f"{sound}; {what}, type:")
    typer.echo(printable(result.command))
    if result.source_lost:
        typer.echo("SOURCE stands for the photos, whose place the lost table had")
