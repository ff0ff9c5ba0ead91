"""Endpoints whose programs are containers."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator

import pytest

from tests.docker.conftest import DockerAws
from tests.hosting import SERVE, Hosting

# Says what comes of writing to the model.
WRITES = SERVE.replace(
    'print("it serves"',
    """
try:
    (BASE / "model" / "new").write_text("x")
except OSError as error:
    print(error.strerror, flush=True)
print("it serves\"""".strip("\n"),
)


@pytest.fixture
def hosting(aws: DockerAws) -> Iterator[Hosting]:
    hosting = Hosting(aws)
    yield hosting
    hosting.close()


@pytest.mark.parametrize("isolated", [False, True])
def test_an_endpoint_answers_until_it_is_deleted(hosting: Hosting, aws: DockerAws, isolated: bool) -> None:
    data = hosting.model_data(weights="w")
    name = hosting.deploy(WRITES, data=data, EnableNetworkIsolation=isolated, Environment={"GREETING": "hello"})
    who = json.loads(hosting.invoke(name, b"who"))
    assert who["model"] == {"weights": "w"}
    assert who["environment"]["GREETING"] == "hello"
    assert hosting.invoke(name, b"\xff\x00\xfe") == b"\xfe\x00\xff"
    aws.eventually(lambda: "it serves" in hosting.log(name))
    assert "Read-only file system" in hosting.log(name)
    assert any("reaches what listens here on all addresses" in line for line in hosting.log(name)) is isolated
    hosting.delete(name)
    assert hosting.log(name)[-1] == "it ends"
    assert aws.containers() == []
    assert aws.networks() == []
    assert list((aws.server.home / "jobs").iterdir()) == []


def test_a_container_that_dies_is_started_anew(hosting: Hosting, aws: DockerAws) -> None:
    name = hosting.deploy()
    (container,) = aws.containers()
    with pytest.raises(hosting.runtime.exceptions.ModelError):
        hosting.invoke(name, b"crash")
    aws.eventually(lambda: "local_aws: the program is in service again" in hosting.log(name))
    assert hosting.invoke(name, b"ab") == b"ba"
    (other,) = aws.containers()
    assert other.id != container.id


def test_the_hosts_of_an_endpoint_share_the_memory(hosting: Hosting, aws: DockerAws) -> None:
    model = hosting.model()
    variants = [hosting.variant(model, VariantName="one", InitialInstanceCount=2), hosting.variant(model)]
    assert hosting.settle(hosting.create(hosting.config(*variants)))["EndpointStatus"] == "InService"
    limits = [container.attrs["HostConfig"]["Memory"] for container in aws.containers()]
    assert len(limits) == 3
    assert 0 < sum(limits) < aws.engine.info()["MemTotal"]


def test_an_image_without_the_program(hosting: Hosting) -> None:
    image = hosting.aws.push(hosting.aws.image_directory("true", name="training-only"))
    request = hosting.model_request(image)
    hosting.sagemaker.create_model(**request)
    name = hosting.create(hosting.config(hosting.variant(request["ModelName"])))
    endpoint = hosting.settle(name)
    assert endpoint["EndpointStatus"] == "Failed"
    assert "did not pass the ping health check" in endpoint["FailureReason"]
    assert any("serve" in line and "not found" in line for line in hosting.log(name))


def test_no_container_outlives_a_killed_server(start_aws: Callable[..., DockerAws], base_image: str) -> None:
    aws = start_aws()
    aws.base_image = base_image
    Hosting(aws).deploy()
    assert len(aws.containers()) == 1
    aws.server.process.send_signal(signal.SIGKILL)
    aws.server.process.wait(20)
    aws.eventually(lambda: not aws.containers())
