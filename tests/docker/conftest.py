"""A real Docker engine, a real registry, and a server that runs jobs as containers.

These tests need all of it: where no engine answers they end with an error, and do not count as passed.
"""

from __future__ import annotations

import base64
import contextlib
import io
import os
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
import pytest
from docker.errors import DockerException, ImageNotFound

from tests.aws import Aws, Server, start_in_foreground

BASE_IMAGE = "local-aws-test/python:3.11"
CONTAINERS = {"LOCAL_AWS_EXECUTOR": "docker"}

# A shell and little else, from the base image. An engine takes seconds to compress the base image for a registry that
# has not seen it yet, as that of a new server.
SMALL_IMAGE = "local-aws-test/small:1"
SMALL_DOCKERFILE = """\
FROM {base} AS whole
LABEL local-aws-test=small
RUN mkdir /small && ln -s usr/bin /small/bin && for name in sh chown cp dd id mkdir rm sleep touch; do \
        path=$(command -v $name) && cp --parents -L $path $(ldd $path | grep -o '/[^ ]*') /small; done
FROM scratch
COPY --from=whole /small /
"""


@dataclass
class DockerAws(Aws):
    """What a test asks of a server whose images are Docker images."""

    engine: docker.DockerClient
    base_image: str

    def build(self, directory: Path, tag: str = "1") -> str:
        """Builds an image whose programs are the directory's, and returns its name in the repository."""
        dockerfile = directory / "Dockerfile"
        if not dockerfile.exists():
            dockerfile.write_text(f"FROM {self.base_image}\nCOPY train serve* /usr/local/bin/\n")
        name = f"{self.repository_uri}:{tag}"
        self.engine.images.build(path=str(directory), tag=name, rm=True)
        return name

    def push(self, directory: Path, tag: str = "1") -> str:
        """Builds an image whose `train` is the directory's, pushes it as any client does, and returns its name."""
        name = self.build(directory, tag)
        answers = list(self.push_with(tag, self.login()))
        assert not [answer for answer in answers if "error" in answer], answers[-1]
        return name

    def push_with(self, tag: str, login: dict[str, str]) -> Any:
        """What the engine says while it pushes."""
        return self.engine.api.push(self.repository_uri, tag, stream=True, decode=True, auth_config=login)

    def login(self) -> dict[str, str]:
        token = self.ecr.get_authorization_token()["authorizationData"][0]["authorizationToken"]
        user, _, password = base64.b64decode(token).decode().partition(":")
        return {"username": user, "password": password}

    def forget_images(self) -> None:
        """Removes what the engine knows of the repository."""
        for image in self.engine.images.list(self.repository_uri):
            for known in [*image.tags, *image.attrs["RepoDigests"]]:
                # A digest goes with the last tag.
                with contextlib.suppress(ImageNotFound):
                    if known.startswith(self.repository_uri):
                        self.engine.images.remove(known, force=True)

    def containers(self) -> list[Any]:
        """All containers that the server made and that are still there."""
        mine = {"label": f"local-aws.home={self.server.home}"}
        return self.engine.containers.list(all=True, filters=mine, ignore_removed=True)

    def networks(self) -> list[Any]:
        """All networks that the server made and that are still there."""
        return self.engine.networks.list(filters={"label": f"local-aws.home={self.server.home}"})


@pytest.fixture(scope="session")
def engine() -> docker.DockerClient:
    try:
        client = docker.from_env()
        client.ping()
    except DockerException as error:
        pytest.exit(f"the tests of tests/docker need a Docker engine, and none answers: {error}", returncode=1)
    return client


@pytest.fixture(scope="session")
def base_image(engine: docker.DockerClient) -> str:
    """The name of an image with a shell and Python, which the engine has."""
    name = os.environ.get("TEST_BASE_IMAGE", BASE_IMAGE)
    try:
        engine.images.get(name)
    except ImageNotFound:
        made = subprocess.run(
            [Path(__file__).with_name("make_base_image"), name], capture_output=True, text=True, check=False
        )
        if made.returncode:
            pytest.exit(f"the tests of tests/docker need the image {name}: {made.stderr}", returncode=1)
    return name


@pytest.fixture(scope="session")
def small_image(engine: docker.DockerClient, base_image: str) -> Iterator[str]:
    """The name of an image with a shell, which is pushed in no time."""
    dockerfile = io.BytesIO(SMALL_DOCKERFILE.format(base=base_image).encode())
    engine.images.build(fileobj=dockerfile, tag=SMALL_IMAGE, rm=True)
    yield SMALL_IMAGE
    engine.images.remove(SMALL_IMAGE, force=True)
    engine.images.prune({"dangling": True, "label": "local-aws-test=small"})


@pytest.fixture(scope="session")
def server(engine: docker.DockerClient, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server for all tests that need none of their own."""
    server = start_in_foreground(tmp_path_factory.mktemp("home"), **CONTAINERS)
    yield server
    server.process.terminate()
    assert server.process.wait(20) == 0


@pytest.fixture
def aws(server: Server, tmp_path: Path, engine: docker.DockerClient, base_image: str) -> Iterator[DockerAws]:
    aws = DockerAws(server, tmp_path, engine, base_image)
    yield aws
    aws.forget_images()


@pytest.fixture
def start_aws(tmp_path: Path, engine: docker.DockerClient, small_image: str) -> Iterator[Callable[..., DockerAws]]:
    """Starts a server that the test may kill: `start_aws(user=..., VARIABLE=...)`, with the same home by default."""
    started: list[DockerAws] = []

    def start(home: Path = tmp_path / "home", **arguments: Any) -> DockerAws:
        server = start_in_foreground(home, **CONTAINERS, **arguments)
        aws = DockerAws(server, tmp_path, engine, small_image)
        started.append(aws)
        return aws

    yield start
    for aws in started:
        aws.forget_images()
        aws.server.process.terminate()
        aws.server.process.wait(20)
