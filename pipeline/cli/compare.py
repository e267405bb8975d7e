"""`pipeline compare`."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli import next_step
from pipeline.cli.options import JsonOption, MemoryOption, SeedOption, StoreArgument, known_kind
from pipeline.cli.screen import Screen, print_json, print_table
from pipeline.cli.tables import (
    accuracy_line,
    candidate_table,
    comparison_json,
    say_candidate,
    say_report,
)
from pipeline.common.choices import Pool

if TYPE_CHECKING:
    from pipeline.stages.compare import Comparison


def compare(
    store: StoreArgument,
    kind: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KIND",
            callback=known_kind,
            help="Which heads; repeat for several.",
            show_default="all",
        ),
    ] = None,
    layer: Annotated[
        list[str] | None,
        typer.Option(help="Which codes; repeat for several.", show_default="all"),
    ] = None,
    pool: Annotated[
        list[Pool] | None,
        typer.Option(help="How maps become vectors; repeat for several.", show_default="all"),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="The best head.", show_default="artifacts/heads/<store>-best"),
    ] = None,
    seed: SeedOption = 0,
    memory: MemoryOption = None,
    json_: JsonOption = False,
) -> None:
    """Fit every head on every cached layer, and test the one that is best on validation."""
    from pipeline.stages.compare import compare as stage

    with Screen("heads", json_=json_) as screen:
        result = stage(
            store,
            kinds=kind or (),
            layers=layer or (),
            pools=pool or (),
            out=out,
            seed=seed,
            memory=memory,
            listener=screen.listener(None if json_ else functools.partial(say_candidate, screen)),
        )
    if json_:
        print_json(comparison_json(result))
    else:
        _say_comparison(result, f"{result.seconds:.0f} s")
        next_step.say(next_step.after_compare(result))


def _say_comparison(result: Comparison, took: str) -> None:
    print_table(candidate_table(result.candidates))
    best, tested = result.candidates[0], result.evaluation
    if tested is not None:
        say_report(tested.report)
    typer.echo(f"winner on validation: {best.kind} on {best.layer}; head in {result.head}")
    if tested is None:
        typer.echo(f"validation accuracy {best.val_accuracy:.4f}, not tested; {took}")
        return
    typer.echo(f"report in {tested.out}; {took}")
    typer.echo(accuracy_line(tested.report, tested.split))
