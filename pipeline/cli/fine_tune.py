"""`pipeline fine-tune`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli import next_step
from pipeline.cli.options import HeadArgument, JsonOption, MemoryOption, SeedOption, auto_or
from pipeline.cli.screen import Screen, print_json
from pipeline.common.choices import Optimizer, Precision, Schedule

if TYPE_CHECKING:
    from pipeline.stages.fine_tune import FineTuning

_OPTIMIZER = "Optimizer"


def fine_tune(
    head: HeadArgument,
    start: Annotated[
        str,
        typer.Option(
            "--from",
            help="The block boundary above which the backbone learns; auto: each one that is "
            "cached, and the best is kept; input: all of the backbone.",
        ),
    ] = "auto",
    minutes: Annotated[
        float | None,
        typer.Option(help="How long all may take.", show_default="as long as the epochs take"),
    ] = None,
    store: Annotated[
        Path | None,
        typer.Option(help="A store with that layer.", show_default="the one of the head"),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="The new head.", show_default="artifacts/heads/<head>-tuned"),
    ] = None,
    optimizer: Annotated[
        Optimizer, typer.Option(rich_help_panel=_OPTIMIZER, help="What trains.")
    ] = Optimizer.adam,
    learning_rate: Annotated[
        str,
        typer.Option(
            rich_help_panel=_OPTIMIZER, help="The largest; auto: found by short trainings."
        ),
    ] = "auto",
    momentum: Annotated[
        float, typer.Option(rich_help_panel=_OPTIMIZER, help="sgd: such as 0.9.")
    ] = 0.0,
    nesterov: Annotated[
        bool, typer.Option("--nesterov", rich_help_panel=_OPTIMIZER, help="sgd: look ahead.")
    ] = False,
    schedule: Annotated[
        Schedule,
        typer.Option(
            rich_help_panel=_OPTIMIZER, help="How the learning rate goes on; one-cycle ends at 0."
        ),
    ] = Schedule.one_cycle,
    decay_rate: Annotated[
        float,
        typer.Option(
            rich_help_panel=_OPTIMIZER,
            help="constant: what multiplies the learning rate every --decay-steps.",
        ),
    ] = 1.0,
    decay_steps: Annotated[
        int, typer.Option(rich_help_panel=_OPTIMIZER, help="Steps; see --decay-rate.")
    ] = 1000,
    epochs: Annotated[
        int | None,
        typer.Option(help="At the most.", show_default="10; with --minutes 30"),
    ] = None,
    batch_size: Annotated[int, typer.Option(help="Images in one step.")] = 16,
    early_stopping: Annotated[
        int | None,
        typer.Option(
            help="Epochs without progress to wait; 0 for never.",
            show_default="5 where the schedule is constant",
        ),
    ] = None,
    augment: Annotated[
        str | None,
        typer.Option(
            help="--from input: how photos differ from epoch to epoch.", show_default="flip,crop"
        ),
    ] = None,
    precision: Annotated[
        Precision, typer.Option(help="Of the training; auto: bfloat16 where that is faster.")
    ] = Precision.auto,
    seed: SeedOption = 0,
    memory: MemoryOption = None,
    weights: Annotated[
        str | None,
        typer.Option(help="The backbone's weights, if they have moved.", show_default="as fitted"),
    ] = None,
    json_: JsonOption = False,
) -> None:
    """Train the last layers of the backbone and a head together, from cached codes."""
    from pipeline.stages.fine_tune import fine_tune as stage

    with Screen("images", json_=json_) as screen:
        result = stage(
            head,
            start=start,
            minutes=minutes,
            store_path=store,
            out=out,
            optimizer=optimizer,
            learning_rate=auto_or(float, learning_rate, "--learning-rate"),
            momentum=momentum,
            nesterov=nesterov,
            schedule=schedule,
            decay_rate=decay_rate,
            decay_steps=decay_steps,
            epochs=epochs,
            batch_size=batch_size,
            early_stopping=early_stopping,
            augment=augment,
            precision=precision,
            seed=seed,
            memory=memory,
            weights=weights,
            listener=screen.listener(),
        )
    if json_:
        print_json(asdict(result))
    else:
        _say_tuning(result)
        next_step.say(next_step.judge_where_fitted(result.head))


def _say_tuning(result: FineTuning) -> None:
    typer.echo(
        f"{result.kind} on {result.stop}, fine-tuned from {result.start} "
        f"({result.weights / 1e6:.2f} M weights) -> {result.head}"
    )
    rate = f"  ({result.images_per_second:g} images/s)" if result.images_per_second else ""
    counts = f"train {result.train_images}  val {result.val_images}"
    typer.echo(f"learning rate {result.learning_rate:.2g}, in {result.precision}")
    typer.echo(f"{counts}  in {result.seconds:.1f} s{rate}")
    if result.val_accuracy is None or result.gain is None:
        typer.echo("no validation images: the last epoch is kept")
        return
    if len(result.tried) > 1:
        for each in result.tried:
            kept = "  (kept)" if each.start == result.start else ""
            typer.echo(
                f"from {each.start}: validation loss {each.val_loss:.4f}  accuracy "
                f"{each.val_accuracy:.4f}  in {each.seconds:.0f} s{kept}"
            )
    if result.best_epoch == 0:
        typer.echo("warning: no epoch was better than the head as it was, which is kept")
    typer.echo(
        f"validation accuracy {result.val_accuracy:.4f}, {result.val_accuracy_before:.4f} before "
        f"(epoch {result.best_epoch} of {result.epochs_run} is the best)"
    )
    low, high = result.gain.interval
    chance = "" if result.gain.is_clear else ", which may be chance"
    typer.echo(
        f"gain {result.gain.value:+.4f}, with 95 % confidence from {low:+.4f} to {high:+.4f}"
        f"{chance} ({result.gain.images} validation images, which chose the epoch too)"
    )
    if result.still_falling:
        more = 2 * result.epochs_run
        typer.echo(f"the validation loss was still falling; --epochs {more} may be better")
