"""The epochs of a training run so far: which was the best, and how long ago that is. Pure."""

from typing import Self

from pydantic import BaseModel, ConfigDict

from container.modeling.settings import Training
from container.report.facts import Epoch

# What the log tells of the validation set, beside the best value so far of each.
VALIDATION_METRICS = ("val_loss", "val_accuracy", "val_f1")


class History(BaseModel):
    """The epochs so far, in order; frozen."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    epochs: tuple[Epoch, ...] = ()
    best: Epoch | None = None
    """The first of those with the best `training.monitor`."""
    without_improvement: int = 0
    """Epochs of this phase since the best one of all, or since the phase began."""

    def with_epoch(self, row: Epoch, training: Training) -> Self:
        """Return the history with one more epoch."""
        better = self.best is None or gain(row, self.best, training) > training.min_delta
        return self.model_copy(
            update={
                "epochs": (*self.epochs, row),
                "best": row if better else self.best,
                "without_improvement": 0 if better else self.without_improvement + 1,
            }
        )

    def with_new_phase(self) -> Self:
        """Return the history at the start of a phase, which gets its patience anew."""
        return self.model_copy(update={"without_improvement": 0})

    def of_phase(self, phase: int) -> tuple[Epoch, ...]:
        """Return the epochs of a phase."""
        return tuple(row for row in self.epochs if row.phase == phase)

    def line(self, planned: int) -> str:
        """Return what the log tells of the last epoch; `planned` is how many there will be at most."""
        row = self.epochs[-1]
        values = {name: getattr(row, name) for name in ("loss", "accuracy", *VALIDATION_METRICS)}
        values |= {f"best_{name}": self.best_value(name) for name in VALIDATION_METRICS}
        numbers = " ".join(f"{name}={value:.4f}" for name, value in values.items())
        return f"epoch={row.epoch} epochs={planned} seconds={row.seconds:.2f} {numbers}"

    def best_value(self, metric: str) -> float:
        """Return the best value of a validation metric in all epochs; of `val_loss` the least one.

        Raises:
            ValueError: there is no epoch.
        """
        choose = min if metric == "val_loss" else max
        return choose(float(getattr(row, metric)) for row in self.epochs)


def gain(row: Epoch, than: Epoch, training: Training) -> float:
    """Return by how much an epoch's `training.monitor` is better than another's; negative: it is worse."""
    mode = training.mode
    if mode == "auto":
        mode = "min" if training.monitor == "val_loss" else "max"
    difference: float = getattr(row, training.monitor) - getattr(than, training.monitor)
    return -difference if mode == "min" else difference
