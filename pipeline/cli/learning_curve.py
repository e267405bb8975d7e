"""`pipeline learning-curve`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.common.choices import HeadKind

if TYPE_CHECKING:
    from rich.table import Table

    from pipeline.stages.learning_curve import LearningCurve

from pipeline.cli import next_step
from pipeline.cli.options import (
    MOST_SEED,
    JsonOption,
    KindOption,
    LayersOption,
    MemoryOption,
    PoolOption,
    StoreArgument,
)
from pipeline.cli.screen import Screen, print_json, print_table
from pipeline.common.files import argument


def learning_curve(
    store: StoreArgument,
    kind: KindOption = HeadKind.svm.value,
    layer: LayersOption = None,
    pool: PoolOption = None,
    seed: Annotated[
        list[int] | None,
        typer.Option(
            min=0,
            max=MOST_SEED,
            help="Chooses images; repeat for several.",
            show_default="0 to 4",
        ),
    ] = None,
    desired: Annotated[
        float | None,
        typer.Option(
            metavar="ACCURACY",
            help="Draw an accuracy that you want, such as 0.95, and say how many images reach it.",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the report.",
            show_default="artifacts/reports/<store>-<kind>-learning-curve",
        ),
    ] = None,
    memory: MemoryOption = None,
    json_: JsonOption = False,
) -> None:
    """Show how accuracy grows with the number of images, and whether more would help."""
    from pipeline.stages.learning_curve import learning_curve as stage

    with Screen("heads", json_=json_) as screen:
        result = stage(
            store,
            kind=kind,
            layer=layer,
            pool=pool,
            seeds=seed or range(5),
            desired=desired,
            out=out,
            memory=memory,
            listener=screen.listener(),
        )
    if json_:
        print_json(asdict(result))
        return
    print_table(_curve_table(result))
    reading = result.reading
    typer.echo(f"curve in {Path(result.out) / 'learning_curve.png'}; {result.seconds:.0f} s")
    typer.echo(
        f"training error {reading.train_error:.4f}  validation error {reading.val_error:.4f}"
    )
    typer.echo(reading.sentence)
    next_step.say(["compare", argument(Path(result.store))])


def _curve_table(result: LearningCurve) -> Table:
    from rich.table import Table

    table = Table("images per class", box=None, header_style="bold")
    for name in ("images", "train accuracy", "validation accuracy", "deviation", "seeds"):
        table.add_column(name, justify="right")
    for point in result.points:
        deviation = "" if point.val_deviation is None else f"{point.val_deviation:.4f}"
        scores = (f"{point.train_accuracy:.4f}", f"{point.val_accuracy:.4f}", deviation)
        table.add_row(str(point.images_per_class), str(point.images), *scores, str(point.seeds))
    return table
