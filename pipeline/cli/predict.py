"""`pipeline predict`."""

from __future__ import annotations

import functools
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli import next_step
from pipeline.cli.options import FollowOption, HeadArgument, JsonOption
from pipeline.cli.program import TOO_MANY_REJECTED
from pipeline.cli.screen import Screen, print_json
from pipeline.common.choices import Scores
from pipeline.common.errors import counted
from pipeline.common.listener import Listener
from pipeline.common.text import printable

if TYPE_CHECKING:
    from pipeline.flows.answers import Prediction
    from pipeline.flows.sorting import Sorted


def predict(
    head: HeadArgument,
    paths: Annotated[
        list[str],
        typer.Argument(
            help="Image files, folders of them, lists (a CSV with a column path, a .txt with a "
            "path on each line), or - for a list from standard input."
        ),
    ],
    top: Annotated[int, typer.Option(min=1, help="How many classes to name.")] = 3,
    csv: Annotated[Path | None, typer.Option(help="Write a table as well.")] = None,
    scores: Annotated[
        Scores, typer.Option(help="In the table: of the best classes, or of all.")
    ] = Scores.top,
    sheet: Annotated[
        Path | None, typer.Option(help="Draw the first photos with their answers, as PNG.")
    ] = None,
    reject: Annotated[
        str | None,
        typer.Option(
            metavar="SHARE",
            help="Answer unknown for photos unlike those fitted on, of which so many are refused: "
            "5%.",
        ),
    ] = None,
    sort_into: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER", help="Copy each photo into FOLDER/<its class>; nothing is replaced."
        ),
    ] = None,
    link: Annotated[
        bool,
        typer.Option(
            "--link",
            help="Sort by hard links: no room is taken, but to change one in place changes both.",
        ),
    ] = False,
    weights: Annotated[
        str | None,
        typer.Option(help="The backbone's weights, if they have moved.", show_default="as fitted"),
    ] = None,
    views: Annotated[
        bool, typer.Option("--views", help="Average the scores over views, as many as were fitted.")
    ] = False,
    follow_links: FollowOption = False,
    json_: JsonOption = False,
) -> None:
    """Classify photos with a head."""
    from pipeline.stages.predict import predict as stage

    with Screen("images", json_=json_) as screen:
        result = stage(
            head,
            list(paths),
            top=top,
            csv=csv,
            scores=scores,
            sheet=sheet,
            reject=reject,
            sort_into=sort_into,
            link=link,
            weights=weights,
            views=views,
            follow_links=follow_links,
            listener=_listener(screen, json_=json_, csv=csv),
        )
    if json_:
        print_json(asdict(result))
    elif result.csv is not None:
        typer.echo(f"table in {result.csv}")
    if result.sheet is not None and not json_:
        typer.echo(f"photos in {result.sheet}")
    if reject is not None and not json_:
        typer.echo(f"unknown: {result.unknown} of {counted(result.ok, 'image')}")
    if result.sorting is not None:
        _say_sorting(result.sorting, json_=json_)
    for warning in result.warnings:
        typer.echo(warning, err=True)
    if result.doubtful:
        typer.echo(
            f"{result.doubtful} of {counted(result.ok - result.unknown, 'answer')} have scores "
            "below which most held-out images were wrong",
            err=True,
        )
    if result.score_kind == "margin":
        typer.echo(
            "scores are margins: the head had no held-out images to make probabilities of them",
            err=True,
        )
    if result.rejected:
        count = counted(result.rejected, "image")
        typer.echo(f"error: {count} could not be used", err=True)
    if not json_:
        next_step.say(next_step.after_predict(head, result))
    if result.rejected:
        raise typer.Exit(TOO_MANY_REJECTED)


def _say_sorting(result: Sorted, *, json_: bool) -> None:
    for note in result.notes:
        typer.echo(printable(note), err=True)
    if json_:
        return
    typer.echo("  ".join(f"{printable(name)} {n}" for name, n in result.classes.items()))
    there = f" ({result.present} were there already)" if result.present else ""
    count = counted(result.photos, "photo")
    typer.echo(printable(f"sorted {count} into folders of {result.folder}{there}"))


def _listener(screen: Screen, *, json_: bool, csv: Path | None) -> Listener:
    """Show a line for each photo, or a bar where these lines are not all there is to see."""
    if json_:
        return screen.listener()
    show = functools.partial(_say_prediction, screen)
    return Listener(show=show) if csv is None else screen.listener(show)


def _say_prediction(screen: Screen, prediction: Prediction) -> None:
    if prediction.reason is not None:
        typer.echo(printable(f"{prediction.path}: {prediction.reason}"), err=True)
        return
    answers = "  ".join(f"{name} {score:.4f}" for name, score in prediction.top)
    if prediction.unknown is not None:
        answers = f"{prediction.label}, {prediction.unknown} ({answers})"
    try:
        screen.tell(f"{prediction.path}: {answers}")
    except BrokenPipeError:
        # Whoever read the lines has seen enough (`| head`); the table is still to be written.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
