"""The door: parse what was typed, call one stage, print one result."""

from __future__ import annotations

import faulthandler
import functools
import json
import logging
import os
import signal
import sys
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, ParamSpec, TypeVar

import typer

from pipeline._version import __version__
from pipeline.choices import (
    Activation,
    Augment,
    ClassWeight,
    Dtype,
    Engine,
    ExportFormat,
    Folders,
    HeadKind,
    Optimizer,
    Pool,
    Precision,
    Preset,
    Quantize,
    Resize,
    Schedule,
    Split,
    choose,
)
from pipeline.errors import ChoiceError, Interrupted, PipelineError, counted, nearest
from pipeline.files import FULL, argument, command_line, in_words
from pipeline.memory import ran_out

if TYPE_CHECKING:
    from rich.progress import Progress
    from rich.table import Table

    from pipeline.report import ClassScore, Report
    from pipeline.stages.compare import Candidate, Comparison
    from pipeline.stages.demo import Demo
    from pipeline.stages.evaluate import Evaluation
    from pipeline.stages.export import Export
    from pipeline.stages.extract import Estimate, Extraction
    from pipeline.stages.fine_tune import FineTuning
    from pipeline.stages.fit_head import Fit
    from pipeline.stages.learning_curve import LearningCurve
    from pipeline.stages.predict import Prediction
    from pipeline.stages.repair import Repairing
    from pipeline.store import Verification

_TOO_MANY_REJECTED = 3
_OUT_OF_MEMORY = (
    "out of memory; end other programs, or ask for less: --batch-size or --size of extract, "
    "pooled codes or --memory of fit-head"
)
_NO_RESOURCES = 4
_DAMAGED = 5
# A confusion matrix wider than this is better looked at in confusion.png.
_WIDEST_MATRIX = 16
# More classes than this scroll away; report.json has all.
_MOST_ROWS = 100
_FAULTS_TOLD = 20
# Titles of groups of options.
_PHOTOS = "Which photos, and their splits"
_PIXELS = "From photos to pixels"
_COMPUTING = "Computing and storing"
_CHOICE = "Linear heads and knn"
_MLP = "MLP"
_OPTIMIZER = "Optimizer"

P = ParamSpec("P")
N = TypeVar("N", int, float)

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Cache CNN codes of your images once, then train heads on them in seconds.",
)

JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
StoreArgument = Annotated[Path, typer.Argument(help="A store, or a packed file.")]


def _known_kind(value: str | list[str] | None) -> str | list[str] | None:
    """Refuse a kind that there is not as a command that is not understood."""
    kinds = [kind.value for kind in HeadKind]
    for kind in [value] if isinstance(value, str) else value or []:
        if kind not in kinds and not kind.startswith("sklearn."):
            raise typer.BadParameter(
                f"expected {', '.join(kinds)} or sklearn.MODULE.CLASS, found {kind!r}; did you "
                f"mean {nearest(kind, kinds)}?"
            )
    return value


KindOption = Annotated[
    str,
    typer.Option(
        metavar="KIND",
        callback=_known_kind,
        help=f"Which classifier: {', '.join(kind.value for kind in HeadKind)}; or any of "
        "scikit-learn's, such as sklearn.svm.SVC.",
    ),
]
LayersOption = Annotated[
    list[str] | None,
    typer.Option(
        "--layer",
        help="Which codes; repeat to join several layers. LAYER:POOL pools maps.",
        show_default="the store's first layer",
    ),
]
WithOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--with",
        metavar="STORE",
        help="A further store of the same images, such as of another backbone; repeat. Its layers "
        "are called BACKBONE/LAYER.",
        show_default="none",
    ),
]
PoolOption = Annotated[
    Pool | None,
    typer.Option(help="How a map becomes a vector where --layer does not say.", show_default="avg"),
]
MemoryOption = Annotated[
    str | None,
    typer.Option(
        help="What may be taken, such as 2GB; codes beyond it are read in every pass.",
        show_default="most of what is free",
    ),
]
FollowOption = Annotated[
    bool, typer.Option("--follow-links", help="Read what links lead to outside of a folder, too.")
]
HeadArgument = Annotated[Path, typer.Argument(help="A head made by fit-head.")]


def main() -> NoReturn:
    """Run the command line; the one place that turns errors into exit codes."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by whoever started us
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115
        # File names may hold bytes that are no text.
        getattr(sys, name).reconfigure(errors="backslashreplace")
    # What Pillow warns about becomes a reason or a documented rule.
    warnings.filterwarnings("ignore", module="PIL")
    logging.getLogger("PIL").setLevel(logging.CRITICAL + 1)
    for name in ("SIGTERM", "SIGHUP", "SIGQUIT"):
        number = getattr(signal, name, None)
        # nohup has SIGHUP ignored, and means it.
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _terminate)
    if not os.environ.get("PIPELINE_DEBUG"):
        _silence_libraries()
    try:
        app(prog_name="pipeline")
    except PipelineError as error:
        _fail(error, str(error), error.exit_code)
    except OSError as error:
        if ran_out(error):  # ENOMEM
            _fail(error, _OUT_OF_MEMORY, _NO_RESOURCES)
        if error.errno in FULL:
            _fail(error, f"{error.strerror}; make room and run it again", _NO_RESOURCES)
        _fail(error, f"{error.strerror or error}: {error.filename or ''}".rstrip(": "), 1)
    except Exception as error:
        if ran_out(error):
            _fail(error, _OUT_OF_MEMORY, _NO_RESOURCES)
        said = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
        _fail(error, f"unexpected {said}; this is a bug: PIPELINE_DEBUG=1 shows where", 1)
    sys.exit(0)


def _silence_libraries() -> None:
    """
    Keep what C libraries write to descriptor 2 off the terminal.

    TensorFlow's notices and libtiff's complaints about a damaged file (which becomes a reason)
    would tear the progress bar. Our own lines go to a copy of the descriptor, and so does
    Python's traceback should a library crash.
    """
    try:
        kept = os.dup(2)
    except OSError:  # started without stderr
        return
    sys.stderr.flush()
    sys.stderr = os.fdopen(kept, "w", buffering=1, errors="backslashreplace")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    os.close(nowhere)
    faulthandler.enable(sys.stderr)


def _terminate(number: int, frame: FrameType | None) -> None:
    """End like Ctrl-C; what is sent again while work is being saved changes nothing."""
    for name in ("SIGTERM", "SIGHUP", "SIGQUIT"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    raise KeyboardInterrupt


def _fail(error: BaseException, message: str, code: int) -> NoReturn:
    if os.environ.get("PIPELINE_DEBUG"):
        raise error
    try:
        typer.echo(f"error: {_printable(message)}", err=True)
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError:  # the terminal is gone; Python would end with a code of its own
        os._exit(code)
    sys.exit(code)


def command(function: Callable[P, None]) -> Callable[P, None]:
    """Register a command; Ctrl-C in it becomes our own error before typer sees it."""

    @functools.wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            function(*args, **kwargs)
        except KeyboardInterrupt:
            raise Interrupted("interrupted; run the same command again") from None

    app.command(name=function.__name__.strip("_").replace("_", "-"))(run)
    return run


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version and stop.", is_eager=True, callback=_version
        ),
    ] = False,
) -> None:
    pass


@command
def extract(
    source: Annotated[
        str,
        typer.Argument(
            help="Class folders, train/val/test folders, flat files such as cat.1.jpg, a CSV with "
            "path,label, a .npz, a folder of IDX files, or 'digits'."
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(help="The store.", show_default="artifacts/features/<name of SOURCE>"),
    ] = None,
    backbone: Annotated[
        str, typer.Option(help="The convnet; `pipeline backbones` lists them.")
    ] = "efficientnet-lite0",
    weights: Annotated[
        str, typer.Option(help="imagenet, random, or the PATH of a Keras weights file.")
    ] = "imagenet",
    layer: Annotated[
        list[str] | None,
        typer.Option(
            help="Where to cut; repeat for several from one pass. NAME:avg, NAME:max pool a map.",
            show_default="the backbone's own choice",
        ),
    ] = None,
    size: Annotated[
        int | None,
        typer.Option(
            min=1,
            rich_help_panel=_PIXELS,
            help="Edge of the input in pixels.",
            show_default="the backbone's",
        ),
    ] = None,
    resize: Annotated[
        Resize, typer.Option(rich_help_panel=_PIXELS, help="How a photo becomes a square.")
    ] = Resize.crop,
    val: Annotated[
        float | None,
        typer.Option(
            rich_help_panel=_PHOTOS,
            help="Share for validation, where SOURCE has no splits.",
            show_default="0.2",
        ),
    ] = None,
    test: Annotated[
        float | None,
        typer.Option(
            rich_help_panel=_PHOTOS,
            help="Share for the test, likewise, or where SOURCE's has no labels.",
            show_default="0.2",
        ),
    ] = None,
    batch_size: Annotated[
        int | None,
        typer.Option(
            min=1,
            rich_help_panel=_COMPUTING,
            help="Images in one forward pass.",
            show_default="the engine's",
        ),
    ] = None,
    engine: Annotated[
        Engine,
        typer.Option(
            rich_help_panel=_COMPUTING,
            help="What computes; auto: TensorFlow on a GPU, else OpenVINO if installed.",
        ),
    ] = Engine.auto,
    precision: Annotated[
        Precision,
        typer.Option(
            rich_help_panel=_COMPUTING, help="auto: bfloat16 where the processor computes in it."
        ),
    ] = Precision.auto,
    views: Annotated[
        int,
        typer.Option(
            min=1,
            rich_help_panel=_PIXELS,
            help="Copies of each photo to compute; the first is the photo.",
        ),
    ] = 1,
    augment: Annotated[
        str | None,
        typer.Option(
            rich_help_panel=_PIXELS,
            help=f"What further views differ by: {', '.join(name.value for name in Augment)}.",
            show_default="flip,crop",
        ),
    ] = None,
    seed: Annotated[
        int, typer.Option(min=0, max=2**32 - 1, rich_help_panel=_PIXELS, help="Decides the views.")
    ] = 0,
    dtype: Annotated[
        Dtype,
        typer.Option(
            rich_help_panel=_COMPUTING, help="Width of stored numbers; float16 takes half the disk."
        ),
    ] = Dtype.float32,
    max_rejected: Annotated[
        str, typer.Option(help="Unusable images to accept with exit code 0.")
    ] = "1%",
    limit: Annotated[
        str | None,
        typer.Option(
            rich_help_panel=_PHOTOS,
            help="Use only N images, or train=N,test=N.",
            show_default="all",
        ),
    ] = None,
    follow_links: FollowOption = False,
    folders: Annotated[
        Folders,
        typer.Option(
            rich_help_panel=_PHOTOS, help="What the folders are, where their names leave that open."
        ),
    ] = Folders.auto,
    root: Annotated[
        Path | None,
        typer.Option(
            rich_help_panel=_PHOTOS,
            help="Folder that a CSV's paths are relative to.",
            show_default="the CSV's",
        ),
    ] = None,
    columns: Annotated[
        str | None,
        typer.Option(
            rich_help_panel=_PHOTOS,
            help="Names of a CSV's columns, such as path=filename,label=class.",
        ),
    ] = None,
    add: Annotated[
        bool,
        typer.Option(
            "--add",
            rich_help_panel=_PHOTOS,
            help="Keep the images that the store has, beside these.",
        ),
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Try a few images; say what all would take."),
    ] = False,
    json_: JsonOption = False,
) -> None:
    """Run a headless convnet once over every image and keep its codes."""
    from pipeline.stages import extract as stage

    if augment is not None and views == 1:
        raise typer.BadParameter(
            "one view is the photo itself; add --views 4", param_hint="--augment"
        )
    with _Screen("images", json_=json_) as screen:
        same: dict[str, Any] = {
            "out": out,
            "backbone": backbone,
            "weights": weights,
            "layers": layer or (),
            "size": size,
            "resize": resize,
            "batch_size": batch_size,
            "engine": engine,
            "precision": precision,
            "views": views,
            "augment": _augmentations(augment),
            "seed": seed,
            "dtype": dtype,
            "limit": limit,
            "follow_links": follow_links,
            "folders": folders,
            "root": root,
            "columns": columns,
            "tell": screen.tell,
        }
        if dry_run:
            _say_estimate(stage.estimate(source, **same), json_=json_)
            return
        result = stage.extract(
            source,
            **same,
            val=val,
            test=test,
            add=add,
            max_rejected=max_rejected,
            progress=screen.progress,
        )
    if json_:
        _print_json(asdict(result) | {"complete": result.complete})
    else:
        _say_extraction(result)
    if result.pending:
        typer.echo(
            f"error: {result.pending} images could not be read this time (see `pipeline info "
            f"{result.store}`); run the same command again",
            err=True,
        )
        raise typer.Exit(1)
    if result.rejected > result.rejected_allowed:
        found = counted(result.rejected, "rejected image")
        first = _printable(next(iter(result.reasons), ""))
        typer.echo(
            f"error: {found}, {result.rejected_allowed} allowed (such as: {first}); all "
            f"reasons are in {Path(result.store) / 'rejected.csv'}; accept with --max-rejected",
            err=True,
        )
        raise typer.Exit(_TOO_MANY_REJECTED)


def _say_extraction(result: Extraction) -> None:
    layers = ", ".join(f"{name} {_shape(shape)}" for name, shape in result.layers.items())
    named = _named_splits(result.splits, result.unlabelled)
    splits = "  ".join(f"{name} {count}" for name, count in named.items())
    rate = f"  ({result.images_per_second:g} images/s)" if result.images_per_second else ""
    views = f", {result.views} views" if result.views > 1 else ""
    typer.echo(f"{result.backbone}: {layers}{views} -> {result.store}")
    typer.echo(f"splits: {splits}")
    typer.echo(
        f"computed {result.computed}  reused {result.reused}  in {result.seconds:.1f} s{rate}"
    )
    if result.bottleneck is not None:
        _say_profile(result.profile, result.bottleneck)
    typer.echo(
        f"ok {result.ok}  rejected {result.rejected}  pending {result.pending}  of {result.scanned}"
    )


def _named_splits(splits: Mapping[str, int], unlabelled: Mapping[str, int]) -> dict[str, str]:
    """Say of each split how many images it has, and of these how many have no label."""
    return {
        name: f"{count} (unlabelled)"
        if (without := unlabelled.get(name, 0)) == count and count
        else f"{count} ({without} unlabelled)"
        if without
        else str(count)
        for name, count in splits.items()
    }


def _augmentations(text: str | None) -> tuple[Augment, ...] | None:
    if text is None:
        return None
    try:
        return tuple(choose(Augment, name.strip(), what="each name") for name in text.split(","))
    except ChoiceError as error:
        raise typer.BadParameter(str(error), param_hint="--augment") from None


def _say_profile(profile: Mapping[str, float], bottleneck: str) -> None:
    """Say where the time went: by the clock first, then what other threads did meanwhile."""
    clock, beside = ("forward", "waiting"), ("read", "decode", "write")
    first, second = (
        "  ".join(f"{name} {profile[name]:.1f} s" for name in names) for names in (clock, beside)
    )
    typer.echo(f"time: {first}  (beside it: {second})  bottleneck: {bottleneck}")


def _say_estimate(result: Estimate, *, json_: bool) -> None:
    if json_:
        _print_json(asdict(result))
        return
    typer.echo(f"tried {result.tried} images: {result.images_per_second:g} images/s")
    _say_profile(result.profile, result.bottleneck)
    typer.echo(
        f"dry run: {result.to_compute} of {counted(result.images, 'image')} to compute, about "
        f"{_duration(result.seconds)} and {in_words(result.bytes)} in {result.store} "
        f"({in_words(result.free_bytes)} free); no store was written"
    )


def _duration(seconds: float) -> str:
    """Say a duration as people do."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"


@command
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
            max=2**32 - 1,
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
    with _Screen(unit, json_=json_) as screen:
        result = stage(
            store,
            kind=kind,
            settings=parse_settings(set_ or ()),
            jobs=jobs,
            out=out,
            joined_with=with_ or (),
            layer=layer,
            pool=pool,
            C=_auto_or(float, C, "--C"),
            k=_auto_or(int, k, "--k"),
            class_weight=class_weight,
            preset=preset,
            fewshot=fewshot,
            folds=folds,
            seed=seed or 0,
            memory=memory,
            tell=screen.tell,
            progress=screen.progress,
            **{name: value for name, value in options.items() if value is not None},
        )
    if json_:
        _print_json(asdict(result))
    else:
        _say_fit(result, verbose=verbose)


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
    if result.val_accuracy_mean is not None:
        typer.echo(
            f"over {len(result.seeds)} seeds: mean {result.val_accuracy_mean:.4f}, "
            f"{_deviation(result.val_accuracy_deviation)}; kept: seed {result.seeds[0].seed}"
        )


def _deviation(deviation: float | None) -> str:
    return "both the same" if deviation is None else f"deviation {deviation:.4f}"


def _auto_or(number: type[N], text: str, option: str) -> N | str:
    try:
        return text if text == "auto" else number(text)
    except ValueError:
        raise typer.BadParameter(
            f"'{text}' is neither 'auto' nor a number", param_hint=option
        ) from None


def _numbers(text: str | None, kind: type[int] | type[float], option: str) -> Any:
    if text is None:
        return None
    try:
        return tuple(kind(part) for part in text.split(","))
    except ValueError:
        raise typer.BadParameter(
            f"'{text}' is not a list of numbers such as 512,128 or 0.5,0.3", param_hint=option
        ) from None


@command
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
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Decides everything random.")] = 0,
    memory: MemoryOption = None,
    weights: Annotated[
        str | None,
        typer.Option(help="The backbone's weights, if they have moved.", show_default="as fitted"),
    ] = None,
    json_: JsonOption = False,
) -> None:
    """Train the last layers of the backbone and a head together, from cached codes."""
    from pipeline.stages.fine_tune import fine_tune as stage

    with _Screen("images", json_=json_) as screen:
        result = stage(
            head,
            start=start,
            minutes=minutes,
            store_path=store,
            out=out,
            optimizer=optimizer,
            learning_rate=_auto_or(float, learning_rate, "--learning-rate"),
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
            tell=screen.tell,
            progress=screen.progress,
        )
    if json_:
        _print_json(asdict(result))
    else:
        _say_tuning(result)


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


@command
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

    with _Screen("images", json_=json_) as screen:
        result = stage(
            head,
            store,
            joined_with=with_ or (),
            split=split,
            views=views,
            out=out,
            tell=screen.tell,
        )
    if json_:
        plain = {"head": result.head, "store": result.store, "out": result.out}
        rows = {"split": result.split, "views": result.views}
        _print_json(plain | rows | result.report.to_json() | {"warnings": result.warnings})
        return
    _say_report(result.report)
    if result.report.calibration_error is not None:
        typer.echo(_calibration(result.report))
    typer.echo(f"report in {result.out}")
    averaged = f", scores averaged over {result.views} views" if result.views > 1 else ""
    typer.echo(_accuracy(result.report, result.split + averaged))


def _say_report(report: Report) -> None:
    classes = report.classes
    if len(classes) > _MOST_ROWS:
        typer.echo(f"the {_MOST_ROWS} of {len(classes)} classes with the smallest F1:")
        classes = tuple(sorted(classes, key=lambda row: row.f1)[:_MOST_ROWS])
    _print_table(_class_table(classes))
    if len(report.names) <= _WIDEST_MATRIX:
        _print_table(_confusion_table(report))
    else:
        from pipeline.report import most_confused

        for true, predicted, count in most_confused(report, 10):
            typer.echo(f"{true} taken for {predicted}: {count}")


def _calibration(report: Report) -> str:
    before = report.uncalibrated_error
    was = f" ({before:.4f} before calibration)" if before is not None else ""
    return f"calibration error {report.calibration_error:.4f}{was}"


def _accuracy(report: Report, split: str) -> str:
    low, high = report.accuracy_interval
    right = round(report.accuracy * report.images)
    return (
        f"accuracy {report.accuracy:.4f} on {split} ({right} of {report.images}; "
        f"95 % interval {low:.3f} to {high:.3f}; always the largest class {report.baseline:.3f})"
    )


def _class_table(classes: Sequence[ClassScore]) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table("class", box=None, header_style="bold")
    for name in ("precision", "recall", "f1", "images"):
        table.add_column(name, justify="right")
    for row in classes:
        table.add_row(
            Text(_printable(row.name)),
            f"{row.precision:.3f}",
            f"{row.recall:.3f}",
            f"{row.f1:.3f}",
            str(row.support),
        )
    return table


def _confusion_table(report: Report) -> Table:
    """Draw counts under class names, or under numbers where the names are too wide."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    names = [_printable(name) for name in report.names]
    numbered = sum(len(name) + 2 for name in names) + max(map(len, names)) > Console().width - 20
    heads = [str(i + 1) for i in range(len(names))] if numbered else names
    rows = [f"{i + 1} {name}" for i, name in enumerate(names)] if numbered else names
    table = Table(box=None, header_style="bold")
    table.add_column("true \\ predicted", no_wrap=True)
    for name in heads:
        table.add_column(Text(name), justify="right", no_wrap=True)
    matrix = report.confusion
    for i, name in enumerate(rows):
        counts = matrix[i]
        styles = [
            "green" if i == j else "red" if count else "dim" for j, count in enumerate(counts)
        ]
        cells = [
            Text(str(count) if count else ".", style=style)
            for count, style in zip(counts, styles, strict=True)
        ]
        table.add_row(Text(name, style="bold"), *cells)
    return table


@command
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

    with _Screen("images", json_=json_) as screen:
        result = stage(
            head,
            list(paths),
            top=top,
            csv=csv,
            weights=weights,
            views=views,
            follow_links=follow_links,
            show=None if json_ else functools.partial(_say_prediction, screen),
            progress=screen.progress if json_ or csv is not None else None,
        )
    if json_:
        _print_json(asdict(result))
    elif result.csv is not None:
        typer.echo(f"table in {result.csv}")
    for warning in result.warnings:
        typer.echo(warning, err=True)
    if result.score_kind == "margin":
        typer.echo(
            "scores are margins: the head had no held-out images to make probabilities of them",
            err=True,
        )
    if result.rejected:
        count = counted(result.rejected, "image")
        typer.echo(f"error: {count} could not be used", err=True)
        raise typer.Exit(_TOO_MANY_REJECTED)


def _say_prediction(screen: _Screen, prediction: Prediction) -> None:
    if prediction.reason is not None:
        typer.echo(_printable(f"{prediction.path}: {prediction.reason}"), err=True)
        return
    answers = "  ".join(f"{name} {score:.4f}" for name, score in prediction.top)
    try:
        screen.tell(f"{prediction.path}: {answers}")
    except BrokenPipeError:
        # Whoever read the lines has seen enough (`| head`); the table is still to be written.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@command
def export(
    head: HeadArgument,
    format: Annotated[ExportFormat, typer.Option(help="What will run it.")],
    out: Annotated[
        Path | None,
        typer.Option(
            help="The file; saved-model and openvino are folders.",
            show_default="artifacts/exports/<head>",
        ),
    ] = None,
    weights: Annotated[
        str | None, typer.Option(help="The backbone's weights, if they have moved.")
    ] = None,
    quantize: Annotated[
        Quantize, typer.Option(help="tflite: 8 bits for weights, or throughout.")
    ] = Quantize.none,
    json_: JsonOption = False,
) -> None:
    """Write backbone and head as one file for other programs, and see that it says the same."""
    from pipeline.stages.export import export as stage

    with _Screen("images", json_=json_) as screen:
        result = stage(
            head, format=format, out=out, weights=weights, quantize=quantize, tell=screen.tell
        )
    if json_:
        _print_json(asdict(result))
    else:
        _say_export(result)


def _say_export(result: Export) -> None:
    how = f", {result.quantize}" if result.quantize != Quantize.none.value else ""
    typer.echo(f"{result.format}{how}: {in_words(result.bytes)} -> {result.path}")
    typer.echo(
        f"compared with {result.compared_with} on {result.images} {result.compared_on}: "
        f"largest difference {result.max_difference:.2g} ({result.tolerance:g} allowed), "
        f"same best class {result.top1_agreement:.1%}"
    )
    if result.max_difference_bytes is not None:
        typer.echo(
            f"from image files: largest difference {result.max_difference_bytes:.2g}, "
            f"same best class {result.top1_agreement_bytes:.1%}"
        )
    typer.echo(f"one image in {result.latency_ms:.1f} ms; how to use it: {result.model_card}")


@command
def info(
    path: Annotated[Path, typer.Argument(help="A store, a packed file or a head.")],
    json_: JsonOption = False,
) -> None:
    """Say what a store or a head is, and how far it has come."""
    from pipeline.stages.info import info as stage

    plain = stage(path)
    if json_:
        _print_json(plain)
        return
    if unlabelled := plain.pop("unlabelled", {}):
        plain["splits"] = _named_splits(plain["splits"], unlabelled)
    _say_tree(plain)


def _say_tree(plain: dict[str, Any], indent: str = "") -> None:
    for name, value in plain.items():
        if isinstance(value, dict) and value:
            typer.echo(f"{indent}{_printable(name)}:")
            _say_tree(value, indent + "  ")
            continue
        if isinstance(value, list) and not any(isinstance(item, list) for item in value):
            value = ", ".join(map(str, value))
        text = value if isinstance(value, str) else json.dumps(value)
        typer.echo(f"{indent}{_printable(name)}: {_printable(text)}")


@command
def verify(store: StoreArgument, json_: JsonOption = False) -> None:
    """Read every byte of a store and compare it with what was written."""
    from pipeline.stages.verify import verify as stage

    with _Screen("shards") as screen:
        result = stage(store, progress=screen.progress)
    if json_:
        _print_json(asdict(result))
    for line in result.notes:
        typer.echo(f"note: {_printable(line)}", err=True)
    _say_faults((*result.damage, *result.unreadable))
    if result.damage:
        raise typer.Exit(_DAMAGED)
    if result.unreadable:
        raise typer.Exit(1)
    if not json_:
        size = in_words(result.bytes)
        shards = counted(result.shards, "file")
        typer.echo(f"sound: {shards}, {result.rows} rows, {size}" + _unfinished(result, store))


def _say_faults(lines: Sequence[str]) -> None:
    """Print what is wrong, one line each; of very many the first."""
    for line in lines[:_FAULTS_TOLD]:
        typer.echo(f"error: {_printable(line)}", err=True)
    if (others := len(lines) - _FAULTS_TOLD) > 0:
        typer.echo(f"error: and {others} more; --json lists all", err=True)


def _unfinished(result: Verification, store: Path) -> str:
    """Say what a sound store still lacks."""
    if not (result.waiting or result.unfinished):
        return ""
    missing = "the table" if result.waiting is None else counted(result.waiting, "image")
    without = f", without {missing}" if result.waiting != 0 else ""
    command = command_line(["pipeline", "repair", argument(store)])
    return f"; but unfinished{without}: `{command}` says what goes on"


@command
def relabel(
    store: StoreArgument,
    manifest: Annotated[
        str | None, typer.Argument(help="A CSV with path,label and, if you like, split,group.")
    ] = None,
    rename: Annotated[
        list[str] | None,
        typer.Option(help="OLD=NEW, a class and its new name; repeat for several."),
    ] = None,
    columns: Annotated[
        str | None,
        typer.Option(help="Names of the CSV's columns, such as path=filename,label=class."),
    ] = None,
    json_: JsonOption = False,
) -> None:
    """Give a store's images other labels, without their photos and without computing."""
    from pipeline.stages.relabel import relabel as stage

    pairs = [text.partition("=") for text in rename or ()]
    if not all(old and separator and new for old, separator, new in pairs):
        raise typer.BadParameter("expected OLD=NEW", param_hint="--rename")
    names = {old: new for old, _, new in pairs}
    result = stage(store, manifest, rename=names, columns=columns)
    if json_:
        _print_json(asdict(result))
        return
    for warning in result.warnings:
        typer.echo(warning, err=True)
    if result.not_found:
        count = counted(result.not_found, "line")
        typer.echo(f"note: {count} of the manifest name no image of the store", err=True)
    if manifest is not None and result.not_named:
        count = counted(result.not_named, "image")
        typer.echo(f"note: {count} that it does not name stay as they were", err=True)
    classes = "  ".join(f"{_printable(name)} {n}" for name, n in result.classes.items())
    typer.echo(f"classes: {classes}")
    typer.echo("splits: " + "  ".join(f"{name} {n}" for name, n in result.splits.items()))
    typer.echo(f"relabelled {result.changed} of {counted(result.images, 'image')}")


@command
def repair(
    store: Annotated[Path, typer.Argument(help="A store.")], json_: JsonOption = False
) -> None:
    """Set aside what is damaged in a store, and make again what can be."""
    from pipeline.stages.repair import repair as stage

    with _Screen("shards") as screen:
        result = stage(store, progress=screen.progress)
    _say_faults(result.unreadable)
    if json_:
        _print_json(asdict(result))
    else:
        _say_repair(result)
    if result.unreadable:
        raise typer.Exit(1)


def _say_repair(result: Repairing) -> None:
    for line in result.set_aside[:_FAULTS_TOLD]:
        typer.echo(_printable(f"set aside {line}"))
    if (others := len(result.set_aside) - _FAULTS_TOLD) > 0:
        typer.echo(f"set aside {others} more; they lie in {result.store}/set-aside")
    if result.found:
        typer.echo(f"found again the codes of {counted(result.found, 'image')}")
    if result.made:
        typer.echo(f"made again: {', '.join(result.made)}")
    sound = f"{result.rows} rows of codes are sound"
    if result.unreadable:
        typer.echo(f"{sound}; what cannot be read this time was left where it is")
    if result.command is None:
        if not result.unreadable:
            done = "mended" if result.made or result.set_aside else "nothing to repair"
            typer.echo(f"{done}: {sound}")
        return
    if result.waiting is None:
        what = "to make the table again from the photos (what is sound is not computed again)"
    elif result.waiting:
        what = f"to compute {counted(result.waiting, 'image')}"
    else:
        what = "to finish the last extract"
    typer.echo(f"{sound}; {what}, type:")
    typer.echo(_printable(result.command))
    if result.source_lost:
        typer.echo("SOURCE stands for the photos, whose place the lost table had")


@command
def pack(
    store: Annotated[Path, typer.Argument(help="A store.")],
    file: Annotated[Path, typer.Argument(help="The HDF5 file to write; must not exist.")],
    json_: JsonOption = False,
) -> None:
    """Write a store as one ordinary HDF5 file for other tools."""
    from pipeline.stages.pack import pack as stage

    result = stage(store, file)
    if json_:
        _print_json(asdict(result))
    else:
        typer.echo(f"packed {result.rows} rows, {in_words(result.bytes)} -> {result.file}")


@command
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
        _print_json([_backbone(row) for row in rows])
    elif name is not None:
        row = rows[0]
        typer.echo(f"{row.name}: {row.size}x{row.size} pixels, {row.parameters / 1e6:.1f} M")
        for layer, shape in row.layers.items():
            typer.echo(f"  {layer} {_shape(shape)}{' (default)' if layer == row.default else ''}")
        typer.echo("Any other layer name of the model, NAME:avg and NAME:max work as well.")
    else:
        _print_table(_backbone_table(rows))
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
        default = f"{row.default} {_shape(row.layers[row.default])}"
        last = _shape(row.layers[row.final_map])
        table.add_row(row.name, str(row.size), f"{row.parameters / 1e6:.1f}", default, last)
    return table


@command
def demo(
    source: Annotated[
        str, typer.Argument(help="Your photos, or scikit-learn's digits.")
    ] = "digits",
    out: Annotated[Path, typer.Option(help="Folder for everything.")] = Path("artifacts"),
    json_: JsonOption = False,
) -> None:
    """Run the whole job: three layers in one pass, two heads on each, and which one wins."""
    from pipeline.stages.demo import demo as stage

    with _Screen("images", json_=json_) as screen:
        result = stage(
            source,
            out=out,
            tell=screen.tell,
            progress=screen.progress,
            show=None if json_ else functools.partial(_say_step, screen),
        )
    if json_:
        _print_json(asdict(result) | {"comparison": _comparison(result.comparison)})
        return
    _say_demo(result)


def _say_step(screen: _Screen, step: Extraction | Candidate) -> None:
    """Show a step of the demo as it ends."""
    from pipeline.stages.compare import Candidate

    if isinstance(step, Candidate):
        _say_candidate(screen, step)
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
    _print_table(_candidate_table(compared.candidates))
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
        typer.echo(_accuracy(evaluation.report, evaluation.split))


def _say_tested(evaluation: Evaluation, start: str) -> None:
    """Say what the best head of the demo does on test images, and where to look."""
    from pipeline.report import most_confused

    scores = evaluation.report
    typer.echo(
        f"{start}; on {counted(scores.images, 'test image')}, which nobody had seen, it is right "
        f"on {scores.accuracy:.1%}"
    )
    for true, predicted, count in most_confused(scores, 1):
        pair = _printable(f"{true} for {predicted}")
        typer.echo(f"   it most often takes {pair} ({counted(count, 'image')})")
    typer.echo(f"look at   {Path(evaluation.out) / 'confusion.png'}: what is taken for what")
    typer.echo(f"          {Path(evaluation.out) / 'report.json'}: every figure")


@command
def compare(
    store: StoreArgument,
    kind: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KIND",
            callback=_known_kind,
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
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Decides everything random.")] = 0,
    memory: MemoryOption = None,
    json_: JsonOption = False,
) -> None:
    """Fit every head on every cached layer, and test the one that is best on validation."""
    from pipeline.stages.compare import compare as stage

    with _Screen("heads", json_=json_) as screen:
        result = stage(
            store,
            kinds=kind or (),
            layers=layer or (),
            pools=pool or (),
            out=out,
            seed=seed,
            memory=memory,
            tell=screen.tell,
            progress=screen.progress,
            show=None if json_ else functools.partial(_say_candidate, screen),
        )
    if json_:
        _print_json(_comparison(result))
    else:
        _say_comparison(result, f"{result.seconds:.0f} s")


def _comparison(result: Comparison) -> dict[str, Any]:
    """Return a comparison as JSON."""
    tested = result.evaluation
    evaluation = None if tested is None else {"out": tested.out} | tested.report.to_json()
    return asdict(result) | {"evaluation": evaluation}


def _say_candidate(screen: _Screen, candidate: Candidate) -> None:
    where = f"{candidate.layer}, {candidate.pool}" if candidate.pool else candidate.layer
    if candidate.reason is not None:
        screen.tell(f"no {candidate.kind} on {where}: {candidate.reason}")
    else:
        screen.tell(f"fitted {candidate.kind} on {where} in {candidate.seconds:.1f} s")


def _say_comparison(result: Comparison, took: str) -> None:
    _print_table(_candidate_table(result.candidates))
    best, tested = result.candidates[0], result.evaluation
    if tested is not None:
        _say_report(tested.report)
    typer.echo(f"winner on validation: {best.kind} on {best.layer}; head in {result.head}")
    if tested is None:
        typer.echo(f"validation accuracy {best.val_accuracy:.4f}, not tested; {took}")
        return
    typer.echo(f"report in {tested.out}; {took}")
    typer.echo(_accuracy(tested.report, tested.split))


def _candidate_table(candidates: Sequence[Candidate]) -> Table:
    from rich.table import Table

    table = Table("layer", "pool", "head", box=None, header_style="bold")
    for name in ("codes", "validation accuracy", "log loss", "seconds", "size"):
        table.add_column(name, justify="right")
    for each in candidates:
        if each.val_accuracy is not None:
            score, size = f"{each.val_accuracy:.4f}", in_words(each.bytes or 0)
            loss = "" if each.val_loss is None else f"{each.val_loss:.4f}"
            cells = (f"{each.dimensions}-D", score, loss, f"{each.seconds:.1f}", size)
            table.add_row(each.layer, each.pool or "", each.kind, *cells)
    return table


@command
def learning_curve(
    store: StoreArgument,
    kind: KindOption = HeadKind.svm.value,
    layer: LayersOption = None,
    pool: PoolOption = None,
    seed: Annotated[
        list[int] | None,
        typer.Option(
            min=0,
            max=2**32 - 1,
            help="Chooses images; repeat for several.",
            show_default="0 to 4",
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

    with _Screen("heads", json_=json_) as screen:
        result = stage(
            store,
            kind=kind,
            layer=layer,
            pool=pool,
            seeds=seed or range(5),
            out=out,
            memory=memory,
            tell=screen.tell,
            progress=screen.progress,
        )
    if json_:
        _print_json(asdict(result))
        return
    _print_table(_curve_table(result))
    reading = result.reading
    typer.echo(f"curve in {Path(result.out) / 'learning_curve.png'}; {result.seconds:.0f} s")
    typer.echo(
        f"training error {reading.train_error:.4f}  validation error {reading.val_error:.4f}"
    )
    typer.echo(reading.sentence)


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


class _Screen:
    """
    What a user sees while a stage works: sentences, and on a terminal a bar below them.

    The bar goes to stderr; it is taken away before anything else is printed.
    """

    def __init__(self, unit: str, *, json_: bool = False) -> None:
        self._unit = unit
        self._json = json_
        self._bar: Progress | None = None
        self._first = (0.0, 0)

    def __enter__(self) -> _Screen:
        return self

    def __exit__(self, *error: object) -> None:
        self.clear()

    def tell(self, sentence: str) -> None:
        """Print a sentence; beside JSON it goes to stderr."""
        self.clear()
        typer.echo(_printable(sentence), err=self._json)

    def progress(self, done: int, total: int) -> None:
        """Move the bar."""
        if not sys.stderr.isatty():
            return
        now = time.monotonic()
        if self._bar is None:
            self._bar, self._first = _bar(self._unit), (now, done)
            self._bar.start()
        seconds, count = now - self._first[0], done - self._first[1]
        rate = count / seconds if seconds > 0 else 0.0
        pace = ""
        if count and seconds > 1:
            left = timedelta(seconds=round((total - done) / rate))
            pace = f"{rate:.3g} {self._unit}/s, {left} left"
        self._bar.update(self._bar.task_ids[0], completed=done, total=total, pace=pace)

    def clear(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


def _bar(unit: str) -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("{task.fields[pace]}"),
        console=Console(stderr=True),
        transient=True,
        redirect_stdout=False,
        redirect_stderr=False,
    )
    bar.add_task(unit, total=None, pace="")
    return bar


def _print_json(plain: Any) -> None:
    typer.echo(json.dumps(plain, indent=2, default=str))


def _print_table(table: Table) -> None:
    from rich.console import Console

    # Piped into a file, a table should be as wide as it needs and no wider.
    console = Console() if sys.stdout.isatty() else Console(width=250)
    with console.capture() as capture:
        console.print(table)
    for line in capture.get().splitlines():
        typer.echo(line.rstrip())


def _shape(shape: Any) -> str:
    return "x".join(map(str, shape)) + ("-D" if len(shape) == 1 else "")


def _printable(text: str) -> str:
    """Keep names from moving the cursor or colouring the terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
