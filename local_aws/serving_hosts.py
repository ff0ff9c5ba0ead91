"""Hosts that serve one model: the seam between what asks for predictions and the programs that make them.

An endpoint's variant and a transform job are both some hosts that each run `serve` of the model's image, as
`docker run IMAGE serve`: /opt/ml/model has the unpacked model.tar.gz, read-only; GET /ping says 200 when the program is
ready; POST /invocations gets the requests. The contract is that of SageMaker's developer guide, "Custom Inference Code
with Hosting Services" and "... with Batch Transform".

    hosts = ServingHosts(model, ["i-0123456789abcdef0"], storage, surroundings, output)
    with closing(hosts):
        hosts.start()
        answer = hosts.send(invocation(body, "image/jpeg", "application/json"))
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from local_aws.channels import S3Uri
from local_aws.executors import Executor, Output
from local_aws.images import Image
from local_aws.model_data import read_model_data, unpack
from local_aws.serving_errors import HealthCheckError, NoHostError, ServingError
from local_aws.serving_host import Answer, HttpRequest, ServingHost
from local_aws.settings import CREDENTIALS
from local_aws.storage import Storage

# SageMaker's limit for the answer to one invocation of an endpoint.
INVOCATION_SECONDS = 60.0

_POLL_SECONDS = 0.05


@dataclass(frozen=True)
class ServedModel:
    """What every host serves.

    Attributes:
        image: with the program `serve`.
        data: where model.tar.gz is; None where the image holds its model.
        environment: the model's own variables, and those of what it is served for.
        role_arn: of the role that the model is served with.
        network_isolation: whether the program may reach nothing over a network.
    """

    image: Image
    data: S3Uri | None
    environment: Mapping[str, str]
    role_arn: str
    network_isolation: bool = False


@dataclass(frozen=True)
class ServingSurroundings:
    """What all hosts of a server run in.

    Attributes:
        executor: runs the programs.
        directory: gets one directory for each running host.
        endpoint_url: this server's, for programs that are clients of AWS themselves.
        passed_variables: environment variables that programs have from this machine's user; keys, which nothing shows.
        ping_seconds: time that a program has from its start until /ping says 200.
        ping_interval_seconds: between two health checks of a program that an endpoint has in service.
        stop_grace_seconds: time between SIGTERM and SIGKILL.
        closing: set when the server ends; running programs are killed then.
    """

    executor: Executor
    directory: Path
    endpoint_url: str
    passed_variables: Mapping[str, str] = field(repr=False)
    ping_seconds: float
    ping_interval_seconds: float
    stop_grace_seconds: float
    closing: threading.Event


class ServingHosts:
    """Hosts of one model. Safe to share by threads once it has started.

    Args:
        names: the hosts', as `output` gets them.
        storage: the buckets that the model is read from.
        output: gets what the programs write, in one thread for each host, and what there is to say about them.
        hosts_beside: how many hosts of other models this machine has besides for the same purpose.
    """

    def __init__(
        self,
        model: ServedModel,
        names: Sequence[str],
        storage: Storage,
        surroundings: ServingSurroundings,
        output: Output,
        hosts_beside: int = 0,
    ) -> None:
        self._model = model
        self._names = tuple(names)
        self._storage = storage
        self._surroundings = surroundings
        self._output = output
        self._hosts_beside = hosts_beside + len(self._names) - 1
        self._hosts: dict[str, ServingHost] = {}
        self._lock = threading.Lock()
        self._turns = itertools.count(1)
        self._is_closed = threading.Event()

    @property
    def names(self) -> Sequence[str]:
        """The hosts' names, in their order."""
        return self._names

    def start(self, is_over: Callable[[], bool] = lambda: False) -> None:
        """Starts the programs and waits until every one is ready.

        Args:
            is_over: whether there is no need for them any more.

        Raises:
            ModelDataError: model.tar.gz is missing or cannot be unpacked.
            HealthCheckError: a program ended, or did not say 200 in time.
            ServingError: a program could not be started, or `is_over`.
        """
        try:
            self._prepare()
            for host in self._hosts.values():
                host.start()
            self._wait_for_pings(list(self._hosts.values()), is_over)
        except BaseException:
            self.close()
            raise

    def send(self, request: HttpRequest, host: str | None = None, seconds: float = INVOCATION_SECONDS) -> Answer:
        """Sends a request to one of the hosts and returns what it answers, whatever its status.

        Args:
            host: which one; None means the one with the fewest requests under way, in turn.
            seconds: that the answer may take.

        Raises:
            NoHostError: there is none whose program runs.
            AnswerTimeoutError: the answer took too long.
            BrokenAnswerError: the program ended, closed the connection, or answers no HTTP.
        """
        tried: set[str] = set()
        while True:
            chosen = self._choose(host, tried)
            try:
                return chosen.send(request, seconds)
            except NoHostError:
                # Its program has just ended; another one has not had the request yet.
                tried.add(chosen.name)
            finally:
                with self._lock:
                    chosen.load -= 1

    def count_in_service(self) -> int:
        """How many hosts take requests."""
        with self._lock:
            hosts = list(self._hosts.values())
        return sum(host.takes_requests for host in hosts)

    def failed(self) -> Mapping[str, str]:
        """The hosts whose programs have ended, with how, one phrase each."""
        ends = {name: self.end(name) for name in self._names}
        return {name: end for name, end in ends.items() if end}

    def end(self, name: str) -> str | None:
        """How the program of a host ended, as a phrase; None while it runs."""
        return self._host(name).end()

    def answers_ping(self, name: str) -> bool:
        """Whether the program of a host says now that it is healthy."""
        return self._host(name).answers_ping()

    def withdraw(self, name: str) -> None:
        """Sends no more requests to a host until it is replaced."""
        self._host(name).withdraw()

    def replace(self, name: str) -> None:
        """Ends what still runs of a host, and waits until its program is ready again.

        The program is started anew, in a fresh directory but for the model. Hosts may be replaced side by side.

        Raises:
            HealthCheckError: it ended again, or did not say 200 in time; the host stays failed.
            ServingError: it could not be started, or these hosts were closed.
        """
        old = self._host(name)
        self._terminate([old])
        if self._is_closed.is_set():
            raise ServingError("the hosts are not needed any more")
        old.stop()
        new = self._new_host(name)
        try:
            new.take_over(old)
        except ServingError:
            new.close()
            raise
        old.close()
        with self._lock:
            self._hosts[name] = new
        try:
            new.start()
            self._wait_for_pings([new], lambda: False)
        except ServingError:
            new.stop()
            raise
        finally:
            # `close` may have come before it was started.
            if self._is_closed.is_set():
                new.close()

    def close(self) -> None:
        """Ends all programs, by SIGTERM and in time by SIGKILL, and removes their directories."""
        self._is_closed.set()
        with self._lock:
            hosts = list(self._hosts.values())
        self._terminate(hosts)
        for host in hosts:
            host.close()

    def _host(self, name: str) -> ServingHost:
        with self._lock:
            return self._hosts[name]

    def _terminate(self, hosts: Sequence[ServingHost]) -> None:
        """Asks the programs to end, and gives them time to."""
        for host in hosts:
            host.terminate()
        deadline = time.monotonic() + self._surroundings.stop_grace_seconds
        while not self._surroundings.closing.is_set() and time.monotonic() < deadline:
            if all(host.wait(_POLL_SECONDS) for host in hosts):
                break

    def _prepare(self) -> None:
        uri = self._model.data
        archive = read_model_data(uri, self._storage) if uri else b""
        for name in self._names:
            self._hosts[name] = self._new_host(name)
            try:
                directory = self._hosts[name].prepare()
            except OSError as error:
                raise ServingError(f"{name}: cannot make its directory: {error}") from error
            if uri:
                unpack(archive, uri, directory)

    def _new_host(self, name: str) -> ServingHost:
        try:
            return ServingHost(
                name=name,
                image=self._model.image,
                environment=self._environment(),
                network_isolation=self._model.network_isolation,
                hosts_beside=self._hosts_beside,
                executor=self._surroundings.executor,
                parent=self._surroundings.directory,
                output=self._output,
            )
        except OSError as error:
            raise ServingError(f"{name}: cannot make its directory: {error}") from error

    def _environment(self) -> Mapping[str, str]:
        region, surroundings = self._storage.region, self._surroundings
        environment = {"AWS_REGION": region, "AWS_DEFAULT_REGION": region}
        if not self._model.network_isolation and surroundings.executor.reaches_server:
            environment |= {"AWS_ENDPOINT_URL": surroundings.endpoint_url, **CREDENTIALS}
        if not self._model.network_isolation:
            environment |= surroundings.passed_variables
        return {**environment, **self._model.environment}

    def _wait_for_pings(self, hosts: Sequence[ServingHost], is_over: Callable[[], bool]) -> None:
        seconds = self._surroundings.ping_seconds
        deadline = time.monotonic() + seconds
        waiting = list(hosts)
        while waiting := [host for host in waiting if not host.is_ready()]:
            if self._surroundings.closing.is_set() or self._is_closed.is_set() or is_over():
                raise ServingError("the hosts are not needed any more")
            if time.monotonic() > deadline:
                raise HealthCheckError(f"{waiting[0].name}: /ping did not answer with status 200 within {seconds:g} s")
            time.sleep(_POLL_SECONDS)

    def _choose(self, name: str | None, tried: Collection[str]) -> ServingHost:
        with self._lock:
            hosts = [
                host
                for host in self._hosts.values()
                if host.takes_requests and name in (None, host.name) and host.name not in tried
            ]
            if not hosts or self._is_closed.is_set():
                raise NoHostError("no host runs that could answer")
            chosen = min(hosts, key=lambda host: (host.load, host.turn))
            chosen.load += 1
            chosen.turn = next(self._turns)
            return chosen
