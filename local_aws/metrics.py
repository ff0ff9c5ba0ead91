"""MetricDefinitions: numbers that regular expressions find in a job's log lines."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True)
class MetricDefinition:
    """A metric's name, and the expression whose first group is its value."""

    name: str
    regex: re.Pattern[str]


@dataclass(frozen=True)
class MetricData:
    """One value of a metric, as DescribeTrainingJob's FinalMetricDataList has it."""

    name: str
    value: float
    timestamp: datetime


class FinalMetrics:
    """The last value that was seen of each metric; finite ones only, as CloudWatch takes no others.

    Args:
        on_value: gets each value when it is seen.
    """

    def __init__(self, definitions: Iterable[MetricDefinition], on_value: Callable[[MetricData], None]) -> None:
        self._on_value = on_value
        self._definitions = tuple(definition for definition in definitions if definition.regex.groups)
        self._last: dict[str, MetricData] = {}

    def observe(self, line: str, timestamp: datetime) -> None:
        """Looks for every metric in one line; of several matches in it the last one counts."""
        for definition in self._definitions:
            for match in definition.regex.finditer(line):
                value = _number(match[1])
                if value is not None:
                    data = MetricData(definition.name, value, timestamp)
                    self._last[definition.name] = data
                    self._on_value(data)

    def data(self) -> tuple[MetricData, ...]:
        """In the order in which the metrics were first seen."""
        return tuple(self._last.values())


def _number(text: str | None) -> float | None:
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if math.isfinite(value) else None
