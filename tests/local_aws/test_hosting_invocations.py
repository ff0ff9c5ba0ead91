"""InvokeEndpoint: what reaches the program, and what comes back."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from tests.aws import Aws, Server
from tests.hosting import SERVE, Hosting

MEGABYTE = 1 << 20


@pytest.fixture(scope="module")
def name(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """One endpoint for all tests that leave it as it is."""
    hosting = Hosting(Aws(server, tmp_path_factory.mktemp("endpoint")))
    yield hosting.deploy()
    hosting.close()


def test_bytes_go_through_unchanged(hosting: Hosting, name: str) -> None:
    body = random.Random(7).randbytes(25 * MEGABYTE)
    assert hosting.invoke(name, body, ContentType="image/jpeg") == body[::-1]
    assert hosting.invoke(name, b"") == b""


def test_headers_reach_the_program_and_come_back(hosting: Hosting, name: str) -> None:
    answer = hosting.runtime.invoke_endpoint(
        EndpointName=name,
        Body=b"who",
        ContentType="image/png",
        Accept="application/json;verbose",
        CustomAttributes="trace=1",
        InferenceId="one",
    )
    headers = json.loads(answer["Body"].read())["headers"]
    assert headers["Content-Type"] == "image/png"
    assert headers["Accept"] == answer["ContentType"] == "application/json;verbose"
    assert headers["X-Amzn-SageMaker-Custom-Attributes"] == answer["CustomAttributes"] == "trace=1"
    assert answer["InvokedProductionVariant"] == "AllTraffic"
    assert not [header for header in headers if header.lower().startswith(("authorization", "x-amz-", "x-amzn-trace"))]


def test_an_error_of_the_program_is_a_model_error(hosting: Hosting, name: str) -> None:
    for status, side in ((415, "client"), (500, "server"), (302, "server")):
        with pytest.raises(hosting.runtime.exceptions.ModelError) as raised:
            hosting.invoke(name, f"status {status} no such type".encode())
        response = raised.value.response
        assert response["ResponseMetadata"]["HTTPStatusCode"] == 424
        assert response["OriginalStatusCode"] == status
        assert response["OriginalMessage"] == "no such type"
        assert response["LogStreamArn"].endswith(f":log-group:/aws/sagemaker/Endpoints/{name}")
        said = f'Received {side} error ({status}) from primary with message "no such type".'
        assert response["Error"]["Message"].startswith(said)


def test_a_long_error_is_left_out(hosting: Hosting, name: str) -> None:
    with pytest.raises(
        hosting.runtime.exceptions.ModelError,
        match=r"\(500\) from primary and could not load the entire response body\. See",
    ):
        hosting.invoke(name, b"status 500 " + b"x" * 20_000)


def test_a_program_that_dies_over_a_request(hosting: Hosting) -> None:
    name = hosting.deploy()
    with pytest.raises(hosting.runtime.exceptions.ModelError, match="could not get a response") as raised:
        hosting.invoke(name, b"crash")
    assert raised.value.response["OriginalStatusCode"] == 0
    hosting.aws.eventually(lambda: "local_aws: the program is in service again" in hosting.log(name))
    assert hosting.invoke(name, b"ab") == b"ba"
    assert "it crashes" in hosting.log(name)


def test_a_variant_whose_program_is_down(hosting: Hosting, tmp_path: Path) -> None:
    """The first start passes the gate; later ones find it shut."""
    gate = tmp_path / "gate"
    gate.touch()
    name = hosting.deploy(Environment={"GATE": str(gate)})
    gate.unlink()
    with pytest.raises(hosting.runtime.exceptions.ModelError):
        hosting.invoke(name, b"crash")
    # The end of the program is seen a moment after that of the connection.
    hosting.aws.eventually(lambda: hosting.describe(name)["ProductionVariants"][0]["CurrentInstanceCount"] == 0)
    with pytest.raises(hosting.runtime.exceptions.ServiceUnavailable, match="No host of variant AllTraffic"):
        hosting.invoke(name, b"ab")
    gate.touch()
    hosting.aws.eventually(lambda: hosting.describe(name)["ProductionVariants"][0]["CurrentInstanceCount"] == 1)
    assert hosting.invoke(name, b"ab") == b"ba"


@pytest.mark.slow
@pytest.mark.long
def test_an_answer_may_take_a_minute(hosting: Hosting, name: str) -> None:
    client = hosting.aws.server.patient_client("sagemaker-runtime")
    begin = time.monotonic()
    with pytest.raises(client.exceptions.ModelError, match="Your invocation timed out") as raised:
        client.invoke_endpoint(EndpointName=name, Body=b"sleep 70")
    assert raised.value.response["OriginalStatusCode"] == 0
    assert 60 <= time.monotonic() - begin < 65


def test_a_body_that_is_too_large(hosting: Hosting, name: str) -> None:
    with pytest.raises(hosting.runtime.exceptions.ClientError, match=r"\(413\).*exceeded 26214400 bytes"):
        hosting.invoke(name, bytes(25 * MEGABYTE + 1))
    # The connection is good for the next one.
    assert hosting.invoke(name, b"ab") == b"ba"


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"TargetVariant": "other"}, "has no production variant other"),
        ({"TargetModel": "m.tar.gz"}, "local_aws has no TargetModel"),
        ({"TargetContainerHostname": "second"}, "local_aws has no TargetContainerHostname"),
        ({"InferenceComponentName": "part"}, "local_aws has no InferenceComponentName"),
        ({"SessionId": "NEW_SESSION"}, "local_aws has no SessionId"),
    ],
)
def test_what_no_endpoint_has_here(hosting: Hosting, name: str, arguments: dict[str, str], reason: str) -> None:
    with pytest.raises(hosting.runtime.exceptions.ClientError, match=rf"\(ValidationError\).*{reason}"):
        hosting.invoke(name, b"ab", **arguments)


def test_an_endpoint_that_does_not_answer(hosting: Hosting, name: str) -> None:
    with pytest.raises(hosting.runtime.exceptions.ClientError, match="Endpoint none of account 123456789012 not found"):
        hosting.invoke("none", b"ab")
    failed = hosting.create(hosting.config(hosting.variant(hosting.model("#!/bin/sh\nexit 1\n"))))
    hosting.settle(failed)
    with pytest.raises(
        hosting.runtime.exceptions.ClientError, match=f"{failed} of account .* not InService but Failed"
    ):
        hosting.invoke(failed, b"ab")
    elsewhere = hosting.aws.server.client("sagemaker-runtime", "us-west-2")
    with pytest.raises(elsewhere.exceptions.ClientError, match="not found"):
        elsewhere.invoke_endpoint(EndpointName=name, Body=b"ab")


def test_other_ways_to_invoke_are_not_offered(hosting: Hosting, name: str) -> None:
    for call in (
        lambda: hosting.runtime.invoke_endpoint_async(EndpointName=name, InputLocation="s3://b/k"),
        lambda: hosting.runtime.invoke_endpoint_with_response_stream(EndpointName=name, Body=b"ab"),
    ):
        with pytest.raises(hosting.runtime.exceptions.ClientError, match="not offered by this AWS"):
            call()


def test_a_bucket_may_be_named_endpoints(hosting: Hosting) -> None:
    where = {"LocationConstraint": "eu-central-1"}
    hosting.aws.s3.create_bucket(Bucket="endpoints", CreateBucketConfiguration=where)
    hosting.aws.s3.put_object(Bucket="endpoints", Key="cat/invocations", Body=b"mine")
    assert hosting.aws.s3.get_object(Bucket="endpoints", Key="cat/invocations")["Body"].read() == b"mine"


def test_the_aws_command_line_sends_a_file(hosting: Hosting, name: str, aws_cli: Any, tmp_path: Path) -> None:
    photo, answer = tmp_path / "photo.jpg", tmp_path / "answer.json"
    photo.write_bytes(b"\xff\xd8\xff\xe0\x00binary\xff\xd9")
    printed = aws_cli(
        *("sagemaker-runtime", "invoke-endpoint", "--endpoint-name", name, "--content-type", "image/jpeg"),
        *("--accept", "application/json", "--body", f"fileb://{photo}", str(answer)),
    )
    assert json.loads(printed) == {"ContentType": "application/json", "InvokedProductionVariant": "AllTraffic"}
    assert answer.read_bytes() == photo.read_bytes()[::-1]


def test_an_answer_in_parts(hosting: Hosting) -> None:
    """A program may answer without a length, in chunks and compressed."""
    chunked = SERVE.replace(
        'self.send_header("Content-Length", str(len(body)))',
        'self.send_header("Transfer-Encoding", "chunked"); self.send_header("Content-Encoding", "gzip"); '
        'body = b"%x\\r\\n%s\\r\\n0\\r\\n\\r\\n" % (len(body), body)',
    )
    name = hosting.deploy(chunked)
    assert hosting.invoke(name, b"ab") == b"ba"


def test_a_request_without_a_signature_is_refused(hosting: Hosting) -> None:
    url = f"{hosting.aws.server.endpoint_url}/endpoints/any/invocations"
    with pytest.raises(HTTPError) as refused:
        urlopen(Request(url, b"an image", {"Content-Type": "image/png"}), timeout=20)
    assert refused.value.code == 403
    assert json.load(refused.value) == {"Message": "Missing Authentication Token"}
