"""The MLP head: trained by Keras, kept and applied as plain arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from pipeline.common.choices import Activation, ClassWeight, HeadKind
from pipeline.common.errors import HeadError
from pipeline.common.listener import Progress
from pipeline.common.steps import Step, dense
from pipeline.heads._choice import class_weights
from pipeline.heads._codes import Rows
from pipeline.heads._config import MlpConfig, Output
from pipeline.heads._head import Head
from pipeline.heads._scaler import ParetoScaler

# Adam overfits the first layer sooner on large inputs. Measured with the default configuration on
# EfficientNet-Lite0 and MobileNet codes of clothing photos: validation loss 0.524 and 0.764 with
# 1, 0.492 and 0.717 with 2, 0.469 and 0.711 with 4.
_SHRINK = 4.0

Layers = list[tuple[NDArray[np.float32], NDArray[np.float32]]]


class MlpHead(Head):
    """
    A multi-layer perceptron.

    Its validation rows are only looked at, to draw curves and to stop early. Without any, a
    share of each class is held out of the training rows.

    Parameters
    ----------
    config : MlpConfig, optional
        Its layers and its training.
    class_weight : dict, "balanced" or None
        What an image counts, by its class; as in scikit-learn.
    seed : int
        Decides kernels, dropout, the order of the images and which are held out.
    widths : tuple of int, optional
        See `ParetoScaler`.
    room : int
        Bytes for shuffling images whose codes are not in memory.
    """

    kind = HeadKind.mlp
    gives_logits = True
    _learned = "layers_"

    def __init__(
        self,
        *,
        config: MlpConfig | None = None,
        class_weight: Mapping[Any, float] | str | None = None,
        seed: int = 0,
        widths: Sequence[int] | None = None,
        room: int = 1 << 29,
    ) -> None:
        self.config = config
        self.class_weight = class_weight
        self.seed = seed
        self.widths = widths
        self.room = room

    @property
    def parameters(self) -> dict[str, Any]:
        """Configuration and seed; once fitted also the classes and how many epochs were run."""
        asked = {
            "config": (self.config or MlpConfig()).to_json(),
            "class_weight": "none" if self.class_weight is None else self.class_weight,
            "seed": self.seed,
        }
        return {**asked, **self.chosen_} if hasattr(self, "chosen_") else asked

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return ``kernel_0``, ``bias_0``, ... of the layers and ``scale``."""
        named: dict[str, NDArray[Any]] = {"scale": self.scale_}
        for i, (kernel, bias) in enumerate(self.layers_):
            named[f"kernel_{i}"], named[f"bias_{i}"] = kernel, bias
        return named

    @classmethod
    def from_arrays(cls, parameters: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Self:
        """Rebuild a fitted head from `parameters` and `arrays`."""
        weight = ClassWeight(parameters.get("class_weight", ClassWeight.none))
        config = MlpConfig.from_json(parameters["config"])
        head = cls(
            config=config,
            class_weight=None if weight is ClassWeight.none else weight.value,
            seed=parameters["seed"],
        )
        asked = head.parameters
        head.chosen_ = {k: v for k, v in parameters.items() if k not in asked}
        count = (len(arrays) - 1) // 2
        head.layers_ = [(arrays[f"kernel_{i}"], arrays[f"bias_{i}"]) for i in range(count)]
        head.scale_ = arrays["scale"]
        head.n_features_in_ = len(head.scale_)
        head.classes_ = np.arange(int(parameters["n_classes"]))
        head._check_layers()
        return head

    def _fit(self, train: Rows, val: Rows | None, progress: Progress) -> None:
        from pipeline.heads import _training

        config = self.config or MlpConfig()
        if config.output is Output.binary and self.n_classes_ != 2:
            raise HeadError(
                f"a single sigmoid output tells 2 classes apart, found {self.n_classes_}; "
                "use --preset surfing or leave --preset away"
            )
        how = "validation images"
        if val is None and config.validation_share:
            train, val = _hold_out(train, config.validation_share, self.seed)
            how = f"{config.validation_share:.0%} of the training images, held out"
        scale = np.ones(self.n_features_in_)
        if config.scale:
            scale = _SHRINK * ParetoScaler(widths=self.widths).fit_codes(train.codes).scale_
        of_class = class_weights(self.class_weight, train.y, self.classes_)
        weights = np.array(
            [1.0 if of_class is None else of_class[i] for i in range(self.n_classes_)]
        )
        self.scale_ = scale
        examples = _training.TrainingData(
            train=train, val=val, scale=scale, class_weights=weights, room=self.room
        )
        self.layers_, self.history_ = _training.train(
            config, examples, seed=self.seed, progress=progress
        )
        self.chosen_ = {
            "n_classes": self.n_classes_,
            "epochs_run": len(self.history_["loss"]),
            "fitted_on": "train",
        }
        self._measure(val, how)

    @property
    def estimator_(self) -> Self:
        """Itself: Keras has fitted it, and it is a classifier of scikit-learn's."""
        self.check_fitted()
        return self

    def _folded(self, slope: float) -> tuple[Step, ...]:
        config = self.config or MlpConfig()
        (first, own), *others = self.layers_
        scaled = np.asarray(first / self.scale_[:, None], np.float32)
        *hidden, (kernel, bias) = [(scaled, own), *others]
        activations = (activation.value for activation in config.activation)
        steps = [dense(*each, activation=next(activations)) for each in hidden]
        if config.output is Output.sigmoid:
            logs = dense(kernel, bias, activation="log_sigmoid")
            slopes = np.diag(np.full(self.n_classes_, slope))
            return (*steps, logs, dense(slopes, np.zeros(self.n_classes_)))
        if config.output is Output.binary:  # as in `_decision`
            both = np.array([-slope / 2, slope / 2])
            return (*steps, dense(kernel * both, bias * both))
        return (*steps, dense(slope * kernel, slope * bias))

    def _decision(self, codes: NDArray[np.float32]) -> NDArray[np.float64]:
        config = self.config or MlpConfig()
        values = codes / self.scale_
        for (kernel, bias), activation in zip(self.layers_, config.activation, strict=False):
            values = _activate(values @ kernel + bias, activation)
        kernel, bias = self.layers_[-1]
        logits = np.asarray(values @ kernel + bias)
        if config.output is Output.binary:
            # The sigmoid of z is the softmax of (-z / 2, z / 2).
            return np.concatenate([-logits, logits], axis=1) / 2
        return logits

    def _logits(self, decision: NDArray[np.float64]) -> NDArray[np.float64]:
        """
        Return what the softmax is taken of.

        The independent sigmoids of ``Output.sigmoid`` are divided by their sum, so that they
        can be read like those of the other heads; the order of the classes stays the same.
        """
        if (self.config or MlpConfig()).output is Output.sigmoid:
            # sigmoid(z) / sum(sigmoid(z)) is the softmax of log(sigmoid(z)), which cannot
            # become 0 / 0 when all are far below 0.
            return -np.logaddexp(0, -decision)
        return decision

    def _check_layers(self) -> None:
        """Raise HeadError unless each layer takes what the one before gives."""
        config = self.config or MlpConfig()
        outputs = 1 if config.output is Output.binary else self.n_classes_
        widths = (self.n_features_in_, *config.hidden, outputs)
        expected = [((a, b), (b,)) for a, b in pairwise(widths)]
        found = [(kernel.shape, bias.shape) for kernel, bias in self.layers_]
        if found != expected or self.scale_.shape != widths[:1]:
            raise HeadError(f"expected layers of widths {widths}, found {found}")


def _activate(values: NDArray[np.float64], activation: Activation) -> NDArray[np.float64]:
    if activation is Activation.relu:
        return np.maximum(values, 0)
    if activation is Activation.tanh:
        return np.tanh(values)
    if activation is Activation.sigmoid:
        # Equal to 1 / (1 + exp(-x)), and exp never overflows.
        return 0.5 * (1 + np.tanh(0.5 * values))
    return np.where(values > 0, values, np.expm1(np.minimum(values, 0)))


def _hold_out(rows: Rows, share: float, seed: int) -> tuple[Rows, Rows | None]:
    """Hold out a share of each class, of no class all images."""
    rng = np.random.default_rng(seed)
    held = []
    for label in np.unique(rows.y):
        of_class = rng.permutation(np.flatnonzero(rows.y == label))
        held.append(of_class[: min(round(share * len(of_class)), len(of_class) - 1)])
    out = np.zeros(len(rows), dtype=bool)
    out[np.concatenate(held)] = True
    if not out.any():
        return rows, None
    return rows.take(np.flatnonzero(~out)), rows.take(np.flatnonzero(out))
