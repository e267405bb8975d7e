"""Where results go unless a user says otherwise: folders in `artifacts/`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline import heads, store
from pipeline.flows.layers import named

_ARTIFACTS = Path("artifacts")
_FEATURES, _HEADS = _ARTIFACTS / "features", _ARTIFACTS / "heads"
_REPORTS, _EXPORTS = _ARTIFACTS / "reports", _ARTIFACTS / "exports"


def features_of(source: Any) -> Path:
    """Return the store of a source, by the name of its folder or file."""
    if not isinstance(source, (str, Path)):
        return _FEATURES / "photos"
    path = Path(source).absolute()
    return _FEATURES / ((path.stem if path.is_file() else path.name) or "photos")


def features_from(opened: store.Store, start: str) -> Path:
    """Return the store of the codes of a boundary."""
    return _FEATURES / f"{store.name_of(opened)}-{start}"


def head_of(opened: store.Store, parts: Sequence[heads.Part], kind: str) -> Path:
    """Return a head's place; layers stand between store and kind where there are several."""
    words = [store.name_of(opened), kind]
    if len(opened.layers) > 1:
        words.insert(1, re.sub("[:/]", "-", named(parts)))
    return _HEADS / "-".join(words)


def best_head_of(opened: store.Store) -> Path:
    """Return the place of the head that `compare` keeps."""
    return _HEADS / f"{store.name_of(opened)}-best"


def tuned_head_of(head: Path) -> Path:
    """Return the place of a head that was trained further."""
    return _HEADS / f"{head.absolute().name}-tuned"


def report_of(head: Path, suffix: str = "") -> Path:
    """Return the place of what `evaluate` finds."""
    return _REPORTS / (head.absolute().name + suffix)


def heads_of(opened: store.Store) -> Path:
    """Return the place of what several heads say of a store."""
    return _REPORTS / f"{store.name_of(opened)}-heads"


def curve_of(opened: store.Store, kind: str) -> Path:
    """Return the place of a learning curve."""
    return _REPORTS / f"{store.name_of(opened)}-{kind}-learning-curve"


def audit_of(opened: store.Store) -> Path:
    """Return the place of what `audit` finds."""
    return _REPORTS / f"{store.name_of(opened)}-audit"


def groups_of(opened: store.Store) -> Path:
    """Return the place of what `group` finds."""
    return _REPORTS / f"{store.name_of(opened)}-groups"


def samples_of(source: str | Path) -> Path:
    """Return the place of a contact sheet."""
    return _REPORTS / features_of(source).name / "samples.png"


def export_of(name: str) -> Path:
    """Return the place of an export."""
    return _EXPORTS / name
