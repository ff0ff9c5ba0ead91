"""Servers that run containers: chosen by what the machine has, gone with all that they started, and of any user."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import pytest

from tests.aws import REPOSITORY, run_local_aws
from tests.docker.conftest import DockerAws

# Any user that is not root; no file of this machine need be theirs.
USER = 65534

ENDLESS = "echo ready; while true; do sleep 0.1; done"


def test_containers_are_the_default_where_they_are_possible(engine: docker.DockerClient, tmp_path: Path) -> None:
    try:
        done = run_local_aws("start", home=tmp_path, LOCAL_AWS_EXECUTOR="")
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["executor"] == "docker"
        done = run_local_aws("start", home=tmp_path, LOCAL_AWS_EXECUTOR="process")
        assert done.returncode == 1
        assert "the executor docker runs" in done.stderr
    finally:
        assert run_local_aws("stop", home=tmp_path).returncode == 0


def test_without_the_registry_docker_is_refused(engine: docker.DockerClient, tmp_path: Path) -> None:
    path = str(Path(sys.executable).parent)
    assert not shutil.which("docker-registry", path=path)
    done = run_local_aws("start", home=tmp_path, LOCAL_AWS_EXECUTOR="docker", PATH=path)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("local_aws: LOCAL_AWS_EXECUTOR is docker, but the program docker-registry")
    assert "apt install docker-registry" in line


@pytest.mark.parametrize("signal_number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_nothing_outlives_the_server(start_aws: Any, signal_number: int) -> None:
    aws = start_aws()
    started(aws, InstanceCount=2)
    assert len(aws.containers()) == 2
    assert len(aws.networks()) == 1
    (registry,) = registries(aws.server.home)
    socket = socket_of_registry(aws.server.home)
    assert socket.is_socket()
    os.kill(aws.server.process.pid, signal_number)
    aws.server.process.wait(20)
    aws.eventually(lambda: not aws.containers() and not aws.networks())
    aws.eventually(lambda: not Path(f"/proc/{registry}").exists() and not socket.parent.exists())
    if signal_number != signal.SIGKILL:
        assert not list(aws.server.home.glob("jobs/*"))


def test_what_nobody_could_remove_is_removed_by_the_next_server(start_aws: Any) -> None:
    aws = start_aws()
    started(aws)
    (janitor,) = (process for process, command in processes() if "local_aws.janitor" in command and child(aws, process))
    os.kill(janitor, signal.SIGKILL)
    aws.server.process.kill()
    aws.server.process.wait()
    shutil.rmtree(socket_of_registry(aws.server.home).parent)
    (left,) = aws.containers()
    start_aws()
    assert aws.containers() == []
    assert not list(aws.server.home.glob("jobs/*"))
    with pytest.raises(docker.errors.NotFound):
        left.reload()


@pytest.fixture
def of_another_user(start_aws: Any) -> Iterator[DockerAws]:
    """A server that is not root's, where the containers' programs are."""
    if os.getuid() != 0:
        pytest.skip("these tests are not root's themselves, and so is every server of theirs")
    packages = {"PYTHONPATH": sysconfig.get_path("purelib")}
    pythons = [python for python in (sys.executable, "/usr/bin/python3") if can_run(python, packages)]
    if not pythons:
        pytest.skip("another user can run neither the Python of these tests nor the system's with the same packages")
    home = Path(tempfile.mkdtemp())
    os.chown(home, USER, USER)
    socket = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock").removeprefix("unix://")
    try:
        yield start_aws(
            home=home / "home",
            user=USER,
            groups=[Path(socket).stat().st_gid],
            python=pythons[0],
            HOME=str(home),
            **packages,
        )
    finally:
        shutil.rmtree(home)


def test_what_root_wrote_in_a_container_is_the_users(of_another_user: DockerAws) -> None:
    aws = of_another_user
    name = aws.start(
        """
        umask 077
        mkdir -p /opt/ml/model/sub /opt/ml/input/data/cache/sub
        echo secret > /opt/ml/model/sub/weights
        touch /opt/ml/input/data/cache/sub/file
        echo "$(id -u)"
        """
    )
    job = aws.finish(name)
    assert aws.lines(name) == ["0"]
    assert job["TrainingJobStatus"] == "Completed", job
    assert aws.archive(f"out/{name}/output/model.tar.gz") == {"sub/weights": b"secret\n"}
    assert aws.warnings(name) == ""
    aws.eventually(lambda: not list((aws.server.home / "jobs").iterdir()))
    assert aws.run("echo short > /opt/ml/output/failure; chmod 600 /opt/ml/output/failure; exit 1")[
        "FailureReason"
    ] == ("AlgorithmError: short, exit code: 1")


def test_checkpoints_that_only_root_can_read_are_kept(of_another_user: DockerAws) -> None:
    aws = of_another_user
    name = aws.start(
        "umask 077; mkdir /state/sub; echo secret > /state/sub/1",
        CheckpointConfig={"S3Uri": f"s3://{aws.bucket}/checkpoints", "LocalPath": "/state"},
    )
    aws.finish(name)
    assert "checkpoint" not in aws.warnings(name)
    kept = aws.s3.get_object(Bucket=aws.bucket, Key="checkpoints/sub/1")["Body"].read()
    assert kept == b"secret\n"
    aws.eventually(lambda: not list((aws.server.home / "jobs").iterdir()))


def test_an_image_without_chown_is_warned_about(of_another_user: DockerAws) -> None:
    aws = of_another_user
    directory = aws.image_directory("mkdir /opt/ml/model/sub; echo public > /opt/ml/model/sub/weights")
    (directory / "Dockerfile").write_text(
        f"FROM {aws.base_image}\nCOPY train /usr/local/bin/train\nRUN rm $(command -v chown)\n"
    )
    request = aws.request(aws.push(directory))
    aws.sagemaker.create_training_job(**request)
    job = aws.finish(request["TrainingJobName"])
    assert job["TrainingJobStatus"] == "Completed"
    name = job["TrainingJobName"]
    assert aws.archive(f"out/{name}/output/model.tar.gz") == {"sub/weights": b"public\n"}
    assert "`chown` in a container of its image cannot change that" in aws.warnings(name)
    assert "remove what is left" in aws.warnings(name)
    assert aws.containers() == []


def can_run(python: str, packages: dict[str, str]) -> bool:
    """Whether the other user can run the server with this interpreter."""
    command = [python, "-c", "import docker, moto.server, local_aws"]
    try:
        done = subprocess.run(
            command,
            cwd=REPOSITORY,
            env=packages,
            user=USER,
            group=USER,
            extra_groups=[],
            capture_output=True,
            check=False,
        )
    except PermissionError:
        return False
    return done.returncode == 0


def started(aws: DockerAws, **resources: Any) -> None:
    """Starts a job that does not end by itself."""
    resources = {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 5, **resources}
    name = aws.start(ENDLESS, ResourceConfig=resources)
    aws.eventually(lambda: aws.lines(name) == ["ready"])


def registries(home: Path) -> list[int]:
    """The registries that keep their files in this home."""
    return [process for process, command in processes() if command.startswith("/") and f"{home}/registry" in command
            and "supervisor" not in command]  # fmt: skip


def socket_of_registry(home: Path) -> Path:
    return Path(json.loads((home / "registry" / "config.json").read_text())["http"]["addr"])


def child(aws: DockerAws, process: int) -> bool:
    parent = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1]
    return int(parent) == aws.server.process.pid


def processes() -> Iterator[tuple[int, str]]:
    """All processes with their command lines."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            yield int(path.parent.name), path.read_text(errors="replace").replace("\0", " ")
        except (FileNotFoundError, ProcessLookupError):
            continue
