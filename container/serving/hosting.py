"""What SageMaker tells `serve` about its place, by environment variables: the port, and a transform job's limits.

The contracts are https://docs.aws.amazon.com/sagemaker/latest/dg/your-algorithms-inference-code.html and
https://docs.aws.amazon.com/sagemaker/latest/dg/your-algorithms-batch-code.html. SAGEMAKER_BIND_TO_PORT is SageMaker's
own, for inference pipelines; BIND_TO_ADDRESS is ours, for servers that only their own machine is to reach.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from container.errors import SettingsError
from container.modeling.serving_settings import Serving

DEFAULT_PORT = 8080
BYTES_PER_MB = 2**20
# A transform job's payload of 0 MB is one of any size; this is what the setting takes at most.
MOST_MB = 1_024
# How long a transform job may be told to wait for an answer: ModelClientConfig, InvocationsTimeoutInSeconds.
MOST_TRANSFORM_SECONDS = 3_600.0
# The product of both execution parameters must not be more: CreateTransformJob, MaxPayloadInMB.
MOST_TRANSFORMED_MB = 100
# Where Linux tells how much of the processor a container may use: microseconds in each period, and the period.
CPU_LIMIT = Path("/sys/fs/cgroup/cpu.max")


@dataclass(frozen=True)
class Hosting:
    """Where the server listens, and what it takes."""

    address: str
    port: int
    """0: any that is free."""
    max_body_mb: int
    """Largest body of a request; in a transform job at least the largest that the job sends."""
    max_waiting: int
    """Images that are taken on at a time; in a transform job at least as many as it sends requests."""
    answer_seconds: float
    """After which a request is given up; in a transform job as long as one may wait."""
    max_transformed_mb: int
    """Largest body that a transform job is taken to send."""
    max_concurrent_transforms: int
    """Requests that a transform job may send at a time."""

    @classmethod
    def from_environment(cls, variables: Mapping[str, str], settings: Serving) -> Self:
        """Read the variables; what they leave open is as the settings say.

        Raises:
            SettingsError: a variable holds no number, or one out of its range.
        """
        is_batch = variables.get("SAGEMAKER_BATCH", "").lower() == "true"
        payload_mb, sent_at_once = settings.max_body_mb, 1
        if is_batch:
            payload_mb = _number(variables, "SAGEMAKER_MAX_PAYLOAD_IN_MB", payload_mb, MOST_MB) or MOST_MB
            sent_at_once = _number(variables, "SAGEMAKER_MAX_CONCURRENT_TRANSFORMS", 1, 100_000)
        transformed_mb = min(payload_mb, MOST_TRANSFORMED_MB)
        return cls(
            address=variables.get("BIND_TO_ADDRESS", "0.0.0.0"),
            port=_number(variables, "SAGEMAKER_BIND_TO_PORT", DEFAULT_PORT, 65_535),
            max_body_mb=max(settings.max_body_mb, payload_mb),
            max_waiting=max(settings.max_waiting, sent_at_once),
            answer_seconds=MOST_TRANSFORM_SECONDS if is_batch else settings.answer_seconds,
            max_transformed_mb=transformed_mb,
            max_concurrent_transforms=min(settings.batch_size, MOST_TRANSFORMED_MB // transformed_mb),
        )

    @property
    def max_body_bytes(self) -> int:
        """Largest body of a request."""
        return self.max_body_mb * BYTES_PER_MB


def usable_cores() -> int:
    """Return how many processor cores this process may use: those it is bound to, or its container's share."""
    cores = len(os.sched_getaffinity(0))
    try:
        quota, period = CPU_LIMIT.read_text(encoding="ascii").split()
        return max(1, min(cores, round(int(quota) / int(period))))
    # Without a limit the file says "max", or is not there.
    except (OSError, ValueError):
        return cores


def _number(variables: Mapping[str, str], name: str, default: int, most: int) -> int:
    text = variables.get(name, "") or str(default)
    if not (text.isascii() and text.isdigit() and int(text) <= most):
        raise SettingsError(f"the environment variable {name}={text} must be a whole number from 0 to {most:,}")
    return int(text)
