"""The table of kinds of heads."""

from __future__ import annotations

import inspect
from typing import Any

from pipeline.common.choices import HeadKind, OtherKind
from pipeline.common.errors import HeadError, nearest
from pipeline.heads._cosine import CentroidHead, KnnHead
from pipeline.heads._estimator import EstimatorHead
from pipeline.heads._head import Head
from pipeline.heads._linear import RidgeHead, SoftmaxHead, SvmHead
from pipeline.heads._mlp import MlpHead

_Classes = (
    type[SvmHead]
    | type[SoftmaxHead]
    | type[RidgeHead]
    | type[KnnHead]
    | type[CentroidHead]
    | type[MlpHead]
    | type[EstimatorHead]
)

KINDS: dict[HeadKind | OtherKind, _Classes] = {
    HeadKind.svm: SvmHead,
    HeadKind.softmax: SoftmaxHead,
    HeadKind.ridge: RidgeHead,
    HeadKind.knn: KnnHead,
    HeadKind.centroid: CentroidHead,
    HeadKind.mlp: MlpHead,
    OtherKind.sklearn: EstimatorHead,
}


def build(kind: HeadKind | OtherKind, *, seed: int = 0, **parameters: Any) -> Head:
    """
    Make a head that has learned nothing yet.

    Parameters
    ----------
    kind : HeadKind or OtherKind
        Which kind.
    seed : int, default 0
        Decides everything random in `fit`.
    **parameters
        ``C`` (a number or "auto") for svm, softmax and ridge, ``k`` (likewise) for knn,
        ``config`` (an `MlpConfig`) for mlp, ``estimator`` for a classifier of scikit-learn's.

    Returns
    -------
    Head

    Raises
    ------
    HeadError
        If the kind has no such parameter, or its value cannot be used.
    """
    if isinstance(seed, bool) or not (hasattr(seed, "__index__") and 0 <= seed < 2**32):
        raise HeadError(f"expected a seed from 0 to {2**32 - 1}, found {seed!r}")
    seed = int(seed)
    if "C" in parameters and not isinstance(parameters["C"], str | bool):
        parameters["C"] = _number(parameters["C"])
    head_class = KINDS[kind]
    known = [name for name in inspect.signature(head_class).parameters if name != "seed"]
    for name in ("room", "jobs", "widths"):  # of kinds that need no more than the codes
        if name not in known:
            parameters.pop(name, None)
    for name in parameters:
        if name not in known:
            raise HeadError(
                f"expected parameters of the {kind.value} head ({', '.join(known)}), "
                f"found {name!r}; did you mean {nearest(name, known)}?"
            )
    head = head_class(seed=seed, **parameters)
    head.check_parameters()
    return head


def _number(C: Any) -> float:
    """Take NumPy's numbers too; a head is written down as JSON."""
    try:
        return float(C)
    except (TypeError, ValueError):
        raise HeadError(f"expected C as a number or 'auto', found {C!r}") from None


def kind_of(name: str) -> HeadKind | OtherKind:
    """
    Return the kind of a name that a head was saved with.

    Raises
    ------
    ValueError
        If there is none.
    """
    others = [kind.value for kind in OtherKind]
    return OtherKind(name) if name in others else HeadKind(name)
