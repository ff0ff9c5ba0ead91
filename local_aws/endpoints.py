"""Endpoints as SageMaker shows them: their states, and the rules by which these follow each other.

An endpoint's state is one immutable value that is replaced as a whole under the endpoint's lock. What brings its hosts
up and down is `local_aws.endpoint_service`.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from moto.sagemaker.exceptions import ValidationError

from local_aws.deployments import Deployment
from local_aws.times import this_moment

CREATING, IN_SERVICE, UPDATING, FAILED, DELETING = "Creating", "InService", "Updating", "Failed", "Deleting"

# FailureReason's greatest length in the service model.
_LONGEST_FAILURE_REASON = 1024


class NotInServiceError(Exception):
    """The endpoint has no hosts that answer; the message is its status."""


@dataclass(frozen=True)
class EndpointState:
    """What changes about an endpoint.

    Attributes:
        config_name: of the configuration that it has, or was to have.
        deployment: answers requests; None where nothing does.
        pending: is being brought into service.
        retiring: answer the last requests to them.
        settings: DeploymentConfig of the latest request that had one.
    """

    status: str
    last_modified_time: datetime
    config_name: str
    deployment: Deployment | None = None
    pending: Deployment | None = None
    retiring: tuple[Deployment, ...] = ()
    failure_reason: str | None = None
    settings: Mapping[str, Any] | None = None

    @property
    def answering(self) -> tuple[Deployment, ...]:
        """All that has requests under way, or may get some."""
        return (*([self.deployment] if self.deployment else []), *self.retiring)


class Endpoint:
    """One endpoint. Its methods may be called from any thread.

    moto's own operations (ListTags, AddTags, Search, the tagging API) find it by the attributes `arn`, `tags` and
    `gen_response_object`.

    Args:
        document: the CreateEndpoint request.
        deployment: is about to be brought into service.
    """

    def __init__(self, document: Mapping[str, Any], arn: str, deployment: Deployment) -> None:
        now = this_moment()
        self.name: str = document["EndpointName"]
        self.arn = arn
        self.creation_time = now
        self.tags: list[dict[str, str]] = list(document.get("Tags", ()))
        self._lock = threading.Lock()
        self._state = EndpointState(
            CREATING, now, deployment.config_name, pending=deployment, settings=document.get("DeploymentConfig")
        )

    @property
    def state(self) -> EndpointState:
        """The state as it is now."""
        return self._state

    @contextmanager
    def in_use(self) -> Iterator[Deployment]:
        """What answers requests; it goes on doing so while the block runs, whatever takes its place.

        Raises:
            NotInServiceError: nothing does.
        """
        with self._lock:
            deployment = self._state.deployment
            if deployment is None or self._state.status not in (IN_SERVICE, UPDATING):
                raise NotInServiceError(self._state.status)
            deployment.enter()
        try:
            yield deployment
        finally:
            deployment.leave()

    def begin_updating(self, deployment: Deployment, settings: Mapping[str, Any] | None) -> None:
        """Marks the endpoint as Updating to another deployment.

        Raises:
            ValidationError: it is not InService.
        """
        with self._lock:
            self._check_settled()
            # "DeleteEndpoint is the only operation that can be performed on a failed endpoint."
            if self._state.status != IN_SERVICE:
                raise ValidationError(
                    message=f'Cannot update endpoint "{self.arn}" in status {self._state.status}: delete it, and '
                    "create it again"
                )
            self._move(UPDATING, pending=deployment, failure_reason=None, settings=settings or self._state.settings)

    def put_in_service(self, deployment: Deployment) -> Deployment | None:
        """Ends Creating or Updating well; returns what answered until now, and is to be retired."""
        with self._lock:
            old = self._state.deployment
            self._move(
                IN_SERVICE,
                config_name=deployment.config_name,
                deployment=deployment,
                pending=None,
                retiring=(*self._state.retiring, *([old] if old else [])),
            )
        return old

    def forget(self, retired: Deployment) -> None:
        """Notes the end of what answered before."""
        with self._lock:
            retiring = tuple(deployment for deployment in self._state.retiring if deployment is not retired)
            self._state = replace(self._state, retiring=retiring)

    def fail(self, reason: str) -> None:
        """Ends Creating or Updating with a reason for a person; what answered until now goes on."""
        with self._lock:
            status = IN_SERVICE if self._state.deployment else FAILED
            self._move(status, pending=None, failure_reason=reason[:_LONGEST_FAILURE_REASON])

    def begin_deleting(self) -> tuple[Deployment, ...]:
        """Marks the endpoint as Deleting; returns all that answers still.

        Raises:
            ValidationError: it is being created or updated, or deleted already.
        """
        with self._lock:
            self._check_settled()
            answering = self._state.answering
            self._move(DELETING, deployment=None)
        return answering

    def describe(self) -> dict[str, Any]:
        """The answer of DescribeEndpoint."""
        state = self._state
        shown = state.deployment or state.pending
        answer: dict[str, Any] = {
            **self.summary(),
            "EndpointConfigName": state.config_name,
            "ProductionVariants": shown.summaries() if shown else None,
            "FailureReason": state.failure_reason,
            "LastDeploymentConfig": state.settings,
        }
        if state.pending:
            answer["PendingDeploymentSummary"] = {
                "EndpointConfigName": state.pending.config_name,
                "ProductionVariants": state.pending.pending_summaries(),
                "StartTime": state.pending.creation_time,
            }
        return {name: value for name, value in answer.items() if value is not None}

    def summary(self) -> dict[str, Any]:
        """The endpoint's entry in the answer of ListEndpoints."""
        state = self._state
        return {
            "EndpointName": self.name,
            "EndpointArn": self.arn,
            "CreationTime": self.creation_time,
            "LastModifiedTime": state.last_modified_time,
            "EndpointStatus": state.status,
        }

    def gen_response_object(self) -> dict[str, Any]:
        """What moto's Search operation shows."""
        return {**self.describe(), "Tags": self.tags}

    def _check_settled(self) -> None:
        if self._state.status not in (IN_SERVICE, FAILED):
            raise ValidationError(message=f'Cannot update in-progress endpoint "{self.arn}".')

    def _move(self, status: str, **changes: Any) -> None:
        self._state = replace(self._state, status=status, last_modified_time=this_moment(), **changes)
