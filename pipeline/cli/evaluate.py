"""`pipeline evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli.options import HeadArgument, JsonOption, StoreArgument, WithOption
from pipeline.cli.screen import Screen, print_json
from pipeline.cli.show import accuracy_line, say_report
from pipeline.common.choices import Split

if TYPE_CHECKING:
    from pipeline.report import Report


def evaluate(
    head: HeadArgument,
    store: StoreArgument,
    with_: WithOption = None,
    split: Annotated[Split, typer.Option(help="Which rows to score.")] = Split.test,
    views: Annotated[
        bool, typer.Option("--views", help="Average the scores over the store's views.")
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder of the report.", show_default="artifacts/reports/<head>"),
    ] = None,
    json_: JsonOption = False,
) -> None:
    """Score a head: accuracy, precision and recall of each class, confusion matrix."""
    from pipeline.stages.evaluate import evaluate as stage

    with Screen("images", json_=json_) as screen:
        result = stage(
            head,
            store,
            joined_with=with_ or (),
            split=split,
            views=views,
            out=out,
            listener=screen.listener(),
        )
    if json_:
        plain = {"head": result.head, "store": result.store, "out": result.out}
        rows = {"split": result.split, "views": result.views}
        print_json(plain | rows | result.report.to_json() | {"warnings": result.warnings})
        return
    say_report(result.report)
    if result.report.calibration_error is not None:
        typer.echo(_calibration(result.report))
    typer.echo(f"report in {result.out}")
    averaged = f", scores averaged over {result.views} views" if result.views > 1 else ""
    typer.echo(accuracy_line(result.report, result.split + averaged))


def _calibration(report: Report) -> str:
    before = report.uncalibrated_error
    was = f" ({before:.4f} before calibration)" if before is not None else ""
    return f"calibration error {report.calibration_error:.4f}{was}"
