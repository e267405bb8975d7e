"""`pipeline pack`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli import next_step
from pipeline.cli.options import JsonOption
from pipeline.cli.screen import print_json
from pipeline.common.files import argument, in_words


def pack(
    store: Annotated[Path, typer.Argument(help="A store.")],
    file: Annotated[Path, typer.Argument(help="The HDF5 file to write; must not exist.")],
    json_: JsonOption = False,
) -> None:
    """Write a store as one ordinary HDF5 file for other tools."""
    from pipeline.stages.pack import pack as stage

    result = stage(store, file)
    if json_:
        print_json(asdict(result))
    else:
        typer.echo(f"packed {result.rows} rows, {in_words(result.bytes)} -> {result.file}")
        next_step.say(["verify", argument(Path(result.file))])
