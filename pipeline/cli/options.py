"""Options and arguments that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeVar

import typer

from pipeline.common.choices import HeadKind, Pool
from pipeline.common.errors import nearest

N = TypeVar("N", int, float)
JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
StoreArgument = Annotated[Path, typer.Argument(help="A store, or a packed file.")]


def known_kind(value: str | list[str] | None) -> str | list[str] | None:
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
        callback=known_kind,
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
MOST_SEED = 2**32 - 1  # as NumPy takes them
SeedOption = Annotated[int, typer.Option(min=0, max=MOST_SEED, help="Decides everything random.")]
HeadArgument = Annotated[Path, typer.Argument(help="A head made by fit-head.")]


def auto_or(number: type[N], text: str, option: str) -> N | str:
    """Return a number, or the word auto as it is."""
    try:
        return text if text == "auto" else number(text)
    except ValueError:
        raise typer.BadParameter(
            f"'{text}' is neither 'auto' nor a number", param_hint=option
        ) from None
