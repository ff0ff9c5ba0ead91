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
        assert f"deleted    delete the endpoint {NAME}" in shown.out
        assert shown.err.endswith("error: 1 of 1 images were not predicted: see above\n")

    def test_and_though_nobody_waited_for_it(
        self, account: Account, called: list[str], wire: Wire, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        account.statuses = ["Creating"]

        def press_ctrl_c(asked: Any) -> Answer:
            if account.kept["Endpoint"] and account.statuses:
                os.kill(os.getpid(), signal.SIGINT)
            return account.describe_endpoint(asked)

        wire.answers["DescribeEndpoint"] = press_ctrl_c
        assert project_manager.main([*called, "--deploy", JOB, "--predict", str(tmp_path), "--undeploy"]) == 0
        assert f"{NAME} goes on" in capsys.readouterr().out
        assert not any(account.kept.values())

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
