"""Results as notebooks show them: a few facts, a table, a picture; and tables as data frames."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from pipeline.common.errors import PipelineError
from pipeline.report._template import rendered

if TYPE_CHECKING:
    import pandas as pd

_MOST_ROWS = 30  # of a table in a notebook; the frame has all
_MOST_LETTERS = 200  # of a cell
LARGEST_MATRIX = 25  # classes: a wider one does not fit beside a notebook's margin


@dataclass(frozen=True, kw_only=True)
class Table:
    """
    Rows of plain values.

    Attributes
    ----------
    columns : tuple of str
        Names as in Python; a notebook shows them with spaces.
    rows : tuple of tuple
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]

    @classmethod
    def of(cls, records: Iterable[Any], *columns: str) -> Self:
        """Take attributes of some records, a column for each."""
        rows = (tuple(getattr(record, name) for name in columns) for record in records)
        return cls(columns=columns, rows=tuple(rows))

    def frame(self) -> pd.DataFrame:
        """Return it as a data frame; see `Tabled.to_frame`."""
        try:
            import pandas as pd
        except ImportError:
            raise PipelineError(
                "expected pandas for a data frame, found none; "
                "run: pip install 'bottleneck-pipeline[pandas]'"
            ) from None
        return pd.DataFrame.from_records(list(self.rows), columns=list(self.columns))


@dataclass(frozen=True, kw_only=True)
class Display:
    """
    What a notebook shows of a result.

    Attributes
    ----------
    title : str
    facts : mapping of str to object
        None is left out.
    notes : sequence of str
        What must be known before the numbers are trusted.
    sentences : sequence of str
        What the result says.
    matrix : ConfusionMatrix or None
    errors : sequence of (str, str, int)
        True class, predicted class and images of frequent errors, in place of a large matrix.
    svg : str
        A picture, as an element of a page.
    table : Table or None
    """

    title: str
    facts: Mapping[str, Any] = field(default_factory=dict)
    notes: Sequence[str] = ()
    sentences: Sequence[str] = ()
    matrix: ConfusionMatrix | None = None
    errors: Sequence[tuple[str, str, int]] = ()
    svg: str = ""
    table: Table | None = None

    def html(self) -> str:
        """Return a part of a page, readable on white and on black; names are escaped by Jinja2."""
        rows = () if self.table is None else self.table.rows[:_MOST_ROWS]
        columns = () if self.table is None else self.table.columns
        values = [[row[place] for row in rows] for place in range(len(columns))]
        # A column without a value is of no use here.
        shown = [place for place, column in enumerate(values) if set(column) - {None}]
        return rendered(
            "result.html",
            display=self,
            facts={name: _text(value) for name, value in self.facts.items() if value is not None},
            columns=[columns[place].replace("_", " ") for place in shown],
            words=[any(isinstance(value, str | tuple) for value in values[at]) for at in shown],
            rows=[[_text(row[place]) for place in shown] for row in rows],
            left_out=0 if self.table is None else len(self.table.rows) - len(rows),
        )


class Displayed:
    """A result that a notebook shows as more than its repr: `display` says what."""

    def display(self) -> Display:
        """Say what a notebook shows."""
        raise NotImplementedError

    def _repr_html_(self) -> str:
        return self.display().html()


class Tabled(Displayed):
    """A result that has a table."""

    def to_frame(self) -> pd.DataFrame:
        """
        Return the table as a data frame.

        Returns
        -------
        pandas.DataFrame

        Raises
        ------
        PipelineError
            If pandas is not installed.
        """
        table = self.display().table
        assert table is not None  # noqa: S101 - those who inherit from this have one
        return table.frame()


class ConfusionMatrix(tuple[tuple[int, ...], ...], Displayed):
    """
    Counts of images: rows are true classes, columns are predicted ones.

    Attributes
    ----------
    names : tuple of str
        The classes.
    """

    names: tuple[str, ...]

    def __new__(cls, rows: Iterable[tuple[int, ...]], names: tuple[str, ...]) -> Self:
        matrix = super().__new__(cls, rows)
        matrix.names = names
        return matrix

    def __getnewargs__(self) -> tuple[tuple[tuple[int, ...], ...], tuple[str, ...]]:
        return tuple(self), self.names

    def display(self) -> Display:
        """Say what a notebook shows."""
        if len(self) <= LARGEST_MATRIX:
            return Display(title="Confusion matrix", matrix=self)
        said = f"{len(self)} classes are too many to be shown here; to_frame() has all counts"
        return Display(title="Confusion matrix", sentences=[said])

    def to_frame(self) -> pd.DataFrame:
        """Return the counts as a data frame: true classes are its index, answers its columns."""
        frame = Table(columns=self.names, rows=tuple(self)).frame()
        frame.index = self.names
        return frame.rename_axis(index="true class", columns="predicted class")


def _text(value: Any) -> str:
    """Write a value for people."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4f}" if abs(value) < 10 else f"{value:,.1f}"
    if isinstance(value, int):
        return f"{value:,}"
    text = ", ".join(map(_text, value)) if isinstance(value, tuple | list) else str(value)
    return text if len(text) <= _MOST_LETTERS else text[: _MOST_LETTERS - 1] + "…"
