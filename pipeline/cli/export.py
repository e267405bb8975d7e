"""`pipeline export`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli import next_step
from pipeline.cli.options import HeadArgument, JsonOption
from pipeline.cli.screen import Screen, print_json
from pipeline.common.choices import ExportFormat, Quantize
from pipeline.common.files import in_words

if TYPE_CHECKING:
    from pipeline.stages.export import Export


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

    with Screen("images", json_=json_) as screen:
        result = stage(
            head,
            format=format,
            out=out,
            weights=weights,
            quantize=quantize,
            listener=screen.listener(),
        )
    if json_:
        print_json(asdict(result))
    else:
        _say_export(result)
        next_step.say(next_step.judge_where_fitted(head))


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
