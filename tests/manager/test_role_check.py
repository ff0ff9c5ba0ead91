"""A launch looks whether the role is as the job needs it, unless the same call makes it so."""

import json
from collections.abc import Iterator

import pytest

from tests.project import Project

pytestmark = pytest.mark.slow

ROLE = "shades-project-sagemaker"
ELSEWHERE = ("--set", "model.initial_weights=pretrained", "--set", "data.pretrained=s3://elsewhere/models/old.tar.gz")
DRY = ("--local", "--dry_run")


@pytest.fixture(scope="module")
def pushed(split_project: Project) -> Project:
    """A project with an image, and without a role."""
    split_project.manage_local("--build_and_push_docker_image")
    return split_project


@pytest.fixture
def initialized(pushed: Project) -> Iterator[Project]:
    """The same project with the role that the settings as they come need."""
    pushed.manage_local("--init_s3_buckets")
    yield pushed
    pushed.manage_local("--init_s3_buckets")


def refusal(project: Project, *arguments: str) -> str:
    failed = project.manage(*DRY, *arguments)
    assert failed.returncode == 1, failed.stdout
    return failed.stderr


def shown(project: Project, *arguments: str) -> str:
    done = project.manage(*DRY, *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_dry_run_that_makes_the_role_needs_none(pushed: Project) -> None:
    assert "aws sagemaker create-training-job" in shown(pushed, "--init_s3_buckets", "--launch_training")


@pytest.mark.parametrize("others", [[], ["--build_and_push_docker_image"]])
def test_without_a_role_nothing_is_launched_whatever_else_the_call_does(pushed: Project, others: list[str]) -> None:
    text = refusal(pushed, "--launch_training", *others)
    assert text == f"error: the role {ROLE} does not exist: create it first by --init_s3_buckets\n"


def test_settings_that_need_more_than_the_role_may_do_are_refused(initialized: Project) -> None:
    text = refusal(initialized, "--launch_training", *ELSEWHERE)
    assert f"the role {ROLE} is not as these settings need it" in text
    assert "run --init_s3_buckets with the same --set" in text
    launched = shown(initialized, "--init_s3_buckets", "--launch_training", *ELSEWHERE)
    assert "aws iam put-role-policy" in launched
    assert "aws sagemaker create-training-job" in launched
    initialized.manage_local("--init_s3_buckets", *ELSEWHERE)
    shown(initialized, "--launch_training", *ELSEWHERE)
    # A role that may do more than a job needs is no obstacle.
    shown(initialized, "--launch_training", "--set", "training_job.save_checkpoints=false")


def test_what_was_taken_from_the_role_by_hand_is_missed(initialized: Project) -> None:
    iam = initialized.client("iam")
    iam.delete_role_policy(RoleName=ROLE, PolicyName="training")
    assert "is not as these settings need it" in refusal(initialized, "--launch_training")
    initialized.manage_local("--init_s3_buckets")
    someone = {"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}
    trust = json.dumps({"Version": "2012-10-17", "Statement": [someone]})
    iam.update_assume_role_policy(RoleName=ROLE, PolicyDocument=trust)
    assert "let only SageMaker assume the role" in refusal(initialized, "--launch_training")


def test_a_boundary_that_the_settings_ask_for_must_be_there(initialized: Project) -> None:
    boundary = ("--set", "aws.permissions_boundary=arn:aws:iam::123456789012:policy/boundary")
    assert "bound what the role" in refusal(initialized, "--launch_training", *boundary)


def test_the_logs_are_nothing_to_go_on_from(initialized: Project) -> None:
    logs = (*ELSEWHERE[:3], "data.pretrained=s3://shades-project.logs/shades-project.data/model.tar.gz")
    for flags in (("--init_s3_buckets",), ("--init_s3_buckets", "--launch_training"), ("--launch_training",)):
        assert "no job may read the bucket of the access logs" in refusal(initialized, *flags, *logs)
