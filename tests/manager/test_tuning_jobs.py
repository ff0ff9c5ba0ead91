"""Tuning jobs after their launch: followed, read, judged, and gone on from; each answer comes over the wire."""

import io
import json
import os
import signal
import threading
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from rich.console import Console

import project_manager
from container.modeling.config_file import load_settings
from container.modeling.settings import Settings
from manager import teardown, tuning_commands, tuning_results
from manager.console import Terminal
from manager.errors import AwsError, JobError
from manager.monitoring import looks
from manager.plan import describe
from manager.session import Session
from manager.trials import TuningJob, read_tuning_job
from manager.tuning_monitoring import follow, show
from tests.manager.tuning_answers import ARN, BEGUN, JOB, TRIALS, Tuned, trial
from tests.manager.wire import Answer, Wire


@pytest.fixture
def settings() -> Settings:
    return load_settings()


def session(wire: Wire, settings: Settings, terminal: Terminal, root: Path) -> Session:
    return Session(settings, wire.aws(), terminal, describe, "directory", root, lambda question, answer: None, "manage")


def told(terminal: Terminal) -> str:
    assert isinstance(terminal.out.file, io.StringIO)
    return terminal.out.file.getvalue()


def reading(wire: Wire, tuned: Tuned | None = None) -> TuningJob:
    (tuned or Tuned()).answer_on(wire)
    return read_tuning_job(wire.aws(), JOB)


class TestReading:
    def test_all_pages_are_read_and_values_have_their_types(self, wire: Wire) -> None:
        tuning = reading(wire)
        assert [trial.name[-12:] for trial in tuning.trials] == ["001-0123abcd", "002-0123abcd", "003-0123abcd"]
        values = {"training.learning_rate": 0.0123456, "training.batch_size": 32, "training.xla": True}
        assert tuning.trials[0].values == values
        assert tuning.trials[0].seconds == 90
        assert tuning.parameters == ("training.learning_rate", "training.batch_size", "training.xla")
        assert tuning.jobs == 12

    @pytest.mark.parametrize(("direction", "best"), [("Maximize", "003-0123abcd"), ("Minimize", "001-0123abcd")])
    def test_the_best_is_told_by_the_direction(self, direction: str, best: str, wire: Wire) -> None:
        tuning = reading(wire, Tuned(direction=direction))
        assert tuning.best is not None
        assert tuning.short_name(tuning.best) == best

    def test_a_failed_trial_is_never_the_best(self, wire: Wire) -> None:
        tuning = reading(
            wire, Tuned(trials=(trial(1, "Failed", 0.99), trial(2, "Stopped", 0.5), trial(3, "InProgress")))
        )
        assert tuning.best is tuning.trials[1]

    def test_a_setting_that_is_no_more_stays_a_text(self, wire: Wire) -> None:
        tuning = reading(wire, Tuned(trials=(trial(1, training__magic="7"),)))
        assert tuning.trials[0].values == {"training.magic": "7"}

    def test_a_job_that_is_not_there_is_named(self, wire: Wire) -> None:
        Tuned().answer_on(wire)
        with pytest.raises(JobError, match="there is no tuning job 'nothing'"):
            read_tuning_job(wire.aws(), "nothing")


class TestFollowing:
    def test_each_change_is_a_line_where_no_terminal_is(self, wire: Wire, terminal: Terminal) -> None:
        tuned = Tuned(["InProgress", "Completed"], (trial(1, "InProgress", training__batch_size="32"),)).answer_on(wire)
        first = tuned.list_trials

        def then_done(document: Any) -> Answer:
            answer = first(document)
            tuned.trials = TRIALS
            return answer

        wire.answers["ListTrainingJobsForHyperParameterTuningJob"] = then_done
        ended = follow(wire.aws(), JOB, terminal, "hint")
        assert ended is not None
        assert ended.status == "Completed"
        lines = told(terminal).splitlines()
        assert lines[0] == "trial 001-0123abcd InProgress training.batch_size=32"
        assert lines[1].startswith(
            "trial 001-0123abcd Completed best_val_accuracy=0.7500 training.learning_rate=0.01235"
        )
        assert lines[2].endswith("training.batch_size=64: AlgorithmError: no")
        assert "best_val_accuracy=0.9000 (the best so far)" in lines[3]
        assert f"best trial: {JOB}-003-0123abcd, best_val_accuracy=0.9000, training.learning_rate=0.001" in lines[-1]

    @pytest.mark.slow
    def test_on_a_terminal_the_table_is_live(self, wire: Wire) -> None:
        Tuned(["InProgress", "Completed"]).answer_on(wire)
        out = io.StringIO()
        terminal = Terminal(out=Console(file=out, width=120, height=20, force_terminal=True, color_system=None))
        follow(wire.aws(), JOB, terminal, "hint")
        assert f"{JOB} InProgress, 3 of 12 trials: 2 Completed, 1 Failed" in out.getvalue()
        assert "003 *" in out.getvalue()
        assert "trial 003" not in out.getvalue()

    @pytest.mark.slow
    def test_a_table_that_is_too_long_keeps_what_matters(self, wire: Wire) -> None:
        many = tuple(trial(number, "Completed", 1 / number) for number in range(1, 40))
        Tuned(["InProgress", "Completed"], (*many, trial(40, "InProgress"))).answer_on(wire)
        out = io.StringIO()
        live = Console(file=out, width=120, height=14, force_terminal=True, color_system=None)
        follow(wire.aws(), JOB, Terminal(out=live), "hint")
        first_table = out.getvalue().partition(f"{JOB} Completed")[0]
        assert "001 *" in first_table
        assert " 040 " in first_table
        assert " 020 " not in first_table

    @pytest.mark.parametrize(
        ("tuned", "message"),
        [
            (Tuned(["Failed"], failure="All training jobs failed."), "failed: All training jobs failed"),
            (Tuned(["Stopped"]), "was stopped before it was done; --tuning_results"),
        ],
    )
    def test_a_job_that_is_not_done_is_an_error(
        self, tuned: Tuned, message: str, wire: Wire, terminal: Terminal
    ) -> None:
        tuned.answer_on(wire)
        with pytest.raises(JobError, match=message):
            follow(wire.aws(), JOB, terminal, "hint")
        assert "003 *" in told(terminal)

    def test_ctrl_c_ends_the_following_and_nothing_else(self, wire: Wire, terminal: Terminal) -> None:
        tuned, presses = Tuned(["InProgress"]).answer_on(wire), [signal.SIGINT]

        def pressed(document: Any) -> Answer:
            if presses:
                os.kill(os.getpid(), presses.pop())
            return tuned.list_trials(document)

        wire.answers["ListTrainingJobsForHyperParameterTuningJob"] = pressed
        assert follow(wire.aws(), JOB, terminal, "Follow it again by x.") is None
        assert told(terminal).endswith(f"{JOB} goes on. Follow it again by x.\n")
        assert "StopHyperParameterTuningJob" not in wire.operations

    def test_a_connection_that_is_lost_later_does_not_matter_and_at_first_it_does(self) -> None:
        answers, leave, said = iter(["first"]), threading.Event(), []

        def look() -> str:
            try:
                return next(answers)
            except StopIteration:
                raise AwsError("nobody answers") from None

        def say(text: str) -> None:
            said.append(text)
            leave.set()

        assert list(looks(look, leave, say)) == ["first"]
        assert said == ["nobody answers; trying again"]
        with pytest.raises(AwsError):
            next(looks(look, threading.Event(), say))


class TestResults:
    def test_the_trials_are_a_frame_with_types(self, wire: Wire) -> None:
        frame = tuning_results.frame(reading(wire))
        assert list(frame.columns) == [
            "TrainingJobName",
            "TrainingJobStatus",
            "FinalObjectiveValue",
            "training.learning_rate",
            "training.batch_size",
            "training.xla",
            "TrainingElapsedTimeSeconds",
            "TrainingStartTime",
            "TrainingEndTime",
            "FailureReason",
        ]
        assert frame["FinalObjectiveValue"].tolist()[::2] == [0.75, 0.9]
        assert pd.isna(frame["FinalObjectiveValue"][1])
        assert frame["training.batch_size"].tolist() == [32, 64, 128]
        assert frame["training.xla"].tolist()[::2] == [True, False]
        assert frame["TrainingStartTime"][0].timestamp() == BEGUN + 60
        assert frame["FailureReason"].tolist() == ["", "AlgorithmError: no", ""]

    def test_a_job_without_trials_has_an_empty_frame(self, wire: Wire, tmp_path: Path) -> None:
        tuning = reading(wire, Tuned(trials=()))
        assert tuning_results.frame(tuning).empty
        assert len(pd.read_csv(tuning_results.write_trials(tuning, tmp_path))) == 0

    def test_the_command_shows_writes_and_tells_what_comes_next(
        self, wire: Wire, settings: Settings, terminal: Terminal, tmp_path: Path
    ) -> None:
        Tuned().answer_on(wire)
        tuning_commands.tuning_results(session(wire, settings, terminal, tmp_path), JOB)
        written = pd.read_csv(tmp_path / "results" / JOB / "trials.csv")
        assert written["training.learning_rate"].tolist() == [0.0123456, 0.1, 0.001]
        assert written["TrainingElapsedTimeSeconds"].tolist() == [90, 90, 90]
        assert f"the trials are in results/{JOB}/trials.csv" in told(terminal)
        assert f"manage --launch_training --from_tuning {JOB}" in told(terminal)

    def test_without_an_objective_nothing_comes_next(
        self, wire: Wire, settings: Settings, terminal: Terminal, tmp_path: Path
    ) -> None:
        Tuned(trials=(trial(1, "Failed"),)).answer_on(wire)
        tuning_commands.tuning_results(session(wire, settings, terminal, tmp_path), JOB)
        assert "no trial logged best_val_accuracy, so none is the best" in told(terminal)
        assert "--from_tuning" not in told(terminal)

    @pytest.mark.parametrize("width", [60, 80, 160])
    def test_the_table_fits_the_terminal(self, width: int, wire: Wire) -> None:
        out = io.StringIO()
        show(reading(wire), Terminal(out=Console(file=out, width=width)))
        assert max(map(len, out.getvalue().splitlines())) <= width
        assert "0.9000" in out.getvalue()


class TestWinner:
    def describe_winner(self, wire: Wire, hyperparameters: dict[str, str], **fields: Any) -> list[str]:
        asked = []

        def answer(document: Any) -> Answer:
            asked.append(document["TrainingJobName"])
            job = {"TrainingJobName": document["TrainingJobName"], "HyperParameters": hyperparameters}
            return Answer.of_json(job | {"TrainingJobStatus": "Completed", "CreationTime": BEGUN} | fields)

        wire.answers["DescribeTrainingJob"] = answer
        return asked

    def test_its_hyperparameters_are_the_settings_and_the_command_line_has_the_last_word(
        self, wire: Wire, settings: Settings, terminal: Terminal, tmp_path: Path
    ) -> None:
        Tuned().answer_on(wire)
        given = {
            "training.learning_rate": "0.001",
            "training.batch_size": "128",
            "training.seed": "7",
            "_tuning_objective_metric": "best_val_accuracy",
        }
        asked = self.describe_winner(wire, given)
        before = session(wire, settings, terminal, tmp_path)
        after = tuning_commands.winners_session(before, JOB, {"training.epochs": "3"}).settings
        assert asked == [f"{JOB}-003-0123abcd"]
        assert (after.training.learning_rate, after.training.batch_size, after.training.seed) == (0.001, 128, 7)
        assert after.training.epochs == 3
        # The trial had the default, whatever config.py says.
        assert after.image.height == 224
        assert after.training_job == settings.training_job

    def test_the_earlier_model_is_that_of_the_trial(
        self, wire: Wire, settings: Settings, terminal: Terminal, tmp_path: Path
    ) -> None:
        Tuned().answer_on(wire)
        uri = "s3://handwritten-digits.output/first/output/model.tar.gz"
        source = {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": uri}}
        channels = [{"ChannelName": "pretrained", "DataSource": source}]
        self.describe_winner(wire, {"model.initial_weights": "pretrained"}, InputDataConfig=channels)
        after = tuning_commands.winners_session(session(wire, settings, terminal, tmp_path), JOB, {})
        assert after.settings.data.pretrained == uri

    def test_where_no_trial_has_an_objective_there_is_none(
        self, wire: Wire, settings: Settings, terminal: Terminal, tmp_path: Path
    ) -> None:
        Tuned(trials=(trial(1, "InProgress"),)).answer_on(wire)
        with pytest.raises(JobError, match=r"no trial of .* has logged best_val_accuracy"):
            tuning_commands.winners_session(session(wire, settings, terminal, tmp_path), JOB, {})


class TestCommands:
    def test_a_job_that_is_over_is_not_stopped(
        self, wire: Wire, settings: Settings, terminal: Terminal, tmp_path: Path
    ) -> None:
        Tuned().answer_on(wire)
        with pytest.raises(JobError, match=f"{JOB} is over: its status is Completed; --tuning_results"):
            tuning_commands.stop_tuning(session(wire, settings, terminal, tmp_path), JOB)

    def test_a_running_one_is(self, wire: Wire, settings: Settings, terminal: Terminal, tmp_path: Path) -> None:
        Tuned(["InProgress"]).answer_on(wire)
        tuning_commands.stop_tuning(session(wire, settings, terminal, tmp_path), JOB)
        assert f"stop-hyper-parameter-tuning-job --hyper-parameter-tuning-job-name {JOB}" in told(terminal)

    def test_what_kind_of_job_a_name_means_is_found_out(
        self, wire: Wire, settings: Settings, terminal: Terminal, tmp_path: Path
    ) -> None:
        tuned = Tuned().answer_on(wire)
        asking = session(wire, settings, terminal, tmp_path)
        assert tuning_commands.is_tuning_job(asking, JOB)
        assert not tuning_commands.is_tuning_job(asking, "digits-cnn-2030-01-02-03-04-05")
        assert tuned.asked == 0
        assert not tuning_commands.is_tuning_job(asking, "by-hand")

    def test_the_last_job_is_the_newer_one(
        self, wire: Wire, settings: Settings, terminal: Terminal, tmp_path: Path
    ) -> None:
        Tuned().answer_on(wire)
        trained = "digits-cnn-2030-01-01-00-00-00"
        listed = {"HyperParameterTuningJobName": JOB, "HyperParameterTuningJobArn": f"{ARN}:x/{JOB}"}
        wire.answers["ListHyperParameterTuningJobs"] = lambda _: page("HyperParameterTuningJobSummaries", listed)
        summary = {"TrainingJobName": trained, "TrainingJobArn": f"{ARN}:training-job/{trained}"}
        wire.answers["ListTrainingJobs"] = lambda _: page("TrainingJobSummaries", summary)
        wire.answers["ListTags"] = lambda _: page("Tags", {"Key": "Project", "Value": settings.project_name})
        asking = session(wire, settings, terminal, tmp_path)
        for seconds, expected in ((-5, JOB), (5, trained)):
            job = {"TrainingJobName": trained, "CreationTime": BEGUN + seconds}
            wire.answers["DescribeTrainingJob"] = lambda _, job=job: Answer.of_json(job)
            assert tuning_commands.last_job(asking) == expected

    @pytest.mark.parametrize("status", ["InProgress", "Stopping"])
    def test_a_running_tuning_job_stops_the_removal_of_all(self, status: str, wire: Wire, settings: Settings) -> None:
        listed = {
            "HyperParameterTuningJobName": JOB,
            "HyperParameterTuningJobArn": f"{ARN}:hyper-parameter-tuning-job/{JOB}",
            "HyperParameterTuningJobStatus": status,
        }
        wire.answers["ListHyperParameterTuningJobs"] = lambda _: page("HyperParameterTuningJobSummaries", listed)
        wire.answers["ListTags"] = lambda _: page("Tags", {"Key": "Project", "Value": settings.project_name})
        with pytest.raises(JobError, match=f"{JOB} is still running: end it first by --stop_tuning {JOB}"):
            teardown.read_holdings(wire.aws(), settings)

    def test_records_of_tuning_jobs_go_and_those_of_others_stay(self, wire: Wire, settings: Settings) -> None:
        listed = [
            {
                "HyperParameterTuningJobName": name,
                "HyperParameterTuningJobArn": f"{ARN}:hyper-parameter-tuning-job/{name}",
                "HyperParameterTuningJobStatus": "Completed",
            }
            for name in (JOB, "somebody-elses")
        ]
        wire.answers["ListHyperParameterTuningJobs"] = lambda _: page("HyperParameterTuningJobSummaries", *listed)
        own = {"Key": "Project", "Value": settings.project_name}
        wire.answers["ListTags"] = lambda asked: page("Tags", *([own] if JOB in asked["ResourceArn"] else []))
        holdings = teardown.read_holdings(wire.aws(), settings)
        assert holdings.tuning_jobs == (JOB,)
        plan = teardown.plan_teardown(settings, holdings, with_data=False)
        messages = [call.message for call in plan.calls]
        assert f"delete the record of the tuning job {JOB}" in messages
        assert "somebody-elses" not in json.dumps(messages)


def page(kind: str, *items: Any) -> Answer:
    return Answer.of_json({kind: list(items)})


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--launch_tuning", "--launch_training"], "launch one job after the other"),
        (["--launch_tuning", "--resume"], "launch one job after the other"),
        (["--launch_tuning", "--download_results"], "--tuning_results shows"),
        (["--launch_tuning", "--no_follow", "--tuning_results"], "has no results yet"),
        (["--from_tuning", "--status"], "--from_tuning is for --launch_training"),
    ],
)
def test_flags_that_contradict_each_other_are_wrong_usage(
    flags: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        project_manager.main(flags)
    assert ended.value.code == 2
    assert message in capsys.readouterr().err
