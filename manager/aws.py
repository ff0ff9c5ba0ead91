"""The only maker of AWS clients: where requests go and with which credentials, and AWS's errors in plain words."""

import contextlib
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property, partial
from typing import Any
from urllib.parse import urlsplit

import boto3
import botocore.session
from botocore.awsrequest import AWSRequest
from botocore.client import BaseClient
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    EndpointConnectionError,
    NoCredentialsError,
    NoRegionError,
    PartialCredentialsError,
    ProfileNotFound,
)
from botocore.parsers import ResponseParserError
from botocore.utils import parse_timestamp

from container.modeling.settings import Settings
from manager import names
from manager.errors import AwsError
from manager.names import Place

# As many as SageMaker's lists give at once; by themselves they give 10.
LARGE_PAGES = {"PageSize": 100}
FAILURES = (ClientError, BotoCoreError, ResponseParserError)
"""What boto3 raises where AWS refuses, does not answer, or answers nonsense."""

UNKNOWN_OPERATION = ("UnknownOperationException", "InvalidAction")
"""AWS's codes for an operation that a service does not have, by the service's protocol."""

REMEDIES = {
    "ExpiredToken": "log in to AWS again",
    "ExpiredTokenException": "log in to AWS again",
    "InvalidClientTokenId": "check the credentials: `aws sts get-caller-identity` must work",
    "UnrecognizedClientException": "check the credentials: `aws sts get-caller-identity` must work",
    "AccessDenied": "ask the account's administrator for this permission",
    "AccessDeniedException": "ask the account's administrator for this permission",
    "BucketNotEmpty": "something was put into it meanwhile: type the same command again a little later",
    "ResourceLimitExceeded": "ask for a higher quota in the Service Quotas console, or choose another instance type",
}


@dataclass(frozen=True)
class Aws:
    """One account in one region, reached through one boto3 session. Clients are made once and are thread-safe."""

    session: boto3.Session
    endpoint_url: str | None = None
    """Where all services answer, if not at AWS's own addresses."""
    attempts: int = 5
    """How often a request is sent before its failure counts."""
    timeout_seconds: int = 60
    """How long an attempt waits for a connection, and then for each part of the answer."""
    certificates: Any = True
    """File of the authorities that answer for AWS's addresses, as a proxy may have its own; True: the usual one."""
    _clients: dict[tuple[str, str], BaseClient] = field(default_factory=dict, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def client(self, service: str, region: str = "") -> Any:
        """Return the client of a service.

        Args:
            service: boto3's name of it.
            region: where it is asked, if it answers in few regions only; empty: in the account's own.

        Raises:
            AwsError: no region is set.
        """
        with self._lock, self.explained(f"cannot reach {service}"):
            if (service, region) not in self._clients:
                self._clients[service, region] = self._new_client(service, region)
            return self._clients[service, region]

    def impatient(self) -> "Aws":
        """Return the same account for questions whose answer is worth no long wait."""
        return Aws(self.session, self.endpoint_url, attempts=3, timeout_seconds=10, certificates=self.certificates)

    @property
    def options(self) -> tuple[str, ...]:
        """What makes the `aws` command line ask the same account in the same region."""
        named = (
            ("--region", self.session.region_name),
            ("--profile", self.session.profile_name if self.session.profile_name != "default" else None),
            ("--endpoint-url", self.endpoint_url),
        )
        return tuple(word for option, value in named if value for word in (option, value))

    def console_url(self, job: str) -> str:
        """Return the page of a training job in the AWS console; empty: this AWS has no console."""
        return "" if self.endpoint_url else names.console_url(self.place, job)

    @cached_property
    def place(self) -> Place:
        """The account, region and partition that requests go to.

        Raises:
            AwsError: there are no credentials or no region, or AWS does not accept them.
        """
        sts = self.client("sts")
        with self.explained("could not ask AWS who you are"):
            account = sts.get_caller_identity()["Account"]
        region = sts.meta.region_name
        return Place(account, region, self.session.get_partition_for_region(region))

    @contextlib.contextmanager
    def explained(self, what: str) -> Iterator[None]:
        """Turn boto3's exceptions into an `AwsError` that begins with `what`."""
        try:
            yield
        except FAILURES as error:
            raise AwsError(f"{what}: {_explain(error)}", _code(error)) from error

    def _new_client(self, service: str, region: str) -> BaseClient:
        if not (region or self.session.region_name):
            # Some services would answer without one, from wherever.
            raise NoRegionError
        config = Config(
            retries={"mode": "standard", "max_attempts": self.attempts},
            connect_timeout=self.timeout_seconds,
            read_timeout=self.timeout_seconds,
            max_pool_connections=32,
            # Dots in a bucket's name do not fit the certificate of virtual-hosted addresses.
            s3={"addressing_style": "path"},
            # A proxy of the user's is for the way to AWS; an endpoint of one's own is asked directly.
            proxies={} if self.endpoint_url else None,
        )
        client: BaseClient = self.session.client(  # type: ignore[call-overload]
            service, region_name=region or None, endpoint_url=self.endpoint_url, config=config
        )
        if self.endpoint_url:
            # S3 Control puts the account before the host's name, which an endpoint of one's own does not have.
            keep = partial(_send_to, self.endpoint_url)
            client.meta.events.register("before-sign.s3-control", keep)
        return client


def connect(settings: Settings) -> Aws:
    """Return the AWS account that the settings and the user's own configuration of AWS name.

    Raises:
        AwsError: the profile is unknown.
    """
    own = _quick_to_read(botocore.session.Session())
    try:
        session = boto3.Session(
            region_name=settings.aws.region or None, profile_name=settings.aws.profile or None, botocore_session=own
        )
    except ProfileNotFound as error:
        raise AwsError(f"{error}: see `aws configure list-profiles`, then set aws.profile") from None
    return Aws(session, certificates=own.get_config_variable("ca_bundle") or True)


def connect_local(settings: Settings, endpoint_url: str) -> Aws:
    """Return the AWS on this machine. The user's own credentials have no part in it."""
    nothing: Any = (None, [], None, None)
    nowhere: Any = (None, [], os.devnull, None)
    unconfigured = botocore.session.Session({"profile": nothing, "config_file": nowhere, "credentials_file": nowhere})
    session = boto3.Session(
        aws_access_key_id="local",
        aws_secret_access_key="local",
        region_name=settings.aws.region or "us-east-1",
        botocore_session=_quick_to_read(unconfigured),
    )
    return Aws(session, endpoint_url)


def error_code(error: ClientError) -> str:
    """Return AWS's code of an error, such as `NoSuchBucket` or `404`."""
    return str(error.response.get("Error", {}).get("Code", ""))


def reason(error: Exception) -> str:
    """Return in a word why AWS did not answer, such as `AccessDenied` or `ConnectTimeoutError`."""
    code = _code(error)
    return "not offered by this AWS" if code in UNKNOWN_OPERATION else code


def _quick_to_read(session: botocore.session.Session) -> botocore.session.Session:
    """Let a session read the times in AWS's answers quickly: a listing has one for each object."""
    session.get_component("response_parser_factory").set_parser_defaults(timestamp_parser=_timestamp)
    return session


def _timestamp(value: Any) -> datetime:
    with contextlib.suppress(TypeError, ValueError):
        found = datetime.fromisoformat(value)
        if found.tzinfo:
            return found
    # It knows all formats of AWS, and takes a hundred times as long.
    parsed: datetime = parse_timestamp(value)
    return parsed


def _code(error: Exception) -> str:
    return error_code(error) if isinstance(error, ClientError) else type(error).__name__


def _send_to(endpoint_url: str, request: AWSRequest, **_: Any) -> None:
    own = urlsplit(endpoint_url)
    request.url = urlsplit(str(request.url))._replace(scheme=own.scheme, netloc=own.netloc).geturl()


def _explain(error: Exception) -> str:
    if isinstance(error, ClientError):
        code = error_code(error)
        text = " ".join(str(error.response.get("Error", {}).get("Message", "")).split())
        remedy = f"; {REMEDIES[code]}" if code in REMEDIES else ""
        return f"{text} ({code}){remedy}"
    if isinstance(error, NoCredentialsError | PartialCredentialsError):
        return "there are no AWS credentials: run `aws configure`, set aws.profile, or add --local"
    if isinstance(error, NoRegionError):
        return "no AWS region is set: run `aws configure`, set aws.region, or add --local"
    if isinstance(error, ResponseParserError):
        return "the answer is none that boto3 understands"
    if isinstance(error, EndpointConnectionError):
        return f"{error} (is this machine connected, and the region's name right?)"
    return " ".join(str(error).split())
