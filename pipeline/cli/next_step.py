"""The last line of a command: what can be typed next, as it stands."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from pipeline.common.errors import PipelineError
from pipeline.common.files import argument, command_line

if TYPE_CHECKING:
    from pipeline.report import Report
    from pipeline.stages.audit import Audit
    from pipeline.stages.compare import Comparison
    from pipeline.stages.compare_heads import HeadsComparison
    from pipeline.stages.demo import Demo
    from pipeline.stages.evaluate import Evaluation
    from pipeline.stages.group import Grouping
    from pipeline.stages.predict import Predictions
    from pipeline.stages.repair import Repairing
    from pipeline.store import Store, Verification

Words = Sequence[str] | str | None
"""Words behind ``pipeline``, or a whole line; None where there is nothing to propose."""

typed: list[str] = []
"""What was typed behind the name of the program; `program` keeps it here."""

_GOOD = 0.9  # accuracy from which on a look at the data comes after using the head
_LOOKED_AT = 100  # photos


def say(words: Words) -> None:
    """Print a command as the last line of stderr, where it hinders no program that reads stdout."""
    if words is not None:
        line = words if isinstance(words, str) else command_line(["pipeline", *words])
        typer.echo(f"next: {line}", err=True)


def same(*more: str, without: str | None = None) -> Words:
    """Propose what was typed, with further words or without one; not what came from stdin."""
    if "-" in typed:
        return None
    return [*(word for word in typed if word != without), *more]


def learn(path: str | Path) -> Words:
    """Propose what fits heads on a store; where fewer than two classes can be learned, groups."""
    if (opened := _open(path)) is None:
        return None
    import numpy as np

    from pipeline.store import rows_of

    trained = opened.labels[rows_of(opened, _split("train"))]
    if len(np.unique(trained)) < 2:
        return ["group", argument(Path(path))] if opened.usable.any() else _info(path)
    if len(opened.layers) > 1:
        return ["compare", argument(Path(path))]
    return ["fit-head", argument(Path(path)), "--kind", "svm"]


def judge(head: str | Path, path: str | Path, joined_with: Sequence[str | Path] = ()) -> Words:
    """Propose what scores a head on a store; where no images are left for that, its use."""
    if (opened := _open(path)) is None:
        return _info(head)
    from pipeline.store import rows_of

    words = ["evaluate", argument(Path(head)), argument(Path(path))]
    for other in joined_with:
        words += ["--with", argument(Path(other))]
    if len(rows_of(opened, _split("test"))):
        return words
    if len(rows_of(opened, _split("val"))):
        return [*words, "--split", "val"]
    return use(head, path)


def judge_where_fitted(head: str | Path) -> Words:
    """Propose what scores a head on the store that it was fitted on, if that is still there."""
    from pipeline.heads import load

    about = load(Path(head)).card.trained_on
    path = about.get("store")
    return judge(head, _near(path), about.get("with", ())) if path else _info(head)


def use(head: str | Path, path: str | Path) -> Words:
    """Propose what classifies the photos of a store, if these are files that are still there."""
    photos = _photos_of(path)
    return _info(head) if photos is None else ["predict", argument(Path(head)), argument(photos)]


def after_scores(head: str, path: str, scores: Report) -> Words:
    """Propose a better head, a look at the data, or the use of a head, as good as it is."""
    if scores.accuracy_interval[0] <= scores.baseline:
        return ["compare", argument(Path(path))]
    return ["audit", argument(Path(path))] if scores.accuracy < _GOOD else use(head, path)


def after_evaluate(result: Evaluation) -> Words:
    """Propose what follows from the scores of one head."""
    return after_scores(result.head, result.store, result.report)


def after_heads(result: HeadsComparison, path: str | Path) -> Words:
    """Propose what follows from the scores of the best of several heads."""
    best = max(range(len(result.heads)), key=lambda place: result.reports[place].accuracy)
    return after_scores(result.heads[best], str(path), result.reports[best])


def after_compare(result: Comparison) -> Words:
    """Propose what follows from the test of the best head, or another look at it."""
    if result.evaluation is None:
        return judge(result.head, result.store)
    words = after_evaluate(result.evaluation)
    return words if words is None or words[0] != "compare" else ["audit", *words[1:]]


def after_predict(head: Path, result: Predictions) -> Words:
    """Propose to look at the answers, or to sort the photos by them."""
    if result.sorting is not None and result.sorting.photos:
        return ["show", argument(Path(result.sorting.folder))]
    if result.csv is not None and result.ok:
        return ["show", argument(Path(result.csv))]
    if not result.ok or result.sorting is not None:
        return _info(head)
    return same("--sort-into", _new("sorted")) or _info(head)


def after_audit(result: Audit) -> Words:
    """Propose to extract what is left, to leave out what was found, or to go on."""
    opened = _open(result.store)
    if opened is None or not result.counts:
        return learn(result.store)
    from pipeline.flows.audit_fix import check_fixable

    if result.fix is None:
        better = Path(_new(os.path.join(result.out, "better"), ".csv"))
        try:
            check_fixable(opened, better)
        except PipelineError:
            return learn(result.store)
        return ["audit", argument(Path(result.store)), "--fix", argument(better)]
    return _extract_like(opened, result.fix)


def after_group(result: Grouping) -> Words:
    """Propose to make the groups classes, where no labels are lost by that."""
    if result.labelled:
        return ["audit", argument(Path(result.store))]
    if Path(result.store).is_file():  # whose labels do not change
        return _info(result.store)
    return ["relabel", argument(Path(result.store)), argument(Path(result.csv))]


def after_show(source: str, root: Path | None) -> Words:
    """Propose to compute codes of a source, or to learn from those of a store."""
    from pipeline.flows.samples import is_answers

    if is_answers(Path(source)):
        return None
    if (words := learn(source)) is not None:
        return words
    given = [] if root is None else ["--root", str(root)]
    return ["extract", argument(Path(source)), *given]


def after_info(plain: dict[str, Any]) -> Words:
    """Propose what follows for a store or a head."""
    if plain["what"] == "head":
        return judge_where_fitted(plain["path"])
    if not plain["complete"]:
        return ["repair", argument(Path(plain["path"]))]
    return learn(plain["path"])


def after_verify(result: Verification, path: Path) -> Words:
    """Propose to mend a store, or to read again what could not be read."""
    if result.unreadable and not result.damage:
        return ["verify", argument(path)]
    if not (result.damage or result.waiting != 0 or result.unfinished):
        return _info(path)
    return ["repair", argument(path)] if path.is_dir() else None


def after_repair(result: Repairing) -> Words:
    """Propose the extract that computes what is lost, if it can be typed as it stands."""
    if result.command is not None:
        return None if result.source_lost else result.command
    return ["repair" if result.unreadable else "verify", argument(Path(result.store))]


def after_demo(result: Demo) -> Words:
    """Propose to use the head of the demo, or to look for faults in its images."""
    words = use(result.comparison.head, result.extraction.store)
    bundled = words is None or words[0] != "predict"
    return ["audit", argument(Path(result.extraction.store))] if bundled else words


def _info(path: str | Path) -> Words:
    return ["info", argument(Path(path))]


def _open(path: str | Path) -> Store | None:
    """Open a finished store, if it is one."""
    from pipeline.store import open_store

    try:
        return open_store(Path(path))
    except (PipelineError, OSError):
        return None


def _split(name: str) -> Any:
    from pipeline.common.choices import Split

    return Split(name)


def _photos_of(path: str | Path) -> Path | None:
    """Return the folder of the photos of a store, if there are any in it."""
    import numpy as np

    from pipeline.flows.originals import found_again, location_of, spread
    from pipeline.store import FolderStore

    opened = _open(path)
    if not isinstance(opened, FolderStore) or opened.header is None:
        return None
    folder = location_of(opened)
    some = opened.paths(spread(np.flatnonzero(opened.usable), _LOOKED_AT))
    there = (os.path.isfile(os.path.join(os.fsencode(folder), path)) for path in some)
    if not folder or not any(there) or isinstance(found_again(opened, some[:1]), str):
        return None
    return Path(_near(folder))


def _extract_like(opened: Store, manifest: str) -> Words:
    """Propose to compute codes like those of a store, of what a manifest names."""
    from pipeline.flows.command import extract_command
    from pipeline.flows.places import features_of

    header = opened.header
    if header is None:
        return ["extract", argument(Path(manifest))]
    return extract_command(
        header.space,
        weights=header.weights,
        source={"location": "", "manifest": manifest},
        layers=list(header.space.layers),
        dtype=header.dtype.value,
        out=features_of(manifest),
    )


def _near(path: str) -> str:
    """Write an absolute path as it would be typed here, where that is shorter."""
    here = os.path.relpath(path) if os.path.isabs(path) else path
    return path if here.startswith(os.pardir) else here


def _new(name: str, ending: str = "") -> str:
    """Return a name that nothing has yet."""
    number, place = 2, name + ending
    while os.path.lexists(place):
        place, number = f"{name}-{number}{ending}", number + 1
    return place
