"""`pipeline extract`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.cli import next_step
from pipeline.cli.options import MOST_SEED, FollowOption, JsonOption
from pipeline.cli.program import TOO_MANY_REJECTED
from pipeline.cli.screen import Screen, dimensions, print_json
from pipeline.cli.tables import named_splits
from pipeline.common.choices import Augment, Dtype, Engine, Folders, Precision, Resize, choose
from pipeline.common.errors import ChoiceError, counted
from pipeline.common.files import in_words
from pipeline.common.text import printable

if TYPE_CHECKING:
    from pipeline.stages.estimate import Estimate
    from pipeline.stages.extract import Extraction

# Titles of groups of options.
_PHOTOS = "Which photos, and their splits"
_PIXELS = "From photos to pixels"
_COMPUTING = "Computing and storing"


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
        int, typer.Option(min=0, max=MOST_SEED, rich_help_panel=_PIXELS, help="Decides the views.")
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
    from pipeline.stages.estimate import estimate
    from pipeline.stages.extract import extract as stage

    if augment is not None and views == 1:
        raise typer.BadParameter(
            "one view is the photo itself; add --views 4", param_hint="--augment"
        )
    with Screen("images", json_=json_) as screen:
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
            "listener": screen.listener(),
        }
        if dry_run:
            _say_estimate(estimate(source, **same), json_=json_)
            if not json_:
                next_step.say(next_step.same(without="--dry-run"))
            return
        result = stage(
            source,
            **same,
            val=val,
            test=test,
            add=add,
            max_rejected=max_rejected,
        )
    if json_:
        print_json(asdict(result) | {"complete": result.complete})
    else:
        _say_extraction(result)
    code = _say_what_lacks(result)
    if not json_:
        again = next_step.same() if result.pending else next_step.learn(result.store)
        next_step.say(again)
    if code:
        raise typer.Exit(code)


def _say_what_lacks(result: Extraction) -> int:
    """Say on stderr which images have no codes, and return the exit code that this means."""
    if result.pending:
        typer.echo(
            f"error: {result.pending} images could not be read this time (see `pipeline info "
            f"{result.store}`); run the same command again",
            err=True,
        )
        return 1
    if result.rejected <= result.rejected_allowed:
        return 0
    found = counted(result.rejected, "rejected image")
    first = printable(next(iter(result.reasons), ""))
    typer.echo(
        f"error: {found}, {result.rejected_allowed} allowed (such as: {first}); all "
        f"reasons are in {Path(result.store) / 'rejected.csv'}; accept with --max-rejected",
        err=True,
    )
    return TOO_MANY_REJECTED


def _say_extraction(result: Extraction) -> None:
    layers = ", ".join(f"{name} {dimensions(shape)}" for name, shape in result.layers.items())
    named = named_splits(result.splits, result.unlabelled)
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
        print_json(asdict(result))
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
