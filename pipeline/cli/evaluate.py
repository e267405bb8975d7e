"""`pipeline evaluate`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.cli import next_step
from pipeline.cli.options import HeadArgument, JsonOption, WithOption
from pipeline.cli.screen import Screen, open_in_browser, print_json, print_table
from pipeline.cli.tables import accuracy_line, heads_table, say_report
from pipeline.common.choices import Split
from pipeline.common.errors import HeadError, counted
from pipeline.common.text import printable

if TYPE_CHECKING:
    from pipeline.report import Report


def evaluate(
    head: HeadArgument,
    store: Annotated[
        list[Path],
        typer.Argument(metavar="[HEAD]... STORE", help="Further heads, and at last a store."),
    ],
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
    """Score a head, and show the photos that it gets wrong; of several heads, where they differ."""
    from pipeline.stages.evaluate import evaluate as stage

    *others, store_path = store
    if others:
        if with_ or views:
            raise HeadError("expected one head with --with or --views, found several")
        _compare([head, *others], store_path, split=split, out=out, open_=open_, json_=json_)
        return
    with Screen("images", json_=json_) as screen:
        result = stage(
            head,
            store_path,
            joined_with=with_ or (),
            split=split,
            views=views,
            out=out,
            page=page or open_,
            listener=screen.listener(),
        )
    if open_ and result.page is not None:
        open_in_browser(result.page)
    if json_:
        plain: dict[str, Any] = {"head": result.head, "store": result.store, "out": result.out}
        plain["page"] = result.page
        rows = {"split": result.split, "views": result.views}
        print_json(plain | rows | result.report.to_json() | {"warnings": result.warnings})
        return
    say_report(result.report)
    if result.report.calibration_error is not None:
        typer.echo(_calibration(result.report))
    if refused := _refused(result.report):
        typer.echo(refused)
    averaged = f", scores averaged over {result.views} views" if result.views > 1 else ""
    line = accuracy_line(result.report, result.split + averaged)
    typer.echo(f"{line}; report in {result.page or result.out}")
    next_step.say(next_step.after_evaluate(result))


def _compare(
    heads: list[Path], store: Path, *, split: Split, out: Path | None, open_: bool, json_: bool
) -> None:
    """Score several heads on the same images."""
    from pipeline.stages.compare_heads import compare_heads

    with Screen("heads", json_=json_) as screen:
        result = compare_heads(heads, store, split=split, out=out, listener=screen.listener())
    if open_:
        open_in_browser(result.page)
    if json_:
        print_json(asdict(result) | {"reports": [each.to_json() for each in result.reports]})
        return
    print_table(heads_table(result))
    for pair in result.pairs:
        typer.echo(printable(pair.sentence))
    typer.echo(f"they differ on {counted(result.differing, 'image')}: photos in {result.page}")
    next_step.say(next_step.after_heads(result, store))


def _refused(report: Report) -> str | None:
    """Say what refusing one image in twenty would give, where that is anything."""
    found = [each for each in report.answered if 0.94 < each[0] < 0.96]
    if not found or report.accuracy == 1:
        return None
    share, accuracy = found[0]
    return f"accuracy {accuracy:.4f} if the least certain {1 - share:.0%} are refused"


def _calibration(report: Report) -> str:
    before = report.uncalibrated_error
    was = f" ({before:.4f} before calibration)" if before is not None else ""
    return f"calibration error {report.calibration_error:.4f}{was}"
