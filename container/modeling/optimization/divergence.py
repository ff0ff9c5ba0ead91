"""When training cannot go on: the loss, or the gradients of a step, are no numbers any more, or beyond all measure."""

import math

from container.errors import ProjectError
from container.modeling.optimization.measures import ExplodedStep
from container.modeling.settings import ContainerSettings


class DivergedError(ProjectError):
    """The loss is no finite number any more, or the gradients explode."""


class Limits:
    """What training ends at, with errors that name the setting to lower."""

    def __init__(self, settings: ContainerSettings) -> None:
        self._is_off = "exploding_gradient" in settings.diagnostics.off
        # Clipping brings all gradients that are numbers to a size to go on with.
        self._is_clipped = bool(settings.optimizer.clip_norm)
        self._most = settings.diagnostics.exploding_gradient

    @property
    def gradient_norm(self) -> float:
        """The largest norm of a step's gradients; may be infinite."""
        return math.inf if self._is_clipped else self._most

    def check_step(self, exploded: ExplodedStep | None, epoch: int, setting: str, learning_rate: float) -> None:
        """See that no step exploded, unless `exploding_gradient` is off.

        Raises:
            DivergedError: one did.
        """
        if exploded is None or self._is_off:
            return
        where, remedy = f"in epoch {epoch}, step {exploded.step}", _remedy(setting, learning_rate)
        if not math.isfinite(exploded.loss):
            raise DivergedError(f"loss became {exploded.loss} {where}: {remedy}")
        if not self._is_clipped:
            remedy += ", or set optimizer.clip_norm, such as to 1"
        raise DivergedError(
            f"the norm of the gradients became {exploded.gradient_norm:.3g} {where}, above "
            f"diagnostics.exploding_gradient={self.gradient_norm:g}: {remedy}"
        )

    def check_value(self, name: str, value: float, epoch: int, setting: str, learning_rate: float) -> None:
        """See that a loss is a finite number.

        Raises:
            DivergedError: it is not.
        """
        if not math.isfinite(value):
            raise DivergedError(f"{name} became {value} in epoch {epoch}: {_remedy(setting, learning_rate)}")


def _remedy(setting: str, learning_rate: float) -> str:
    return f"lower {setting} (it was {learning_rate:g})"
