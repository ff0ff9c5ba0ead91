"""What is told to those who watch a training: the trackers and the diagnostics."""

from dataclasses import dataclass
from typing import Protocol

from container.modeling.optimization.history import History
from container.modeling.optimization.predictor import Outputs
from container.modeling.optimization.steps import Totals
from container.report.facts import Epoch


@dataclass(frozen=True, eq=False)
class ObservedEpoch:
    """An epoch that is over and judged."""

    row: Epoch
    history: History
    """With this epoch."""
    totals: Totals
    """Of its training steps."""
    validation: Outputs
    """What the model says of the validation images after it."""


class Observer(Protocol):
    """Watches a training, on the first host alone. Training goes on by nothing that it does."""

    def before_steps(self, first: int, count: int) -> None:
        """Take note that training steps come, numbered from 1 over all epochs."""
        return

    def after_epoch(self, epoch: ObservedEpoch) -> None:
        """Take note of an epoch."""
