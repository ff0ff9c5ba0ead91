"""A host's share of a transform job: its objects are sent to its program, and the answers become files.

What happens to an object is told in the host's data log, in SageMaker's words where they are known.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from local_aws.channels import S3Uri
from local_aws.execution_parameters import EffectiveParameters
from local_aws.job_logs import LogStream
from local_aws.serving_errors import AnswerTimeoutError, NoHostError, ServingError
from local_aws.serving_host import Answer, invocation
from local_aws.serving_hosts import ServingHosts
from local_aws.storage import Storage
from local_aws.times import this_moment
from local_aws.transform_payloads import PayloadError, PayloadRules, assembled
from local_aws.transform_requests import TransformRequest

# What the FailureReason of a job begins with: who has to change something.
CLIENT_ERROR, ALGORITHM_ERROR = "ClientError", "AlgorithmError"

# Before a first retry; each later one waits twice as long.
_RETRY_SECONDS = 0.25
_LONGEST_RETRY_SECONDS = 30.0

_TOO_MANY_REQUESTS = 429

_LONGEST_MESSAGE = 4096

# More requests under way would only wait for this machine, whatever was asked for.
_MOST_THREADS = 100


class TransformError(Exception):
    """An object gets no output.

    Attributes:
        kind: CLIENT_ERROR or ALGORITHM_ERROR.
        lines: for the data log.
        may_pass: whether to ask again may help.
        retry_after: seconds to wait before that, at least.
    """

    def __init__(self, kind: str, *lines: str, may_pass: bool = False, retry_after: float = 0.0) -> None:
        super().__init__(kind, *lines)
        self.kind = kind
        self.lines = lines
        self.may_pass = may_pass
        self.retry_after = retry_after


@dataclass(frozen=True)
class TransformObject:
    """An object of S3 to be transformed.

    Attributes:
        source: where it is.
        target: where its output goes.
        output_file: where its output waits for the job's end.
    """

    source: S3Uri
    target: S3Uri
    output_file: Path


class DataLog:
    """Writes what SageMaker itself says about a job's objects. Safe to share by threads."""

    def __init__(self, stream: LogStream) -> None:
        self._stream = stream

    def say(self, *lines: str, source: S3Uri | None = None) -> None:
        """Adds lines, which stay together; about an object if there is one."""
        now = this_moment().replace(tzinfo=None).isoformat(timespec="milliseconds")
        head = f"{now}:[sagemaker logs]: " + (f"{source.bucket}/{source.key}: " if source else "")
        self._stream.write("".join(f"{head}{line}\n" for line in lines).encode())


class TransformWork:
    """What one host does.

    Args:
        name: the host's.
        is_over: set when the job is to end, so that what is left is not worth its time.
    """

    def __init__(
        self,
        request: TransformRequest,
        parameters: EffectiveParameters,
        hosts: ServingHosts,
        name: str,
        storage: Storage,
        data_log: DataLog,
        is_over: threading.Event,
    ) -> None:
        self._request = request
        self._parameters = parameters
        self._rules = PayloadRules(
            request.input.is_gzip,
            request.input.splits_lines,
            parameters.is_single_record,
            parameters.max_payload_mb,
        )
        self._hosts = hosts
        self._name = name
        self._storage = storage
        self._data_log = data_log
        self._is_over = is_over
        self._most = min(parameters.max_concurrent_transforms, _MOST_THREADS)
        # For payloads, of all objects: those of a large one would fill the memory.
        self._room = threading.Semaphore(self._most)

    @contextmanager
    def running(self, objects: Sequence[TransformObject]) -> Iterator[Sequence[Future[str | None]]]:
        """Transforms the objects while the block runs, and waits for the end at its end.

        Yields:
            for each object, how it will have failed: CLIENT_ERROR, ALGORITHM_ERROR, or None where it did not. What has
            no output because the job is over did not fail.
        """
        self._data_log.say(str(self._parameters))
        # The payloads of one object are sent side by side too. They have threads of their own: an object's thread waits
        # for those of its payloads.
        with ThreadPoolExecutor(self._most) as senders, ThreadPoolExecutor(self._most) as workers:
            yield [workers.submit(self._transform, each, senders) for each in objects]

    def _transform(self, entry: TransformObject, senders: ThreadPoolExecutor) -> str | None:
        if self._is_over.is_set():
            return None
        try:
            answers = self._answers(self._payloads(entry.source), senders)
            entry.output_file.write_bytes(assembled(answers, self._request.output.assembles_lines))
        except TransformError as error:
            if self._is_over.is_set():
                return None
            self._data_log.say(*error.lines, source=entry.source)
            return error.kind
        return None

    def _answers(self, payloads: Iterator[bytes], senders: ThreadPoolExecutor) -> Iterator[bytes]:
        """The answers in the payloads' order. A payload is cut when it can be sent, and none after an error."""
        sent: deque[Future[bytes]] = deque()
        try:
            while True:
                with ExitStack() as stack:
                    self._room.acquire()
                    stack.callback(self._room.release)
                    while sent and sent[0].done():
                        yield sent.popleft().result()
                    payload = next(payloads, None)
                    if payload is None:
                        break
                    sent.append(senders.submit(self._send, payload))
                    stack.pop_all()
                    sent[-1].add_done_callback(lambda _: self._room.release())
            while sent:
                yield sent.popleft().result()
        finally:
            for future in sent:
                future.cancel()

    def _payloads(self, source: S3Uri) -> Iterator[bytes]:
        content = self._storage.read(source.bucket, source.key)
        if content is None:
            raise TransformError(CLIENT_ERROR, f"{CLIENT_ERROR}: the object is not there any more")
        try:
            yield from self._rules.payloads(content)
        except PayloadError as error:
            raise TransformError(CLIENT_ERROR, f"{CLIENT_ERROR}: {error}") from error

    def _send(self, payload: bytes) -> bytes:
        """Sends a payload, again where that may help, and returns the answer's body."""
        pause = _RETRY_SECONDS
        for _ in range(self._request.max_retries):
            try:
                return self._answer(payload)
            except TransformError as error:
                if not error.may_pass or self._is_over.wait(max(pause, error.retry_after)):
                    raise
            pause *= 2
        return self._answer(payload)

    def _answer(self, payload: bytes) -> bytes:
        seconds = self._request.timeout_seconds
        request = invocation(payload, self._request.input.content_type, self._request.output.accept)
        try:
            answer = self._hosts.send(request, self._name, seconds)
        except AnswerTimeoutError as error:
            line = f"Model server did not respond to /invocations request within {seconds} seconds"
            raise TransformError(ALGORITHM_ERROR, line, may_pass=True) from error
        except ServingError as error:
            # A program that has ended does not come back.
            may_pass = not isinstance(error, NoHostError)
            raise TransformError(ALGORITHM_ERROR, "Unable to get response from algorithm", may_pass=may_pass) from error
        if not answer.is_success:
            raise _refusal(answer)
        return answer.body


def _refusal(answer: Answer) -> TransformError:
    message = answer.body[:_LONGEST_MESSAGE].decode(errors="replace").splitlines()
    if 400 <= answer.status < 500:
        kind, head = CLIENT_ERROR, f"{CLIENT_ERROR}: {answer.status}"
    else:
        kind, head = ALGORITHM_ERROR, f"Bad HTTP status received from algorithm: {answer.status}"
    return TransformError(
        kind,
        *(head, "", "Message:", *message),
        may_pass=answer.status >= 500 or answer.status == _TOO_MANY_REQUESTS,
        retry_after=_retry_after(answer),
    )


def _retry_after(answer: Answer) -> float:
    """The seconds that the answer asks for; 0 where it asks for none, or for a date."""
    text = answer.headers.get("retry-after", "")
    return min(float(text), _LONGEST_RETRY_SECONDS) if text.isdecimal() else 0.0
