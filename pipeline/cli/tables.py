"""What several commands print of their results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import typer

from pipeline.common.files import in_words

if TYPE_CHECKING:
    from rich.table import Table

    from pipeline.flows.candidates import Candidate
    from pipeline.report import ClassScore, Report
    from pipeline.stages.compare import Comparison
    from pipeline.stages.compare_heads import HeadsComparison

from pipeline.cli.screen import Screen, print_table
from pipeline.common.text import printable

# A confusion matrix wider than this is better looked at in confusion.png.
_WIDEST_MATRIX = 16
# More classes than this scroll away; report.json has all.
_MOST_ROWS = 100
FAULTS_TOLD = 20


def named_splits(splits: Mapping[str, int], unlabelled: Mapping[str, int]) -> dict[str, str]:
    """Say of each split how many images it has, and of these how many have no label."""
    return {
        name: f"{count} (unlabelled)"
        if (without := unlabelled.get(name, 0)) == count and count
        else f"{count} ({without} unlabelled)"
        if without
        else str(count)
        for name, count in splits.items()
    }


def say_report(report: Report) -> None:
    """Print the scores of each class and the confusion matrix, or the worst of many."""
    classes = report.classes
    if len(classes) > _MOST_ROWS:
        typer.echo(f"the {_MOST_ROWS} of {len(classes)} classes with the smallest F1:")
        classes = tuple(sorted(classes, key=lambda row: row.f1)[:_MOST_ROWS])
    print_table(_class_table(classes))
    if len(report.names) <= _WIDEST_MATRIX:
        print_table(_confusion_table(report))
    else:
        from pipeline.report import most_confused

        for true, predicted, count in most_confused(report, 10):
            typer.echo(f"{true} taken for {predicted}: {count}")


def accuracy_line(report: Report, split: str) -> str:
    """Say the accuracy, its interval and what guessing would give."""
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
            Text(printable(row.name)),
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

    names = [printable(name) for name in report.names]
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


def say_faults(lines: Sequence[str]) -> None:
    """Print what is wrong, one line each; of very many the first."""
    for line in lines[:FAULTS_TOLD]:
        typer.echo(f"error: {printable(line)}", err=True)
    if (others := len(lines) - FAULTS_TOLD) > 0:
        typer.echo(f"error: and {others} more; --json lists all", err=True)


def comparison_json(result: Comparison) -> dict[str, Any]:
    """Return a comparison as JSON."""
    tested = result.evaluation
    evaluation = None if tested is None else {"out": tested.out} | tested.report.to_json()
    return asdict(result) | {"evaluation": evaluation}


def say_candidate(screen: Screen, candidate: Candidate) -> None:
    """Say which head of a comparison is fitted, or why it is not."""
    where = f"{candidate.layer}, {candidate.pool}" if candidate.pool else candidate.layer
    if candidate.reason is not None:
        screen.tell(f"no {candidate.kind} on {where}: {candidate.reason}")
    else:
        screen.tell(f"fitted {candidate.kind} on {where} in {candidate.seconds:.1f} s")


def heads_table(result: HeadsComparison) -> Table:
    """List heads with their scores on the same images."""
    from rich.table import Table
    from rich.text import Text

    table = Table("head", box=None, header_style="bold")
    for name in ("accuracy", "95 % interval", "mean recall", "mean F1"):
        table.add_column(name, justify="right")
    for head, each in zip(result.heads, result.reports, strict=True):
        low, high = each.accuracy_interval
        table.add_row(
            Text(printable(head)),
            f"{each.accuracy:.4f}",
            f"{low:.3f} to {high:.3f}",
            f"{each.balanced_accuracy:.4f}",
            f"{each.macro_f1:.4f}",
        )
    return table


def candidate_table(candidates: Sequence[Candidate]) -> Table:
    """List the heads of a comparison, best first."""
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
