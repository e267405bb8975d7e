"""`pipeline info`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from pipeline.cli import next_step
from pipeline.cli.options import JsonOption
from pipeline.cli.screen import print_json
from pipeline.cli.tables import named_splits
from pipeline.common.text import printable


def info(
    path: Annotated[Path, typer.Argument(help="A store, a packed file or a head.")],
    json_: JsonOption = False,
) -> None:
    """Say what a store or a head is, and how far it has come."""
    from pipeline.stages.info import info as stage

    plain = stage(path)
    if json_:
        print_json(plain)
        return
    proposed = next_step.after_info(plain)
    if unlabelled := plain.pop("unlabelled", {}):
        plain["splits"] = named_splits(plain["splits"], unlabelled)
    _say_tree(plain)
    next_step.say(proposed)


def _say_tree(plain: dict[str, Any], indent: str = "") -> None:
    for name, value in plain.items():
        if isinstance(value, dict) and value:
            typer.echo(f"{indent}{printable(name)}:")
            _say_tree(value, indent + "  ")
            continue
        if isinstance(value, list) and not any(isinstance(item, list) for item in value):
            value = ", ".join(map(str, value))
        text = value if isinstance(value, str) else json.dumps(value)
        typer.echo(f"{indent}{printable(name)}: {printable(text)}")
