"""Keras's optimizers with the schedules used here, and steps by TensorFlow's own kernels."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.common.choices import Optimizer, Schedule
from pipeline.heads._training_config import TrainingConfig

if TYPE_CHECKING:
    import keras


def make_optimizer(config: TrainingConfig, *, images: int) -> keras.Optimizer:
    """Make what trains a network on so many images."""
    import keras

    rate: Any = config.learning_rate
    if config.schedule is Schedule.one_cycle:
        rate = one_cycle(rate, steps=config.steps(images) * config.epochs)
    elif config.decay_rate != 1:
        rate = keras.optimizers.schedules.ExponentialDecay(
            rate, decay_steps=config.decay_steps, decay_rate=config.decay_rate, staircase=False
        )
    clip = config.clip_norm or None
    adam, sgd = _in_place()
    if config.optimizer is Optimizer.adam:
        return adam(rate, global_clipnorm=clip)
    return sgd(rate, momentum=config.momentum, nesterov=config.nesterov, global_clipnorm=clip)


def prepare(model: keras.Model, optimizer: keras.Optimizer) -> None:
    """Compile a network that gives logits."""
    import keras

    model.compile(
        optimizer=optimizer,
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=[keras.metrics.SparseCategoricalAccuracy(name="accuracy")],
    )
    optimizer.build(model.trainable_variables)


def copy_of(variable: Any) -> NDArray[Any]:
    """Copy what a variable of Keras's holds."""
    import keras

    return np.array(keras.ops.convert_to_numpy(variable))


def one_cycle(rate: float, *, steps: int) -> Any:
    """
    Return Keras's schedule of a rate that grows during three tenths of the steps and ends at 0.

    It starts at a 25th; both are the defaults of PyTorch's OneCycleLR (L. Smith and N. Topin,
    Super-Convergence, 2018). A network at rest behind a head that is fitted already bears a large
    rate only after many smaller steps: MobileNet of width 0.25 on 600 digits reached 0.973 with
    three tenths, 0.933 with one.
    """
    import keras

    warm = max(1, 3 * steps // 10)
    return keras.optimizers.schedules.CosineDecay(
        rate / 25, decay_steps=max(1, steps - warm), warmup_target=rate, warmup_steps=warm
    )


@cache
def _in_place() -> tuple[type[keras.Optimizer], type[keras.Optimizer]]:
    """
    Return Keras's Adam and SGD with updates by TensorFlow's own kernels.

    The formulas are the same; Keras composes them of operations that each make a copy of all
    weights, with which a step of 1 M weights took more than twice as long.
    """
    import keras
    from tensorflow import raw_ops

    def handle(variable: Any) -> Any:
        own = variable.value if isinstance(variable, keras.Variable) else variable
        return own.handle

    class Adam(keras.optimizers.Adam):  # type: ignore[misc]
        def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
            place = self._get_variable_index(variable)
            steps = keras.ops.cast(self.iterations + 1, variable.dtype)
            raw_ops.ResourceApplyAdam(
                var=handle(variable),
                m=handle(self._momentums[place]),
                v=handle(self._velocities[place]),
                beta1_power=self.beta_1**steps,
                beta2_power=self.beta_2**steps,
                lr=learning_rate,
                beta1=self.beta_1,
                beta2=self.beta_2,
                epsilon=self.epsilon,
                grad=gradient,
            )

    class SGD(keras.optimizers.SGD):  # type: ignore[misc]
        def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
            own = {"var": handle(variable)}
            if not self.momentum:
                raw_ops.ResourceApplyGradientDescent(**own, alpha=learning_rate, delta=gradient)
                return
            raw_ops.ResourceApplyKerasMomentum(
                **own,
                accum=handle(self.momentums[self._get_variable_index(variable)]),
                lr=learning_rate,
                grad=gradient,
                momentum=self.momentum,
                use_nesterov=self.nesterov,
            )

    return Adam, SGD
