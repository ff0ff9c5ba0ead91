"""The project's endpoint: what is planned, followed, brought up to date in place and removed; answers over the wire."""

import io
import json
import time
from pathlib import Path
from typing import Any

import pytest
from botocore.validate import ParamValidator

import project_manager
from container.errors import SettingsError
from container.modeling.config_file import load_settings
from container.modeling.serving_environment import from_environment
from container.modeling.settings import Settings
from manager import commands, endpoint, names, role, served_model, serving_commands
from manager.console import Terminal
from manager.errors import EndpointError, JobError, RefusedError
from manager.plan import describe, execute
from manager.served_model import TrainedModel
from manager.serving_monitoring import last_log_lines
from manager.session import Session
from tests.manager.price_list import answer_with, offer
from tests.manager.serving_answers import DATA, IMAGE, JOB, OURS, Account, running_transform_job
from tests.manager.wire import Answer, Wire

pytestmark = pytest.mark.slow

PLACE = names.Place("123456789012", "eu-central-1")
MODEL = TrainedModel(JOB, DATA, IMAGE)
NAME = "digits-cnn"


def configured(**assignments: str) -> Settings:
    given = {name.replace("__", "."): text for name, text in assignments.items()}
    # A project of its own, whose role no other test makes.
    return load_settings(assignments={"project_name": "serving-tests", **given})


def requests(settings: Settings, model: TrainedModel = MODEL) -> tuple[Any, Any]:
    created = served_model.model_request(settings, PLACE, model, settings.endpoint)
    return created, endpoint.config_request(settings, model.job, created["ModelName"], settings.endpoint)


def session(wire: Wire, settings: Settings, terminal: Terminal, executor: Any = execute) -> Session:
    def never(question: str, answer: str) -> None:
        raise RefusedError(question)

    return Session(settings, wire.aws(), terminal, executor, "directory", Path(), never, "manage")


def told(terminal: Terminal) -> str:
    assert isinstance(terminal.out.file, io.StringIO)
    assert isinstance(terminal.err.file, io.StringIO)
    return terminal.out.file.getvalue() + terminal.err.file.getvalue()


def make_role(wire: Wire, settings: Settings) -> None:
    """Let there be the role of a project."""
    iam, place, name = wire.aws().client("iam"), wire.aws().place, names.role(settings)
    if name in [found["RoleName"] for found in iam.list_roles()["Roles"]]:
        return
    trust, policy = json.dumps(role.trust_policy(place)), json.dumps(role.execution_policy(settings, place))
    iam.create_role(RoleName=name, AssumeRolePolicyDocument=trust, Tags=names.tag_list(settings))
    iam.put_role_policy(RoleName=name, PolicyName="training", PolicyDocument=policy)


@pytest.fixture
def account(wire: Wire) -> Account:
    """An account with a completed training job and the role that serves its model."""
    make_role(wire, configured())
    return Account().answer_on(wire)


class TestRequests:
    @pytest.mark.parametrize(
        "assignments",
        [
            {},
            {
                "endpoint__instance_count": "3",
                "endpoint__subnets": '["subnet-1"]',
                "endpoint__security_group_ids": '["sg-1"]',
                "endpoint__volume_kms_key": "arn:aws:kms:eu-central-1:123456789012:key/1111-2222",
                "serving__batch_size": "16",
                "aws__tags": '{"Algorithm": "other", "Team": "Ada"}',
            },
        ],
    )
    def test_they_are_such_that_aws_takes_them(self, assignments: dict[str, str], wire: Wire) -> None:
        settings = configured(**assignments)
        model, config = requests(settings)
        shapes = wire.aws().client("sagemaker").meta.service_model
        for operation, request in (("CreateModel", model), ("CreateEndpointConfig", config)):
            report = ParamValidator().validate(request, shapes.operation_model(operation).input_shape)
            assert report.generate_report() == ""
            keys = [tag["Key"] for tag in request["Tags"]]
            assert len(keys) == len(set(keys))
            assert {"Key": "Algorithm", "Value": NAME} in request["Tags"]

    def test_what_the_settings_say_of_machines_and_networks_is_in_them(self) -> None:
        settings = configured(
            endpoint__instance_type="ml.c5.large",
            endpoint__instance_count="2",
            endpoint__volume_kms_key="arn:aws:kms:eu-central-1:123456789012:key/1111-2222",
            endpoint__network_isolation="false",
            endpoint__subnets='["subnet-1"]',
            endpoint__security_group_ids='["sg-1"]',
        )
        model, config = requests(settings)
        (variant,) = config["ProductionVariants"]
        assert (variant["InstanceType"], variant["InitialInstanceCount"]) == ("ml.c5.large", 2)
        assert variant["ModelName"] == model["ModelName"]
        assert config["KmsKeyId"].endswith("1111-2222")
        assert model["EnableNetworkIsolation"] is False
        assert model["VpcConfig"] == {"Subnets": ["subnet-1"], "SecurityGroupIds": ["sg-1"]}
        assert model["PrimaryContainer"] == {"Image": IMAGE, "ModelDataUrl": DATA}
        assert model["ExecutionRoleArn"] == "arn:aws:iam::123456789012:role/serving-tests-sagemaker"

    def test_a_model_is_isolated_unless_told_otherwise(self) -> None:
        assert requests(configured())[0]["EnableNetworkIsolation"] is True

    def test_the_containers_settings_come_by_the_environment(self) -> None:
        settings = configured(
            serving__batch_size="16", serving__url_hosts='["example.com"]', endpoint__network_isolation="false"
        )
        variables = requests(settings)[0]["PrimaryContainer"]["Environment"]
        assert variables == {"SERVING_BATCH_SIZE": "16", "SERVING_URL_HOSTS": '["example.com"]'}
        assert from_environment(variables) == settings.serving

    def test_without_a_network_no_url_can_be_fetched(self) -> None:
        with pytest.raises(SettingsError, match=r"set endpoint\.network_isolation=false"):
            configured(serving__url_hosts='["example.com"]')

    @pytest.mark.parametrize(
        "assignments",
        [
            {"endpoint__subnets": '["subnet-1"]'},
            {
                "endpoint__instance_type": "ml.g5.xlarge",
                "endpoint__volume_kms_key": "arn:aws:kms:eu-central-1:123456789012:key/1",
            },
            {"endpoint__instance_type": "ml.g5.xlarge", "training_image__flavor": "cpu"},
        ],
    )
    def test_what_sagemaker_does_not_take_is_refused_before(self, assignments: dict[str, str]) -> None:
        with pytest.raises(SettingsError):
            configured(**assignments)


class TestNames:
    def test_the_same_content_has_the_same_name_and_another_another(self) -> None:
        names_of = [
            (model["ModelName"], config["EndpointConfigName"])
            for model, config in (
                requests(configured()),
                requests(configured(aws__customer="Ada")),
                requests(configured(endpoint__instance_count="2")),
                requests(configured(serving__batch_size="16")),
            )
        ]
        assert names_of[0] == names_of[1]
        assert names_of[0][0] == names_of[2][0]
        assert names_of[0][1] != names_of[2][1]
        assert names_of[0][0] != names_of[3][0]

    @pytest.mark.parametrize(
        "job", [JOB, "a-very-long-name-of-a-job-by-hand-that-fills-all-63-characters-x", "by-hand"]
    )
    @pytest.mark.parametrize("algorithm", ["a", NAME, "a" * 43])
    def test_they_begin_with_the_algorithm_and_are_as_short_as_sagemaker_wants(self, algorithm: str, job: str) -> None:
        settings = load_settings(assignments={"algorithm_name": algorithm})
        model, config = requests(settings, TrainedModel(job, DATA, IMAGE))
        for name in (model["ModelName"], config["EndpointConfigName"]):
            assert name.startswith(f"{algorithm}-")
            assert len(name) <= 63
            assert "--" not in name


class TestDeployment:
    def test_a_model_is_served_from_nothing(self, account: Account, wire: Wire, terminal: Terminal) -> None:
        answer_with(wire, offer("EUC1-Host:ml.m5.xlarge", "0.25"), offer("EUC1-Train:ml.m5.xlarge", "9"))
        account.statuses = ["Creating"]
        asking = session(wire, configured(), terminal)
        config = serving_commands.deploy(asking, JOB)
        model = account.kept["EndpointConfig"][config]["ProductionVariants"][0]["ModelName"]
        assert account.calls == [f"CreateModel {model}", f"CreateEndpointConfig {config}", f"CreateEndpoint {NAME}"]
        assert serving_commands.await_deployment(asking, config)
        assert len(account.calls) == 3
        text = told(terminal)
        assert "Creating" in text
        assert "digits-cnn is in service" in text
        assert "1 x ml.m5.xlarge: 0.25 USD per hour, until `manage --undeploy`" in text
        # What runs now is what is there, and not what was asked for.
        assert "2 x ml.m5.xlarge: 0.50 USD per hour, until `manage --undeploy`" in text

    def test_once_more_changes_nothing(self, account: Account, wire: Wire, terminal: Terminal) -> None:
        asking = session(wire, configured(), terminal)
        config = serving_commands.deploy(asking, JOB)
        made = list(account.calls)
        account.statuses = ["Updating"]
        assert serving_commands.deploy(asking, JOB) == config
        assert serving_commands.await_deployment(asking, config)
        assert account.calls == made
        assert f"unchanged  endpoint {NAME}" in told(terminal)

    def test_another_job_takes_its_place_and_what_served_before_is_removed(
        self, account: Account, wire: Wire, terminal: Terminal
    ) -> None:
        asking = session(wire, configured(), terminal)
        before = serving_commands.deploy(asking, JOB)
        (model,) = account.kept["Model"]
        account.calls.clear()
        after = serving_commands.deploy(asking, "digits-cnn-2030-02-02-02-02-02")
        assert f"UpdateEndpoint {after}" in account.calls
        account.statuses = ["Updating"]
        assert serving_commands.await_deployment(asking, after)
        assert account.calls[-2:] == [f"DeleteEndpointConfig {before}", f"DeleteModel {model}"]
        assert list(account.kept["EndpointConfig"]) == [after]

    def test_other_machines_take_over_the_same_model(self, account: Account, wire: Wire, terminal: Terminal) -> None:
        before = serving_commands.deploy(session(wire, configured(), terminal), JOB)
        account.calls.clear()
        asking = session(wire, configured(endpoint__instance_type="ml.c5.large"), terminal)
        after = serving_commands.deploy(asking, JOB)
        assert serving_commands.await_deployment(asking, after)
        assert account.calls == [
            f"CreateEndpointConfig {after}",
            f"UpdateEndpoint {after}",
            f"DeleteEndpointConfig {before}",
        ]

    def test_what_a_running_transform_job_uses_and_what_is_of_others_stays(
        self, account: Account, wire: Wire, terminal: Terminal
    ) -> None:
        running_transform_job(account, "digits-cnn-used-0123")
        account.put("Model", "digits-cnn-used-0123")
        account.put("Model", "digits-cnn-old-0123")
        account.put("Model", "digits-cnn-of-another-0", **(OURS | {"Algorithm": "digits-cnn-of"}))
        account.put("Model", "digits-cnn-by-hand", Owner="Ada")
        account.put("EndpointConfig", "digits-cnn-by-hand", Owner="Ada")
        account.put("EndpointConfig", "digits-cnn-elsewhere", **(OURS | {"Project": "another"}))
        asking = session(wire, configured(), terminal)
        serving_commands.await_deployment(asking, serving_commands.deploy(asking, JOB))
        assert [call for call in account.calls if call.startswith("Delete")] == ["DeleteModel digits-cnn-old-0123"]

    def test_one_that_is_being_deleted_serves_nothing_more(
        self, account: Account, wire: Wire, terminal: Terminal
    ) -> None:
        asking = session(wire, configured(), terminal)
        serving_commands.deploy(asking, JOB)
        account.settled = "Deleting"
        with pytest.raises(EndpointError, match="is Deleting, and takes no other change meanwhile"):
            serving_commands.deploy(asking, JOB)

    def test_a_dying_one_of_the_same_configuration_is_not_taken_for_the_new_one(
        self, account: Account, wire: Wire, terminal: Terminal
    ) -> None:
        asking = session(wire, configured(), terminal)
        serving_commands.deploy(asking, JOB)
        account.settled = "Failed"
        dying, create = account.kept["Endpoint"], wire.answers["CreateEndpoint"]

        def begin_deletion(asked: Any) -> Answer:
            account.settled = "Deleting"
            return Answer.of_json({})

        def lost(asked: Any) -> Answer:
            wire.answers["CreateEndpoint"] = refused
            return Answer.of_json({"__type": "InternalFailure", "message": "lost"}, 500)

        def refused(asked: Any) -> Answer | None:
            wire.answers["CreateEndpoint"] = gone
            return create(asked)

        def gone(asked: Any) -> Answer | None:
            dying.clear()
            return create(asked)

        wire.answers |= {"DeleteEndpoint": begin_deletion, "CreateEndpoint": lost}
        account.calls.clear()
        serving_commands.deploy(asking, JOB)
        assert account.calls == [f"CreateEndpoint {NAME}"]
        assert list(account.kept["Endpoint"]) == [NAME]

    @pytest.mark.parametrize("status", ["Creating", "Updating", "RollingBack", "Deleting"])
    def test_one_that_is_being_changed_to_something_else_is_left_alone(
        self, status: str, account: Account, wire: Wire, terminal: Terminal
    ) -> None:
        account.put("Endpoint", NAME, {"EndpointConfigName": "another"})
        account.settled = status
        with pytest.raises(EndpointError, match=f"is {status}, and takes no other change meanwhile"):
            serving_commands.deploy(session(wire, configured(), terminal), JOB)
        assert account.calls == []

    def test_a_failed_one_is_made_anew(self, account: Account, wire: Wire, terminal: Terminal) -> None:
        account.put("Endpoint", NAME, {"EndpointConfigName": "another"})
        account.settled = "Failed"
        serving_commands.deploy(session(wire, configured(), terminal), JOB)
        assert account.calls[-2:] == [f"DeleteEndpoint {NAME}", f"CreateEndpoint {NAME}"]

    def test_an_answer_that_was_lost_is_no_failure(self, account: Account, wire: Wire, terminal: Terminal) -> None:
        first = wire.answers["CreateEndpoint"]

        def lost(asked: Any) -> Answer:
            wire.answers["CreateEndpoint"] = first
            first(asked)
            return Answer.of_json({"__type": "InternalFailure", "message": "lost"}, 500)

        wire.answers["CreateEndpoint"] = lost
        serving_commands.deploy(session(wire, configured(), terminal), JOB)
        assert list(account.kept["Endpoint"]) == [NAME]

    def test_somebody_elses_endpoint_of_the_same_name_is_refused(
        self, account: Account, wire: Wire, terminal: Terminal
    ) -> None:
        account.put("Endpoint", NAME, {"EndpointConfigName": "x"}, Project="another")
        asking = session(wire, configured(), terminal)
        for attempt in (lambda: serving_commands.deploy(asking, JOB), lambda: serving_commands.undeploy(asking)):
            with pytest.raises(EndpointError, match="is somebody else's"):
                attempt()
        assert account.calls == []

    @pytest.mark.parametrize(
        ("trained", "message"),
        [
            ({"TrainingJobStatus": "InProgress", "ModelArtifacts": {}}, "its status is InProgress"),
            ({"TrainingJobStatus": "Failed", "FailureReason": "no images"}, r"its status is Failed \(no images\)"),
        ],
    )
    def test_a_job_without_a_model_is_refused(
        self, trained: dict[str, Any], message: str, account: Account, wire: Wire, terminal: Terminal
    ) -> None:
        account.trained = trained
        with pytest.raises(JobError, match=message):
            serving_commands.deploy(session(wire, configured(), terminal), JOB)

    def test_what_costs_much_is_asked_for_first(self, account: Account, wire: Wire, terminal: Terminal) -> None:
        answer_with(wire, offer("EUC1-Host:ml.m5.xlarge", "10"))
        with pytest.raises(RefusedError, match=r"This costs 240\.00 USD a day, more than 50\.00"):
            serving_commands.deploy(session(wire, configured(), terminal), JOB)
        assert account.calls == []
        serving_commands.deploy(session(wire, configured(aws__ask_above_usd="240"), terminal), JOB)
        assert account.calls

    def test_a_dry_run_shows_the_commands_and_sends_nothing(
        self, account: Account, wire: Wire, terminal: Terminal
    ) -> None:
        asking = session(wire, configured(), terminal, describe)
        serving_commands.deploy(asking, JOB)
        for command in ("create-model --model-name", "create-endpoint-config", "create-endpoint --endpoint-name"):
            assert f"aws sagemaker {command}" in told(terminal)
        assert account.calls == []


class TestFailure:
    def test_the_reason_is_told(self, account: Account, wire: Wire, terminal: Terminal) -> None:
        asking = session(wire, configured(), terminal)
        config = serving_commands.deploy(asking, JOB)
        account.statuses, account.settled, account.failure = (
            ["Creating"],
            "Failed",
            "did not pass the ping health check",
        )
        with pytest.raises(EndpointError, match=r"is Failed: did not pass the ping .* `manage --undeploy` removes it"):
            serving_commands.await_deployment(asking, config)

    def test_the_last_log_lines_come_in_the_order_of_their_times(self, wire: Wire) -> None:
        logs, group = wire.aws().client("logs"), names.endpoint_log_group("noisy")
        assert last_log_lines(wire.aws(), "noisy") == ()
        logs.create_log_group(logGroupName=group)
        begun = round(time.time() * 1000) - 1000
        for stream in (0, 1):
            logs.create_log_stream(logGroupName=group, logStreamName=f"AllTraffic/i-{stream}")
            events = [{"timestamp": begun + 2 * n + stream, "message": f"{stream} {n}"} for n in range(30)]
            logs.put_log_events(logGroupName=group, logStreamName=f"AllTraffic/i-{stream}", logEvents=events)
        lines = last_log_lines(wire.aws(), "noisy")
        assert lines == tuple(f"{stream} {n}" for n in range(20, 30) for stream in (0, 1))

    def test_an_update_that_is_rolled_back_leaves_what_served_before(
        self, account: Account, wire: Wire, terminal: Terminal
    ) -> None:
        asking = session(wire, configured(), terminal)
        before = serving_commands.deploy(asking, JOB)
        account.rolls_back = True
        after = serving_commands.deploy(asking, "digits-cnn-2030-02-02-02-02-02")
        account.statuses, account.failure = ["RollingBack"], "no capacity"
        with pytest.raises(EndpointError, match=f"was not changed, and serves by {before} as before: no capacity"):
            serving_commands.await_deployment(asking, after)
        assert list(account.kept["EndpointConfig"]) == [before]
        assert len(account.kept["Model"]) == 1


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--from_job", "x", "--status"], "--from_job is for --batch_transform"),
        (["--output", "x.csv", "--status"], "--output is for --predict"),
        (["--launch_training", "--no_follow", "--deploy"], "has no model yet"),
        (["--launch_training", "--no_follow", "--batch_transform", "x"], "has no model yet"),
        (["--deploy", "--no_follow", "--predict", "x.png"], "does not answer yet"),
        (["--batch_transform", "x", "--transform_results"], "shows its results by itself"),
    ],
)
def test_flags_that_contradict_each_other_are_wrong_usage(
    flags: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        project_manager.main(flags)
    assert ended.value.code == 2
    assert message in capsys.readouterr().err


class TestStatus:
    def test_an_endpoint_that_is_left_running_is_warned_of(
        self, account: Account, wire: Wire, terminal: Terminal
    ) -> None:
        answer_with(wire, offer("EUC1-Host:ml.m5.xlarge", "0.25"))
        asking = session(wire, configured(), terminal)
        serving_commands.deploy(asking, JOB)
        wire.answers["ListTrainingJobs"] = lambda _: Answer.of_json({"TrainingJobSummaries": []})
        commands.status(asking)
        assert (
            f"warning: the endpoint digits-cnn is InService with the model {next(iter(account.kept['Model']))} on "
            "2 x ml.m5.xlarge: 0.50 USD per hour, until `manage --undeploy`"
        ) in told(terminal)

    def test_one_that_failed_is_told_with_the_reason(self, account: Account, wire: Wire, terminal: Terminal) -> None:
        asking = session(wire, configured(), terminal)
        serving_commands.deploy(asking, JOB)
        account.settled, account.failure = "Failed", "no capacity"
        serving_commands.warn_of_endpoint(asking)
        expected = "warning: the endpoint digits-cnn is Failed: no capacity; `manage --undeploy` removes it"
        assert expected in " ".join(told(terminal).split())

    def test_without_one_there_is_nothing_to_say(self, account: Account, wire: Wire, terminal: Terminal) -> None:
        serving_commands.warn_of_endpoint(session(wire, configured(), terminal))
        assert told(terminal) == ""

    def test_without_the_permission_that_is_said_and_no_more(
        self, account: Account, wire: Wire, terminal: Terminal
    ) -> None:
        refusal = {"__type": "AccessDeniedException", "Message": "no"}
        wire.answers["DescribeEndpoint"] = lambda _: Answer.of_json(refusal, 400)
        serving_commands.warn_of_endpoint(session(wire, configured(), terminal))
        assert "whether the endpoint digits-cnn is running is unknown" in told(terminal)
