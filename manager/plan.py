"""Decide, then do: a plan is the list of calls that would change something, and one executor carries it out.

The functions called `plan_...` are pure: they turn settings, and what was read from AWS, into a `Plan`. `execute`
sends it; `describe` prints the same plan as commands of the `aws` command line.
"""

import contextlib
import itertools
import json
import shlex
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from botocore import xform_name
from botocore.client import BaseClient
from botocore.exceptions import ClientError
from botocore.validate import ParamValidator

from container.errors import DataError
from manager.aws import Aws, error_code
from manager.calls import CopyCall, PostCall
from manager.console import Terminal
from manager.errors import AwsError
from manager.sending import UploadCall

PARALLEL_CALLS = 16
# IAM tells all of AWS about a new role within some seconds; a minute and a half is rare.
ATTEMPTS, RETRY_SECONDS = 18, 5.0
# What AWS answers where there is nothing to delete any more: as good as deleted.
GONE = ("NoSuchBucket", "NoSuchEntity", "RepositoryNotFoundException", "ResourceNotFound", "ResourceNotFoundException")
# SageMaker says it of models, endpoints and their configurations, as of any wrong request, by a ValidationException.
GONE_MESSAGE = "Could not find"
# What S3 answers while a change of the same bucket is under way.
EVENTUALLY = ("OperationAborted",)


Effect = Literal["created", "changed", "deleted", "done"]


@dataclass(frozen=True)
class ApiCall:
    """One call that changes something on AWS.

    A parameter that is a `Path` stands for the content of that file: it is opened when the call is sent.
    """

    service: str
    """boto3's name of the service, such as `s3`."""
    operation: str
    """boto3's name of the operation, such as `create_bucket`."""
    parameters: Mapping[str, Any]
    message: str
    """What the call does, in words that follow "could not": `create the bucket x`."""
    effect: Effect = "done"
    """What it makes of a resource, for the report."""
    group: str = ""
    """Neighbors in one group need no order: they are sent together and shown as one, under the group's name."""
    retry_on: tuple[str, ...] = ()
    """Parts of AWS's errors that tell that the call will succeed a little later."""
    is_done_by: Callable[[Aws, ClientError], bool] | None = None
    """Tells, where the call was sent again since no answer came and AWS refuses it, whether the first one did it."""


@dataclass(frozen=True)
class DockerCall:
    """One thing that the Docker engine of this machine is to do."""

    command: tuple[str, ...]
    """The command of the `docker` command line that does the same."""
    message: str
    """What the call does, in words: `build the image x`."""
    action: Callable[[Terminal], None]
    registry: str = ""
    """The registry of ECR at which the command line must log in first; empty: none."""


@dataclass(frozen=True)
class FileCall:
    """A file of this machine that is to be written, whole or not at all."""

    path: Path
    content: str
    message: str
    """What it is, in words: `write the request to x`."""

    def write(self) -> None:
        """Write the file, beside its place first."""
        partial = self.path.with_name(f".{self.path.name}.partial")
        partial.write_text(self.content, encoding="utf-8")
        partial.replace(self.path)


Call = ApiCall | CopyCall | DockerCall | FileCall | PostCall | UploadCall


@dataclass(frozen=True)
class Plan:
    """Calls in the order in which they are to be sent, and what was found to be as planned already."""

    calls: tuple[Call, ...] = ()
    unchanged: tuple[str, ...] = field(default=())
    """What needs no call, in words: `bucket x`."""

    def __add__(self, other: "Plan") -> "Plan":
        return Plan(self.calls + other.calls, self.unchanged + other.unchanged)


Executor = Callable[[Plan, Aws, Terminal], None]


def execute(plan: Plan, aws: Aws, terminal: Terminal) -> None:
    """Validate every call of the plan, then send them in order.

    Raises:
        AwsError: a call is no valid request (nothing was sent), or AWS refused one (the calls before it stand; a
            plan made anew has only what is missing).
    """
    _begin(plan, aws, terminal)
    for group, calls in _groups(plan.calls):
        if group:
            _send_together(group, calls, aws, terminal)
        else:
            for call in calls:
                _do(call, aws, terminal)
                terminal.done(call.message, getattr(call, "effect", "done"))


def describe(plan: Plan, aws: Aws, terminal: Terminal) -> None:
    """Validate every call of the plan, then print them as commands of the `aws` command line; send nothing.

    Raises:
        AwsError: a call is no valid request.
    """
    _begin(plan, aws, terminal)
    for group, calls in _groups(plan.calls):
        shown = calls[:1] if group else calls
        for call in shown:
            terminal.plain(f"# {call.message}\n{to_command(call, aws.options)}")
        if len(calls) > len(shown):
            terminal.plain(f"# {group}: {len(calls) - len(shown):,} more like this one")


def is_gone(error: ClientError) -> bool:
    """Whether AWS says that there is nothing of that name."""
    return error_code(error) in GONE or GONE_MESSAGE in str(error)


def outline(plan: Plan, terminal: Terminal) -> None:
    """Print what a plan is going to do, in words, a line per call or group, and what it leaves as it is."""
    for group, calls in _groups(plan.calls):
        lines = [f"{group} ({len(calls):,})"] if group else [call.message for call in calls]
        for line in lines:
            terminal.labeled("going to", line)
    for thing in plan.unchanged:
        terminal.labeled("keeping", thing)


def to_command(call: Call, options: Sequence[str] = ()) -> str:
    """Return the command of the `aws` or the `docker` command line, or of a shell, that does the same.

    Args:
        call: the call.
        options: options of `aws` that name the account and the region.
    """
    if isinstance(call, DockerCall):
        login = f"{shlex.join(['aws', 'ecr', 'get-login-password', *options])} | docker login --username AWS "
        login += f"--password-stdin {shlex.quote(call.registry)}\n"
        return f"{login if call.registry else ''}{shlex.join(call.command)}"
    if isinstance(call, CopyCall):
        return shlex.join(["aws", "s3", "cp", str(call.source), str(call.target), *options])
    if isinstance(call, UploadCall):
        return call.command(options)
    if isinstance(call, PostCall):
        return shlex.join(["curl", "-X", "POST", call.url])
    if isinstance(call, FileCall):
        return f"cat > {shlex.quote(str(call.path))} <<'EOF'\n{call.content}EOF"
    words = [
        "aws",
        "s3api" if call.service == "s3" else call.service,
        xform_name(call.operation, "-").replace("_", "-"),
    ]
    for name, value in call.parameters.items():
        option = "--" + xform_name(name, "-")
        if isinstance(value, bool):
            words.append(option if value else option.replace("--", "--no-", 1))
        else:
            words += [option, value if isinstance(value, str) else _argument(value)]
    return shlex.join([*words, *options])


def _argument(value: Any) -> str:
    return str(value) if isinstance(value, int | float | Path) else json.dumps(value)


def _begin(plan: Plan, aws: Aws, terminal: Terminal) -> None:
    for call in plan.calls:
        if isinstance(call, ApiCall):
            _validate(call, aws)
    for thing in plan.unchanged:
        terminal.unchanged(thing)


def _groups(calls: Sequence[Call]) -> Iterator[tuple[str, list[Any]]]:
    for group, members in itertools.groupby(calls, key=lambda call: getattr(call, "group", "")):
        yield group, list(members)


def _do(call: Call, aws: Aws, terminal: Terminal) -> None:
    if isinstance(call, DockerCall):
        call.action(terminal)
    elif isinstance(call, FileCall):
        call.write()
    elif isinstance(call, PostCall):
        call.send()
    elif isinstance(call, UploadCall):
        with aws.explained(f"could not {call.message}"):
            call.send(aws, terminal)
    elif isinstance(call, CopyCall):
        with aws.explained(f"could not {call.message}"):
            _send(call, aws)
    else:
        with aws.explained(f"could not {call.message}"):
            _send_patiently(call, aws, terminal)


def _send_patiently(call: ApiCall, aws: Aws, terminal: Terminal) -> None:
    for attempt in itertools.count(1):
        try:
            _send(call, aws)
            break
        except ClientError as error:
            if call.is_done_by and _was_sent_again(error) and call.is_done_by(aws, error):
                break
            sign = next((sign for sign in (*call.retry_on, *EVENTUALLY) if sign in str(error)), "")
            if not sign or attempt == ATTEMPTS:
                raise
        terminal.labeled("waiting", f"{call.message}: AWS says {sign}, which passes; trying again")
        time.sleep(RETRY_SECONDS)


def _was_sent_again(error: ClientError) -> bool:
    return bool(error.response.get("ResponseMetadata", {}).get("RetryAttempts"))


def _validate(call: ApiCall, aws: Aws) -> None:
    client = aws.client(call.service)
    operation = client.meta.service_model.operation_model(client.meta.method_to_api_mapping[call.operation])
    parameters = {name: b"" if isinstance(value, Path) else value for name, value in call.parameters.items()}
    report = ParamValidator().validate(parameters, operation.input_shape)
    if report.has_errors():
        raise AwsError(f"nothing was sent: cannot {call.message}: {' '.join(report.generate_report().split())}")


def _send(call: ApiCall | CopyCall, aws: Aws) -> None:
    if isinstance(call, CopyCall):
        call.send(aws.client("s3"))
        return
    client: BaseClient = aws.client(call.service)
    with contextlib.ExitStack() as opened:
        try:
            files = {
                name: opened.enter_context(value.open("rb"))
                for name, value in call.parameters.items()
                if isinstance(value, Path)
            }
        except OSError as error:
            raise DataError(f"could not {call.message}: {error.filename} cannot be read: {error.strerror}") from None
        try:
            answer = getattr(client, call.operation)(**{**call.parameters, **files})
        except ClientError as error:
            if call.effect == "deleted" and is_gone(error):
                return
            raise
    # DeleteObjects succeeds as a whole, and tells here what it could not delete.
    if errors := answer.get("Errors"):
        first = errors[0]
        raise AwsError(
            f"could not {call.message}: {len(errors):,} objects stay, such as {first.get('Key')!r}: "
            f"{first.get('Message', '')} ({first.get('Code', '')})"
        )


def _send_together(group: str, calls: Sequence[ApiCall], aws: Aws, terminal: Terminal) -> None:
    with ThreadPoolExecutor(PARALLEL_CALLS) as pool, terminal.progress(group, len(calls)) as advance:
        futures = {pool.submit(_send, call, aws): call for call in calls}
        try:
            for future in as_completed(futures):
                with aws.explained(f"could not {futures[future].message}"):
                    future.result()
                advance(1)
        finally:
            pool.shutdown(cancel_futures=True)
    terminal.done(f"{group} ({len(calls):,})", calls[0].effect)
