"""A file of a format, written by its converter."""

from __future__ import annotations

from pathlib import Path

from pipeline.common.choices import ExportFormat
from pipeline.common.errors import ExportError, PipelineError
from pipeline.exports._content import ExportContent
from pipeline.exports._format import Format


def write(form: Format, content: ExportContent, path: Path) -> None:
    """
    Write a file, or the folder of a format that is one.

    Parameters
    ----------
    form : Format
    content : ExportContent
    path : Path

    Raises
    ------
    ExportError
        If the converter gives up.
    """
    if not form.suffix:
        path.mkdir()
    try:
        form.write(content, path)
    except (PipelineError, OSError, MemoryError):
        raise
    except Exception as error:
        said = " ".join(str(error).split())[:200]
        raise ExportError(
            f"expected a head that {form.name.value} can express, found one that its converter "
            f"refuses ({type(error).__name__}: {said}); choose another --format, such as "
            f"{ExportFormat.keras.value}"
        ) from error
