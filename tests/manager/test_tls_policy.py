"""What the bucket policies mean: plain HTTP is denied, HTTPS is left to the caller's own permissions."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError
from hypothesis import given
from hypothesis import strategies as st

from container.modeling.settings import Settings
from manager import names
from manager.bucket_aspects import aspects
from tests.aws import REGION, Server, start_in_foreground
from tests.manager.policy_evaluation import Request, decision

SETTINGS = Settings(project_name="shades-project", algorithm_name="shades")
BUCKETS = names.buckets(SETTINGS)
DATA, LOGS = names.data_bucket(SETTINGS), names.log_bucket(SETTINGS)
HTTP, HTTPS = {"aws:SecureTransport": "false"}, {"aws:SecureTransport": "true"}
LOG_DELIVERY = "logging.s3.amazonaws.com"

ON_THE_BUCKET = ("s3:ListBucket", "s3:ListBucketVersions", "s3:PutBucketPolicy", "s3:DeleteBucket")
ON_OBJECTS = ("s3:GetObject", "s3:GetObjectVersion", "s3:PutObject", "s3:DeleteObject", "s3:PutObjectTagging")


def policy_of(bucket: str, partition: str = "aws") -> Any:
    """The policy that is set for a bucket of the project."""
    place = names.Place("123456789012", REGION, partition)
    (policy,) = (aspect.value for aspect in aspects(SETTINGS, bucket, place) if aspect.parameter == "Policy")
    return policy


@pytest.mark.parametrize("partition", ["aws", "aws-cn", "aws-us-gov"])
@pytest.mark.parametrize("bucket", BUCKETS)
class TestEveryBucket:
    def test_over_plain_http_everything_is_denied(self, bucket: str, partition: str) -> None:
        policy, arn = policy_of(bucket, partition), f"arn:{partition}:s3:::{bucket}"
        assert {decision(policy, Request(action, arn, HTTP)) for action in ON_THE_BUCKET} == {"Deny"}
        assert {decision(policy, Request(action, f"{arn}/a/b", HTTP)) for action in ON_OBJECTS} == {"Deny"}
        assert decision(policy, Request("s3:PutObject", f"{arn}/log", HTTP, LOG_DELIVERY)) == "Deny"

    def test_over_https_the_callers_own_permissions_decide(self, bucket: str, partition: str) -> None:
        policy, arn = policy_of(bucket, partition), f"arn:{partition}:s3:::{bucket}"
        assert {decision(policy, Request(action, arn, HTTPS)) for action in ON_THE_BUCKET} == {""}
        assert {decision(policy, Request(action, f"{arn}/a/b", HTTPS)) for action in ON_OBJECTS} == {""}


@given(action=st.sampled_from(ON_OBJECTS), key=st.text(min_size=1), bucket=st.sampled_from(BUCKETS))
def test_no_object_has_a_key_that_escapes(action: str, key: str, bucket: str) -> None:
    policy, resource = policy_of(bucket), f"arn:aws:s3:::{bucket}/{key}"
    assert decision(policy, Request(action, resource, HTTP)) == "Deny"
    assert decision(policy, Request(action, resource, HTTPS)) == ""


@pytest.mark.parametrize(
    ("account", "source", "transport", "expected"),
    [
        ("123456789012", DATA, HTTPS, "Allow"),
        ("123456789012", LOGS, HTTPS, "Allow"),
        ("123456789012", DATA, HTTP, "Deny"),
        ("999999999999", DATA, HTTPS, ""),
        ("123456789012", "shades-project-of-others", HTTPS, ""),
    ],
)
def test_only_the_projects_own_access_logs_are_let_in(
    account: str, source: str, transport: dict[str, str], expected: str
) -> None:
    context = {"aws:SourceAccount": account, "aws:SourceArn": f"arn:aws:s3:::{source}", **transport}
    policy, log = policy_of(LOGS), f"arn:aws:s3:::{LOGS}/log"
    assert decision(policy, Request("s3:PutObject", log, context, LOG_DELIVERY)) == expected
    assert decision(policy, Request("s3:GetObject", log, context, LOG_DELIVERY)) != "Allow"
    assert decision(policy, Request("s3:PutObject", log, context, "elasticloadbalancing.amazonaws.com")) != "Allow"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """An AWS on this machine; its link to the tests counts as TLS."""
    server = start_in_foreground(tmp_path_factory.mktemp("home"))
    yield server
    server.process.terminate()
    assert server.process.wait(20) == 0


def test_the_aws_on_this_machine_looks_at_the_transport(server: Server) -> None:
    s3, policy = server.client("s3"), json.dumps(policy_of(DATA))
    s3.create_bucket(Bucket=DATA, CreateBucketConfiguration={"LocationConstraint": REGION})
    s3.put_object(Bucket=DATA, Key="image", Body=b"pixels")
    s3.put_bucket_policy(Bucket=DATA, Policy=policy)
    assert s3.get_object(Bucket=DATA, Key="image")["Body"].read() == b"pixels"

    # The reverse shows that the policy is not just passed over: it denies what this link is.
    s3.put_bucket_policy(Bucket=DATA, Policy=policy.replace('"false"', '"true"'))
    with pytest.raises(ClientError, match="403"):
        s3.get_object(Bucket=DATA, Key="image")
