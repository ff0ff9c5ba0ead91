"""The hosts of an endpoint: one endpoint configuration, brought into service and kept in it."""

from __future__ import annotations

import random
import secrets
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Any

from local_aws.host_keeper import HostKeeper
from local_aws.hosting_requests import Variant
from local_aws.job_logs import LogStream
from local_aws.serving_errors import HealthCheckError, ServingError
from local_aws.serving_host import Answer, HttpRequest
from local_aws.serving_hosts import INVOCATION_SECONDS, ServedModel, ServingHosts, ServingSurroundings
from local_aws.storage import Storage
from local_aws.times import this_moment

_LOG_GROUP = "/aws/sagemaker/Endpoints"

_POLL_SECONDS = 0.02


class DeploymentError(Exception):
    """A configuration could not be brought into service; the message is the endpoint's FailureReason."""


class NoVariantError(Exception):
    """The deployment has no variant of that name."""


@dataclass(frozen=True)
class VariantPlan:
    """What one variant is to run.

    Attributes:
        warnings: what the log is to say about fields that have no effect.
        hosts_beside: how many hosts the other variants have.
    """

    variant: Variant
    model: ServedModel
    warnings: tuple[str, ...]
    hosts_beside: int


def log_group(endpoint_name: str) -> str:
    """The group of CloudWatch Logs that the endpoint's programs write to."""
    return f"{_LOG_GROUP}/{endpoint_name}"


class VariantDeployment:
    """The hosts of one variant. Safe to share by threads once it has started."""

    def __init__(self, endpoint_name: str, plan: VariantPlan, storage: Storage, surroundings: ServingSurroundings):
        self.variant = plan.variant
        self._plan = plan
        self._group = log_group(endpoint_name)
        self._storage = storage
        seconds = plan.variant.ping_seconds
        self._surroundings = replace(surroundings, ping_seconds=seconds) if seconds else surroundings
        count = plan.variant.hosts(surroundings.executor)
        # As the names of instances are.
        names = [f"i-{secrets.token_hex(9)[1:]}" for _ in range(count)]
        self._hosts = ServingHosts(plan.model, names, storage, self._surroundings, self._write, plan.hosts_beside)
        self._streams: dict[str, LogStream] = {}
        self._stack = ExitStack()
        self._is_closed = threading.Event()
        self._keepers: tuple[HostKeeper, ...] = ()
        self._started: datetime | None = None

    def start(self) -> None:
        """Brings all hosts into service.

        Raises:
            DeploymentError: one of them cannot be; none is left running.
        """
        for name in self._hosts.names:
            stream = LogStream(
                self._storage.account_id, self._storage.region, self._group, self._stream_name(name), lambda *_: None
            )
            self._streams[name] = self._stack.enter_context(closing(stream))
            for line in self._head():
                self._say(name, line)
        try:
            self._hosts.start()
        except HealthCheckError as error:
            self._say(self._hosts.names[0], f"warning: {error}")
            raise DeploymentError(
                f"The primary container for production variant {self.variant.name} did not pass the ping health check. "
                "Please check CloudWatch logs for this endpoint."
            ) from error
        except ServingError as error:
            self._say(self._hosts.names[0], f"warning: {error}")
            raise DeploymentError(str(error)) from error
        self._started = this_moment()
        self._keepers = tuple(self._keeper(name) for name in self._hosts.names)
        for keeper in self._keepers:
            keeper.start()

    def send(self, request: HttpRequest) -> Answer:
        """
        Raises:
            SendError: the request got no answer.
        """
        return self._hosts.send(request)

    def close(self) -> None:
        """Ends the programs, and their logs with them."""
        self._is_closed.set()
        self._hosts.close()
        for keeper in self._keepers:
            keeper.join()
        # What was written while the programs ended is in the logs, too.
        self._stack.close()

    def summary(self) -> dict[str, Any]:
        """The variant's entry in ProductionVariants of DescribeEndpoint."""
        image = self._plan.model.image
        resolved = {
            "SpecifiedImage": image.uri,
            "ResolvedImage": f"{image.uri.partition('@')[0].rpartition(':')[0] or image.uri}@{image.digest}",
            "ResolutionTime": self._started,
        }
        # Those that this machine does not have room for count as in service: there is a warning in the log.
        missing = self.variant.instance_count - len(self._hosts.names)
        return {
            "VariantName": self.variant.name,
            **({"DeployedImages": [resolved]} if self._started else {}),
            "CurrentWeight": self.variant.weight,
            "DesiredWeight": self.variant.weight,
            "CurrentInstanceCount": self._hosts.count_in_service() + missing if self._started else 0,
            "DesiredInstanceCount": self.variant.instance_count,
        }

    def _stream_name(self, host: str) -> str:
        return f"{self.variant.name}/{host}"

    def _head(self) -> Iterator[str]:
        executor = self._surroundings.executor
        yield f"{self.variant.instance_type}: this machine stands in for it"
        if not self._plan.model.network_isolation and not executor.reaches_server:
            yield "a container cannot reach this machine's AWS, so it gets no AWS_ENDPOINT_URL and no credentials"
        if self._plan.model.network_isolation and executor.remark_on_isolated_serving:
            yield executor.remark_on_isolated_serving
        for warning in self._plan.warnings:
            yield f"warning: {warning}"

    def _say(self, host: str, line: str) -> None:
        self._write(host, f"local_aws: {line}\n".encode(), 0)

    def _write(self, host: str, chunk: bytes, source: int) -> None:
        self._streams[host].write(chunk, source)

    def _keeper(self, name: str) -> HostKeeper:
        interval = self._surroundings.ping_interval_seconds
        return HostKeeper(self._hosts, name, interval, self._is_closed, partial(self._say, name))


class Deployment:
    """One endpoint configuration of an endpoint, with the hosts of its variants.

    Args:
        closing: set when the server ends.
    """

    def __init__(self, config_name: str, variants: Sequence[VariantDeployment], closing: threading.Event) -> None:
        self.config_name = config_name
        self.creation_time = this_moment()
        self._variants: Mapping[str, VariantDeployment] = {variant.variant.name: variant for variant in variants}
        self._server_closing = closing
        self._is_closing = threading.Event()
        self._end_lock = threading.Lock()
        self._users = 0
        self._lock = threading.Lock()

    def start(self) -> None:
        """Brings all variants into service.

        Raises:
            DeploymentError: one of them cannot be; nothing is left running.
        """
        try:
            for variant in self._variants.values():
                variant.start()
        except BaseException:
            self.close()
            raise

    def choose(self, name: str | None) -> VariantDeployment:
        """The variant of that name; without one any, as often as its weight says.

        Raises:
            NoVariantError: there is no such variant.
        """
        if name is not None:
            if name not in self._variants:
                raise NoVariantError(name)
            return self._variants[name]
        variants = list(self._variants.values())
        weights = [variant.variant.weight for variant in variants]
        return random.choices(variants, weights if any(weights) else None)[0]

    def enter(self) -> None:
        """Counts one more request that is under way."""
        with self._lock:
            self._users += 1

    def leave(self) -> None:
        """Counts one less."""
        with self._lock:
            self._users -= 1

    def retire(self) -> None:
        """Ends the programs when the requests under way have their answers; there will be no new ones.

        Somebody else's `close`, and the end of the server, are not kept waiting for these answers.
        """
        deadline = time.monotonic() + INVOCATION_SECONDS
        while self._users and time.monotonic() < deadline:
            if self._is_closing.wait(_POLL_SECONDS) or self._server_closing.is_set():
                break
        self.close()

    def close(self) -> None:
        """Ends the programs; may be called again, and then waits for their end, too."""
        self._is_closing.set()
        with self._end_lock:
            for variant in self._variants.values():
                variant.close()

    def summaries(self) -> list[dict[str, Any]]:
        """ProductionVariants of DescribeEndpoint."""
        return [variant.summary() for variant in self._variants.values()]

    def pending_summaries(self) -> list[dict[str, Any]]:
        """ProductionVariants of PendingDeploymentSummary."""
        return [
            {**variant.summary(), "InstanceType": variant.variant.instance_type} for variant in self._variants.values()
        ]
