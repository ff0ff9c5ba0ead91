"""`--check`: every finding by its own line, and none hidden by another; the account stays as it is."""

import dataclasses
import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import pytest
from rich.console import Console

from container.modeling.config_file import load_settings
from manager import names, permissions, role
from manager.aws import Aws
from manager.console import Terminal
from manager.doctor import Patient, examine
from manager.errors import AwsError
from manager.findings import Check, Finding
from manager.plan import execute
from tests.conftest import split_shades
from tests.manager.wire import Answer, Wire
from tests.project import Project, copy_project

pytestmark = pytest.mark.slow

PLACE = names.Place("123456789012", "eu-central-1")
USER = "arn:aws:iam::123456789012:user/ada"
QUOTA = "ml.g5.xlarge for training job usage"

Decide = Callable[[str, str], tuple[str, tuple[str, ...]]]
"""From an action and a resource to IAM's decision and the condition keys that it lacked."""


def allow_all(action: str, resource: str) -> tuple[str, tuple[str, ...]]:
    return "allowed", ()


def denying(end: str, *missing_context: str) -> Decide:
    """Deny actions, and actions on resources, that end like this."""

    def decide(action: str, resource: str) -> tuple[str, tuple[str, ...]]:
        return ("implicitDeny", missing_context) if action.endswith(end) or resource.endswith(end) else ("allowed", ())

    return decide


def response(operation: str, result: str) -> Answer:
    """An answer of a service that speaks AWS's query protocol."""
    metadata = "<ResponseMetadata><RequestId>1</RequestId></ResponseMetadata>"
    text = f"<{operation}Response><{operation}Result>{result}</{operation}Result>{metadata}</{operation}Response>"
    return Answer(text.encode())


def refusal(code: str) -> Answer:
    error = f"<ErrorResponse><Error><Code>{code}</Code><Message>no</Message></Error></ErrorResponse>"
    return Answer(error.encode(), 403)


def members(query: dict[str, list[str]], name: str) -> list[str]:
    return [value for key, (value, *_) in query.items() if key.startswith(f"{name}.member.")]


def answer_as_iam(wire: Wire, caller: str, decide: Decide = allow_all) -> list[str]:
    """Let the wire tell who asks and what they may do; return where the simulated principals appear."""
    simulated: list[str] = []

    def simulate(query: dict[str, list[str]]) -> Answer:
        simulated.append(query["PolicySourceArn"][0])
        results = ""
        for action in members(query, "ActionNames"):
            specific, overall = "", "allowed"
            for resource in members(query, "ResourceArns"):
                decision, missing = decide(action, resource)
                overall = decision if decision != "allowed" else overall
                keys = "".join(f"<member>{key}</member>" for key in missing)
                specific += (
                    f"<member><EvalResourceName>{escape(resource)}</EvalResourceName><EvalResourceDecision>{decision}"
                    f"</EvalResourceDecision><MissingContextValues>{keys}</MissingContextValues></member>"
                )
            results += (
                f"<member><EvalActionName>{action}</EvalActionName><EvalResourceName>*</EvalResourceName><EvalDecision>"
                f"{overall}</EvalDecision><ResourceSpecificResults>{specific}</ResourceSpecificResults></member>"
            )
        listed = f"<EvaluationResults>{results}</EvaluationResults><IsTruncated>false</IsTruncated>"
        return response("SimulatePrincipalPolicy", listed)

    identity = f"<Arn>{caller}</Arn><UserId>1</UserId><Account>123456789012</Account>"
    wire.answers["GetCallerIdentity"] = lambda _: response("GetCallerIdentity", identity)
    wire.answers["SimulatePrincipalPolicy"] = simulate
    return simulated


def answer_as_quotas(wire: Wire, applied: dict[str, float], defaults: dict[str, float] | None = None) -> None:
    def answer(values: dict[str, float]) -> Answer:
        quotas = [{"QuotaName": name, "QuotaCode": "L-1", "Value": value} for name, value in values.items()]
        return Answer.of_json({"Quotas": quotas})

    wire.answers["ListServiceQuotas"] = lambda _: answer(applied)
    wire.answers["ListAWSDefaultServiceQuotas"] = lambda _: answer(defaults or {})


@pytest.fixture(scope="module")
def healthy(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project whose images are split. Its account is that of the wire."""
    project = copy_project(tmp_path_factory.mktemp("healthy"))
    split_shades(project)
    return project


@pytest.fixture
def patient(healthy: Project, wire: Wire) -> Patient:
    """A project on an empty account, whose user may do everything and has a quota."""
    answer_as_iam(wire, USER)
    answer_as_quotas(wire, {QUOTA: 2})
    settings = load_settings(healthy.root / "container/modeling/config.py")
    return Patient(settings, wire.aws, "directory", healthy.root)


def findings(patient: Patient) -> dict[str, Finding]:
    """What is found, by its subject."""
    found = list(examine(patient))
    assert len({finding.subject for finding in found}) == len(found)
    return {finding.subject: finding for finding in found}


def levels(patient: Patient, *subjects: str) -> list[str]:
    found = findings(patient)
    return [found[subject].level for subject in subjects]


class TestCommand:
    def test_on_an_empty_account_nothing_stops_the_way_but_missing_images(self, project: Project) -> None:
        failed = project.manage("--local", "--check")
        assert failed.returncode == 1
        assert "problem    images: data/digits does not exist" in failed.stdout
        assert "warning    bucket handwritten-digits.data: does not exist yet: --init_s3_buckets" in failed.stdout
        assert failed.stderr == "error: 1 problem stops the way: see above\n"

    def test_when_all_is_done_all_is_as_planned(self, split_project: Project) -> None:
        before = split_project.manage_local("--check").stdout
        assert "problem" not in before
        split_project.manage_local("--init_s3_buckets", "--build_and_push_docker_image")
        shown = split_project.manage_local("--check").stdout.splitlines()
        planned = [line.split()[1:3] for line in shown if line.endswith(": as planned")]
        assert [kind for kind, _ in planned] == ["bucket", "bucket", "bucket", "role", "repository"]
        assert any("image: the present code is pushed as directory-" in line for line in shown)

    def test_what_was_changed_by_hand_is_told(self, split_project: Project) -> None:
        split_project.manage_local("--init_s3_buckets")
        split_project.client("s3").delete_bucket_policy(Bucket="shades-project.output")
        shown = split_project.manage_local("--check").stdout
        assert "warning    bucket shades-project.output: is not as planned" in shown
        assert "TLS only" in shown

    @pytest.mark.parametrize(
        ("setting", "told"),
        [("aws.region=eu-central-1", "there are no AWS credentials"), ("aws.profile=nobody", "profile (nobody)")],
    )
    def test_missing_credentials_hide_nothing_else(self, setting: str, told: str, split_project: Project) -> None:
        failed = split_project.manage("--check", "--set", setting)
        assert failed.returncode == 1
        assert "problem    credentials: " in failed.stdout
        assert told in failed.stdout
        assert "ok         images: 2 classes in data/images-sets" in failed.stdout

    def test_without_an_engine_the_remedy_is_told(self, split_project: Project) -> None:
        no_engine = split_project.environment | {"DOCKER_HOST": "tcp://127.0.0.1:9"}
        shown = Project(split_project.root, no_engine).manage("--check").stdout
        assert "problem    Docker: the Docker engine does not answer" in shown
        assert "docker info" in shown


class TestAccount:
    def test_it_is_only_looked_at(self, patient: Patient, wire: Wire) -> None:
        findings(patient)
        reading = ("GET", "HEAD", "Get", "List", "Describe", "Simulate")
        assert [name for name in wire.operations if not name.startswith(reading)] == []

    def test_who_asks_and_where(self, patient: Patient) -> None:
        found = findings(patient)
        assert found["credentials"] == Finding("ok", f"{USER} in account 123456789012", "credentials")
        assert found["region"] == Finding("ok", "eu-central-1", "region")

    def test_a_region_that_sagemaker_does_not_have(self, patient: Patient, wire: Wire) -> None:
        elsewhere = dataclasses.replace(patient, connect=lambda: wire.aws("eu-central-9"))
        assert "eu-central-9" in findings(elsewhere)["region"].text
        assert levels(elsewhere, "region") == ["warning"]

    def test_public_access_to_the_account_is_told(self, patient: Patient, wire: Wire) -> None:
        assert levels(patient, "public access") == ["warning"]
        s3control, number = wire.aws().client("s3control"), PLACE.account
        flags = ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets")
        for value, level in ((True, "ok"), (False, "warning")):
            s3control.put_public_access_block(
                AccountId=number, PublicAccessBlockConfiguration=dict.fromkeys(flags, value)
            )
            assert levels(patient, "public access") == [level]
        s3control.delete_public_access_block(AccountId=number)

    def test_somebody_elses_role_is_a_problem(self, patient: Patient, wire: Wire) -> None:
        iam, name = wire.aws().client("iam"), "shades-project-sagemaker"
        iam.create_role(RoleName=name, AssumeRolePolicyDocument="{}")
        try:
            assert levels(patient, f"role {name}") == ["problem"]
        finally:
            iam.delete_role(RoleName=name)

    def test_no_connection_is_one_finding_among_others(self, patient: Patient) -> None:
        def refuse() -> Aws:
            raise AwsError("no")

        assert levels(dataclasses.replace(patient, connect=refuse), "credentials", "images") == ["problem", "ok"]


class TestPermissions:
    def test_all_are_there(self, patient: Patient) -> None:
        found = [finding for subject, finding in findings(patient).items() if subject.startswith("permission")]
        assert len(found) == len(permissions.needed(patient.settings, PLACE))
        assert {finding.level for finding in found} == {"ok"}

    def test_one_that_is_denied_is_named_with_its_resource(self, patient: Patient, wire: Wire) -> None:
        answer_as_iam(
            wire, USER, lambda action, resource: ("implicitDeny" if action == "iam:PassRole" else "allowed", ())
        )
        finding = findings(patient)["permission to pass the role"]
        assert finding.level == "problem"
        assert "iam:PassRole on arn:aws:iam::123456789012:role/shades-project-sagemaker is denied" in finding.text

    def test_who_may_not_change_the_role_needs_to_only_until_it_is_there(self, patient: Patient, wire: Wire) -> None:
        making = ("iam:CreateRole", "iam:TagRole", "iam:PutRolePermissionsBoundary")
        answer_as_iam(wire, USER, lambda action, resource: ("implicitDeny" if action in making else "allowed", ()))
        boundary = patient.settings.aws.model_copy(
            update={"permissions_boundary": "arn:aws:iam::123456789012:policy/boundary"}
        )
        bounded = dataclasses.replace(patient, settings=patient.settings.model_copy(update={"aws": boundary}))
        subjects = [
            f"permission to {what}" for what in ("create the role", "bound the role", "let sage maker assume the role")
        ]
        assert levels(bounded, *subjects) == ["problem"] * 3
        terminal = Terminal(out=Console(file=io.StringIO()), err=Console(file=io.StringIO()))
        execute(role.plan_role(bounded.settings, PLACE, None), wire.aws(), terminal)
        try:
            assert levels(bounded, *subjects) == ["warning"] * 3
            # What the role is not yet needs a permission again.
            assert levels(patient, "permission to create the role") == ["warning"]
            subnets = {"subnets": ("subnet-1",), "security_group_ids": ("sg-1",)}
            job = patient.settings.training_job.model_copy(update=subnets)
            more = dataclasses.replace(bounded, settings=bounded.settings.model_copy(update={"training_job": job}))
            assert levels(more, "permission to create the role") == ["problem"]
        finally:
            iam, name = wire.aws().client("iam"), names.role(bounded.settings)
            iam.delete_role_policy(RoleName=name, PolicyName=role.POLICY_NAME)
            iam.delete_role(RoleName=name)

    def test_only_what_is_on_the_way_stops_it(self, patient: Patient, wire: Wire) -> None:
        answer_as_iam(wire, USER, denying("s3:DeleteBucket"))
        assert levels(patient, "permission to delete buckets", "permission to create buckets") == ["warning", "ok"]

    def test_one_of_many_resources_is_enough_to_be_denied(self, patient: Patient, wire: Wire) -> None:
        answer_as_iam(wire, USER, denying(".data"))
        finding = findings(patient)["permission to create buckets"]
        assert "s3:CreateBucket on arn:aws:s3:::shades-project.data" in finding.text
        assert "shades-project.output" not in finding.text

    def test_what_depends_on_a_condition_is_not_certain(self, patient: Patient, wire: Wire) -> None:
        answer_as_iam(wire, USER, denying("", "aws:MultiFactorAuthPresent"))
        finding = findings(patient)["permission to create buckets"]
        assert (finding.level, "aws:MultiFactorAuthPresent" in finding.text) == ("warning", True)

    def test_who_may_not_ask_gets_one_line(self, patient: Patient, wire: Wire) -> None:
        wire.answers["SimulatePrincipalPolicy"] = lambda _: refusal("AccessDenied")
        found = findings(patient)
        assert [subject for subject in found if subject.startswith("permission")] == ["permissions"]
        assert "not checked (iam:SimulatePrincipalPolicy: AccessDenied)" in found["permissions"].text
        assert found["permissions"].level == "warning"

    def test_a_roles_session_is_asked_by_its_role(self, patient: Patient, wire: Wire) -> None:
        iam = wire.aws().client("iam")
        role = iam.create_role(RoleName="Admin", Path="/aws-reserved/sso/", AssumeRolePolicyDocument="{}")["Role"]
        try:
            simulated = answer_as_iam(wire, "arn:aws:sts::123456789012:assumed-role/Admin/ada")
            findings(patient)
            assert set(simulated) == {role["Arn"]} == {"arn:aws:iam::123456789012:role/aws-reserved/sso/Admin"}
        finally:
            iam.delete_role(RoleName="Admin")

    def test_a_role_that_may_not_be_looked_at_is_taken_to_have_no_path(self, patient: Patient, wire: Wire) -> None:
        simulated = answer_as_iam(wire, "arn:aws:sts::123456789012:assumed-role/Hidden/ada")
        findings(patient)
        assert set(simulated) == {"arn:aws:iam::123456789012:role/Hidden"}

    @pytest.mark.parametrize(
        ("caller", "level", "told"),
        [
            ("arn:aws:iam::123456789012:root", "ok", "root user"),
            ("arn:aws:sts::123456789012:federated-user/ada", "warning", "not checked"),
        ],
    )
    def test_whom_iam_cannot_simulate(self, caller: str, level: str, told: str, patient: Patient, wire: Wire) -> None:
        simulated = answer_as_iam(wire, caller)
        finding = findings(patient)["permissions"]
        assert (finding.level, told in finding.text, simulated) == (level, True, [])

    def test_the_root_user_is_advised_against(self, patient: Patient, wire: Wire) -> None:
        answer_as_iam(wire, "arn:aws:iam::123456789012:root")
        assert levels(patient, "credentials") == ["warning"]

    def test_a_boundary_is_part_of_the_question(self, patient: Patient, wire: Wire) -> None:
        boundary = "arn:aws:iam::123456789012:policy/boundary"
        answer_as_iam(wire, USER)
        answer, asked = wire.answers["SimulatePrincipalPolicy"], list[str]()
        wire.answers["SimulatePrincipalPolicy"] = lambda query: (asked.append(json.dumps(query)), answer(query))[1]
        aws = patient.settings.aws.model_copy(update={"permissions_boundary": boundary})
        found = findings(dataclasses.replace(patient, settings=patient.settings.model_copy(update={"aws": aws})))
        assert found["permission to bound the role"].level == "ok"
        (question,) = [text for text in asked if "iam:CreateRole" in text]
        assert boundary in question


class TestQuota:
    def test_one_that_is_high_enough(self, patient: Patient) -> None:
        assert findings(patient)["quota"] == Finding("ok", f"'{QUOTA}' is 2", "quota")

    def test_one_that_is_too_low_comes_with_the_command_that_asks_for_more(self, patient: Patient, wire: Wire) -> None:
        answer_as_quotas(wire, {QUOTA: 0})
        finding = findings(patient)["quota"]
        assert finding.level == "problem"
        assert (
            "request-service-quota-increase --service-code sagemaker --quota-code L-1 --desired-value 1" in finding.text
        )

    def test_one_that_was_never_changed_is_told_by_its_default(self, patient: Patient, wire: Wire) -> None:
        answer_as_quotas(wire, {"other": 1}, {QUOTA: 4})
        assert findings(patient)["quota"].text == f"'{QUOTA}' is 4"

    def test_spot_jobs_have_one_of_their_own(self, patient: Patient, wire: Wire) -> None:
        answer_as_quotas(wire, {QUOTA: 0, "ml.g5.xlarge for spot training job usage": 1})
        spot = patient.settings.model_copy(
            update={"training_job": patient.settings.training_job.model_copy(update={"spot": True})}
        )
        assert levels(dataclasses.replace(patient, settings=spot), "quota") == ["ok"]

    def test_each_instance_counts_and_those_that_are_kept_have_one_of_their_own(
        self, patient: Patient, wire: Wire
    ) -> None:
        answer_as_quotas(wire, {QUOTA: 3, "ml.g5.xlarge for training warm pool usage": 0})
        changed = {"instance_count": 3, "keep_alive_seconds": 60}
        job = patient.settings.training_job.model_copy(update=changed)
        several = dataclasses.replace(patient, settings=patient.settings.model_copy(update={"training_job": job}))
        finding = findings(several)["quota"]
        assert finding.level == "problem"
        assert "'ml.g5.xlarge for training warm pool usage' is 0, and a job needs 3" in finding.text

    def test_an_instance_type_that_does_not_exist(self, patient: Patient, wire: Wire) -> None:
        answer_as_quotas(wire, {})
        assert levels(patient, "quota") == ["warning"]

    def test_who_may_not_ask(self, patient: Patient, wire: Wire) -> None:
        denied = Answer.of_json({"__type": "AccessDeniedException", "Message": "no"}, 400)
        wire.answers["ListServiceQuotas"] = lambda _: denied
        assert findings(patient)["quota"] == Finding("warning", "not checked (AccessDeniedException)", "quota")


class TestMachine:
    @pytest.fixture
    def copy(self, healthy: Project, patient: Patient, tmp_path: Path) -> Patient:
        """The same project in a folder that the test may change."""
        for part in ("data", "container", "training-job-config-template.json"):
            source = healthy.root / part
            copied: Any = shutil.copytree if source.is_dir() else shutil.copy2
            copied(source, tmp_path / part)
        return dataclasses.replace(patient, project_root=tmp_path)

    def test_images_that_are_not_split_yet(self, copy: Patient) -> None:
        shutil.rmtree(copy.project_root / "data/images-sets")
        finding = findings(copy)["images"]
        assert (finding.level, "python data_handler.py" in finding.text) == ("warning", True)

    def test_images_that_are_missing_since_the_split(self, copy: Patient) -> None:
        next((copy.project_root / "data/images-sets/training/dark").iterdir()).unlink()
        finding = findings(copy)["images"]
        assert finding.level == "problem"
        assert "11 training" in finding.text
        assert "12 training" in finding.text

    def test_a_broken_template_stops_one_check_and_hides_no_other(self, copy: Patient) -> None:
        (copy.project_root / "training-job-config-template.json").write_text("{")
        assert levels(copy, "quota", "images", "image", "disk") == ["problem", "ok", "warning", "ok"]

    def test_a_check_that_fails_itself_is_a_finding(self) -> None:
        finding = Check("sums", lambda: Finding("ok", str(1 / 0))).make()
        assert finding == Finding(
            "warning", "not checked, since the check itself failed (ZeroDivisionError: division by zero)", "sums"
        )
