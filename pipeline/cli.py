"""The door: parse what was typed, call one stage, print one result."""

from __future__ import annotations

import faulthandler
import functools
import json
import logging
import os
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, ParamSpec

import typer

from pipeline._version import __version__
from pipeline.choices import Activation, HeadKind, Optimizer, Pool, Preset, Resize, Split
from pipeline.errors import HeadError, Interrupted, PipelineError
from pipeline.files import in_words

if TYPE_CHECKING:
    from rich.table import Table

    from pipeline.heads import MlpConfig
    from pipeline.report import Report
    from pipeline.stages.predict import Prediction

_TOO_MANY_REJECTED = 3
_NO_RESOURCES = 4
_DAMAGED = 5
# A confusion matrix wider than this is better looked at in confusion.png.
_WIDEST_MATRIX = 16

P = ParamSpec("P")

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Cache CNN codes of your images once, then train heads on them in seconds.",
)

JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
StoreArgument = Annotated[Path, typer.Argument(help="A store, or a packed file.")]
HeadArgument = Annotated[Path, typer.Argument(help="A head made by fit-head.")]


def main() -> NoReturn:
    """Run the command line; the one place that turns errors into exit codes."""
    for stream in (sys.stdout, sys.stderr):
        # File names may hold bytes that are no text.
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    # What Pillow warns about becomes a reason or a documented rule.
    warnings.filterwarnings("ignore", module="PIL")
    logging.getLogger("PIL").setLevel(logging.CRITICAL + 1)
    signal.signal(signal.SIGTERM, _terminate)
    if not os.environ.get("PIPELINE_DEBUG"):
        _silence_libraries()
    try:
        app(prog_name="pipeline")
    except PipelineError as error:
        _fail(error, str(error), error.exit_code)
    except MemoryError as error:
        _fail(error, "out of memory; use pooled codes, or another head", _NO_RESOURCES)
    except OSError as error:
        _fail(error, f"{error.strerror or error}: {error.filename or ''}".rstrip(": "), 1)
    except Exception as error:
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
    raise KeyboardInterrupt


def _fail(error: BaseException, message: str, code: int) -> NoReturn:
    if os.environ.get("PIPELINE_DEBUG"):
        raise error
    typer.echo(f"error: {message}", err=True)
    sys.exit(code)


def command(function: Callable[P, None]) -> Callable[P, None]:
    """Register a command; Ctrl-C in it becomes our own error before typer sees it."""

    @functools.wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
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
        typer.Option(min=1, help="Edge of the input in pixels.", show_default="the backbone's"),
    ] = None,
    resize: Annotated[Resize, typer.Option(help="How a photo becomes a square.")] = Resize.crop,
    val: Annotated[
        float, typer.Option(help="Share for validation, where SOURCE has no splits.")
    ] = 0.2,
    test: Annotated[float, typer.Option(help="Share for the test, likewise.")] = 0.2,
    batch_size: Annotated[int, typer.Option(min=1, help="Images in one forward pass.")] = 32,
    max_rejected: Annotated[
        str, typer.Option(help="Unusable images to accept with exit code 0.")
    ] = "1%",
    limit: Annotated[
        str | None,
        typer.Option(help="Use only N images, or train=N,test=N.", show_default="all"),
    ] = None,
    json_: JsonOption = False,
) -> None:
    """Run a headless convnet once over every image and keep its codes."""
    from pipeline.stages.extract import extract as stage

    with _progress("images") as progress:
        result = stage(
            source,
            out=out,
            backbone=backbone,
            weights=weights,
            layers=layer or (),
            size=size,
            resize=resize,
            val=val,
            test=test,
            batch_size=batch_size,
            max_rejected=max_rejected,
            limit=limit,
            tell=_teller(json_),
            progress=progress,
        )
    plain = asdict(result) | {"complete": result.complete}
    if json_:
        _print_json(plain)
    else:
        _say_extraction(plain)
    if result.pending:
        typer.echo(
            f"error: {result.pending} images could not be read this time (see `pipeline info "
            f"{result.store}`); run the same command again",
            err=True,
        )
        raise typer.Exit(1)
    if result.rejected > result.rejected_allowed:
        typer.echo(
            f"error: {result.rejected} rejected images, {result.rejected_allowed} allowed; their "
            f"reasons are in {Path(result.store) / 'rejected.csv'}; accept with --max-rejected",
            err=True,
        )
        raise typer.Exit(_TOO_MANY_REJECTED)


def _say_extraction(result: dict[str, Any]) -> None:
    layers = ", ".join(f"{name} {_shape(shape)}" for name, shape in result["layers"].items())
    splits = "  ".join(f"{name} {count}" for name, count in result["splits"].items())
    typer.echo(f"{result['backbone']}: {layers} -> {result['store']}")
    typer.echo(f"splits: {splits}")
    typer.echo(
        f"computed {result['computed']}  reused {result['reused']}  in {result['seconds']:.1f} s  "
        f"({result['images_per_second']:g} images/s)"
    )
    typer.echo(
        f"ok {result['ok']}  rejected {result['rejected']}  pending {result['pending']}  "
        f"of {result['scanned']}"
    )


@command
def fit_head(
    store: StoreArgument,
    kind: Annotated[HeadKind, typer.Option(help="Which classifier.")],
    out: Annotated[
        Path | None,
        typer.Option(help="The head.", show_default="artifacts/heads/<store>-<kind>"),
    ] = None,
    layer: Annotated[
        str | None, typer.Option(help="Which codes.", show_default="the store's first layer")
    ] = None,
    pool: Annotated[
        Pool | None, typer.Option(help="How a map becomes a vector.", show_default="avg")
    ] = None,
    C: Annotated[
        str, typer.Option("--C", help="svm, softmax: inverse regularisation, or auto.")
    ] = "auto",
    preset: Annotated[Preset | None, typer.Option(help="mlp: the head of an article.")] = None,
    hidden: Annotated[
        str | None, typer.Option(help="mlp: units of the hidden layers, such as 512,128.")
    ] = None,
    activation: Annotated[
        Activation | None, typer.Option(help="mlp: of the hidden layers.")
    ] = None,
    dropout: Annotated[
        str | None, typer.Option(help="mlp: one rate, or one for each layer: 0.5,0.3.")
    ] = None,
    l2: Annotated[float | None, typer.Option(help="mlp: weight penalty.")] = None,
    optimizer: Annotated[Optimizer | None, typer.Option(help="mlp: what trains it.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="mlp: of the optimizer.")] = None,
    epochs: Annotated[int | None, typer.Option(help="mlp: at the most.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="mlp: images in one step.")] = None,
    early_stopping: Annotated[
        int | None, typer.Option(help="mlp: epochs without progress to wait; 0 for never.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Decides everything random.")] = 0,
    json_: JsonOption = False,
) -> None:
    """Train a head on the cached codes."""
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
    with _progress("epochs") as progress:
        result = stage(
            store,
            kind=kind,
            out=out,
            layer=layer,
            pool=pool,
            C=_regularisation(C, kind),
            config=_mlp_config(kind, preset, options),
            seed=seed,
            tell=_teller(json_),
            progress=progress,
        )
    if json_:
        _print_json(asdict(result))
        return
    typer.echo(f"{result.kind} on {result.layer} ({result.dimensions}-D) -> {result.head}")
    if "C_used" in result.parameters:
        typer.echo(f"C {result.parameters['C_used']:g}")
    validation = "no validation images"
    if result.val_accuracy is not None:
        validation = f"validation accuracy {result.val_accuracy:.4f}"
    typer.echo(
        f"{validation}  train {result.train_images}  val {result.val_images}  "
        f"in {result.seconds:.1f} s"
    )


def _regularisation(text: str, kind: HeadKind) -> float | str:
    if text == "auto":
        return text
    if kind is HeadKind.mlp:
        raise HeadError("expected --C with --kind svm or softmax, found --kind mlp; try --l2")
    try:
        return float(text)
    except ValueError:
        raise typer.BadParameter(
            f"'{text}' is neither 'auto' nor a number", param_hint="--C"
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


def _mlp_config(kind: HeadKind, preset: Preset | None, options: dict[str, Any]) -> MlpConfig | None:
    given = {name: value for name, value in options.items() if value is not None}
    if kind is not HeadKind.mlp:
        if given or preset is not None:
            names = ", ".join(f"--{name.replace('_', '-')}" for name in given) or "--preset"
            raise HeadError(f"expected {names} with --kind mlp, found --kind {kind.value}")
        return None
    from pipeline.heads import MlpConfig

    return MlpConfig.from_options(preset, **given)


@command
def evaluate(
    head: HeadArgument,
    store: StoreArgument,
    split: Annotated[Split, typer.Option(help="Which rows to score.")] = Split.test,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder of the report.", show_default="artifacts/reports/<head>"),
    ] = None,
    json_: JsonOption = False,
) -> None:
    """Score a head: accuracy, precision and recall of each class, confusion matrix."""
    from pipeline.stages.evaluate import evaluate as stage

    result = stage(head, store, split=split, out=out, tell=_teller(json_))
    if json_:
        plain = {"head": result.head, "store": result.store, "out": result.out}
        _print_json(plain | {"split": result.split} | result.report.to_json())
        return
    _say_report(result.report)
    typer.echo(f"report in {result.out}")
    typer.echo(_accuracy(result.report, result.split))


def _say_report(report: Report) -> None:
    _print_table(_class_table(report))
    if len(report.names) <= _WIDEST_MATRIX:
        _print_table(_confusion_table(report))
    else:
        from pipeline.report import most_confused

        for true, predicted, count in most_confused(report, 10):
            typer.echo(f"{true} taken for {predicted}: {count}")


def _accuracy(report: Report, split: str) -> str:
    low, high = report.accuracy_interval
    right = round(report.accuracy * report.images)
    return (
        f"accuracy {report.accuracy:.4f} on {split} ({right} of {report.images}; "
        f"95 % interval {low:.3f} to {high:.3f}; always the largest class {report.baseline:.3f})"
    )


def _class_table(report: Report) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table("class", box=None, header_style="bold")
    for name in ("precision", "recall", "f1", "images"):
        table.add_column(name, justify="right")
    for row in report.classes:
        table.add_row(
            Text(_printable(row.name)),
            f"{row.precision:.3f}",
            f"{row.recall:.3f}",
            f"{row.f1:.3f}",
            str(row.support),
        )
    return table


def _confusion_table(report: Report) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table("true \\ predicted", box=None, header_style="bold")
    for name in report.names:
        table.add_column(Text(_printable(name)), justify="right", no_wrap=True)
    for i, name in enumerate(report.names):
        counts = [int(count) for count in report.confusion[i]]
        cells = [
            Text(
                str(count) if count else ".", style="green" if i == j else "red" if count else "dim"
            )
            for j, count in enumerate(counts)
        ]
        table.add_row(Text(_printable(name), style="bold"), *cells)
    return table


@command
def predict(
    head: HeadArgument,
    paths: Annotated[list[Path], typer.Argument(help="Image files, and folders of them.")],
    top: Annotated[int, typer.Option(min=1, help="How many classes to name.")] = 3,
    csv: Annotated[Path | None, typer.Option(help="Write a table as well.")] = None,
    weights: Annotated[
        str | None,
        typer.Option(help="The backbone's weights, if they have moved.", show_default="as fitted"),
    ] = None,
    json_: JsonOption = False,
) -> None:
    """Classify photos with a head."""
    from pipeline.stages.predict import predict as stage

    show = None if json_ else _say_prediction
    with _progress("images") as progress:
        result = stage(
            head, list(paths), top=top, csv=csv, weights=weights, show=show, progress=progress
        )
    if json_:
        _print_json(asdict(result))
    elif result.csv is not None:
        typer.echo(f"table in {result.csv}")
    if result.rejected:
        typer.echo(f"error: {result.rejected} images could not be used", err=True)
        raise typer.Exit(_TOO_MANY_REJECTED)


def _say_prediction(prediction: Prediction) -> None:
    if prediction.reason is not None:
        typer.echo(f"{prediction.path}: {prediction.reason}", err=True)
        return
    answers = "  ".join(f"{_printable(name)} {score:.4f}" for name, score in prediction.top)
    typer.echo(f"{prediction.path}: {answers}")


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
    _say_tree(plain)


def _say_tree(plain: dict[str, Any], indent: str = "") -> None:
    for name, value in plain.items():
        if isinstance(value, dict) and value:
            typer.echo(f"{indent}{_printable(name)}:")
            _say_tree(value, indent + "  ")
        elif isinstance(value, list) and len(value) > 0 and isinstance(value[0], int):
            typer.echo(f"{indent}{_printable(name)}: {_shape(value)}")
        else:
            text = json.dumps(value) if not isinstance(value, str) else value
            typer.echo(f"{indent}{_printable(name)}: {_printable(text)}")


@command
def verify(
    store: Annotated[Path, typer.Argument(help="A store.")], json_: JsonOption = False
) -> None:
    """Read every byte of a store and compare it with what was written."""
    from pipeline.stages.verify import verify as stage

    with _progress("shards") as progress:
        result = stage(store, progress=progress)
    if json_:
        _print_json(asdict(result))
    for line in result.damage:
        typer.echo(f"error: {line}", err=True)
    if result.damage:
        raise typer.Exit(_DAMAGED)
    if not json_:
        size = in_words(result.bytes)
        typer.echo(f"sound: {result.shards} shards, {result.rows} rows, {size}")


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
    table.add_column("codes of the layers worth cutting at (default first)")
    for row in rows:
        shapes = {row.default: row.layers[row.default]} | dict(row.layers)
        codes = ", ".join(f"{layer} {_shape(shape)}" for layer, shape in shapes.items())
        table.add_row(row.name, str(row.size), f"{row.parameters / 1e6:.1f}", codes)
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

    with _progress("images") as progress:
        result = stage(source, out=out, tell=_teller(json_), progress=progress)
    if json_:
        evaluation = {"out": result.evaluation.out} | result.evaluation.report.to_json()
        _print_json(asdict(result) | {"evaluation": evaluation})
        return
    _say_extraction(asdict(result.extraction))
    from rich.table import Table

    table = Table("layer", "head", box=None, header_style="bold")
    for name in ("codes", "validation accuracy", "seconds"):
        table.add_column(name, justify="right")
    for fit in result.fits:
        accuracy = f"{fit.val_accuracy:.4f}"
        table.add_row(fit.layer, fit.kind, f"{fit.dimensions}-D", accuracy, f"{fit.seconds:.1f}")
    _print_table(table)
    best = result.fits[0]
    _say_report(result.evaluation.report)
    typer.echo(f"winner: {best.kind} on {best.layer}; head in {best.head}")
    typer.echo(f"report in {result.evaluation.out}; {result.seconds:.0f} s in all")
    typer.echo(_accuracy(result.evaluation.report, result.evaluation.split))


@contextmanager
def _progress(unit: str) -> Iterator[Callable[[int, int], None]]:
    """Draw a bar with rate and time left on stderr, where that is a terminal."""
    if not sys.stderr.isatty():
        yield lambda done, total: None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeRemainingColumn,
    )

    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TaskProgressColumn(show_speed=True),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )
    task = bar.add_task(unit, total=None)

    def show(done: int, total: int) -> None:
        bar.update(task, completed=done, total=total)

    with bar:
        yield show


def _teller(json_: bool) -> Callable[[str], None]:
    """Return what shows sentences: beside JSON they go to stderr."""
    return lambda sentence: typer.echo(_printable(sentence), err=json_)


def _print_json(plain: Any) -> None:
    typer.echo(json.dumps(plain, indent=2, default=str))


def _print_table(table: Table) -> None:
    from rich.console import Console

    # Piped into a file, a table should be as wide as it needs.
    console = Console() if sys.stdout.isatty() else Console(width=250)
    console.print(table)


def _shape(shape: Any) -> str:
    return "x".join(map(str, shape)) + ("-D" if len(shape) == 1 else "")


def _printable(text: str) -> str:
    """Keep names from moving the cursor or colouring the terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
