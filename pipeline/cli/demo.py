"""`pipeline demo`."""

from __future__ import annotations

import functools
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli import next_step
from pipeline.cli.options import JsonOption
from pipeline.cli.screen import Screen, print_json, print_table
from pipeline.cli.tables import accuracy_line, candidate_table, comparison_json, say_candidate
from pipeline.common.errors import counted
from pipeline.common.text import printable

if TYPE_CHECKING:
    from pipeline.flows.candidates import Candidate
    from pipeline.stages.demo import Demo
    from pipeline.stages.evaluate import Evaluation
    from pipeline.stages.extract import Extraction


def demo(
    source: Annotated[
        str, typer.Argument(help="Your photos, or scikit-learn's digits.")
    ] = "digits",
    out: Annotated[Path, typer.Option(help="Folder for everything.")] = Path("artifacts"),
    json_: JsonOption = False,
) -> None:
    """Run the whole job: three layers in one pass, two heads on each, and which one wins."""
    from pipeline.stages.demo import demo as stage

    with Screen("images", json_=json_) as screen:
        result = stage(
            source,
            out=out,
            listener=screen.listener(None if json_ else functools.partial(_say_step, screen)),
        )
    if json_:
        print_json(asdict(result) | {"comparison": comparison_json(result.comparison)})
        return
    _say_demo(result)
    next_step.say(next_step.after_demo(result))


def _say_step(screen: Screen, step: Extraction | Candidate) -> None:
    """Show a step of the demo as it ends."""
    from pipeline.flows.candidates import Candidate

    if isinstance(step, Candidate):
        say_candidate(screen, step)
        return
    screen.clear()
    rate = f" ({step.images_per_second:g} a second)" if step.images_per_second else ""
    unused = f"; {step.rejected} could not be used" if step.rejected else ""
    typer.echo(
        f"1. {step.backbone} has looked at {counted(step.ok, 'image')}, once{rate}, and its codes "
        f"of {counted(len(step.layers), 'layer')} are kept in {step.store}{unused}"
    )
    typer.echo("2. now heads learn from these codes, two kinds for each layer")


def _say_demo(result: Demo) -> None:
    """Say what was done, what to look at and what to type next."""
    compared, evaluation = result.comparison, result.comparison.evaluation
    print_table(candidate_table(compared.candidates))
    best = compared.candidates[0]
    start = f"3. {best.kind} on {best.layer} is best on validation images"
    if evaluation is None:
        typer.echo(f"{start}: it is right on {best.val_accuracy:.1%}; no test images have labels")
    else:
        _say_tested(evaluation, start)
    typer.echo("type      pipeline demo PHOTOS: the same with yours, in a folder for each class")
    typer.echo(f"          pipeline predict {compared.head} PHOTO: what is on a photo")
    typer.echo(f"          pipeline info {result.extraction.store}: what was kept")
    typer.echo(f"took {result.seconds:.0f} s")
    if evaluation is not None:
        typer.echo(accuracy_line(evaluation.report, evaluation.split))


def _say_tested(evaluation: Evaluation, start: str) -> None:
    """Say what the best head of the demo does on test images, and where to look."""
    from pipeline.report import most_confused

    scores = evaluation.report
    typer.echo(
        f"{start}; on {counted(scores.images, 'test image')}, which nobody had seen, it is right "
        f"on {scores.accuracy:.1%}"
    )
    for true, predicted, count in most_confused(scores, 1):
        pair = printable(f"{true} for {predicted}")
        typer.echo(f"   it most often takes {pair} ({counted(count, 'image')})")
    typer.echo(f"look at   {Path(evaluation.out) / 'confusion.png'}: what is taken for what")
    typer.echo(f"          {Path(evaluation.out) / 'report.json'}: every figure")
