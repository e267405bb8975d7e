"""`pipeline evaluate`."""

from __future__ import annotations

import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.cli.options import HeadArgument, JsonOption, StoreArgument, WithOption
from pipeline.cli.screen import Screen, print_json
from pipeline.cli.tables import accuracy_line, say_report
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
    page: Annotated[
        bool, typer.Option("--page/--no-page", help="Write report.html, with photos.")
    ] = True,
    open_: Annotated[bool, typer.Option("--open", help="Show report.html in the browser.")] = False,
    json_: JsonOption = False,
) -> None:
    """Score a head: accuracy, confusion matrix, the photos that it gets wrong."""
    from pipeline.stages.evaluate import evaluate as stage

    with Screen("images", json_=json_) as screen:
        result = stage(
            head,
            store,
            joined_with=with_ or (),
            split=split,
            views=views,
            out=out,
            page=page or open_,
            listener=screen.listener(),
        )
    if open_ and result.page is not None:
        webbrowser.open(Path(result.page).absolute().as_uri())
    if json_:
        plain: dict[str, Any] = {"head": result.head, "store": result.store, "out": result.out}
        plain["page"] = result.page
        rows = {"split": result.split, "views": result.views}
        print_json(plain | rows | result.report.to_json() | {"warnings": result.warnings})
        return
    say_report(result.report)
    if result.report.calibration_error is not None:
        typer.echo(_calibration(result.report))
    averaged = f", scores averaged over {result.views} views" if result.views > 1 else ""
    typer.echo(accuracy_line(result.report, result.split + averaged))
    typer.echo(f"report in {result.page or result.out}")


def _calibration(report: Report) -> str:
    before = report.uncalibrated_error
    was = f" ({before:.4f} before calibration)" if before is not None else ""
    return f"calibration error {report.calibration_error:.4f}{was}"
