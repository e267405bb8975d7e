"""Which head is asked for: its kind and the settings that belong to it, with one meaning."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict

from pipeline import heads
from pipeline.common.choices import (
    Activation,
    ClassWeight,
    HeadKind,
    Optimizer,
    OtherKind,
    Pool,
    Preset,
    choose,
)
from pipeline.common.errors import HeadError
from pipeline.flows.examples import REGULARISED
from pipeline.flows.kinds import choose_kind


class HeadOptions(TypedDict, total=False):
    """
    What a user may say of a head; every option but the kind may be left out.

    Attributes
    ----------
    kind : HeadKind or str
        ``"svm"``, ``"softmax"``, ``"ridge"``, ``"knn"``, ``"centroid"`` or ``"mlp"``; or a
        classifier of scikit-learn's by its name, such as
        ``"sklearn.ensemble.RandomForestClassifier"``, which then stands behind a `StandardScaler`.
    estimator : classifier
        Instead of a kind: any classifier of scikit-learn's, or a pipeline that ends in one; it is
        cloned.
    settings : mapping
        Parameters of a `kind` of scikit-learn's.
    C : float or "auto"
        Inverse regularisation of svm, softmax and ridge; ``"auto"``, the default, takes the value
        of a grid with the smallest loss on the validation split.
    k : int or "auto"
        Neighbours of knn; ``"auto"``, the default, takes what gets most validation images right.
    class_weight : ClassWeight or str
        ``"balanced"`` makes every class count alike, however many images it has.
    folds : int
        Choose and calibrate by so many folds of the training images (classes spread evenly, groups
        kept together) instead of the validation images, which then have no part in the head. What
        it says of each training image while this was held out is kept:
        ``evaluate(split="train")``.
    jobs : int
        Fits of an svm at the same time; by default one for each processor, fewer where memory is
        short.
    preset : Preset or str
        The MLP of an article, as a start for the settings below.
    hidden, activation, dropout, l2, optimizer, learning_rate, epochs, batch_size, early_stopping
        Settings of an MLP, see `pipeline.heads.MlpConfig`; of the layers one value for all, or
        one for each.
    """

    kind: HeadKind | str | None
    estimator: Any
    settings: Mapping[str, Any] | None
    C: float | str
    k: int | str
    class_weight: ClassWeight | str
    folds: int | None
    jobs: int | None
    preset: Preset | str | None
    hidden: Sequence[int]
    activation: Activation | str | Sequence[Activation]
    dropout: float | Sequence[float]
    l2: float | Sequence[float]
    optimizer: Optimizer | str
    learning_rate: float
    epochs: int
    batch_size: int
    early_stopping: int


# What is no setting of an MLP.
_OF_ALL = ("kind", "estimator", "settings", "C", "k", "class_weight", "folds", "jobs", "preset")


@dataclass(frozen=True, kw_only=True)
class HeadConfig:
    """
    Which head is asked for.

    Attributes
    ----------
    kind : HeadKind or OtherKind
    name, short : str
        The kind as users type it, and as folders are named.
    parameters : dict
        As `pipeline.heads.build` takes them.
    folds, jobs : int or None
    pool : Pool
        How maps become vectors where nobody says it.
    """

    kind: HeadKind | OtherKind
    name: str
    short: str
    parameters: dict[str, Any]
    folds: int | None
    jobs: int | None
    pool: Pool

    @classmethod
    def parse(cls, options: HeadOptions) -> HeadConfig:
        """
        Sort out which settings belong to which kind.

        Raises
        ------
        HeadError
            If there is no such classifier, or a setting belongs to another kind.
        ChoiceError
            If there is no such kind, class weight or preset.
        """
        asked = choose_kind(
            options.get("kind"),
            estimator=options.get("estimator"),
            settings=options.get("settings"),
        )
        preset = options.get("preset")
        return cls(
            kind=asked.kind,
            name=asked.name,
            short=asked.short,
            parameters=_parameters(asked.kind, options) | asked.parameters,
            folds=options.get("folds"),
            jobs=options.get("jobs"),
            pool=Pool.avg if preset is None else _pool_of(preset),
        )

    def check(self, seeds: Sequence[int]) -> None:
        """Raise HeadError where a value cannot be used, before anything is read."""
        for seed in seeds:
            heads.build(self.kind, seed=seed, **self.parameters)


def _parameters(kind: HeadKind | OtherKind, options: HeadOptions) -> dict[str, Any]:
    """Return what the kind takes; refuse what it does not."""
    weight = choose(ClassWeight, options.get("class_weight", "none"), what="class_weight")
    class_weight = None if weight is ClassWeight.none else weight.value
    C, k, folds = options.get("C", "auto"), options.get("k", "auto"), options.get("folds")
    if C != "auto" and kind not in REGULARISED:
        other = "; try l2" if kind is HeadKind.mlp else ""
        raise HeadError(
            f"expected C with kind svm, softmax or ridge, found kind {kind.value} and C {C}{other}"
        )
    if k != "auto" and kind is not HeadKind.knn:
        raise HeadError(f"expected k with kind knn only, found kind {kind.value} and k {k}")
    if class_weight is not None and kind not in (*REGULARISED, HeadKind.mlp):
        raise HeadError(
            f"expected class weights with kind svm, softmax, ridge or mlp, found {kind.value}"
        )
    if folds is not None and kind in (HeadKind.knn, HeadKind.mlp):
        raise HeadError(
            f"expected --folds with kind svm, softmax, ridge, centroid or one of scikit-learn's, "
            f"found {kind.value}; leave --folds out, and extract with --val 0.2"
        )
    preset = options.get("preset")
    mlp = {name: value for name, value in options.items() if name not in _OF_ALL}
    if kind is HeadKind.mlp:
        config = heads.MlpConfig.from_options(preset, **mlp)  # type: ignore[arg-type]
        return {"config": config, "class_weight": class_weight}
    if given := [*mlp, *(["preset"] if preset is not None else [])]:
        raise HeadError(
            f"expected {', '.join(given)} with kind mlp only, found kind {kind.value}; "
            "choose --kind mlp"
        )
    if kind is HeadKind.knn:
        return {"k": k}
    own = {"C": C, "class_weight": class_weight} if kind in REGULARISED else {}
    return own if folds is None else {**own, "folds": folds}


def _pool_of(preset: Preset | str) -> Pool:
    """Return how maps become vectors in the preset's article."""
    return heads.PRESET_POOLS.get(choose(Preset, preset, what="preset"), Pool.avg)
