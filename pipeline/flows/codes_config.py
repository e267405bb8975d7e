"""Which codes are asked for: network, layers, pixels and views, with one meaning everywhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypedDict

from pipeline import backbones, images, store
from pipeline.common.choices import Augment, Dtype, Engine, Precision, Resize, check_known, choose
from pipeline.common.errors import ChoiceError
from pipeline.common.listener import Tell


class CodesOptions(TypedDict, total=False):
    """
    What a user may say of the codes; every option may be left out.

    Attributes
    ----------
    backbone : str
        A row of the table of backbones; by default ``"efficientnet-lite0"``.
    weights : str
        ``"imagenet"``, the default, ``"random"`` or the path of a weights file.
    layers : str or sequence of str
        Where to cut; by default the backbone's own choice. All come from one forward pass.
    size : int or None
        Edge of the square input in pixels; by default the backbone's.
    resize : Resize or str
        How an image becomes a square; by default ``"crop"``.
    batch_size : int or None
        Images in one forward pass; by default the engine's own number.
    engine : Engine or str
        What computes; by default TensorFlow on a GPU, else OpenVINO where it is installed.
    precision : Precision or str
        By default bfloat16 where the processor computes in it, else float32.
    views : int
        How many copies of each image get codes: the image itself, and augmented ones; 1 by default.
    augment : str, sequence of Augment or str, or None
        What the copies differ by, by default ``"flip,crop"``; see `pipeline.images.Views`.
    seed : int
        Decides the copies; 0 by default.
    dtype : Dtype or str
        How wide the stored numbers are, by default ``"float32"``. ``"float16"`` takes half the
        disk; each value is rounded by 1 part in 2048 at the most. Whoever reads the store gets
        float32.
    """

    backbone: str
    weights: str
    layers: str | Sequence[str]
    size: int | None
    resize: Resize | str
    batch_size: int | None
    engine: Engine | str
    precision: Precision | str
    views: int
    augment: str | Sequence[Augment | str] | None
    seed: int
    dtype: Dtype | str


@dataclass(frozen=True, kw_only=True)
class CodesConfig:
    """Which codes are asked for, with everything filled in that the user left out."""

    backbone: backbones.Backbone
    weights: str
    layers: tuple[str, ...]
    size: int
    resize: Resize
    batch_size: int | None
    engine: Engine
    precision: Precision
    views: images.Views
    dtype: Dtype
    policy: Mapping[str, str] = field(default_factory=lambda: images.POLICY)

    @classmethod
    def parse(cls, options: CodesOptions) -> CodesConfig:
        """
        Fill in what the backbone decides where the user does not.

        Raises
        ------
        ChoiceError
            If a value is none of those that there are.
        BackboneError
            If there is no such backbone.
        TypeError
            If there is no such option.
        """
        check_known(options, CodesOptions)
        size = options.get("size")
        if size is not None and not (isinstance(size, int) and size >= 1):
            raise ChoiceError(f"expected a whole number of pixels from 1 for size, found {size!r}")
        resize = choose(Resize, options.get("resize", Resize.crop), what="resize")
        row = backbones.find(options.get("backbone", "efficientnet-lite0"))
        layers = options.get("layers", ())
        names = dict.fromkeys([layers] if isinstance(layers, str) else layers)
        return cls(
            backbone=row,
            weights=options.get("weights", "imagenet"),
            layers=tuple(names) or (row.default,),
            size=size or row.size,
            resize=resize,
            batch_size=options.get("batch_size"),
            engine=choose(Engine, options.get("engine", Engine.auto), what="engine"),
            precision=choose(Precision, options.get("precision", Precision.auto), what="precision"),
            views=images.parse_views(
                options.get("views", 1),
                augment=options.get("augment"),
                seed=options.get("seed", 0),
            ),
            dtype=choose(Dtype, options.get("dtype", Dtype.float32), what="dtype"),
        )

    def of_store(self, header: store.Header) -> CodesConfig:
        """Return it by the decoding rules of an old store, if these are known."""
        return replace(self, policy=images.policy_of(header.space.to_json()))

    def load(self, tell: Tell) -> backbones.Network:
        """Load the network that computes."""
        if self.weights == "imagenet" and self.backbone.builder.startswith("keras."):
            tell(f"weights: Keras downloads those of {self.backbone.name} unless ~/.keras has them")
        network = backbones.load(
            self.backbone,
            weights=self.weights,
            layers=self.layers,
            size=self.size,
            batch_size=self.batch_size,
            engine=self.engine,
            precision=self.precision,
            probe=images.probe_pixels(size=self.size, resize=self.resize),
        )
        for note in network.notes:
            tell(note)
        return network
