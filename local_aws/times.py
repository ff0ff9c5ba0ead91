"""The time as SageMaker tells it."""

from __future__ import annotations

from datetime import UTC, datetime


def this_moment() -> datetime:
    """The time, in whole milliseconds: answers have no more, and one that was rounded up would lie in the future."""
    now = datetime.now(UTC)
    return now.replace(microsecond=now.microsecond // 1000 * 1000)
