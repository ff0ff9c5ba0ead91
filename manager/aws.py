"""The only maker of AWS clients: where requests go and with which credentials, and AWS's errors in plain words."""

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import boto3
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

from container.modeling.settings import Settings
from manager.errors import AwsError
from manager.names import Place

REMEDIES = {
    "ExpiredToken": "log in to AWS again",
    "ExpiredTokenException": "log in to AWS again",
    "InvalidClientTokenId": "check the credentials: `aws sts get-caller-identity` must work",
    "UnrecognizedClientException": "check the credentials: `aws sts get-caller-identity` must work",
    "AccessDenied": "ask the account's administrator for this permission",
    "AccessDeniedException": "ask the account's administrator for this permission",
    "ResourceLimitExceeded": "ask for a higher quota in the Service Quotas console, or choose another instance type",
}


@dataclass(frozen=True)
class Aws:
    """One account in one region, reached through one boto3 session. Clients are made once and are thread-safe."""

    session: boto3.Session
    endpoint_url: str | None = None
    """Where all services answer, if not at AWS's own addresses."""
    _clients: dict[str, BaseClient] = field(default_factory=dict, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def client(self, service: str) -> Any:
        """Return the client of a service.

        Raises:
            AwsError: no region is set.
        """
        with self._lock, self.explained(f"cannot reach {service}"):
            if service not in self._clients:
                self._clients[service] = self.session.client(  # type: ignore[call-overload]
                    service,
                    endpoint_url=self.endpoint_url,
                    config=Config(
                        retries={"mode": "standard", "max_attempts": 5},
                        max_pool_connections=32,
                        # Dots in a bucket's name do not fit the certificate of virtual-hosted addresses.
                        s3={"addressing_style": "path"},
                    ),
                )
            return self._clients[service]

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
        except (ClientError, BotoCoreError) as error:
            raise AwsError(f"{what}: {_explain(error)}") from error


def connect(settings: Settings) -> Aws:
    """Return the AWS account that the settings and the user's own configuration of AWS name.

    Raises:
        AwsError: the profile is unknown.
    """
    try:
        session = boto3.Session(region_name=settings.aws.region or None, profile_name=settings.aws.profile or None)
    except ProfileNotFound as error:
        raise AwsError(f"{error}: see `aws configure list-profiles`, then set aws.profile") from None
    return Aws(session)


def connect_local(settings: Settings, endpoint_url: str) -> Aws:
    """Return the AWS on this machine. The user's own credentials have no part in it."""
    session = boto3.Session(
        aws_access_key_id="local", aws_secret_access_key="local", region_name=settings.aws.region or "us-east-1"
    )
    return Aws(session, endpoint_url)


def error_code(error: ClientError) -> str:
    """Return AWS's code of an error, such as `NoSuchBucket` or `404`."""
    return str(error.response.get("Error", {}).get("Code", ""))


def _explain(error: ClientError | BotoCoreError) -> str:
    if isinstance(error, ClientError):
        code = error_code(error)
        text = " ".join(str(error.response.get("Error", {}).get("Message", "")).split())
        remedy = f"; {REMEDIES[code]}" if code in REMEDIES else ""
        return f"{text} ({code}){remedy}"
    if isinstance(error, NoCredentialsError | PartialCredentialsError):
        return "there are no AWS credentials: run `aws configure`, set aws.profile, or add --local"
    if isinstance(error, NoRegionError):
        return "no AWS region is set: run `aws configure`, set aws.region, or add --local"
    if isinstance(error, EndpointConnectionError):
        return f"{error} (is this machine connected, and the region's name right?)"
    return " ".join(str(error).split())
