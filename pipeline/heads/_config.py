"""What an MLP head looks like and how it is trained; the presets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from enum import Enum
from types import MappingProxyType
from typing import Any, TypeVar

from pipeline.common.choices import Activation, Optimizer, Pool, Preset, Schedule, choose
from pipeline.common.errors import HeadError
from pipeline.heads._training_config import Monitor, TrainingConfig, within

T = TypeVar("T")

# Wider than any layer that fits into memory behind codes of a useful width.
_MOST_UNITS = 1_000_000


class Output(str, Enum):
    """The last layer of an MLP head, and the loss that belongs to it."""

    softmax = "softmax"  # one unit for each class, categorical cross-entropy
    sigmoid = "sigmoid"  # one unit for each class, binary cross-entropy for each
    binary = "binary"  # a single sigmoid unit for two classes, binary cross-entropy


class Initializer(str, Enum):
    """Where the kernel of a layer starts; biases start at 0."""

    glorot_uniform = "glorot_uniform"  # Keras' default
    uniform = "uniform"  # between -0.05 and 0.05, Keras' RandomUniform
    truncated_normal = "truncated_normal"  # standard deviation 0.02, the default of tflearn


@dataclass(frozen=True, kw_only=True)
class MlpConfig(TrainingConfig):
    """
    The layers of an MLP head and how they are trained; values that cannot be used raise HeadError.

    Attributes
    ----------
    hidden : tuple of int
        Units of the hidden layers.
    activation, dropout, l2, initializer : tuple
        One value for each hidden layer. `dropout` is the share of outputs that is dropped, `l2`
        the factor of the kernel's sum of squares in the loss.
    output : Output
        The last layer.
    output_initializer : Initializer
        Where the kernel of the last layer starts.
    scale : bool
        Whether codes are scaled by column first, much as for the linear heads.
    """

    hidden: tuple[int, ...] = (256,)
    activation: tuple[Activation, ...] = (Activation.relu,)
    dropout: tuple[float, ...] = (0.5,)
    l2: tuple[float, ...] = (0.0,)
    initializer: tuple[Initializer, ...] = (Initializer.glorot_uniform,)
    output: Output = Output.softmax
    output_initializer: Initializer = Initializer.glorot_uniform
    scale: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("activation", "dropout", "l2", "initializer"):
            if len(getattr(self, name)) != len(self.hidden):
                raise HeadError(
                    f"expected one --{name} or one for each of {len(self.hidden)} hidden layers, "
                    f"found {len(getattr(self, name))}"
                )
        for units in self.hidden:
            good = 1 <= units <= _MOST_UNITS
            within("--hidden", units, good, f"whole numbers from 1 to {_MOST_UNITS}", whole=True)
        for rate in self.dropout:
            within("--dropout", rate, 0 <= rate < 1, "shares from 0 to below 1")
        for factor in self.l2:
            within("--l2", factor, factor >= 0, "numbers from 0")

    @classmethod
    def from_options(
        cls,
        preset: Preset | str | None = None,
        *,
        hidden: Sequence[int] | None = None,
        activation: Activation | Sequence[Activation] | None = None,
        dropout: float | Sequence[float] | None = None,
        l2: float | Sequence[float] | None = None,
        **others: Any,
    ) -> MlpConfig:
        """
        Take a preset, or the defaults, and change what is named.

        Parameters
        ----------
        preset : Preset or str, optional
            What to start from.
        hidden : sequence of int, optional
            Units of the hidden layers. Where there are more layers than before, the further ones
            take the settings of the last.
        activation, dropout, l2 : value or sequence, optional
            One value for all hidden layers, or one for each.
        **others
            Other attributes by name, such as `optimizer`, `learning_rate`, `epochs`,
            `batch_size` and `early_stopping`; None leaves one as it is.

        Returns
        -------
        MlpConfig

        Raises
        ------
        HeadError
            If a value cannot be used.
        """
        base = cls() if preset is None else PRESETS[choose(Preset, preset, what="preset")]
        units = base.hidden if hidden is None else tuple(hidden)
        per_layer = {"activation": activation, "dropout": dropout, "l2": l2, "initializer": None}
        layers: dict[str, Any] = {
            name: _fit_length(getattr(base, name), len(units))
            if value is None
            else _spread(value, len(units))
            for name, value in per_layer.items()
        }
        given: dict[str, Any] = {name: value for name, value in others.items() if value is not None}
        if unknown := given.keys() - {field.name for field in fields(cls)}:
            raise HeadError(f"an mlp has no option {min(unknown)!r}")
        return replace(base, hidden=units, **layers, **given)

    def to_json(self) -> dict[str, Any]:
        """Return the configuration as plain JSON values."""
        values = {name: _plain(value) for name, value in asdict(self).items()}
        if self.schedule is Schedule.constant:  # the only one there was at first, never named
            del values["schedule"]
        return values

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> MlpConfig:
        """
        Rebuild a configuration from `to_json`.

        Raises
        ------
        HeadError
            If a value cannot be used.
        """
        try:
            values = dict(plain)
            values["activation"] = [Activation(name) for name in plain["activation"]]
            values["initializer"] = [Initializer(name) for name in plain["initializer"]]
            for name in ("hidden", "activation", "dropout", "l2", "initializer"):
                values[name] = tuple(values[name])
            values["output"] = Output(plain["output"])
            values["output_initializer"] = Initializer(plain["output_initializer"])
            values["optimizer"] = Optimizer(plain["optimizer"])
            values["schedule"] = Schedule(plain.get("schedule", Schedule.constant))
            values["monitor"] = Monitor(plain["monitor"])
            return cls(**values)
        except (KeyError, TypeError, ValueError) as error:
            raise HeadError(f"not the description of an mlp: {error}") from error


PRESETS: dict[Preset, MlpConfig] = {
    # Beyond what its article says, the defaults of tflearn's fully_connected, regression and DNN
    # (https://github.com/tflearn/tflearn): truncated normal kernels of standard deviation 0.02,
    # batches of 64, gradients clipped to norm 5. Its weight decay is multiplied by half the sum
    # of squares, so that 0.001 is 0.0005 here; its dropout takes the share that is kept.
    Preset.tflearn: MlpConfig(
        hidden=(4096, 512),
        activation=(Activation.tanh, Activation.tanh),
        dropout=(0.2, 0.2),
        l2=(0.0005, 0.0005),
        initializer=(Initializer.truncated_normal, Initializer.truncated_normal),
        output_initializer=Initializer.truncated_normal,
        optimizer=Optimizer.sgd,
        learning_rate=0.1,
        decay_rate=0.96,
        decay_steps=1000,
        clip_norm=5.0,
        epochs=20,
        batch_size=64,
        early_stopping=0,
        restore_best=False,
        scale=False,
        validation_share=0.1,
    ),
    Preset.mnist_upscaling: MlpConfig(
        hidden=(1000, 500, 150),
        activation=(Activation.relu, Activation.sigmoid, Activation.sigmoid),
        dropout=(0.3, 0.4, 0.2),
        l2=(0.0, 0.0, 0.0),
        initializer=(
            Initializer.uniform,
            Initializer.glorot_uniform,
            Initializer.glorot_uniform,
        ),
        epochs=20,
        batch_size=128,
        early_stopping=0,
        restore_best=False,
        scale=False,
        validation_share=0.3,
    ),
    Preset.cats_dogs: MlpConfig(
        hidden=(256, 128),
        activation=(Activation.relu, Activation.relu),
        dropout=(0.5, 0.7),
        l2=(0.0, 0.0),
        initializer=(Initializer.glorot_uniform, Initializer.glorot_uniform),
        output=Output.binary,
        epochs=50,
        batch_size=80,
        early_stopping=5,
        monitor=Monitor.accuracy,
        restore_best=False,
        scale=False,
        validation_share=0.2,
    ),
    Preset.surfing: MlpConfig(
        hidden=(64,),
        activation=(Activation.relu,),
        dropout=(0.0,),
        l2=(0.0,),
        initializer=(Initializer.glorot_uniform,),
        output=Output.sigmoid,
        learning_rate=0.005,
        epochs=10,
        batch_size=16,
        early_stopping=0,
        restore_best=False,
        scale=False,
        validation_share=0.2,
    ),
}

# How the articles flatten the maps that their heads take; where nothing is said, maps are averaged.
PRESET_POOLS: Mapping[Preset, Pool] = MappingProxyType({Preset.mnist_upscaling: Pool.flat})


def _spread(value: T | Iterable[T], length: int) -> tuple[T, ...]:
    """Repeat a single value for each layer."""
    if isinstance(value, Iterable) and not isinstance(value, str):
        values = tuple(value)
        return values * length if len(values) == 1 else values
    return (value,) * length


def _fit_length(values: tuple[T, ...], length: int) -> tuple[T, ...]:
    """Cut, or repeat the last value."""
    return values[:length] + values[-1:] * (length - len(values))


def _plain(value: Any) -> Any:
    if isinstance(value, Enum):
        return value.value
    return [_plain(item) for item in value] if isinstance(value, tuple) else value
