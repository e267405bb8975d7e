"""`pipeline verify`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from pipeline.cli import next_step
from pipeline.cli.options import JsonOption, StoreArgument
from pipeline.cli.program import DAMAGED
from pipeline.cli.screen import Screen, print_json
from pipeline.cli.tables import say_faults
from pipeline.common.errors import counted
from pipeline.common.files import argument, command_line, in_words
from pipeline.common.text import printable

if TYPE_CHECKING:
    from pipeline.store import Verification


def verify(store: StoreArgument, json_: JsonOption = False) -> None:
    """Read every byte of a store and compare it with what was written."""
    from pipeline.stages.verify import verify as stage

    with Screen("shards") as screen:
        result = stage(store, listener=screen.listener())
    if json_:
        print_json(asdict(result))
    for line in result.notes:
        typer.echo(f"note: {printable(line)}", err=True)
    say_faults((*result.damage, *result.unreadable))
    if not json_:
        if not (result.damage or result.unreadable):
            _say_sound(result, store)
        next_step.say(next_step.after_verify(result, store))
    if result.damage:
        raise typer.Exit(DAMAGED)
    if result.unreadable:
        raise typer.Exit(1)


def _say_sound(result: Verification, store: Path) -> None:
    size = in_words(result.bytes)
    shards = counted(result.shards, "file")
    typer.echo(f"sound: {shards}, {result.rows} rows, {size}" + _unfinished(result, store))


def _unfinished(result: Verification, store: Path) -> str:
    """Say what a sound store still lacks."""
    if not (result.waiting or result.unfinished):
        return ""
    missing = "the table" if result.waiting is None else counted(result.waiting, "image")
    without = f", without {missing}" if result.waiting != 0 else ""
    command = command_line(["pipeline", "repair", argument(store)])
    return f"; but unfinished{without}: `{command}` says what goes on"
