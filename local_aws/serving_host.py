"""One host that serves a model: its directory, its program, and HTTP with it."""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import urllib3
from urllib3.exceptions import HTTPError, NewConnectionError, TimeoutError

from local_aws.executors import Execution, Executor, ExecutorError, Host, Output, Program
from local_aws.images import Image
from local_aws.lifecycle import remove_tree
from local_aws.opt_ml import OptMl
from local_aws.serving_errors import (
    AnswerTimeoutError,
    BrokenAnswerError,
    HealthCheckError,
    NoHostError,
    ServingError,
)

# SageMaker's limit for the answer to one /ping.
PING_SECONDS = 2.0

# Connections that stay open for later requests.
_MOST_KEPT = 64

_CHUNK_BYTES = 1 << 16


@dataclass(frozen=True)
class HttpRequest:
    """What is sent to a program."""

    method: str
    path: str
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Answer:
    """What a program answered.

    Attributes:
        host: the name of the host that it runs on.
        headers: by their names in lower case.
    """

    host: str
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def content_type(self) -> str | None:
        return self.headers.get("content-type")

    @property
    def is_success(self) -> bool:
        return 200 <= self.status < 300


def invocation(
    body: bytes, content_type: str | None, accept: str | None, custom_attributes: str | None = None
) -> HttpRequest:
    """The request that SageMaker makes of an invocation; what the client did not name has no header."""
    headers = {
        "Content-Type": content_type,
        "Accept": accept,
        "X-Amzn-SageMaker-Custom-Attributes": custom_attributes,
    }
    return HttpRequest("POST", "/invocations", body, {name: value for name, value in headers.items() if value})


class ServingHost:
    """A host from its preparation to its end. Not safe to share by threads but for `send`.

    Args:
        name: as `output` gets it.
        environment: of the program.
        hosts_beside: how many more hosts serve the model.
        parent: gets the host's directory.

    Raises:
        OSError: the directory cannot be made.
    """

    def __init__(
        self,
        *,
        name: str,
        image: Image,
        environment: Mapping[str, str],
        network_isolation: bool,
        hosts_beside: int,
        executor: Executor,
        parent: Path,
        output: Output,
    ) -> None:
        self.name = name
        self.load = 0
        """How many requests are under way, by `ServingHosts`' count."""
        self.turn = 0
        """Of the latest request, among those to all hosts."""
        self._executor = executor
        self._output = output
        self._program = Program(
            image=image,
            entrypoint=(),
            arguments=("serve",),
            environment=environment,
            network_isolation=network_isolation,
            read_only=(PurePosixPath("model"),),
            serves_http=True,
            hosts_beside=hosts_beside,
        )
        (address,) = executor.addresses([name])
        # Short names: a program's temporary directory may hold sockets, whose paths can have 107 characters at most.
        self._host = Host(name, address, Path(tempfile.mkdtemp(dir=parent, prefix="")))
        self._execution: Execution | None = None
        self._pool: urllib3.HTTPConnectionPool | None = None
        self._is_ready = False

    @property
    def takes_requests(self) -> bool:
        """Whether it has been ready, and its program runs."""
        return self._is_ready and self.end() is None

    def prepare(self) -> Path:
        """Makes the directories that the program finds, and returns the model's, which is empty.

        Raises:
            OSError: they cannot be made.
        """
        model = OptMl(self._host.opt_ml).model
        model.mkdir(parents=True)
        return model

    def take_over(self, other: ServingHost) -> None:
        """Makes the directories as `prepare` does, with the model of a host whose program has ended.

        Raises:
            ServingError: the model is not there any more.
        """
        model = OptMl(other._host.opt_ml).model
        try:
            self._host.opt_ml.mkdir(parents=True)
            mode = model.stat().st_mode
            # A directory that moves has to be writable.
            model.chmod(0o700)
            model.rename(OptMl(self._host.opt_ml).model).chmod(mode)
        except OSError as error:
            raise ServingError(f"{self.name}: cannot take over the model: {error}") from error

    def start(self) -> None:
        """
        Raises:
            ServingError: the program could not be started.
        """
        try:
            self._execution = self._executor.start(self._program, [self._host], self._output)
        except ExecutorError as error:
            raise ServingError(str(error)) from error

    def is_ready(self) -> bool:
        """Whether /ping has said 200, now or earlier.

        Raises:
            HealthCheckError: the program has ended.
        """
        if self._is_ready:
            return True
        if end := self.end():
            raise HealthCheckError(f"{self.name}: {end} before /ping answered with status 200")
        self._is_ready = self.answers_ping()
        return self._is_ready

    def answers_ping(self) -> bool:
        """Whether /ping says 200 now."""
        try:
            return self.send(HttpRequest("GET", "/ping"), PING_SECONDS).status == 200
        except ServingError:
            # It does not listen, or is busy.
            return False

    def end(self) -> str | None:
        """How the program ended, as a phrase; None while it runs."""
        if self._execution is None:
            return "the program was not started"
        try:
            ending = self._execution.endings().get(self.name)
        except ExecutorError as error:
            return f"the program ended ({error})"
        if ending is None:
            return None
        memory = " for want of memory" if ending.out_of_memory else ""
        return f"the program ended{memory} with exit code {ending.exit_code}"

    def send(self, request: HttpRequest, seconds: float) -> Answer:
        """
        Raises:
            NoHostError: the program does not listen, so that it has nothing of the request.
            AnswerTimeoutError, BrokenAnswerError: see there.
        """
        try:
            return self._exchange(self._connections(), request, seconds)
        except NewConnectionError as error:
            # One of urllib3's timeouts as well, though it comes at once.
            raise NoHostError(f"{self.name} does not listen: {self.end() or error}") from error
        except TimeoutError as error:
            raise AnswerTimeoutError(f"{self.name} did not answer within {seconds:g} s") from error
        except (HTTPError, OSError, ExecutorError) as error:
            raise BrokenAnswerError(f"{self.name} gave no answer: {self.end() or error}") from error

    def withdraw(self) -> None:
        """Takes no more requests."""
        self._is_ready = False

    def terminate(self) -> None:
        """Asks the program to end."""
        self.withdraw()
        if self._execution:
            self._execution.terminate()

    def wait(self, seconds: float) -> bool:
        """Waits, at most so long, for the program's end; whether that came."""
        return self._execution is None or self._execution.wait(seconds)

    def stop(self) -> None:
        """Ends what still runs; the model stays."""
        self.withdraw()
        if self._execution:
            self._execution.close()

    def close(self) -> None:
        """Ends what still runs, and removes the host's directory; may be called again."""
        self.stop()
        if self._pool:
            self._pool.close()
        remove_tree(self._host.directory)

    def _connections(self) -> urllib3.HTTPConnectionPool:
        # Of one thread, that waits until the program is ready, before others send.
        if self._pool is None:
            if self._execution is None:
                raise ExecutorError("it was not started")
            address = self._execution.http_address(self.name)
            self._pool = urllib3.HTTPConnectionPool(address.host, address.port, maxsize=_MOST_KEPT, block=False)
        return self._pool

    def _exchange(self, pool: urllib3.HTTPConnectionPool, request: HttpRequest, seconds: float) -> Answer:
        deadline = time.monotonic() + seconds
        response = pool.urlopen(
            request.method,
            request.path,
            body=request.body or None,
            headers=dict(request.headers),
            retries=False,
            redirect=False,
            timeout=urllib3.Timeout(total=seconds),
            preload_content=False,
            decode_content=False,
        )
        with contextlib.closing(response):
            body = bytearray()
            for chunk in response.stream(_CHUNK_BYTES, decode_content=False):
                body += chunk
                # The limit of the connection is for each read.
                if time.monotonic() > deadline:
                    raise TimeoutError
            response.release_conn()
        headers = {name.lower(): value for name, value in response.headers.items()}
        return Answer(self.name, response.status, headers, bytes(body))
