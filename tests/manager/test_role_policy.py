"""What the rendered policy of the execution role allows, of all actions that there are, and on what: nothing else."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import botocore.session
import parliament
import pytest

from container.modeling.config_file import load_settings
from manager import names, role
from tests.manager.policy_evaluation import Request, decision

pytestmark = pytest.mark.slow

PLACE = names.Place("123456789012", "us-east-1")
KEY = "arn:aws:kms:us-east-1:123456789012:key/11111111-2222-3333-4444-555555555555"
OTHER_KEY = KEY.replace("11111111", "99999999")
DATA, OUTPUT, LOGS, FOREIGN = (
    f"arn:aws:s3:::{bucket}"
    for bucket in ("handwritten-digits.data", "handwritten-digits.output", "handwritten-digits.logs", "elsewhere")
)
ROLE, OTHER_ROLE = (f"arn:aws:iam::123456789012:role/{name}" for name in ("handwritten-digits-sagemaker", "admin"))
REPOSITORY = "arn:aws:ecr:us-east-1:123456789012:repository/handwritten-digits/digits-cnn"
SECRET = "arn:aws:secretsmanager:us-east-1:123456789012:secret:team/keys-AbCdEf"
LOG_GROUPS = "arn:aws:logs:us-east-1:123456789012:log-group:"
EVERYTHING = {
    "storage.kms_key": KEY,
    "training_job.volume_kms_key": KEY,
    "training_job.instance_type": "ml.p3.2xlarge",
    "training_job.subnets": '["subnet-1"]',
    "training_job.security_group_ids": '["sg-1"]',
    "aws.permissions_boundary": "arn:aws:iam::123456789012:policy/boundary",
    "model.initial_weights": "pretrained",
    "data.pretrained": "s3://elsewhere/models/old.tar.gz",
    "tracking.secret": "team/keys",
}


# What a job, or an intruder in it, would call.
SERVICES = ("s3", "ecr", "iam", "sagemaker", "logs", "kms", "ec2", "sts", "cloudwatch", "lambda", "secretsmanager")


def all_actions() -> set[str]:
    """Every action of these services that IAM knows, and every operation of theirs."""
    definitions = json.loads((Path(parliament.__file__).parent / "iam_definition.json").read_text())
    known = {
        f"{service['prefix']}:{privilege['privilege']}"
        for service in definitions
        if service["prefix"] in SERVICES
        for privilege in service["privileges"]
    }
    session = botocore.session.get_session()
    return known | {
        f"{service}:{operation}"
        for service in SERVICES
        for operation in session.get_service_model(service).operation_names
    }


ACTIONS = sorted(all_actions())


def allowed(policy: Any, resource: str, context: Mapping[str, str]) -> set[str]:
    """The actions on a resource that a policy allows, where the request has these condition keys."""
    return {action for action in ACTIONS if decision(policy, Request(action, resource, context)) == "Allow"}


@pytest.fixture(scope="module")
def plain() -> Any:
    """The policy with the settings as they come."""
    return role.execution_policy(load_settings(), PLACE)


def test_there_are_many_actions_to_ask_for() -> None:
    assert len(ACTIONS) > 2_000


@pytest.mark.parametrize(
    ("resource", "expected"),
    [
        (DATA, {"s3:ListBucket"}),
        (OUTPUT, {"s3:ListBucket"}),
        (f"{DATA}/training/dark/0.png", {"s3:GetObject"}),
        (f"{OUTPUT}/job/output/model.tar.gz", {"s3:GetObject", "s3:PutObject"}),
        (f"{OUTPUT}/job/checkpoints/1", {"s3:GetObject", "s3:PutObject"}),
        (f"{OUTPUT}/checkpoints/job/1", {"s3:GetObject", "s3:PutObject", "s3:DeleteObject"}),
        (LOGS, set()),
        (f"{LOGS}/checkpoints/x", set()),
        (FOREIGN, set()),
        (f"{FOREIGN}/models/old.tar.gz", set()),
        (ROLE, set()),
        (OTHER_ROLE, set()),
        (KEY, set()),
        (SECRET, set()),
        (REPOSITORY, {"ecr:BatchCheckLayerAvailability", "ecr:GetDownloadUrlForLayer", "ecr:BatchGetImage"}),
        (f"{REPOSITORY}-of-others", set()),
        ("arn:aws:sagemaker:us-east-1:123456789012:training-job/digits-cnn-1", set()),
        (
            f"{LOG_GROUPS}/aws/sagemaker/TrainingJobs:log-stream:job/algo-1",
            {"logs:CreateLogGroup", "logs:CreateLogStream", "logs:PutLogEvents", "logs:DescribeLogStreams"},
        ),
        (f"{LOG_GROUPS}/aws/lambda/x:log-stream:y", set()),
        ("arn:aws:logs:eu-central-1:123456789012:log-group:/aws/sagemaker/TrainingJobs:log-stream:x", set()),
        ("arn:aws:ec2:us-east-1:123456789012:network-interface/eni-1", set()),
    ],
)
def test_of_all_actions_only_these_are_allowed(plain: Any, resource: str, expected: set[str]) -> None:
    # What knows no resource of its own is asked for on all of them.
    assert allowed(plain, resource, {}) - {"ecr:GetAuthorizationToken"} == expected


def test_on_no_resource_of_its_own_only_the_login_and_the_metrics_of_sagemaker(plain: Any) -> None:
    assert allowed(plain, "*", {}) == {"ecr:GetAuthorizationToken"}
    both = {"ecr:GetAuthorizationToken", "cloudwatch:PutMetricData"}
    assert allowed(plain, "*", {"cloudwatch:namespace": "/aws/sagemaker/TrainingJobs"}) == both
    assert allowed(plain, "*", {"cloudwatch:namespace": "billing"}) == {"ecr:GetAuthorizationToken"}


class TestEverythingAtOnce:
    """With keys, networks, a boundary, an earlier model in another bucket, a secret, and checkpoints."""

    @pytest.mark.parametrize(
        ("resource", "context", "expected"),
        [
            (KEY, {}, {"kms:Encrypt", "kms:Decrypt", "kms:GenerateDataKey", "kms:DescribeKey"}),
            (
                KEY,
                {"kms:GrantIsForAWSResource": "true"},
                {"kms:Encrypt", "kms:Decrypt", "kms:GenerateDataKey", "kms:DescribeKey", "kms:CreateGrant"},
            ),
            (OTHER_KEY, {"kms:GrantIsForAWSResource": "true"}, set()),
            (
                OTHER_KEY,
                {
                    "kms:ViaService": "secretsmanager.us-east-1.amazonaws.com",
                    "kms:EncryptionContext:SecretARN": SECRET,
                },
                {"kms:Decrypt"},
            ),
            (SECRET, {}, {"secretsmanager:GetSecretValue"}),
            (SECRET.replace("keys", "others"), {}, set()),
            (FOREIGN, {}, set()),
            (FOREIGN, {"s3:prefix": "models/old.tar.gz"}, {"s3:ListBucket"}),
            (FOREIGN, {"s3:prefix": "secrets/"}, set()),
            (f"{FOREIGN}/models/old.tar.gz", {}, {"s3:GetObject"}),
            (f"{FOREIGN}/secrets/x", {}, set()),
            (LOGS, {}, set()),
            (ROLE, {}, set()),
            ("arn:aws:ec2:us-east-1:123456789012:instance/i-1", {}, set()),
            (
                "arn:aws:ec2:us-east-1:123456789012:network-interface/eni-1",
                {},
                {
                    "ec2:CreateNetworkInterface",
                    "ec2:CreateNetworkInterfacePermission",
                    "ec2:DeleteNetworkInterface",
                    "ec2:DeleteNetworkInterfacePermission",
                },
            ),
        ],
    )
    def test_only_these_are_allowed(self, resource: str, context: dict[str, str], expected: set[str]) -> None:
        policy = role.execution_policy(load_settings(assignments=EVERYTHING), PLACE)
        found = allowed(policy, resource, context)
        describing = {
            "ec2:DescribeNetworkInterfaces",
            "ec2:DescribeVpcs",
            "ec2:DescribeDhcpOptions",
            "ec2:DescribeSubnets",
            "ec2:DescribeSecurityGroups",
        }
        assert found - describing - {"ecr:GetAuthorizationToken"} == expected
        assert found >= describing
