"""Photos to look at before anything is computed, or with the answers that they got."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pipeline import report, store
from pipeline.common.errors import SourceError
from pipeline.common.files import make_folder, write_durably
from pipeline.common.listener import SILENT, Listener
from pipeline.flows import places, samples


@dataclass(frozen=True, kw_only=True)
class Sheet:
    """
    What `show` drew.

    Attributes
    ----------
    out : str
        The PNG file.
    shown, images : int
        How many photos are on it, and out of how many.
    """

    out: str
    shown: int
    images: int


def show(
    source: str | Path,
    *,
    out: str | Path | None = None,
    root: str | Path | None = None,
    listener: Listener = SILENT,
) -> Sheet:
    """
    Draw a contact sheet: photos of each class, or photos with their answers.

    Parameters
    ----------
    source : str or Path
        Photos, as `extract` takes them; a store, whose photos are still there; or a table that
        `predict` or `evaluate` wrote: right answers are green then, and wrong ones orange.
    out : str or Path, optional
        A PNG file; by default ``samples.png`` in ``artifacts/reports/<name of the source>``.
    root : str or Path, optional
        The folder that paths in a table are relative to, where they are not found otherwise.
    listener : Listener, optional
        Hears sentences for the user.

    Returns
    -------
    Sheet

    Raises
    ------
    SourceError
        If there are no photos.
    StoreError
        If a store does not say where its photos are.
    OutputError
        If the sheet cannot be written.
    """
    path = Path(source)
    if samples.is_answers(path):
        found = samples.of_answers(path, root=None if root is None else Path(root))
    elif (path / store.HEADER_FILE).is_file() or path.suffix == ".h5":
        found = samples.of_store(store.open_store(path))
    else:
        found = samples.of_source(source, {"root": root}, listener.tell)
    if not found.shown:
        raise SourceError(f"expected photos in {source}, found none")
    target = places.samples_of(source) if out is None else Path(out)
    make_folder(target.parent)
    write_durably(target, report.sheet_png(found.rows, title=found.title))
    return Sheet(out=str(target), shown=found.shown, images=found.of)
