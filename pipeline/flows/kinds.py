"""Which classifier: a kind of this package, or any of scikit-learn's by name or as an object."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from pipeline.common.choices import HeadKind, OtherKind, choose
from pipeline.common.errors import HeadError, nearest

_PREFIX = "sklearn."
_OF_PYTHON = {"None": "null", "True": "true", "False": "false"}


@dataclass(frozen=True)
class Asked:
    """
    The classifier that was asked for.

    Attributes
    ----------
    kind : HeadKind or OtherKind
    name : str
        As users type it; of an object, the class of the classifier.
    estimator : classifier or None
        Of scikit-learn's, not fitted; None for the kinds of this package.
    """

    kind: HeadKind | OtherKind
    name: str
    estimator: Any = None

    @property
    def parameters(self) -> dict[str, Any]:
        """What `pipeline.heads.build` needs to know beside the kind."""
        return {} if self.estimator is None else {"estimator": self.estimator}

    @property
    def short(self) -> str:
        """A name for folders."""
        return self.name.rpartition(".")[2].lower()


def choose_kind(
    kind: HeadKind | str | None,
    *,
    estimator: Any = None,
    settings: Mapping[str, Any] | None = None,
) -> Asked:
    """
    Find a classifier.

    Parameters
    ----------
    kind : HeadKind, str or None
        A kind, or ``"sklearn.MODULE.CLASS"``.
    estimator : classifier, optional
        Instead of a kind.
    settings : mapping, optional
        Parameters of a class of scikit-learn's.

    Returns
    -------
    Asked

    Raises
    ------
    HeadError
        If there is no such classifier, or its parameters are not those given.
    ChoiceError
        If there is no such kind.
    """
    if (kind is None) is (estimator is None):
        raise HeadError("expected a kind or an estimator, found both or none; give one of them")
    if estimator is not None:
        last = estimator[-1] if hasattr(estimator, "steps") else estimator
        return Asked(OtherKind.sklearn, type(last).__name__, estimator)
    name = str(getattr(kind, "value", kind))
    if name.startswith(_PREFIX):
        return Asked(OtherKind.sklearn, name, _made(name, settings or {}))
    if settings:
        raise HeadError(
            f"expected --set with a --kind of scikit-learn's, such as "
            f"sklearn.ensemble.RandomForestClassifier, found kind {name}"
        )
    own = choose(HeadKind, kind, what="kind")
    return Asked(own, own.value)


def parse_settings(texts: Sequence[str]) -> dict[str, Any]:
    """
    Read ``NAME=VALUE``; values are JSON where they can be, else text.

    Raises
    ------
    HeadError
        If there is no =, or a name is given twice.
    """
    found: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name or name in found:
            raise HeadError(f"expected --set NAME=VALUE, each name once, found {text!r}")
        try:
            found[name] = json.loads(_OF_PYTHON.get(value, value))
        except ValueError:
            found[name] = value
    return found


def _made(name: str, settings: Mapping[str, Any]) -> Any:
    """Make the classifier of a name, behind a scaler; it uses all processors where it can."""
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    classifier = _class(name)
    known = classifier._get_param_names()
    for setting in settings:
        if setting not in known:
            raise HeadError(
                f"expected a parameter of {name} ({', '.join(known)}), found {setting!r}; did you "
                f"mean {nearest(setting, known)}?"
            )
    jobs = {"n_jobs": -1} if "n_jobs" in known else {}
    try:
        made = classifier(**(jobs | dict(settings)))
    except (TypeError, ValueError) as error:
        raise HeadError(
            f"{name} cannot be made of names and values ({error}); make it in Python and give "
            "fit_head(store, estimator=...)"
        ) from error
    return make_pipeline(StandardScaler(), made)


def _class(name: str) -> Any:
    """Import a classifier of scikit-learn's, and nothing else."""
    from sklearn.base import BaseEstimator, ClassifierMixin

    module, _, attribute = name.rpartition(".")
    try:
        found = getattr(import_module(module), attribute)
    except (ImportError, AttributeError):
        found = None
    if (
        isinstance(found, type)
        and issubclass(found, BaseEstimator)
        and issubclass(found, ClassifierMixin)
        and found.__module__.startswith(_PREFIX)
    ):
        return found
    known = _classifiers()
    raise HeadError(
        f"expected a classifier of scikit-learn's, found {name}; did you mean "
        f"{nearest(name, known)}?"
    )


def _classifiers() -> list[str]:
    """Return the names of all classifiers of scikit-learn's, as they are imported."""
    from sklearn.utils import all_estimators

    return [
        f"{found.__module__.partition('._')[0]}.{name}"
        for name, found in all_estimators(type_filter="classifier")
    ]
