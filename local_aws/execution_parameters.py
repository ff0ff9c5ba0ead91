"""How a transform job's hosts are asked: by the request, else by the container's wish, else by SageMaker's defaults.

https://docs.aws.amazon.com/sagemaker/latest/dg/your-algorithms-batch-code.html
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from local_aws.transform_requests import CONTAINER_STRATEGIES, TransformRequest

PATH = "/execution-parameters"

_DEFAULT_CONCURRENT_TRANSFORMS = 1
_DEFAULT_MEGABYTES = 6
_DEFAULT_STRATEGY = "MULTI_RECORD"

# SageMaker's limit for MaxConcurrentTransforms * MaxPayloadInMB.
_MOST_MEGABYTES = 100

# More would be threads of this server without any use.
_MOST_CONCURRENT_TRANSFORMS = 100


class ExecutionParametersError(ValueError):
    """Execution parameters are none that a job may have; the message says why, for a person."""


@dataclass(frozen=True)
class ExecutionParameters:
    """What holds for a job's invocations; with None what nobody has said.

    Attributes:
        batch_strategy: SINGLE_RECORD or MULTI_RECORD.
        max_payload_mb: 0 means any size.
    """

    max_concurrent_transforms: int | None = None
    max_payload_mb: int | None = None
    batch_strategy: str | None = None

    @classmethod
    def of_request(cls, request: TransformRequest) -> ExecutionParameters:
        """What the request says."""
        strategy = CONTAINER_STRATEGIES[request.batch_strategy] if request.batch_strategy else None
        return cls(request.max_concurrent_transforms, request.max_payload_mb, strategy)

    @classmethod
    def of_container(cls, body: bytes) -> ExecutionParameters:
        """What a container answers to GET /execution-parameters.

        Raises:
            ExecutionParametersError: the body is no JSON object, or a value none that it may have.
        """
        try:
            document = json.loads(body)
        except ValueError as error:
            raise ExecutionParametersError(f"{PATH} answered with no JSON: {error}") from error
        if not isinstance(document, dict):
            raise ExecutionParametersError(f"{PATH} answered with no JSON object")
        strategy = document.get("BatchStrategy")
        if strategy is not None and strategy not in CONTAINER_STRATEGIES.values():
            raise ExecutionParametersError(
                f"{PATH} says BatchStrategy {strategy!r}; it can be: {', '.join(CONTAINER_STRATEGIES.values())}"
            )
        concurrent = _count(document, "MaxConcurrentTransforms", 1, _MOST_CONCURRENT_TRANSFORMS)
        return cls(concurrent, _count(document, "MaxPayloadInMB", 0, _MOST_MEGABYTES), strategy)

    @property
    def is_complete(self) -> bool:
        return None not in (self.max_concurrent_transforms, self.max_payload_mb, self.batch_strategy)

    def completed(self, other: ExecutionParameters) -> EffectiveParameters:
        """These, then the other's, then SageMaker's defaults."""

        def first(*values: Any) -> Any:
            return next(value for value in values if value is not None)

        return EffectiveParameters(
            first(self.max_concurrent_transforms, other.max_concurrent_transforms, _DEFAULT_CONCURRENT_TRANSFORMS),
            first(self.max_payload_mb, other.max_payload_mb, _DEFAULT_MEGABYTES),
            first(self.batch_strategy, other.batch_strategy, _DEFAULT_STRATEGY),
        )


@dataclass(frozen=True)
class EffectiveParameters:
    """What a job's invocations go by."""

    max_concurrent_transforms: int
    max_payload_mb: int
    batch_strategy: str

    @property
    def is_single_record(self) -> bool:
        return self.batch_strategy == "SINGLE_RECORD"

    def check(self) -> None:
        """
        Raises:
            ExecutionParametersError: the product of both numbers is greater than SageMaker lets it be. Of a request
                alone that is seen when it comes.
        """
        product = self.max_concurrent_transforms * self.max_payload_mb
        if product > _MOST_MEGABYTES:
            raise ExecutionParametersError(
                f"MaxConcurrentTransforms * MaxPayloadInMB is {self.max_concurrent_transforms} * "
                f"{self.max_payload_mb}; the product cannot be greater than {_MOST_MEGABYTES}. What the request does "
                f"not name is the container's, by {PATH}, or SageMaker's default: name smaller values in the request"
            )

    def __str__(self) -> str:
        return (
            f"MaxConcurrentTransforms={self.max_concurrent_transforms}, MaxPayloadInMB={self.max_payload_mb}, "
            f"BatchStrategy={self.batch_strategy}"
        )


def _count(document: dict[str, Any], name: str, least: int, most: int) -> int | None:
    value = document.get(name)
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise ExecutionParametersError(f"{PATH} says {name} {value!r}; it can be {least} to {most}")
    return value
