"""What the commands leave in an account: nothing twice, nothing of others, nothing behind; killed, they go on."""

import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import pytest
from parliament import analyze_policy_string
from rich.console import Console

from container.errors import DataError, SettingsError
from container.modeling import overrides
from container.modeling.config_file import load_settings
from container.modeling.settings import Settings
from manager import aws as aws_module
from manager import buckets, commands, names, role
from manager.aws import Aws
from manager.console import Terminal
from manager.errors import AwsError, JobError, RefusedError
from manager.manifest import MANIFEST
from manager.plan import ApiCall, DockerCall, Plan, execute
from manager.session import Session
from tests.manager.test_role_policy import EVERYTHING, KEY
from tests.manager.wire import Answer, Wire, listening
from tests.project import Project

PLACE = names.Place("123456789012", "us-east-1")
# Of each request, the HTTP method or the name of the operation.
READING = ("GET", "HEAD", "Describe", "Get", "List", "BatchGet", "BatchCheck")


class KilledError(BaseException):
    """The command line was killed."""


@dataclass
class Counting:
    """An executor that remembers what it sent, and dies before the call of a given number."""

    dies_at: int | None = None
    sent: list[ApiCall | DockerCall] = field(default_factory=list)

    def __call__(self, plan: Plan, aws: Aws, terminal: Terminal) -> None:
        for call in plan.calls:
            if len(self.sent) == self.dies_at:
                raise KilledError
            execute(Plan((call,)), aws, terminal)
            self.sent.append(call)


@pytest.fixture
def session(split_project: Project) -> Iterator[Session]:
    """A session on an account of its own that is empty, with the small data set."""
    settings = load_settings(split_project.root / "container/modeling/config.py")
    local = split_project.run("-m", "local_aws", "start")
    aws = aws_module.connect_local(settings, json.loads(local.stdout)["endpoint_url"])
    quiet = Terminal(out=Console(file=io.StringIO()), err=Console(file=io.StringIO()))
    session = Session(
        settings, aws, quiet, execute, "directory", split_project.root, lambda question, answer: None, "manage"
    )
    yield session
    commands.delete(session, with_data=True)


def account(aws: Aws) -> dict[str, list[str]]:
    """What the account holds."""
    logs, ecr, iam = aws.client("logs"), aws.client("ecr"), aws.client("iam")
    jobs = aws.client("sagemaker").list_training_jobs()["TrainingJobSummaries"]
    return {
        "buckets": [bucket["Name"] for bucket in aws.client("s3").list_buckets()["Buckets"]],
        "roles": [found["RoleName"] for found in iam.list_roles()["Roles"]],
        "repositories": [found["repositoryName"] for found in ecr.describe_repositories()["repositories"]],
        "jobs": [job["TrainingJobName"] for job in jobs],
        "log groups": [group["logGroupName"] for group in logs.describe_log_groups()["logGroups"]],
    }


def listened(session: Session) -> tuple[Session, io.StringIO]:
    """The same session, and what it prints."""
    shown = io.StringIO()
    return replace(session, terminal=replace(session.terminal, out=Console(file=shown, width=200))), shown


def executed(session: Session, executor: Counting) -> list[ApiCall | DockerCall]:
    """Create buckets, role and repository by this executor; return what it sent."""
    by_it = replace(session, executor=executor)
    commands.init_s3_buckets(by_it)
    commands.build_and_push_docker_image(by_it)
    return executor.sent


@contextmanager
def over_wire(session: Session) -> Iterator[tuple[Session, Wire]]:
    """The same session, with a wire before the AWS."""
    with listening(str(session.aws.endpoint_url)) as wire:
        yield replace(session, aws=aws_module.connect_local(session.settings, wire.url)), wire


def test_a_second_time_sends_nothing(session: Session) -> None:
    assert executed(session, Counting())
    with over_wire(session) as (again, wire):
        assert executed(again, Counting()) == []
    assert wire.operations
    assert [name for name in wire.operations if not name.startswith(READING)] == []


@pytest.mark.slow
@pytest.mark.long
def test_killed_at_any_call_a_second_run_completes_it(session: Session) -> None:
    whole = executed(session, Counting())
    for dies_at in range(len(whole)):
        commands.delete(session, with_data=True)
        killed = Counting(dies_at=dies_at)
        with pytest.raises(KilledError):
            executed(session, killed)
        assert executed(session, Counting()), "there was something left to do"
        # Whatever is not as planned would be sent again.
        assert executed(session, Counting()) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("metadata", "told"),
    [({}, "was begun and not finished"), ({"fingerprint": "another"}, "have changed since this launch began")],
)
def test_an_upload_that_begins_amid_a_launch_stops_it(session: Session, metadata: dict[str, str], told: str) -> None:
    executed(session, Counting())
    data, s3 = "shades-project.data", session.aws.client("s3")
    with over_wire(session) as (launching, wire):
        # The manifest is looked at before all, then for its fingerprint, and once more before the request is sent.
        wire.before[f"HEAD /{data}/{MANIFEST}"] = [
            lambda: None,
            lambda: None,
            lambda: s3.put_object(Bucket=data, Key=MANIFEST, Body=b"", Metadata=metadata),
        ]
        with pytest.raises(DataError, match=told):
            commands.launch_training(launching, None)
    assert account(session.aws)["jobs"] == []


@pytest.mark.slow
def test_deleting_leaves_the_account_as_it_was(session: Session) -> None:
    before = account(session.aws)
    executed(session, Counting())
    job = commands.launch_training(session, None)
    assert commands.monitor(session, job)
    commands.delete(session, with_data=True)
    assert account(session.aws) == before


@pytest.mark.slow
def test_deleting_keeps_data_unless_told_otherwise(session: Session) -> None:
    executed(session, Counting())
    commands.delete(session, with_data=False)
    assert set(account(session.aws)["buckets"]) == {"shades-project.data", "shades-project.logs"}
    assert account(session.aws)["roles"] == []
    commands.delete(session, with_data=True)
    assert account(session.aws)["buckets"] == []


@pytest.mark.slow
def test_what_comes_while_a_bucket_is_emptied_is_deleted_too(session: Session) -> None:
    executed(session, Counting())
    s3, log_bucket = session.aws.client("s3"), "shades-project.logs"
    told, shown = listened(session)
    with over_wire(told) as (deleting, wire):
        wire.before[f"DELETE /{log_bucket}"] = [lambda: s3.put_object(Bucket=log_bucket, Key="late", Body=b"x")]
        commands.delete(deleting, with_data=True)
    assert "something came into a bucket after it was emptied; emptying it again" in shown.getvalue()
    assert not any(account(session.aws).values())


@pytest.mark.slow
def test_what_is_kept_is_told_with_the_reason_before_the_question(session: Session) -> None:
    executed(session, Counting())
    told, shown = listened(session)
    for _ in range(2):
        shown.truncate(0)
        commands.delete(told, with_data=False)
        text = shown.getvalue()
        assert "keeping    bucket shades-project.data, since it holds objects: --with_data deletes them too" in text
        assert "keeping    bucket shades-project.logs, since" in text
    assert "going to" not in text


@pytest.mark.slow
def test_what_is_gone_already_counts_as_deleted(session: Session) -> None:
    executed(session, Counting())
    s3, bucket = session.aws.client("s3"), "shades-project.output"
    with over_wire(session) as (deleting, wire):
        wire.before[f"DELETE /{bucket}"] = [lambda: s3.delete_bucket(Bucket=bucket)]
        commands.delete(deleting, with_data=True)
        assert not wire.before[f"DELETE /{bucket}"]
    assert not any(account(session.aws).values())


@pytest.mark.slow
def test_a_bucket_that_cannot_be_seen_is_told_of_and_not_touched(session: Session) -> None:
    executed(session, Counting())
    told, shown = listened(session)
    with over_wire(told) as (deleting, wire):
        wire.answers["HEAD"] = lambda _: Answer(b"", 403)
        commands.delete(deleting, with_data=True)
    assert "keeping    bucket shades-project.output, since it cannot be seen" in shown.getvalue()
    assert len(account(session.aws)["buckets"]) == 3


def test_what_ends_the_access_logs_is_told_before_the_question(session: Session) -> None:
    executed(session, Counting())
    told, shown = listened(session)

    def refuse(question: str, answer: str) -> None:
        raise RefusedError("nothing was done")

    with pytest.raises(RefusedError):
        commands.delete(replace(told, confirm=refuse), with_data=True)
    assert "going to   end the access log of the bucket shades-project.data" in shown.getvalue()
    assert "going to   end the delivery of access logs to the bucket shades-project.logs" in shown.getvalue()


@pytest.mark.slow
def test_a_job_that_search_does_not_tell_of_yet_is_still_running(session: Session) -> None:
    executed(session, Counting())
    job = commands.launch_training(session, None)
    with over_wire(session) as (deleting, wire):
        wire.answers["Search"] = lambda _: Answer.of_json({"Results": []})
        try:
            with pytest.raises(JobError, match=f"{job} is still running: end it first by --stop_training {job}"):
                commands.delete(deleting, with_data=True)
        finally:
            commands.stop_training(session, job)
            with pytest.raises(JobError, match="was stopped"):
                commands.monitor(session, job)


def test_deleting_asks_for_the_name_of_the_project(session: Session) -> None:
    executed(session, Counting())
    asked = []

    def refuse(question: str, answer: str) -> None:
        asked.append(answer)
        raise RefusedError("nothing was done")

    with pytest.raises(RefusedError):
        commands.delete(replace(session, confirm=refuse), with_data=True)
    assert asked == ["shades-project"]
    assert account(session.aws)["roles"] == ["shades-project-sagemaker"]


class TestOfOthers:
    """What is somebody else's is refused, never adopted, never deleted."""

    def test_a_bucket_with_objects_and_without_our_tag(self, session: Session) -> None:
        s3 = session.aws.client("s3")
        s3.create_bucket(Bucket="shades-project.output")
        s3.put_object(Bucket="shades-project.output", Key="theirs", Body=b"x")
        try:
            with pytest.raises(AwsError, match=r"shades-project\.output exists and belongs to something else"):
                commands.init_s3_buckets(session)
            commands.delete(session, with_data=True)
            assert account(session.aws)["buckets"] == ["shades-project.output"]
        finally:
            s3.delete_object(Bucket="shades-project.output", Key="theirs")
            s3.delete_bucket(Bucket="shades-project.output")

    def test_a_bucket_of_another_project(self, session: Session) -> None:
        s3 = session.aws.client("s3")
        s3.create_bucket(Bucket="shades-project.data")
        tags = {"TagSet": [{"Key": "Project", "Value": "other"}]}
        s3.put_bucket_tagging(Bucket="shades-project.data", Tagging=tags)
        try:
            with pytest.raises(AwsError, match="belongs to the project other"):
                commands.init_s3_buckets(session)
        finally:
            s3.delete_bucket(Bucket="shades-project.data")

    @pytest.mark.slow
    def test_a_repository_without_our_tag(self, session: Session) -> None:
        ecr = session.aws.client("ecr")
        ecr.create_repository(repositoryName="shades-project/shades")
        try:
            with pytest.raises(AwsError, match="does not carry this project's tag"):
                commands.build_and_push_docker_image(session)
            commands.delete(session, with_data=True)
            assert account(session.aws)["repositories"] == ["shades-project/shades"]
        finally:
            ecr.delete_repository(repositoryName="shades-project/shades")


@pytest.mark.parametrize(
    "assignments",
    [
        {},
        {"storage.kms_key": KEY},
        {"model.initial_weights": "pretrained", "data.pretrained": "s3://elsewhere/models/old.tar.gz"},
        EVERYTHING,
    ],
)
def test_parliament_finds_nothing_in_the_roles_policy(assignments: dict[str, str]) -> None:
    settings = load_settings(assignments=assignments)
    policy = role.execution_policy(settings, PLACE)
    found = analyze_policy_string(json.dumps(policy)).findings
    assert [str(finding) for finding in found] == []
    wide = [
        statement["Sid"]
        for statement in policy["Statement"]
        if "*" in (statement["Resource"] if isinstance(statement["Resource"], list) else [statement["Resource"]])
    ]
    # These have no resources of their own: https://docs.aws.amazon.com/service-authorization/latest/reference/
    assert set(wide) <= {"LogInToEcr", "WriteMetrics", "LookAtNetworks"}


def test_keys_and_networks_are_in_the_policy_only_when_used() -> None:
    plain = json.dumps(role.execution_policy(load_settings(), PLACE))
    assert "kms:" not in plain
    assert "ec2:" not in plain


def test_only_checkpoints_may_be_deleted_and_only_where_they_are_kept() -> None:
    def deleting(value: str) -> list[str]:
        settings = load_settings(assignments={"training_job.save_checkpoints": value})
        statements = role.execution_policy(settings, PLACE)["Statement"]
        return [statement["Resource"] for statement in statements if "Delete" in json.dumps(statement["Action"])]

    assert deleting("true") == ["arn:aws:s3:::handwritten-digits.output/checkpoints/*"]
    assert deleting("false") == []


def test_every_region_is_created_in_the_way_that_it_asks_for() -> None:
    settings: Settings = load_settings()
    absent = buckets.BucketState(False, {})
    for region, location in (("us-east-1", None), ("eu-west-1", "eu-west-1")):
        (create, *_) = buckets.plan_bucket(settings, "handwritten-digits.data", region, (), absent).calls
        assert isinstance(create, ApiCall)
        assert create.parameters["CreateBucketConfiguration"].get("LocationConstraint") == location


class TestKeys:
    """`storage.kms_key` that comes, changes and goes: what is there already follows."""

    KEYS = (KEY, KEY.replace("11111111", "22222222"), "")

    @staticmethod
    def with_key(session: Session, key: str) -> Session:
        storage = session.settings.storage.model_copy(update={"kms_key": key})
        return replace(session, settings=session.settings.model_copy(update={"storage": storage}))

    @staticmethod
    def keys_of_images(aws: Aws) -> set[str]:
        s3, bucket = aws.client("s3"), "shades-project.data"
        listed = s3.list_objects_v2(Bucket=bucket)["Contents"]
        return {s3.head_object(Bucket=bucket, Key=item["Key"]).get("SSEKMSKeyId", "") for item in listed}

    @pytest.mark.slow
    def test_all_images_are_encrypted_anew_also_where_the_first_try_was_killed(self, session: Session) -> None:
        executed(session, Counting())
        for key in self.KEYS:
            changed = self.with_key(session, key)
            killed = Counting(dies_at=4)
            with pytest.raises(KilledError):
                commands.init_s3_buckets(replace(changed, executor=killed))
            commands.init_s3_buckets(changed)
            assert self.keys_of_images(session.aws) == {key}
            again = Counting()
            commands.init_s3_buckets(replace(changed, executor=again))
            assert again.sent == []

    @pytest.mark.parametrize("name", ["storage.kms_key", "training_job.volume_kms_key"])
    def test_a_key_of_another_region_is_refused_before_anything(self, session: Session, name: str) -> None:
        key = KEY.replace("us-east-1", "eu-central-1")
        assignments = {name: key, "training_job.instance_type": "ml.p3.2xlarge"}
        elsewhere = replace(session, settings=overrides.override(session.settings, assignments))
        for command in (commands.init_s3_buckets, commands.build_and_push_docker_image):
            with pytest.raises(
                SettingsError, match=rf"{name}={key} is a key of eu-central-1, and the project is in us"
            ):
                command(elsewhere)
        assert not any(account(session.aws).values())


def test_what_somebody_attached_to_the_role_is_taken_away(session: Session) -> None:
    executed(session, Counting())
    iam = session.aws.client("iam")
    statement = {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::elsewhere/*"}
    document = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    arn = iam.create_policy(PolicyName="more", PolicyDocument=document)["Policy"]["Arn"]
    iam.attach_role_policy(RoleName="shades-project-sagemaker", PolicyArn=arn)
    iam.put_role_policy(RoleName="shades-project-sagemaker", PolicyName="extra", PolicyDocument=document)
    commands.init_s3_buckets(session)
    assert iam.list_attached_role_policies(RoleName="shades-project-sagemaker")["AttachedPolicies"] == []
    assert iam.list_role_policies(RoleName="shades-project-sagemaker")["PolicyNames"] == ["training"]
    iam.delete_policy(PolicyArn=arn)


@pytest.mark.slow
def test_a_boundary_of_the_role_is_set_wherever_the_settings_name_one(session: Session) -> None:
    iam, name = session.aws.client("iam"), "shades-project-sagemaker"
    boundaries = [f"arn:aws:iam::123456789012:policy/boundary-{number}" for number in range(2)]

    def with_boundary(arn: str) -> Session:
        changed = session.settings.aws.model_copy(update={"permissions_boundary": arn})
        return replace(session, settings=session.settings.model_copy(update={"aws": changed}))

    # A role that is created, one that exists, and one whose boundary is somebody else's.
    for arn, expected in zip([*boundaries, ""], [*boundaries, boundaries[-1]], strict=True):
        executed(with_boundary(arn), Counting())
        assert iam.get_role(RoleName=name)["Role"]["PermissionsBoundary"]["PermissionsBoundaryArn"] == expected
        assert executed(with_boundary(arn), Counting()) == []


@pytest.mark.slow
def test_other_peoples_tags_and_stricter_looks_of_policies(session: Session) -> None:
    executed(session, Counting())
    s3, bucket = session.aws.client("s3"), "shades-project.output"
    tags = s3.get_bucket_tagging(Bucket=bucket)["TagSet"]
    s3.put_bucket_tagging(Bucket=bucket, Tagging={"TagSet": [*tags, {"Key": "CostCenter", "Value": "7"}]})
    policy = json.loads(s3.get_bucket_policy(Bucket=bucket)["Policy"])
    policy["Statement"][0]["Condition"]["StringEquals"] = {"aws:PrincipalAccount": "nobody"}
    s3.put_bucket_policy(Bucket=bucket, Policy=json.dumps(policy))
    sent = executed(session, Counting())
    assert [call.message for call in sent] == [f"set up the bucket {bucket}: TLS only"]
    assert {"Key": "CostCenter", "Value": "7"} in s3.get_bucket_tagging(Bucket=bucket)["TagSet"]


@pytest.mark.slow
@pytest.mark.long
def test_a_job_of_another_project_with_the_same_algorithm_is_not_ours(session: Session) -> None:
    executed(session, Counting())
    job = commands.launch_training(session, None)
    assert commands.monitor(session, job)
    other = replace(session, settings=session.settings.model_copy(update={"project_name": "other-project"}))
    with pytest.raises(JobError, match="there is no training job of shades yet"):
        commands.last_job(other)
    commands.delete(other, with_data=True)
    assert account(session.aws)["jobs"] == [job]
    assert commands.last_job(session) == job


@pytest.mark.slow
@pytest.mark.long
def test_deleting_was_killed_at_any_call_and_goes_on(session: Session) -> None:
    """With the record and the log of a job, whose order matters."""
    executed(session, Counting())
    job = commands.launch_training(session, None)
    assert commands.monitor(session, job)
    for dies_at in range(1, 40):
        try:
            commands.delete(replace(session, executor=Counting(dies_at=dies_at)), with_data=True)
        except KilledError:
            continue
        break
    assert not any(account(session.aws).values())
