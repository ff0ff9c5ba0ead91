"""Endpoints from their creation to their end: states, updates in place, health, logs."""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import BotoCoreError, ClientError

from tests.aws import Aws, start_in_foreground
from tests.hosting import SERVE, Hosting

pytestmark = pytest.mark.slow

NOT_HEALTHY = (
    "The primary container for production variant AllTraffic did not pass the ping health check. "
    "Please check CloudWatch logs for this endpoint."
)

# Says 503 to /ping, for good.
NEVER_READY = SERVE.replace("ping = 200", "ping = 503")

# Says 503 to every other /ping.
SOMETIMES_ILL = (
    SERVE.replace("    def do_GET(self):", "    asked = 0\n    def do_GET(self):\n        Handler.asked += 1")
    .replace("self.answer(ping if", "self.answer(503 if self.asked % 2 == 0 else ping if")
    .replace('"pid": os.getpid()', '"pid": os.getpid(), "asked": self.asked')
)


@pytest.fixture
def impatient(tmp_path: Path) -> Iterator[Aws]:
    """A server that gives a program one second to get ready."""
    server = start_in_foreground(tmp_path / "home", LOCAL_AWS_HEALTH_CHECK_SECONDS="1")
    yield Aws(server, tmp_path)
    server.process.terminate()
    server.process.wait(20)


@pytest.fixture
def watchful(tmp_path: Path) -> Iterator[Hosting]:
    """Endpoints of a server that hardly pauses between two health checks."""
    server = start_in_foreground(tmp_path / "home", LOCAL_AWS_PING_INTERVAL_SECONDS="0.05")
    yield Hosting(Aws(server, tmp_path))
    server.process.terminate()
    server.process.wait(20)


def test_an_endpoint_answers_until_it_is_deleted(hosting: Hosting, aws: Any, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    config = hosting.config(hosting.variant(hosting.model(Environment={"GATE": str(gate)})))
    name = hosting.create(config)
    created = hosting.describe(name)
    assert created["EndpointStatus"] == "Creating"
    assert created["ProductionVariants"][0]["CurrentInstanceCount"] == 0
    gate.touch()
    hosting.sagemaker.get_waiter("endpoint_in_service").wait(EndpointName=name, WaiterConfig={"Delay": 1})
    endpoint = hosting.describe(name)
    assert endpoint["EndpointConfigName"] == config
    assert endpoint["EndpointArn"].endswith(f":endpoint/{name}")
    (variant,) = endpoint["ProductionVariants"]
    assert variant["CurrentInstanceCount"] == variant["DesiredInstanceCount"] == 1
    assert variant["DeployedImages"][0]["ResolvedImage"].startswith(f"{aws.repository_uri}@sha256:")
    who = json.loads(hosting.invoke(name, b"who"))
    directory = Path(who["environment"]["SAGEMAKER_BASE_DIR"]).parents[1]
    assert directory.is_dir()
    hosting.delete(name)
    assert not is_running(who["pid"])
    assert not directory.exists()
    assert hosting.log(name)[-1] == "it ends"
    with pytest.raises(hosting.sagemaker.exceptions.ClientError, match="Could not find endpoint"):
        hosting.describe(name)


def test_the_program_finds_its_model_and_its_variables(hosting: Hosting) -> None:
    data = hosting.model_data(weights="w", folder__part="p")
    name = hosting.deploy(data=data, Environment={"GREETING": "two words"})
    who = json.loads(hosting.invoke(name, b"who"))
    assert who["model"] == {"weights": "w", "part": "p"}
    environment = who["environment"]
    assert environment["GREETING"] == "two words"
    assert environment["AWS_REGION"] == environment["AWS_DEFAULT_REGION"] == "eu-central-1"
    assert environment["AWS_ENDPOINT_URL"] == hosting.aws.server.endpoint_url
    model = Path(environment["SAGEMAKER_BASE_DIR"]) / "model"
    assert [oct(path.stat().st_mode)[-3:] for path in (model, model / "folder", model / "weights")] == [
        "555", "555", "444",
    ]  # fmt: skip


def test_each_host_has_a_log_stream(hosting: Hosting) -> None:
    name = hosting.create(hosting.config(hosting.variant(hosting.model(), InitialInstanceCount=2)))
    hosting.settle(name)
    streams = hosting.streams(name)
    assert len(streams) == 2
    assert all(stream.startswith("AllTraffic/i-") for stream in streams)
    hosting.aws.eventually(lambda: hosting.log(name).count("it serves") == 2)
    assert hosting.log(name).count("local_aws: ml.m5.large: this machine stands in for it") == 2


def test_all_hosts_answer(hosting: Hosting) -> None:
    name = hosting.create(hosting.config(hosting.variant(hosting.model(), InitialInstanceCount=2)))
    hosting.settle(name)
    pids = [json.loads(hosting.invoke(name, b"who"))["pid"] for _ in range(4)]
    assert len(set(pids)) == 2
    assert pids[:2] == pids[2:]


def test_a_dead_host_does_not_keep_the_others_from_answering(hosting: Hosting, tmp_path: Path) -> None:
    """The first start passes the gate; later ones find it shut."""
    gate = tmp_path / "gate"
    gate.touch()
    model = hosting.model(Environment={"GATE": str(gate)})
    name = hosting.create(hosting.config(hosting.variant(model, InitialInstanceCount=2)))
    hosting.settle(name)
    gate.unlink()
    with pytest.raises(hosting.runtime.exceptions.ModelError):
        hosting.invoke(name, b"crash")
    assert [hosting.invoke(name, b"ab") for _ in range(4)] == [b"ba"] * 4
    hosting.aws.eventually(lambda: hosting.describe(name)["ProductionVariants"][0]["CurrentInstanceCount"] == 1)
    assert hosting.describe(name)["ProductionVariants"][0]["DesiredInstanceCount"] == 2


def test_variants_answer_by_their_weights(hosting: Hosting) -> None:
    cat, dog = (hosting.model(data=hosting.model_data(f"{pet}.tar.gz", pet=pet)) for pet in ("cat", "dog"))
    name = hosting.create(
        hosting.config(
            hosting.variant(cat, VariantName="cat", InitialVariantWeight=1),
            hosting.variant(dog, VariantName="dog", InitialVariantWeight=0),
        )
    )
    hosting.settle(name)

    def pet(**arguments: str) -> str:
        answer = hosting.runtime.invoke_endpoint(EndpointName=name, Body=b"who", **arguments)
        model = json.loads(answer["Body"].read())["model"]
        assert model == {"pet": answer["InvokedProductionVariant"]}
        return answer["InvokedProductionVariant"]

    assert {pet() for _ in range(10)} == {"cat"}
    assert pet(TargetVariant="dog") == "dog"
    weights = {entry["VariantName"]: entry["CurrentWeight"] for entry in hosting.describe(name)["ProductionVariants"]}
    assert weights == {"cat": 1.0, "dog": 0.0}


def test_an_update_takes_place_without_a_gap(hosting: Hosting, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    old = hosting.model(data=hosting.model_data("old.tar.gz", version="old"))
    new = hosting.model(data=hosting.model_data("new.tar.gz", version="new"), Environment={"GATE": str(gate)})
    name = hosting.create(hosting.config(hosting.variant(old)))
    hosting.settle(name)
    pid = json.loads(hosting.invoke(name, b"who"))["pid"]
    config = hosting.config(hosting.variant(new))
    hosting.sagemaker.update_endpoint(EndpointName=name, EndpointConfigName=config)
    endpoint = hosting.describe(name)
    assert endpoint["EndpointStatus"] == "Updating"
    assert endpoint["PendingDeploymentSummary"]["EndpointConfigName"] == config
    assert version(hosting, name) == "old"
    slow: list[bytes] = []
    under_way = threading.Thread(target=lambda: slow.append(hosting.invoke(name, b"sleep 0.5")))
    under_way.start()
    gate.touch()
    hosting.aws.eventually(lambda: version(hosting, name) == "new")
    endpoint = hosting.settle(name)
    assert (endpoint["EndpointStatus"], endpoint["EndpointConfigName"]) == ("InService", config)
    under_way.join()
    assert slow == [b"5.0 peels"]
    hosting.aws.eventually(lambda: not is_running(pid))


def test_deleting_an_endpoint_ends_what_an_update_replaced(hosting: Hosting) -> None:
    name = hosting.deploy()
    old = pid_of(hosting, name)
    with slow_request(hosting, name):
        hosting.sagemaker.update_endpoint(EndpointName=name, EndpointConfigName=another_config(hosting))
        assert hosting.settle(name)["EndpointStatus"] == "InService"
        assert is_running(old)
        hosting.delete(name)
        assert not is_running(old)


def test_a_server_that_ends_waits_for_no_answer(own_aws: Any) -> None:
    hosting = Hosting(own_aws)
    name = hosting.deploy()
    old = pid_of(hosting, name)
    with slow_request(hosting, name):
        hosting.sagemaker.update_endpoint(EndpointName=name, EndpointConfigName=another_config(hosting))
        hosting.settle(name)
        own_aws.server.process.terminate()
        # Its own patience with what does not end is 10 s.
        assert own_aws.server.process.wait(8) == 0
    hosting.aws.eventually(lambda: not is_running(old))


def test_after_a_failed_update_the_old_hosts_go_on(hosting: Hosting) -> None:
    config = hosting.config(hosting.variant(hosting.model()))
    name = hosting.create(config)
    hosting.settle(name)
    broken = hosting.config(hosting.variant(hosting.model("#!/bin/sh\nexit 3\n")))
    hosting.sagemaker.update_endpoint(EndpointName=name, EndpointConfigName=broken)
    endpoint = hosting.settle(name)
    assert (endpoint["EndpointStatus"], endpoint["FailureReason"]) == ("InService", NOT_HEALTHY)
    assert endpoint["EndpointConfigName"] == config
    assert hosting.invoke(name, b"ab") == b"ba"
    hosting.sagemaker.update_endpoint(EndpointName=name, EndpointConfigName=config)
    assert "FailureReason" not in hosting.settle(name)


def test_a_program_that_ends_at_once_fails_the_endpoint(hosting: Hosting) -> None:
    name = hosting.create(hosting.config(hosting.variant(hosting.model("#!/bin/sh\necho no model; exit 3\n"))))
    endpoint = hosting.settle(name)
    assert (endpoint["EndpointStatus"], endpoint["FailureReason"]) == ("Failed", NOT_HEALTHY)
    log = hosting.log(name)
    assert "no model" in log
    assert any(
        line.endswith("the program ended with exit code 3 before /ping answered with status 200") for line in log
    )
    with pytest.raises(hosting.sagemaker.exceptions.ClientError, match="in status Failed: delete it"):
        hosting.sagemaker.update_endpoint(EndpointName=name, EndpointConfigName=endpoint["EndpointConfigName"])
    hosting.delete(name)


def test_a_program_that_never_gets_ready_fails_the_endpoint(impatient: Aws) -> None:
    hosting = Hosting(impatient)
    name = hosting.create(hosting.config(hosting.variant(hosting.model(NEVER_READY))))
    endpoint = hosting.settle(name)
    assert (endpoint["EndpointStatus"], endpoint["FailureReason"]) == ("Failed", NOT_HEALTHY)
    assert any(line.endswith("/ping did not answer with status 200 within 1 s") for line in hosting.log(name))
    assert list((impatient.server.home / "jobs").iterdir()) == []


@pytest.mark.parametrize("content", [b"no archive", b"\x1f\x8b\x08\x00broken"])
def test_a_broken_archive_fails_the_endpoint(hosting: Hosting, content: bytes) -> None:
    data = hosting.put_model_data(content)
    endpoint = hosting.settle(hosting.create(hosting.config(hosting.variant(hosting.model(data=data)))))
    assert endpoint["EndpointStatus"] == "Failed"
    assert endpoint["FailureReason"].startswith(
        f'Failed to extract model data archive for container "container_1" from URL "{data}". '
        "Please ensure that the object located at the URL is a valid tar.gz archive."
    )


def test_no_member_of_an_archive_leaves_its_directory(hosting: Hosting) -> None:
    for content, reason in (
        (hosting.archive_of(hosting.member("../outside")), "outside"),
        (hosting.archive_of(hosting.member("link", link="/etc/passwd")), "link is a symbolic link"),
    ):
        data = hosting.put_model_data(content)
        endpoint = hosting.settle(hosting.create(hosting.config(hosting.variant(hosting.model(data=data)))))
        assert endpoint["EndpointStatus"] == "Failed"
        assert reason in endpoint["FailureReason"]


def test_an_archive_that_the_disk_has_no_room_for(hosting: Hosting) -> None:
    member, _ = hosting.member("bomb")
    member.size = 1 << 60
    data = hosting.put_model_data(gzip.compress(member.tobuf() + b"x" * 512))
    endpoint = hosting.settle(hosting.create(hosting.config(hosting.variant(hosting.model(data=data)))))
    assert endpoint["EndpointStatus"] == "Failed"
    assert "this machine's disk has no room for bomb" in endpoint["FailureReason"]


def test_a_program_that_dies_is_started_anew(hosting: Hosting) -> None:
    name = hosting.deploy()
    first = json.loads(hosting.invoke(name, b"who"))
    os.kill(first["pid"], signal.SIGKILL)
    again = "local_aws: the program is in service again"
    hosting.aws.eventually(lambda: again in hosting.log(name))
    second = json.loads(hosting.invoke(name, b"who"))
    assert second["pid"] != first["pid"]
    assert second["model"] == first["model"] != {}
    assert hosting.describe(name)["EndpointStatus"] == "InService"
    assert "local_aws: warning: the program ended with exit code 137; it is started anew" in hosting.log(name)


def test_a_program_that_gets_ill_is_started_anew(watchful: Hosting) -> None:
    name = watchful.deploy(data=watchful.model_data(weights="w"))
    first = json.loads(watchful.invoke(name, b"who"))
    watchful.invoke(name, b"ping 503")
    again = "local_aws: the program is in service again"
    watchful.aws.eventually(lambda: again in watchful.log(name))
    second = json.loads(watchful.invoke(name, b"who"))
    assert second["pid"] != first["pid"]
    assert second["model"] == first["model"] == {"weights": "w"}
    assert not is_running(first["pid"])
    reason = "the program did not answer /ping with status 200 within 2 s, 3 times in a row"
    assert f"local_aws: warning: {reason}; it is started anew" in watchful.log(name)


def test_a_program_that_hangs_is_started_anew(watchful: Hosting) -> None:
    """One that is stopped takes connections and SIGTERM, and answers neither."""
    name = watchful.deploy()
    first = pid_of(watchful, name)
    os.kill(first, signal.SIGSTOP)
    watchful.aws.eventually(lambda: "local_aws: the program is in service again" in watchful.log(name))
    assert pid_of(watchful, name) != first
    assert not is_running(first)


def test_a_program_may_be_ill_for_a_moment(watchful: Hosting) -> None:
    name = watchful.deploy(SOMETIMES_ILL)
    first = pid_of(watchful, name)
    watchful.aws.eventually(lambda: json.loads(watchful.invoke(name, b"who"))["asked"] > 7)
    assert pid_of(watchful, name) == first


def test_programs_are_started_anew_side_by_side(hosting: Hosting, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    gate.touch()
    model = hosting.model(Environment={"GATE": str(gate)})
    name = hosting.create(hosting.config(hosting.variant(model, InitialInstanceCount=2)))
    hosting.settle(name)
    # Of hosts that have nothing to do each gets a request in turn.
    pids = {pid_of(hosting, name) for _ in range(2)}
    assert len(pids) == 2
    gate.unlink()
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    hosting.aws.eventually(lambda: sum(line.endswith("it is started anew") for line in hosting.log(name)) == 2)
    gate.touch()
    hosting.aws.eventually(lambda: hosting.describe(name)["ProductionVariants"][0]["CurrentInstanceCount"] == 2)


def test_a_program_is_started_anew_when_the_disk_lets_it(own_aws: Any) -> None:
    hosting, jobs = Hosting(own_aws), own_aws.server.home / "jobs"
    name = hosting.deploy()
    pid = pid_of(hosting, name)
    aside = jobs.rename(jobs.with_name("aside"))
    os.kill(pid, signal.SIGKILL)
    own_aws.eventually(lambda: any("cannot make its directory" in line for line in hosting.log(name)))
    aside.rename(jobs)
    own_aws.eventually(lambda: "local_aws: the program is in service again" in hosting.log(name))
    assert hosting.invoke(name, b"ab") == b"ba"


def test_what_is_under_way_cannot_be_changed(own_aws: Any) -> None:
    hosting = Hosting(own_aws)
    config = hosting.config(hosting.variant(hosting.model(NEVER_READY)))
    name = hosting.create(config)
    in_progress = "Cannot update in-progress endpoint"
    with pytest.raises(hosting.sagemaker.exceptions.ClientError, match=in_progress):
        hosting.sagemaker.delete_endpoint(EndpointName=name)
    with pytest.raises(hosting.sagemaker.exceptions.ClientError, match=in_progress):
        hosting.sagemaker.update_endpoint(EndpointName=name, EndpointConfigName=config)


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
def test_everything_ends_with_the_server(own_aws: Any, end: signal.Signals) -> None:
    hosting = Hosting(own_aws)
    name = hosting.create(hosting.config(hosting.variant(hosting.model(), InitialInstanceCount=2)))
    hosting.settle(name)
    pid = json.loads(hosting.invoke(name, b"who"))["pid"]
    own_aws.server.process.send_signal(end)
    own_aws.server.process.wait(20)
    hosting.aws.eventually(lambda: not is_running(pid))
    if end == signal.SIGTERM:
        assert not (own_aws.server.home / "jobs").exists()


def version(hosting: Hosting, name: str) -> str:
    answer: str = json.loads(hosting.invoke(name, b"who"))["model"]["version"]
    return answer


def pid_of(hosting: Hosting, name: str) -> int:
    pid: int = json.loads(hosting.invoke(name, b"who"))["pid"]
    return pid


def another_config(hosting: Hosting) -> str:
    return hosting.config(hosting.variant(hosting.model()))


@contextlib.contextmanager
def slow_request(hosting: Hosting, name: str) -> Iterator[None]:
    """A request that would take a minute is under way when the block begins; what comes of it does not matter."""

    def invoke() -> None:
        with contextlib.suppress(ClientError, BotoCoreError):
            hosting.invoke(name, b"sleep 50")

    thread = threading.Thread(target=invoke)
    thread.start()
    hosting.aws.eventually(lambda: "it sleeps" in hosting.log(name))
    yield
    thread.join()


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
