"""What the Docker engine does for the project: builds the training image and pushes it, showing how it goes on."""

import base64
import contextlib
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
from docker.errors import APIError, DockerException, ImageNotFound
from docker.utils.build import exclude_paths
from requests.exceptions import RequestException

from manager.aws import Aws
from manager.console import Terminal
from manager.errors import ImageError

# SageMaker's instances are all of this kind, whatever the machine is that builds.
PLATFORM = "linux/amd64"
BUILD_TIMEOUT_SECONDS = 3600
LAST_LINES = 5

Login = Callable[[], dict[str, str]]
"""Gives a registry's `username` and `password`."""

OFFLINE = (
    "is this machine connected, and does the engine know your proxy? With LOCAL_AWS_EXECUTOR=process in the "
    "environment --local needs no registry"
)
REMEDIES = (
    (
        "no space left on device",
        "the disk is full: `docker system df` tells what uses it, `docker system prune` frees it",
    ),
    ("toomanyrequests", "the registry of the base image limits downloads: try later, or log in by `docker login`"),
    ("pull access denied", "does training_image.base_image exist, and may you pull it? `docker pull` tells"),
    ("no basic auth credentials", "the registry refused the login: does your account have ecr:GetAuthorizationToken?"),
    ("dial tcp", OFFLINE),
    ("no such host", OFFLINE),
    ("client.timeout exceeded", OFFLINE),
    ("context deadline exceeded", OFFLINE),
    ("denied", "the registry refused: do your permissions have ecr:PutImage on the repository?"),
)


@dataclass(frozen=True)
class Engine:
    """The Docker engine of this machine, or the one that DOCKER_HOST names."""

    client: docker.DockerClient

    @classmethod
    def connect(cls, timeout_seconds: int = BUILD_TIMEOUT_SECONDS) -> "Engine":
        """Return the engine.

        Args:
            timeout_seconds: how long to wait for each of its answers.

        Raises:
            ImageError: no engine answers.
        """
        try:
            client = docker.from_env(timeout=timeout_seconds)
            client.ping()
        except (DockerException, RequestException) as error:
            text = _one_line(error)
            remedy = "start it (`sudo systemctl start docker`, or Docker Desktop), and see that `docker info` works"
            if "Permission denied" in text:
                remedy = "your user may not use it: `sudo usermod -aG docker $USER`, then log in anew"
            raise ImageError(f"the Docker engine does not answer ({text}): {remedy}") from None
        return cls(client)

    def info(self) -> Any:
        """Return what the engine tells of itself, as `docker info` does.

        Raises:
            ImageError: it does not answer.
        """
        with _explained("could not ask the Docker engine about itself"):
            return self.client.info()

    def base_digest(self, base_image: str) -> str:
        """Return the identity of a base image, `sha256:...`, as this machine has it or else its registry.

        Raises:
            ImageError: neither has it, or the registry does not answer.
        """
        with _explained(f"could not find the base image {base_image}"):
            try:
                image = self.client.images.get(base_image)
            except ImageNotFound:
                return str(self.client.images.get_registry_data(base_image).id)
        digests = image.attrs.get("RepoDigests") or [image.id]
        return str(digests[0]).rpartition("@")[2]

    def build(self, context: Path, name: str, arguments: Mapping[str, str], terminal: Terminal) -> None:
        """Build the image of a folder with a Dockerfile; show each step while it runs.

        Raises:
            ImageError: a step failed; the error has its last lines.
        """
        last: list[str] = []
        with _explained("could not build the image"), terminal.status() as set_status:
            answers = self.client.api.build(
                path=str(context),
                tag=name,
                buildargs=dict(arguments),
                platform=PLATFORM,
                rm=True,
                forcerm=True,
                decode=True,
            )
            for answer in answers:
                if "error" in answer:
                    raise ImageError(f"could not build the image: {_explain(' '.join([*last, answer['error']]))}")
                for line in str(answer.get("stream", "")).splitlines():
                    if text := re.sub(r"\x1b\[[0-9;]*m", "", line).strip():
                        last = [*last, text][-LAST_LINES:]
                        if text.startswith("Step "):
                            terminal.plain(f"  {text}")
                        set_status(text)

    def push(self, repository_uri: str, tag: str, login: Login, terminal: Terminal) -> None:
        """Push an image to its registry; show a bar for each layer.

        The login is asked for when the push begins, since it holds for some hours only. Layers that the registry
        has are not sent, so that an interrupted push goes on where it was.

        Raises:
            ImageError: the registry refused the login or the image, or the connection broke.
        """
        with _explained("could not push the image"), terminal.byte_bars() as show:
            answers = self.client.api.push(repository_uri, tag=tag, auth_config=login(), stream=True, decode=True)
            for answer in answers:
                if "error" in answer:
                    raise ImageError(f"could not push the image: {_explain(answer['error'])}")
                detail = answer.get("progressDetail") or {}
                if answer.get("id") and "current" in detail:
                    show(f"layer {answer['id']}", detail["current"], detail.get("total", 0))


def context_files(context: Path) -> list[Path]:
    """Return the files that a folder's .dockerignore lets into the build, and the Dockerfile, in a fixed order."""
    ignore = context / ".dockerignore"
    patterns = [
        line.strip()
        for line in (ignore.read_text(encoding="utf-8").splitlines() if ignore.is_file() else [])
        if line.strip() and not line.startswith("#")
    ]
    paths = {Path(path) for path in exclude_paths(str(context), patterns)} | {Path("Dockerfile")}
    return sorted(context / path for path in paths if (context / path).is_file())


def registry_login(aws: Aws) -> dict[str, str]:
    """Return the user name and the password that ECR gives for some hours; they are kept nowhere.

    Raises:
        AwsError: AWS refuses.
    """
    with aws.explained("could not log in to ECR"):
        answer = aws.client("ecr").get_authorization_token()
    token = base64.b64decode(answer["authorizationData"][0]["authorizationToken"]).decode()
    user, _, password = token.partition(":")
    return {"username": user, "password": password}


@contextlib.contextmanager
def _explained(what: str) -> Iterator[None]:
    try:
        yield
    except APIError as error:
        raise ImageError(f"{what}: {_explain(error.explanation or str(error))}") from None
    except (DockerException, RequestException) as error:
        raise ImageError(f"{what}: {_one_line(error)}; the same command goes on where this one ended") from None


def _explain(text: Any) -> str:
    line = " ".join(str(text).split())
    remedy = next((remedy for sign, remedy in REMEDIES if sign in line.lower()), "")
    return f"{line}; {remedy}" if remedy else line


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
