"""The Docker image up to its build, by an engine that only answers questions."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from docker.utils.build import exclude_paths

from tests.manager.docker_engine import engine
from tests.manager.wire import Answer, Wire, listening
from tests.project import ROOT, Project

BASE = "python:3.11-slim-bookworm"
PRESENT = {f"/images/{BASE}/json": (200, {"Id": f"sha256:{'1' * 64}", "RepoDigests": [f"python@sha256:{'2' * 64}"]})}
OFFLINE = 'Get "https://registry-1.docker.io/v2/": dial tcp: lookup registry-1.docker.io: no such host'


@pytest.fixture
def account(split_project: Project) -> Iterator[Wire]:
    """The way to an account without a repository."""
    with listening(split_project.endpoint_url) as wire:
        yield wire


def build(project: Project, wire: Wire, answers: dict[str, tuple[int, Any]], *arguments: str) -> tuple[str, str]:
    """What the command prints on both streams, without --local, with the engine that gives these answers."""
    with engine(answers) as host:
        variables = {
            "DOCKER_HOST": host,
            "AWS_ENDPOINT_URL": wire.url,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": "us-east-1",
        }
        done = Project(project.root, project.environment | variables).manage(
            "--build_and_push_docker_image", *arguments
        )
    return done.stdout, done.stderr


@pytest.mark.slow
def test_a_dry_run_names_the_registry_that_the_image_would_go_to(split_project: Project, account: Wire) -> None:
    shown, _ = build(split_project, account, PRESENT, "--dry_run")
    account_registry = "123456789012.dkr.ecr.us-east-1.amazonaws.com"
    assert (
        "aws ecr get-login-password --region us-east-1 | "
        f"docker login --username AWS --password-stdin {account_registry}\n"
        f"docker push {account_registry}/shades-project/"
    ) in shown
    assert re.search(r"^docker push 123456789012\.dkr\.ecr\.us-east-1\.amazonaws\.com/shades-project/", shown, re.M)
    registry = {"authorizationToken": "QVdTOng=", "proxyEndpoint": "http://localhost:5001/123456789012/us-east-1"}
    account.answers["GetAuthorizationToken"] = lambda _: Answer.of_json({"authorizationData": [registry]})
    shown, _ = build(split_project, account, PRESENT, "--dry_run")
    assert re.search(r"^docker push localhost:5001/123456789012/us-east-1/shades-project/shades:gpu-", shown, re.M)


def test_without_the_registry_of_the_base_image_there_is_a_way_that_needs_none(
    split_project: Project, account: Wire
) -> None:
    answers = {f"/distribution/{BASE}/json": (500, {"message": OFFLINE})}
    _, error = build(split_project, account, answers)
    assert error.startswith(f"error: could not find the base image {BASE}: ")
    assert "no such host" in error
    assert "LOCAL_AWS_EXECUTOR=process" in error


def test_the_context_has_every_module_but_the_settings_values() -> None:
    folder = ROOT / "container"
    lines = (folder / ".dockerignore").read_text().splitlines()
    patterns = [line for line in lines if line.strip() and not line.startswith("#")]
    sent = exclude_paths(str(folder), patterns)
    modules = {path.relative_to(folder).as_posix() for path in folder.rglob("*.py")}
    left_out = {"config.py", "config_file.py", "config_flowers.py", "presets.py"}
    assert modules - sent == {f"modeling/{name}" for name in left_out}
    assert {"train", "requirements-gpu.txt", "parts/__init__.py"} <= sent
    assert not [name for name in sent if "__pycache__" in name]
