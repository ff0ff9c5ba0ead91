"""What `policies/user.json` and its two fellows ask an administrator for."""

import json
from typing import Any

import pytest
from parliament import analyze_policy_string

from container.modeling.config_file import load_settings
from container.modeling.settings import Settings
from manager import names, permissions
from tests.manager.policy_evaluation import Request, decision
from tests.manager.test_role_policy import EVERYTHING

PLACE = names.Place("123456789012", "eu-central-1")
BOUNDARY = "arn:aws:iam::123456789012:policy/boundary"


def actions_of(statement: dict[str, Any]) -> list[str]:
    return statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]]


def whole_policy(settings: Settings) -> dict[str, Any]:
    """The three policies as one."""
    policies = permissions.user_policies(settings, PLACE)
    return policies[0] | {"Statement": [statement for policy in policies for statement in policy["Statement"]]}


def test_each_is_as_short_as_iam_takes_it() -> None:
    longest = {"project_name": "p" * 54, "algorithm_name": "a" * 43}
    settings = load_settings(assignments=longest | {"storage.kms_key": KEY, "aws.permissions_boundary": BOUNDARY})
    for policy in permissions.user_policies(settings, PLACE):
        # https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html
        assert len(json.dumps(policy, separators=(",", ":"))) < 6_144


def test_with_a_boundary_no_statement_lets_the_role_grow_beyond_it() -> None:
    policy = whole_policy(load_settings(assignments={"aws.permissions_boundary": BOUNDARY}))
    growing = {"iam:CreateRole", "iam:PutRolePolicy", "iam:AttachRolePolicy", "iam:PutRolePermissionsBoundary"}
    statements = [statement for statement in policy["Statement"] if growing & set(actions_of(statement))]
    assert statements
    for statement in statements:
        assert statement["Condition"] == {"ArnEquals": {"iam:PermissionsBoundary": BOUNDARY}}
    assert "iam:DeleteRolePermissionsBoundary" not in json.dumps(policy)


def test_without_one_nothing_is_asked_of_it() -> None:
    assert "PermissionsBoundary" not in json.dumps(whole_policy(load_settings()))


@pytest.mark.parametrize(
    "assignments",
    [
        {},
        {"storage.kms_key": "arn:aws:kms:eu-central-1:123456789012:key/1111-2222"},
        {"aws.permissions_boundary": BOUNDARY},
        {name: text.replace("us-east-1", PLACE.region) for name, text in EVERYTHING.items()},
    ],
)
def test_parliament_finds_nothing_in_it(assignments: dict[str, str]) -> None:
    policy = whole_policy(load_settings(assignments=assignments))
    key = assignments.get("storage.kms_key", "")
    assert [statement["Sid"] for statement in policy["Statement"]].count("UseTheKey") == bool(key)
    found = [str(finding) for finding in analyze_policy_string(json.dumps(policy)).findings]
    # Actions that are younger than this parliament.
    young = ("sagemaker:DeleteTrainingJob", "sagemaker:DeleteProcessingJob")
    assert [finding for finding in found if not any(f"Unknown action {name}" in finding for name in young)] == []


# What each request is asked for on: https://docs.aws.amazon.com/service-authorization/latest/reference/
REPOSITORIES = "arn:aws:ecr:eu-central-1:123456789012:repository/"
JOBS = "arn:aws:sagemaker:eu-central-1:123456789012:training-job/"
TUNING_JOBS = "arn:aws:sagemaker:eu-central-1:123456789012:hyper-parameter-tuning-job/"
TUNING = (
    "CreateHyperParameterTuningJob",
    "AddTags",
    "ListTags",
    "DescribeHyperParameterTuningJob",
    "ListTrainingJobsForHyperParameterTuningJob",
    "StopHyperParameterTuningJob",
)
SAGEMAKER = "arn:aws:sagemaker:eu-central-1:123456789012:"
LOGS = "arn:aws:logs:eu-central-1:123456789012:log-group:/aws/sagemaker/"
SERVING = {
    "model/digits-cnn-2030-01-01-00-00-00-0123abcd": ("CreateModel", "DeleteModel", "AddTags", "ListTags"),
    "endpoint-config/digits-cnn-2030-01-01-00-00-00-0123abcd": (
        "CreateEndpointConfig",
        "DescribeEndpointConfig",
        "DeleteEndpointConfig",
        "CreateEndpoint",
        "UpdateEndpoint",
        "AddTags",
        "ListTags",
    ),
    "endpoint/digits-cnn": (
        "CreateEndpoint",
        "UpdateEndpoint",
        "DescribeEndpoint",
        "DeleteEndpoint",
        "InvokeEndpoint",
        "AddTags",
        "ListTags",
    ),
    "transform-job/digits-cnn-batch-300101-000000": (
        "CreateTransformJob",
        "DescribeTransformJob",
        "StopTransformJob",
        "AddTags",
        "ListTags",
    ),
    "*": ("ListModels", "ListEndpoints", "ListEndpointConfigs", "ListTransformJobs"),
}
KEY = "arn:aws:kms:eu-central-1:123456789012:key/1111-2222"
BUCKETS = "arn:aws:s3:::handwritten-digits"
OURS, THEIRS = ({"aws:ResourceTag/Project": name} for name in ("handwritten-digits", "another"))
FOR_AWS = {"kms:GrantIsForAWSResource": "true"}


def is_allowed(action: str, resource: str, context: dict[str, str]) -> bool:
    settings = load_settings(assignments={"storage.kms_key": KEY})
    return decision(whole_policy(settings), Request(action, resource, context)) == "Allow"


@pytest.mark.parametrize(
    ("action", "resource", "context"),
    [
        # --delete lists all repositories and jobs, and removes the project's, whatever their ALGORITHM_NAME was.
        ("ecr:DescribeRepositories", f"{REPOSITORIES}*", {}),
        ("ecr:ListTagsForResource", f"{REPOSITORIES}handwritten-digits/older", {}),
        ("ecr:DeleteRepository", f"{REPOSITORIES}handwritten-digits/older", {}),
        ("sagemaker:Search", "*", {}),
        ("sagemaker:ListTrainingJobs", "*", {}),
        ("sagemaker:ListTags", f"{JOBS}somebody-elses", {}),
        ("sagemaker:DeleteTrainingJob", f"{JOBS}older-2030-01-01-00-00-00", OURS),
        ("sagemaker:ListHyperParameterTuningJobs", "*", {}),
        ("sagemaker:ListTags", f"{TUNING_JOBS}somebody-elses", {}),
        ("sagemaker:DeleteHyperParameterTuningJob", f"{TUNING_JOBS}older-300101-000000", OURS),
        # --launch_tuning, --monitor, --tuning_results, --stop_tuning, --from_tuning
        *((f"sagemaker:{action}", f"{TUNING_JOBS}digits-cnn-300101-000000", {}) for action in TUNING),
        ("sagemaker:DescribeTrainingJob", f"{JOBS}digits-cnn-300101-000000-001-0123abcd", {}),
        # --deploy, --predict, --undeploy, --batch_transform, --transform_results, --stop_transform
        *(
            (f"sagemaker:{action}", what if what == "*" else SAGEMAKER + what, {})
            for what, actions in SERVING.items()
            for action in actions
        ),
        *(
            (action, f"{LOGS}{group}:log-stream:x", {})
            for group in ("TransformJobs", "Endpoints/digits-cnn")
            for action in ("logs:DescribeLogStreams", "logs:GetLogEvents", "logs:DeleteLogStream")
        ),
        ("s3:PutObject", f"{BUCKETS}.data/transforms/job/0.png", {}),
        ("s3:GetObject", f"{BUCKETS}.output/transforms/job/0.png.out", {}),
        # --delete
        ("sagemaker:DeleteEndpoint", f"{SAGEMAKER}endpoint/older", OURS),
        ("sagemaker:DeleteEndpointConfig", f"{SAGEMAKER}endpoint-config/older-1", OURS),
        ("sagemaker:DeleteModel", f"{SAGEMAKER}model/older-1", OURS),
        ("sagemaker:ListTags", f"{SAGEMAKER}transform-job/somebody-elses", {}),
        # S3 asks for both where versions are deleted; --prune deletes images.
        *(("s3:DeleteObject", f"{BUCKETS}.{kind}/x", {}) for kind in ("data", "output", "logs")),
        *(("s3:DeleteObjectVersion", f"{BUCKETS}.{kind}/x", {}) for kind in ("data", "output", "logs")),
        *(("s3:DeleteBucket", f"{BUCKETS}.{kind}", {}) for kind in ("data", "output", "logs")),
        # --download_results, and --resume
        ("sagemaker:DescribeTrainingJob", f"{JOBS}digits-cnn-2030-01-01-00-00-00", {}),
        ("s3:GetObject", f"{BUCKETS}.output/job/output/model.tar.gz", {}),
        ("s3:PutObject", f"{BUCKETS}.output/checkpoints/job/1", {}),
        # ECR and SageMaker's volumes
        ("kms:CreateGrant", KEY, FOR_AWS),
        ("kms:RetireGrant", KEY, {}),
    ],
)
def test_what_the_commands_ask_for_is_allowed(action: str, resource: str, context: dict[str, str]) -> None:
    assert is_allowed(action, resource, context)


@pytest.mark.parametrize(
    ("action", "resource", "context"),
    [
        ("ecr:DeleteRepository", f"{REPOSITORIES}another/older", {}),
        ("ecr:ListTagsForResource", f"{REPOSITORIES}another/older", {}),
        ("sagemaker:DeleteTrainingJob", f"{JOBS}older-2030-01-01-00-00-00", {}),
        ("sagemaker:DeleteTrainingJob", f"{JOBS}digits-cnn-2030-01-01-00-00-00", THEIRS),
        ("sagemaker:StopTrainingJob", f"{JOBS}somebody-elses", {}),
        ("sagemaker:StopHyperParameterTuningJob", f"{TUNING_JOBS}somebody-elses", {}),
        ("sagemaker:DeleteHyperParameterTuningJob", f"{TUNING_JOBS}digits-cnn-300101-000000", THEIRS),
        ("sagemaker:InvokeEndpoint", f"{SAGEMAKER}endpoint/digits-cnn-2", {}),
        ("sagemaker:UpdateEndpoint", f"{SAGEMAKER}endpoint/somebody-elses", OURS),
        ("sagemaker:DeleteEndpoint", f"{SAGEMAKER}endpoint/somebody-elses", THEIRS),
        ("sagemaker:DeleteEndpointConfig", f"{SAGEMAKER}endpoint-config/somebody-elses", {}),
        ("sagemaker:DeleteModel", f"{SAGEMAKER}model/somebody-elses", THEIRS),
        ("sagemaker:CreateModel", f"{SAGEMAKER}model/another-1", {}),
        ("sagemaker:StopTransformJob", f"{SAGEMAKER}transform-job/somebody-elses", OURS),
        ("logs:GetLogEvents", f"{LOGS}Endpoints/another:log-stream:x", {}),
        ("s3:PutObject", f"{BUCKETS}.output/job/output/model.tar.gz", {}),
        ("s3:DeleteObjectVersion", "arn:aws:s3:::another.data/x", {}),
        ("kms:CreateGrant", KEY, {}),
        ("kms:CreateGrant", KEY.replace("1111", "9999"), FOR_AWS),
    ],
)
def test_what_is_of_others_is_not(action: str, resource: str, context: dict[str, str]) -> None:
    assert not is_allowed(action, resource, context)
