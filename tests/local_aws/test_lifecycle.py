"""A server in the background: started once, found again, stopped, and not confused by what a killed one left."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def home(tmp_path: Path, local_aws: Any) -> Iterator[Path]:
    """A home directory whose server, if one runs, is stopped after the test."""
    home = tmp_path / "with space" / "home"
    yield home
    assert local_aws("stop", home=home).returncode == 0


def started(local_aws: Any, home: Path) -> dict[str, Any]:
    done = local_aws("start", home=home)
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    return json.loads(line)


def test_start_status_and_stop(local_aws: Any, home: Path) -> None:
    assert local_aws("status", home=home).returncode == 1
    began = time.monotonic()
    server = started(local_aws, home)
    assert time.monotonic() - began < 10
    assert set(server) == {"endpoint_url", "pid", "log_file", "executor"}
    assert server["executor"] == "process"
    assert Path(server["log_file"]).is_file()
    assert urllib.request.urlopen(server["endpoint_url"]).status == 200
    assert json.loads(local_aws("status", home=home).stdout) == server
    assert started(local_aws, home) == server
    assert server["endpoint_url"] in local_aws("stop", home=home).stdout
    assert local_aws("status", home=home).returncode == 1
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(server["endpoint_url"])
    assert "no local_aws runs" in local_aws("stop", home=home).stdout


def test_starting_at_the_same_time_makes_one_server(local_aws: Any, home: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        servers = list(pool.map(lambda _: started(local_aws, home), range(4)))
    assert all(server == servers[0] for server in servers)


@pytest.mark.slow
def test_a_killed_server_is_not_taken_for_a_running_one(local_aws: Any, home: Path, eventually: Any) -> None:
    first = started(local_aws, home)
    (home / "images" / "stale").mkdir(parents=True)
    (home / "jobs" / "stale").mkdir(parents=True)
    os.kill(first["pid"], signal.SIGKILL)
    eventually(lambda: local_aws("status", home=home).returncode == 1)
    assert (home / "server.json").exists()
    second = started(local_aws, home)
    assert second["pid"] != first["pid"]
    assert not list(home.glob("*/stale"))


def test_a_process_id_that_something_else_has_is_left_alone(local_aws: Any, home: Path) -> None:
    home.mkdir(parents=True)
    state = {"endpoint_url": "http://127.0.0.1:9", "pid": os.getpid(), "log_file": None, "executor": "process"}
    (home / "server.json").write_text(json.dumps(state))
    assert local_aws("status", home=home).returncode == 1
    assert "no local_aws runs" in local_aws("stop", home=home).stdout
    assert started(local_aws, home)["pid"] != os.getpid()


def test_a_server_in_the_foreground_is_used_and_can_be_stopped(own_server: Any, local_aws: Any) -> None:
    server = started(local_aws, own_server.home)
    assert server["pid"] == own_server.process.pid
    assert server["endpoint_url"] == own_server.endpoint_url
    assert server["log_file"] is None
    assert local_aws("stop", home=own_server.home).returncode == 0
    assert own_server.process.wait(20) == 0


@pytest.mark.slow
def test_a_second_server_in_the_foreground_is_refused(own_server: Any, local_aws: Any) -> None:
    done = local_aws(home=own_server.home)
    assert done.returncode == 1
    assert "runs in" in done.stderr
    assert "LOCAL_AWS_HOME" in done.stderr


def test_the_foreground_prints_what_a_client_needs(own_server: Any) -> None:
    lines = [own_server.process.stdout.readline().strip() for _ in range(3)]
    assert [line.split("=")[0] for line in lines] == [
        "export AWS_ACCESS_KEY_ID",
        "export AWS_SECRET_ACCESS_KEY",
        "export AWS_DEFAULT_REGION",
    ]


def test_it_listens_on_the_loopback_interface_only(server: Any) -> None:
    assert server.endpoint_url.startswith("http://127.0.0.1:")
    port = int(server.endpoint_url.rpartition(":")[2])
    # Local addresses are little-endian hexadecimal; 0A means that the socket listens.
    sockets = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    listening = {fields[1] for fields in sockets if fields[3] == "0A" and fields[1].endswith(f":{port:04X}")}
    assert listening == {f"0100007F:{port:04X}"}


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("LOCAL_AWS_STOP_GRACE_SECONDS", "soon"),
        ("LOCAL_AWS_STOP_GRACE_SECONDS", "-1"),
        ("LOCAL_AWS_HEALTH_CHECK_SECONDS", "8m"),
        ("LOCAL_AWS_PING_INTERVAL_SECONDS", "often"),
        ("LOCAL_AWS_EXECUTOR", "magic"),
        ("LOCAL_AWS_MEMORY", "much"),
        ("LOCAL_AWS_MEMORY", "1k"),
    ],
)
def test_a_bad_environment_variable_is_named(local_aws: Any, tmp_path: Path, variable: str, value: str) -> None:
    done = local_aws("start", home=tmp_path, **{variable: value})
    assert done.returncode == 1
    assert f"{variable} is {value!r}" in done.stderr


def test_a_server_that_cannot_start_says_why_in_one_line(local_aws: Any, server: Any, tmp_path: Path) -> None:
    taken = server.endpoint_url.rpartition(":")[2]
    done = local_aws("start", "--port", taken, home=tmp_path)
    assert done.returncode == 1
    assert done.stderr == f"local_aws: cannot listen on port {taken} of 127.0.0.1: Address already in use\n"


def test_a_server_that_breaks_while_it_starts_shows_its_log(local_aws: Any, tmp_path: Path) -> None:
    (tmp_path / "server.new").mkdir()
    done = local_aws("start", home=tmp_path)
    assert done.returncode == 1
    assert "did not start" in done.stderr
    assert "IsADirectoryError" in done.stderr


@pytest.mark.slow
def test_the_next_server_has_the_same_port_where_it_is_free(local_aws: Any, home: Path) -> None:
    first = started(local_aws, home)["endpoint_url"]
    assert local_aws("stop", home=home).returncode == 0
    assert started(local_aws, home)["endpoint_url"] == first
    assert local_aws("stop", home=home).returncode == 0
    with socket.create_server(("127.0.0.1", int(first.rpartition(":")[2]))):
        assert started(local_aws, home)["endpoint_url"] != first


def test_a_server_with_another_executor_is_not_taken_for_the_one_asked_for(own_server: Any, local_aws: Any) -> None:
    done = local_aws("start", home=own_server.home, LOCAL_AWS_EXECUTOR="docker")
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert "the executor process runs" in line
    assert "python -m local_aws stop" in line
    assert local_aws("start", home=own_server.home, LOCAL_AWS_EXECUTOR="").returncode == 0


@pytest.mark.parametrize(
    ("variables", "missing"),
    [
        ({"DOCKER_HOST": "unix:///no/such/socket"}, "no Docker engine answers"),
        ({"DOCKER_HOST": "tcp://192.0.2.1:2375"}, "DOCKER_HOST is tcp://192.0.2.1:2375"),
    ],
)
def test_without_an_engine_docker_is_refused_and_processes_are_the_default(
    local_aws: Any, home: Path, variables: dict[str, str], missing: str
) -> None:
    done = local_aws("start", home=home, **variables, LOCAL_AWS_EXECUTOR="docker")
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("local_aws: LOCAL_AWS_EXECUTOR is docker, but ")
    assert missing in line
    done = local_aws("start", home=home, **variables, LOCAL_AWS_EXECUTOR="")
    assert json.loads(done.stdout)["executor"] == "process"


def test_the_users_own_aws_configuration_is_not_read(local_aws: Any, home: Path, tmp_path: Path) -> None:
    broken = tmp_path / "config"
    broken.write_text("no configuration file")
    done = local_aws("start", home=home, AWS_PROFILE="missing", AWS_CONFIG_FILE=str(broken))
    assert done.returncode == 0, done.stderr
    request = urllib.request.Request(
        json.loads(done.stdout)["endpoint_url"],
        b"{}",
        {
            "Content-Type": "application/x-amz-json-1.1",
            "X-Amz-Target": "SageMaker.ListTrainingJobs",
            "Authorization": "AWS4-HMAC-SHA256 Credential=x/20260101/us-east-1/sagemaker/aws4_request",
        },
    )
    assert json.loads(urllib.request.urlopen(request).read()) == {"TrainingJobSummaries": []}
