"""The end of the project's endpoint: by itself, after what failed, and with all else; answers over the wire."""

import os
import signal
from pathlib import Path
from typing import Any

import pytest

import project_manager
from manager import names, serving_commands, teardown
from manager.console import Terminal
from manager.errors import JobError
from manager.plan import execute
from tests.manager.price_list import answer_with, offer
from tests.manager.serving_answers import JOB, Account, running_transform_job
from tests.manager.test_endpoint import NAME, PLACE, account, configured, session, told
from tests.manager.wire import Answer, Wire

pytestmark = pytest.mark.slow

__all__ = ["account"]


@pytest.fixture
def called(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The first arguments of a command line whose account is behind the wire."""
    answer_with(wire, offer("EUC1-Host:ml.m5.xlarge", "0.25"))
    variables = {
        "AWS_ENDPOINT_URL": wire.url,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": PLACE.region,
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    return ["--set", "project_name=serving-tests"]


def press_ctrl_c_at_first_look(account: Account, wire: Wire, statuses: list[str]) -> None:
    """Let Ctrl-C come in the first look at an endpoint that was made or changed; from then on it has these statuses."""
    presses, made = [signal.SIGINT], len(account.calls)

    def look(asked: Any) -> Answer:
        if presses and len(account.calls) > made:
            account.statuses = list(statuses)
            os.kill(os.getpid(), presses.pop())
        return account.describe_endpoint(asked)

    wire.answers["DescribeEndpoint"] = look


class TestRemoval:
    def test_nothing_is_left(self, account: Account, wire: Wire, terminal: Terminal) -> None:
        asking = session(wire, configured(), terminal)
        serving_commands.deploy(asking, JOB)
        serving_commands.undeploy(asking)
        assert not any(account.kept.values())
        account.calls.clear()
        serving_commands.undeploy(asking)
        assert account.calls == []
        assert "there is no endpoint digits-cnn" in told(terminal)

    def test_one_that_is_being_made_is_waited_for(self, account: Account, wire: Wire, terminal: Terminal) -> None:
        asking = session(wire, configured(), terminal)
        serving_commands.deploy(asking, JOB)
        account.statuses = ["Creating", "Creating"]
        serving_commands.settle(asking)
        assert account.statuses == []

    def test_the_removal_of_all_takes_it_too_whatever_its_algorithm_was(
        self, account: Account, wire: Wire, terminal: Terminal
    ) -> None:
        settings = configured()
        serving_commands.deploy(session(wire, settings, terminal), JOB)
        account.put("Model", "somebody-elses", Project="another")
        account.put("Endpoint", "older", {"EndpointConfigName": "older-1"}, Project="serving-tests")
        wire.aws().client("logs").create_log_group(logGroupName=names.endpoint_log_group(NAME))
        holdings = teardown.read_holdings(wire.aws(), settings)
        assert not holdings.is_empty
        execute(teardown.plan_teardown(settings, holdings, with_data=False), wire.aws(), terminal)
        assert list(account.kept["Model"]) == ["somebody-elses"]
        assert not account.kept["Endpoint"]
        assert not account.kept["EndpointConfig"]
        assert teardown.read_holdings(wire.aws(), settings).serving.is_empty

    def test_an_endpoint_goes_though_its_predictions_failed(
        self, account: Account, called: list[str], wire: Wire, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (tmp_path / "x.png").write_text("no image")
        wire.invocations = lambda headers, body: Answer.of_json(
            {"code": "ModelError", "OriginalMessage": "broken"}, 424
        )
        assert project_manager.main([*called, "--deploy", JOB, "--predict", str(tmp_path / "x.png"), "--undeploy"]) == 1
        assert not any(account.kept.values())
        shown = capsys.readouterr()
        assert "something failed (told below); --undeploy still runs\n" in shown.out
        assert f"deleted    delete the endpoint {NAME}" in shown.out
        assert shown.err.endswith("error: 1 of 1 image was not predicted: see above\n")

    def test_and_though_nobody_waited_for_it(
        self, account: Account, called: list[str], wire: Wire, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        press_ctrl_c_at_first_look(account, wire, ["Creating", "Creating"])
        assert project_manager.main([*called, "--deploy", JOB, "--predict", str(tmp_path), "--undeploy"]) == 1
        assert not any(account.kept.values())
        shown = capsys.readouterr()
        assert "interrupted; --undeploy removes the endpoint now\n" in shown.out
        assert f"{NAME} is Creating: SageMaker takes no other change before that is over\n" in shown.out
        assert "goes on" not in shown.out
        assert shown.err.endswith("error: interrupted before the endpoint served the model; not done: --predict\n")

    def test_where_it_stays_all_the_same_the_command_that_removes_it_is_told(
        self, account: Account, called: list[str], wire: Wire, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        refusal = {"__type": "AccessDeniedException", "Message": "no"}
        wire.answers["DeleteEndpoint"] = lambda _: Answer.of_json(refusal, 400)
        assert project_manager.main([*called, "--deploy", JOB, "--predict", str(tmp_path), "--undeploy"]) == 1
        told = capsys.readouterr().err
        command = "python project_manager.py --set project_name=serving-tests --undeploy"
        assert (
            f"warning: the endpoint may be running still, and cost money, until `{command}` is done (could not" in told
        )
        assert f"error: there is no image in {tmp_path}" in told
        assert list(account.kept["Endpoint"]) == [NAME]

    def test_a_running_transform_job_stops_the_removal_of_all(self, account: Account, wire: Wire) -> None:
        running_transform_job(account, "x")
        with pytest.raises(JobError, match="end it first by --stop_transform digits-cnn-batch-300102-030405"):
            teardown.read_holdings(wire.aws(), configured())


class TestCtrlC:
    @pytest.mark.parametrize("before", [[], [JOB]], ids=["Creating", "Updating"])
    def test_the_hint_names_no_command_that_changes_what_is_being_deployed(
        self,
        before: list[str],
        account: Account,
        called: list[str],
        wire: Wire,
        capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        for name, value in {"FORCE_COLOR": "1", "NO_COLOR": "1", "COLUMNS": "100"}.items():
            monkeypatch.setenv(name, value)
        for job in before:
            assert project_manager.main([*called, "--deploy", job]) == 0
        status = "Updating" if before else "Creating"
        press_ctrl_c_at_first_look(account, wire, [status])
        changed = ["--set", "serving.batch_size=8", "--deploy", JOB, "--status"]
        capsys.readouterr()
        assert project_manager.main([*called, *changed]) == 1
        shown = capsys.readouterr()
        command = "python project_manager.py --set project_name=serving-tests"
        # A terminal breaks it between words alone.
        assert (
            f"{NAME} goes on ({status}). `{command} --status` tells how it is, `{command} --undeploy` removes it."
        ) in " ".join(shown.out.split())
        assert "--deploy" not in shown.out
        assert " ".join(shown.err.split()).endswith(
            "interrupted before the endpoint served the model; not done: --status"
        )
        assert list(account.kept["Endpoint"]) == [NAME]

    def test_where_the_job_is_left_that_was_to_be_served_that_is_told(
        self, account: Account, called: list[str], wire: Wire, capsys: pytest.CaptureFixture[str]
    ) -> None:
        account.trained = {
            "TrainingJobStatus": "InProgress",
            "SecondaryStatus": "Training",
            "TrainingJobArn": "arn:aws:sagemaker:eu-central-1:123456789012:training-job/x",
        }

        def look(asked: Any) -> Answer:
            os.kill(os.getpid(), signal.SIGINT)
            return account.describe_training_job(asked)

        wire.answers["DescribeTrainingJob"] = look
        asked = ["--monitor", JOB, "--deploy", JOB, "--predict", "x", "--undeploy"]
        assert project_manager.main([*called, *asked]) == 1
        shown = capsys.readouterr()
        assert f"{JOB} goes on. Follow it again by `python project_manager.py" in shown.out
        assert "interrupted; --undeploy removes the endpoint now\n" in shown.out
        assert shown.err.endswith("error: interrupted; not done: --deploy, --predict\n")
        assert not account.calls
