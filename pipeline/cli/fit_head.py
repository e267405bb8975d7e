"""`pipeline fit-head`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.cli import next_step
from pipeline.cli.options import (
    MOST_SEED,
    JsonOption,
    KindOption,
    LayersOption,
    MemoryOption,
    PoolOption,
    StoreArgument,
    WithOption,
    auto_or,
)
from pipeline.cli.screen import Screen, print_json
from pipeline.common.choices import Activation, ClassWeight, HeadKind, Optimizer, Preset

if TYPE_CHECKING:
    from pipeline.stages.fit_head import Fit

_CHOICE = "Linear heads and knn"
_MLP = "MLP"


def fit_head(
    store: StoreArgument,
    kind: KindOption,
    out: Annotated[
        Path | None,
        typer.Option(help="The head.", show_default="artifacts/heads/<store>-<kind>"),
    ] = None,
    with_: WithOption = None,
    layer: LayersOption = None,
    pool: PoolOption = None,
    C: Annotated[
        str,
        typer.Option(
            "--C",
            rich_help_panel=_CHOICE,
            help="svm, softmax, ridge: inverse regularisation; auto: best on validation.",
        ),
    ] = "auto",
    k: Annotated[
        str,
        typer.Option(
            "--k",
            rich_help_panel=_CHOICE,
            help="knn: how many neighbours; auto: best on validation.",
        ),
    ] = "auto",
    preset: Annotated[
        Preset | None, typer.Option(rich_help_panel=_MLP, help="mlp: the head of an article.")
    ] = None,
    hidden: Annotated[
        str | None,
        typer.Option(
            rich_help_panel=_MLP,
            help="mlp: units of the hidden layers, such as 512,128.",
            show_default="256, or the preset's",
        ),
    ] = None,
    activation: Annotated[
        Activation | None,
        typer.Option(
            rich_help_panel=_MLP,
            help="mlp: of the hidden layers.",
            show_default="relu, or the preset's",
        ),
    ] = None,
    dropout: Annotated[
        str | None,
        typer.Option(
            rich_help_panel=_MLP,
            help="mlp: one rate, or one for each layer: 0.5,0.3.",
            show_default="0.5, or the preset's",
        ),
    ] = None,
    l2: Annotated[
        float | None,
        typer.Option(
            rich_help_panel=_MLP, help="mlp: weight penalty.", show_default="0, or the preset's"
        ),
    ] = None,
    optimizer: Annotated[
        Optimizer | None,
        typer.Option(
            rich_help_panel=_MLP, help="mlp: what trains it.", show_default="adam, or the preset's"
        ),
    ] = None,
    learning_rate: Annotated[
        float | None,
        typer.Option(
            rich_help_panel=_MLP,
            help="mlp: of the optimizer.",
            show_default="0.001, or the preset's",
        ),
    ] = None,
    epochs: Annotated[
        int | None,
        typer.Option(
            rich_help_panel=_MLP, help="mlp: at the most.", show_default="100, or the preset's"
        ),
    ] = None,
    batch_size: Annotated[
        int | None,
        typer.Option(
            rich_help_panel=_MLP,
            help="mlp: images in one step.",
            show_default="32, or the preset's",
        ),
    ] = None,
    early_stopping: Annotated[
        int | None,
        typer.Option(
            rich_help_panel=_MLP,
            help="mlp: epochs without progress to wait; 0 for never.",
            show_default="10, or the preset's",
        ),
    ] = None,
    class_weight: Annotated[
        ClassWeight,
        typer.Option(
            rich_help_panel=_CHOICE,
            help="svm, softmax, ridge, mlp: what an image counts, by its class.",
        ),
    ] = ClassWeight.none,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            rich_help_panel=_CHOICE,
            metavar="NAME=VALUE",
            help="A parameter of a classifier of scikit-learn's; repeat.",
        ),
    ] = None,
    jobs: Annotated[
        int | None,
        typer.Option(
            min=1,
            rich_help_panel=_CHOICE,
            help="svm: fits at the same time.",
            show_default="one for each processor, fewer where memory is short",
        ),
    ] = None,
    fewshot: Annotated[
        int | None,
        typer.Option(min=1, help="Learn from N images of each class.", show_default="all"),
    ] = None,
    folds: Annotated[
        int | None,
        typer.Option(
            min=2,
            rich_help_panel=_CHOICE,
            help="Choose and calibrate by N folds of the training images, groups kept together; "
            "evaluate --split train then scores them as held out.",
            show_default="by the validation images",
        ),
    ] = None,
    seed: Annotated[
        list[int] | None,
        typer.Option(
            min=0,
            max=MOST_SEED,
            help="Decides everything random; repeat for mean and deviation.",
            show_default="0",
        ),
    ] = None,
    memory: MemoryOption = None,
    verbose: Annotated[
        bool, typer.Option("--verbose", help="Also say the loss of every C.")
    ] = False,
    json_: JsonOption = False,
) -> None:
    """Train a head on the cached codes."""
    from pipeline.flows.kinds import parse_settings
    from pipeline.stages.fit_head import fit_head as stage

    options = {
        "hidden": _numbers(hidden, int, "--hidden"),
        "activation": activation,
        "dropout": _numbers(dropout, float, "--dropout"),
        "l2": l2,
        "optimizer": optimizer,
        "learning_rate": learning_rate,
        "epochs": epochs,
        "batch_size": batch_size,
        "early_stopping": early_stopping,
    }
    unit = "epochs" if kind == HeadKind.mlp.value else "fits"
    with Screen(unit, json_=json_) as screen:
        result = stage(
            store,
            kind=kind,
            settings=parse_settings(set_ or ()),
            jobs=jobs,
            out=out,
            joined_with=with_ or (),
            layer=layer,
            pool=pool,
            C=auto_or(float, C, "--C"),
            k=auto_or(int, k, "--k"),
            class_weight=class_weight,
            preset=preset,
            fewshot=fewshot,
            folds=folds,
            seed=seed or 0,
            memory=memory,
            listener=screen.listener(),
            **{name: value for name, value in options.items() if value is not None},
        )
    if json_:
        print_json(asdict(result))
    else:
        _say_fit(result, verbose=verbose)
        next_step.say(next_step.judge(result.head, store, with_ or ()))


def _say_fit(result: Fit, *, verbose: bool) -> None:
    pooled = f", {result.pool}" if result.pool else ""
    typer.echo(f"{result.kind} on {result.layer} ({result.dimensions}-D{pooled}) -> {result.head}")
    chosen = result.parameters
    if "C_chosen_by" in chosen:
        typer.echo(f"C {chosen['C_used']:g}: best on {chosen['C_chosen_by'].partition(' on ')[2]}")
    if verbose and "C_chosen_by" in chosen:
        curve = ", ".join(f"{C:g} {loss:.3g}" for C, loss in chosen["C_losses"])
        typer.echo(f"{chosen['C_chosen_by']} by C: {curve}")
    if "k_used" in chosen:
        typer.echo(
            f"k {chosen['k_used']}" + (": best on validation" if "k_curve" in chosen else "")
        )
    if "epochs_run" in chosen:
        typer.echo(f"epochs {chosen['epochs_run']}; curves in {Path(result.head) / 'curves.png'}")
    if not chosen.get("converged", True):
        typer.echo("warning: the solver did not converge; try a smaller --C")
    counts = f"train {result.train_images}  val {result.val_images}  in {result.seconds:.1f} s"
    typer.echo(f"fitted on {result.fitted_on}  {counts}")
    if result.val_accuracy is None:
        typer.echo("no validation images")
    else:
        typer.echo(f"validation accuracy {result.val_accuracy:.4f} ({result.validated_on})")
    if result.doubtful_below is not None:
        typer.echo(f"of those with scores below {result.doubtful_below:.3f} most were wrong")
    if result.val_accuracy_mean is not None:
        typer.echo(
            f"over {len(result.seeds)} seeds: mean {result.val_accuracy_mean:.4f}, "
            f"{_deviation(result.val_accuracy_deviation)}; kept: seed {result.seeds[0].seed}"
        )


def _deviation(deviation: float | None) -> str:
    return "both the same" if deviation is None else f"deviation {deviation:.4f}"


def _numbers(text: str | None, kind: type[int] | type[float], option: str) -> Any:
    if text is None:
        return None
    try:
        return tuple(kind(part) for part in text.split(","))
    except ValueError:
        raise typer.BadParameter(
            f"'{text}' is not a list of numbers such as 512,128 or 0.5,0.3", param_hint=option
        ) from None
