"""What the page of a tuning job needs to know of it, whoever tells: manager/trials.py has it from SageMaker."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, Protocol

# TrainingJobStatus of a trial whose objective, if it has one, does not count.
FAILED = "Failed"


class Trial(Protocol):
    """A training job of a tuning job."""

    @property
    def name(self) -> str:
        """TrainingJobName."""

    @property
    def status(self) -> str:
        """TrainingJobStatus."""

    @property
    def values(self) -> Mapping[str, Any]:
        """What the tuning job chose, by the setting's name, each of the setting's own type."""

    @property
    def objective(self) -> float | None:
        """The objective metric; None: there is none."""

    @property
    def launched(self) -> datetime:
        """When it was launched."""

    @property
    def seconds(self) -> float | None:
        """How long it has trained; None: it has not begun."""

    @property
    def failure(self) -> str:
        """Why it failed; empty where it did not."""


class TuningJob(Protocol):
    """A tuning job at one moment."""

    @property
    def name(self) -> str:
        """HyperParameterTuningJobName."""

    @property
    def status(self) -> str:
        """HyperParameterTuningJobStatus."""

    @property
    def objective(self) -> str:
        """The metric that tells trials apart."""

    @property
    def direction(self) -> Literal["Maximize", "Minimize"]:
        """Which objective is the better one."""

    @property
    def parameters(self) -> Sequence[str]:
        """The settings that it varies, by name."""

    @property
    def trials(self) -> Sequence[Trial]:
        """In the order of their launch."""
