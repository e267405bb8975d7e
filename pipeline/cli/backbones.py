"""`pipeline backbones`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.table import Table


from pipeline.cli.options import JsonOption
from pipeline.cli.screen import dimensions, print_json, print_table


def backbones(
    name: Annotated[
        str | None, typer.Argument(help="Show the layers of one.", show_default="all")
    ] = None,
    json_: JsonOption = False,
) -> None:
    """List the convnets: input size, parameters, codes of the layers worth cutting at."""
    from pipeline.backbones import TABLE, find

    rows = [find(name)] if name is not None else list(TABLE.values())
    if json_:
        print_json([_backbone(row) for row in rows])
    elif name is not None:
        row = rows[0]
        typer.echo(f"{row.name}: {row.size}x{row.size} pixels, {row.parameters / 1e6:.1f} M")
        for layer, shape in row.layers.items():
            typer.echo(
                f"  {layer} {dimensions(shape)}{' (default)' if layer == row.default else ''}"
            )
        typer.echo("Any other layer name of the model, NAME:avg and NAME:max work as well.")
    else:
        print_table(_backbone_table(rows))
        typer.echo("`pipeline backbones NAME` lists the layers worth cutting at.")


def _backbone(row: Any) -> dict[str, Any]:
    return {
        "name": row.name,
        "size": row.size,
        "parameters": row.parameters,
        "preprocessing": row.preprocessing.value,
        "default": row.default,
        "layers": {layer: list(shape) for layer, shape in row.layers.items()},
    }


def _backbone_table(rows: list[Any]) -> Table:
    from rich.table import Table

    table = Table("backbone", box=None, header_style="bold")
    table.add_column("pixels", justify="right")
    table.add_column("M weights", justify="right")
    table.add_column("codes by default")
    table.add_column("last map")
    for row in rows:
        default = f"{row.default} {dimensions(row.layers[row.default])}"
        last = dimensions(row.layers[row.final_map])
        table.add_row(row.name, str(row.size), f"{row.parameters / 1e6:.1f}", default, last)
    return table
