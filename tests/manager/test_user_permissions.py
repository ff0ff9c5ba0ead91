"""A user who has what `policies/user*.json` list, and nothing else, can go the whole way."""

import io
import json
from collections.abc import Iterator
from dataclasses import replace

import boto3
import pytest
import requests
from rich.console import Console

from container.modeling.config_file import load_settings
from manager import commands, names, permissions, processing_commands, serving_commands, teardown, transform_commands
from manager.aws import Aws
from manager.console import Terminal
from manager.errors import AwsError, JobError
from manager.plan import execute
from manager.session import Session
from tests.conftest import png
from tests.project import REGION, Project

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def session(split_project: Project) -> Iterator[Session]:
    """A session of such a user, while permissions are enforced."""
    settings = load_settings(split_project.root / "container/modeling/config.py")
    iam, endpoint_url = split_project.client("iam"), split_project.endpoint_url
    place = Aws(boto3.Session("test", "test", region_name=REGION), endpoint_url).place
    policies = permissions.user_policies(settings, place)
    for statement in (statement for policy in policies for statement in policy["Statement"]):
        # moto knows the resources of S3 only; for other services an action counts if it is allowed on all. On which
        # resources the actions are allowed is shown by test_user_policy.py.
        if not str(statement["Action"]).startswith(("s3:", "['s3:")):
            statement["Resource"] = "*"
    # What moto calls otherwise than AWS, or asks for on the bucket instead of its objects.
    others = [
        "s3:HeadBucket",
        "s3:GetPublicAccessBlock",
        "s3:PutPublicAccessBlock",
        "s3:DeleteObject",
    ]
    resource = [f"arn:aws:s3:::{bucket}" for bucket in names.buckets(settings)]
    policies[0]["Statement"].append({"Sid": "Moto", "Effect": "Allow", "Action": others, "Resource": resource})
    iam.create_user(UserName="ada")
    for number, policy in enumerate(policies):
        iam.put_user_policy(UserName="ada", PolicyName=f"commands-{number}", PolicyDocument=json.dumps(policy))
    key = iam.create_access_key(UserName="ada")["AccessKey"]
    aws = Aws(boto3.Session(key["AccessKeyId"], key["SecretAccessKey"], region_name=REGION), endpoint_url)
    quiet = Terminal(out=Console(file=io.StringIO()), err=Console(file=io.StringIO()))
    # moto's own switch: the number of requests that pass before permissions are enforced.
    requests.post(f"{endpoint_url}/moto-api/reset-auth", data="0", timeout=10).raise_for_status()
    yield Session(
        settings, aws, quiet, execute, "directory", split_project.root, lambda question, answer: None, "manage"
    )
    requests.post(f"{endpoint_url}/moto-api/reset-auth", data="inf", timeout=10).raise_for_status()


def test_the_commands_on_the_way_pass(session: Session) -> None:
    commands.init_s3_buckets(session)
    image = commands.build_and_push_docker_image(session)
    job = commands.launch_training(session, image)
    assert commands.last_job(session) == job
    commands.status(session)
    commands.stop_training(session, job)
    with pytest.raises(JobError, match="was stopped"):
        commands.monitor(session, job)
    checkpoint = f"{names.CHECKPOINTS}/{job}/x"
    session.aws.client("s3").put_object(Bucket=names.output_bucket(session.settings), Key=checkpoint, Body=b"x")
    resumed, earlier = commands.resumed(session, job, {})
    resuming = commands.launch_training(resumed, image, earlier=earlier)
    commands.stop_training(session, resuming)
    with pytest.raises(JobError, match="was stopped"):
        commands.monitor(session, resuming)
    commands.init_s3_buckets(session)


@pytest.mark.long
def test_images_are_pruned_and_prepared_results_downloaded_models_served_and_all_is_deleted(session: Session) -> None:
    commands.init_s3_buckets(session)
    image = commands.build_and_push_docker_image(session)
    fewer = session.project_root / "data/images-sets/training/dark"
    extra = fewer / "extra.png"
    extra.write_bytes(png(77))
    commands.init_s3_buckets(session)
    extra.unlink()
    commands.init_s3_buckets(session, prune=True)

    prepared = processing_commands.launch(session, 1)
    assert processing_commands.finish(session, prepared)

    job = commands.launch_training(session, image)
    assert commands.monitor(session, job)
    commands.download_results(session, job)
    assert (session.project_root / "results" / job).is_dir()

    config = serving_commands.deploy(session, job)
    assert serving_commands.await_deployment(session, config)
    commands.status(session)
    images = str(session.project_root / "data/images-sets/evaluation")
    serving_commands.predict(session, [images])
    transform = transform_commands.launch_batch_transform(session, images, serving_commands.last_completed_job(session))
    assert transform_commands.last_transform_job(session) == transform
    assert transform_commands.monitor_transform(session, transform)
    transform_commands.transform_results(session, transform)
    serving_commands.undeploy(session)
    serving_commands.settle(session)
    transform_commands.launch_batch_transform(session, images, job)
    transform_commands.stop_transform(session, transform_commands.last_transform_job(session))
    with pytest.raises(JobError, match="was stopped"):
        transform_commands.monitor_transform(session, transform_commands.last_transform_job(session))

    # As if it had been made under an earlier ALGORITHM_NAME.
    other = session.settings.model_copy(update={"algorithm_name": "another"})
    commands.delete(replace(session, settings=other), with_data=True)
    assert teardown.read_holdings(session.aws, session.settings).is_empty


def test_what_is_not_listed_is_denied(session: Session) -> None:
    with pytest.raises(AwsError, match="AccessDenied"), session.aws.explained("x"):
        session.aws.client("s3").create_bucket(Bucket="somebody-elses")
    with pytest.raises(AwsError, match="AccessDenied"), session.aws.explained("x"):
        session.aws.client("iam").create_user(UserName="eve")
