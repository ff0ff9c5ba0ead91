"""Transform jobs that fail, that are stopped, and that end with their server."""

from __future__ import annotations

import gzip
import random
import time
from pathlib import Path
from typing import Any

import pytest

from tests.transforms import Transforms

pytestmark = pytest.mark.slow

SEE_LOGS = "See job logs for more information"

# Never listens; its SIGTERM is to be seen.
SILENT = """\
#!/bin/sh
trap 'echo stopping; exit 0' TERM
echo started
while true; do sleep 0.02; done
"""


@pytest.fixture
def transforms(aws: Any) -> Transforms:
    return Transforms(aws)


def alive(process: int) -> bool:
    """Whether a process runs; a zombie, which nobody may have reaped yet, does not."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def requests(transforms: Transforms, name: str) -> list[str]:
    return [line.removeprefix("got ") for line in transforms.log(name) if line.startswith("got")]


def test_a_refused_object_fails_the_job_and_the_others_are_kept(aws: Any, transforms: Transforms) -> None:
    aws.put(in__a="one", in__b="status 415", in__c="three")
    name = transforms.start(transforms.model())
    job = transforms.finish(name)
    assert (job["TransformJobStatus"], job["FailureReason"]) == ("Failed", f"ClientError: {SEE_LOGS}")
    assert transforms.outputs() == {"a.out": "ONE", "c.out": "THREE"}
    about = f"{aws.bucket}/in/b: "
    assert transforms.data_log(name) == [
        "MaxConcurrentTransforms=1, MaxPayloadInMB=6, BatchStrategy=MULTI_RECORD",
        f"{about}ClientError: 415",
        about,
        f"{about}Message:",
        f"{about}no: status 415",
    ]
    # To ask again would help nobody.
    assert requests(transforms, name).count("'status 415'") == 1


def test_a_bad_line_costs_its_object_the_output(aws: Any, transforms: Transforms) -> None:
    aws.put(in__a="one\nstatus 400\n", in__b="two\n")
    job = transforms.run(transforms.model(), BatchStrategy="SingleRecord", TransformInput={"SplitType": "Line"})
    assert job["FailureReason"] == f"ClientError: {SEE_LOGS}"
    assert transforms.outputs() == {"b.out": "TWO\n"}


@pytest.mark.parametrize("status", [429, 500, 503])
def test_what_may_pass_is_asked_again(aws: Any, transforms: Transforms, status: int) -> None:
    aws.put(in__a=f"status {status} 1")
    name = transforms.start(transforms.model())
    assert transforms.finish(name)["TransformJobStatus"] == "Completed"
    assert transforms.outputs() == {"a.out": f"STATUS {status} 1"}
    assert len(requests(transforms, name)) == 2


def test_a_program_may_say_when_to_ask_again(aws: Any, transforms: Transforms) -> None:
    aws.put(in__a="status 503 1 1")
    started = time.monotonic()
    assert transforms.run(transforms.model())["TransformJobStatus"] == "Completed"
    assert time.monotonic() - started > 1


def test_the_client_may_forbid_to_ask_again(aws: Any, transforms: Transforms) -> None:
    aws.put(in__a="status 500 1")
    name = transforms.start(transforms.model(), ModelClientConfig={"InvocationsMaxRetries": 0})
    assert transforms.finish(name)["FailureReason"] == f"AlgorithmError: {SEE_LOGS}"
    assert f"{aws.bucket}/in/a: Bad HTTP status received from algorithm: 500" in transforms.data_log(name)
    assert len(requests(transforms, name)) == 1


def test_an_answer_that_takes_too_long(aws: Any, transforms: Transforms) -> None:
    aws.put(in__a="sleep 2", in__b="b")
    client = {"InvocationsTimeoutInSeconds": 1, "InvocationsMaxRetries": 0}
    name = transforms.start(transforms.model(), ModelClientConfig=client)
    assert transforms.finish(name)["FailureReason"] == f"AlgorithmError: {SEE_LOGS}"
    line = f"{aws.bucket}/in/a: Model server did not respond to /invocations request within 1 seconds"
    assert line in transforms.data_log(name)
    assert transforms.outputs() == {"b.out": "B"}


def test_an_object_that_is_too_large(aws: Any, transforms: Transforms) -> None:
    aws.put(in__a="x" * ((1 << 20) + 1), in__b="y" * (1 << 20))
    name = transforms.start(transforms.model(), MaxPayloadInMB=1)
    assert transforms.finish(name)["FailureReason"] == f"ClientError: {SEE_LOGS}"
    assert list(transforms.outputs()) == ["b.out"]
    (line,) = transforms.data_log(name)[1:]
    assert line.startswith(f"{aws.bucket}/in/a: ClientError: the object is larger than MaxPayloadInMB, which is 1.")


def test_a_program_that_asks_for_too_much_at_a_time(aws: Any, transforms: Transforms) -> None:
    aws.put(in__a="one")
    name = transforms.start(transforms.model(PARAMETERS='{"MaxConcurrentTransforms": 20}'))
    assert transforms.finish(name)["FailureReason"].startswith(
        "ClientError: MaxConcurrentTransforms * MaxPayloadInMB is 20 * 6; the product cannot be greater than 100."
    )
    assert requests(transforms, name) == []
    # The request has the last word.
    model = transforms.model(PARAMETERS='{"MaxConcurrentTransforms": 20}')
    assert transforms.run(model, MaxConcurrentTransforms=1)["TransformJobStatus"] == "Completed"


def test_payloads_are_cut_when_they_are_sent(aws: Any, transforms: Transforms) -> None:
    """The first is refused before the object's end, which cannot be unpacked, is come to."""
    noise = random.Random(7).randbytes(1 << 20).hex().encode()
    packed = gzip.compress(b"status 415\n" + noise, 1)[:-100]
    aws.s3.put_object(Bucket=aws.bucket, Key="in/a", Body=packed)
    name = transforms.start(
        transforms.model(),
        MaxConcurrentTransforms=1,
        BatchStrategy="SingleRecord",
        TransformInput={"SplitType": "Line", "CompressionType": "Gzip"},
    )
    transforms.finish(name)
    assert transforms.data_log(name)[1] == f"{aws.bucket}/in/a: ClientError: 415"
    assert len(requests(transforms, name)) == 1


def test_an_object_that_is_not_compressed(aws: Any, transforms: Transforms) -> None:
    aws.put(in__a="plain")
    name = transforms.start(transforms.model(), TransformInput={"CompressionType": "Gzip"})
    assert transforms.finish(name)["FailureReason"] == f"ClientError: {SEE_LOGS}"
    assert "CompressionType is Gzip, but the object cannot be unpacked" in transforms.data_log(name)[1]


def test_a_program_that_ends_in_between(aws: Any, transforms: Transforms) -> None:
    aws.put(in__a="one", in__b="die", in__c="three")
    name = transforms.start(transforms.model())
    assert transforms.finish(name)["FailureReason"] == f"AlgorithmError: {SEE_LOGS}"
    assert transforms.outputs() == {"a.out": "ONE"}
    assert transforms.data_log(name)[1:] == [
        f"{aws.bucket}/in/{key}: Unable to get response from algorithm" for key in "bc"
    ]
    assert "the program ended with exit code 3" in transforms.warnings(name)


@pytest.mark.parametrize("serve", ["#!/bin/sh\necho no; exit 4\n", "#!/no/such/interpreter\n"])
def test_a_program_that_never_serves(aws: Any, transforms: Transforms, serve: str) -> None:
    aws.put(in__a="one")
    job = transforms.run(transforms.model(serve))
    assert job["TransformJobStatus"] == "Failed"
    assert job["FailureReason"] == (
        "AlgorithmError: Model container failed to respond to ping. "
        "Please ensure /ping endpoint is implemented and responds with an HTTP 200 status code"
    )
    assert "before /ping answered with status 200" in transforms.warnings(job["TransformJobName"])


def test_model_data_that_is_gone(aws: Any, transforms: Transforms) -> None:
    aws.put(in__a="one")
    model = transforms.model()
    aws.s3.delete_object(Bucket=aws.bucket, Key=f"{model}.tar.gz")
    job = transforms.run(model)
    assert job["FailureReason"] == f"ClientError: Could not find model data at s3://{aws.bucket}/{model}.tar.gz."


def test_a_stopped_job_stores_nothing(aws: Any, transforms: Transforms) -> None:
    aws.put(in__a="one", in__b="sleep 60", in__c="three")
    name = transforms.start(transforms.model())
    aws.eventually(lambda: "'sleep 60'" in requests(transforms, name))
    aws.sagemaker.stop_transform_job(TransformJobName=name)
    assert transforms.describe(name)["TransformJobStatus"] in ("Stopping", "Stopped")
    job = transforms.finish(name)
    assert job["TransformJobStatus"] == "Stopped"
    assert "FailureReason" not in job
    assert transforms.outputs() == {}
    assert len(transforms.data_log(name)) == 1
    assert "'three'" not in requests(transforms, name)
    (process,) = [int(line.split()[1]) for line in transforms.log(name) if line.startswith("serving")]
    assert not alive(process)
    assert list((aws.server.home / "jobs").iterdir()) == []


def test_a_job_that_is_stopped_before_its_program_serves(aws: Any, transforms: Transforms) -> None:
    aws.put(in__a="one")
    name = transforms.start(transforms.model(SILENT))
    aws.eventually(lambda: transforms.log(name) == ["started"])
    aws.sagemaker.stop_transform_job(TransformJobName=name)
    assert transforms.finish(name)["TransformJobStatus"] == "Stopped"
    assert transforms.log(name) == ["started", "stopping"]


def test_jobs_end_with_their_server(own_aws: Any) -> None:
    transforms = Transforms(own_aws)
    own_aws.put(in__a="sleep 60")
    name = transforms.start(transforms.model())
    own_aws.eventually(lambda: requests(transforms, name))
    (process,) = [int(line.split()[1]) for line in transforms.log(name) if line.startswith("serving")]
    own_aws.server.process.terminate()
    assert own_aws.server.process.wait(20) == 0
    own_aws.eventually(lambda: not alive(process))
    assert not (own_aws.server.home / "jobs").exists()
