"""The table of the last training jobs: what AWS says of them, and what that makes of their costs."""

import re
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from container.modeling.config_file import load_settings
from manager.console import Terminal
from manager.pricing import Price
from manager.status import JobRecord, last_jobs, prices_of, show_jobs
from tests import aws as local_aws
from tests.aws import Server
from tests.manager.price_list import answer_with, offer
from tests.manager.wire import Wire
from tests.project import Project

NOW = datetime(2030, 1, 1, 12, tzinfo=UTC)
PRICES = {"ml.g5.xlarge": Price(1.8)}


def description(**changes: Any) -> dict[str, Any]:
    """DescribeTrainingJob's answer for a job that trained 1,000 s on two instances."""
    return {
        "TrainingJobName": "shades-2030-01-01-10-00-00",
        "TrainingJobStatus": "Completed",
        "ResourceConfig": {"InstanceType": "ml.g5.xlarge", "InstanceCount": 2, "VolumeSizeInGB": 30},
        "EnableManagedSpotTraining": False,
        "TrainingTimeInSeconds": 1000,
        "BillableTimeInSeconds": 1000,
        **changes,
    }


def record(**changes: Any) -> JobRecord:
    return JobRecord.read(description(**changes), NOW)


class TestRecord:
    def test_the_billable_time_of_each_instance_is_paid(self) -> None:
        assert record().cost(PRICES) == pytest.approx(1000 / 3600 * 2 * 1.8)

    def test_spot_saves_what_is_not_billed(self) -> None:
        spot = record(EnableManagedSpotTraining=True, BillableTimeInSeconds=300)
        assert spot.spot_saving == pytest.approx(0.7)
        assert spot.cost(PRICES) == pytest.approx(300 / 3600 * 2 * 1.8)

    def test_without_spot_there_is_no_saving_to_show(self) -> None:
        assert record(BillableTimeInSeconds=300).spot_saving is None

    def test_a_running_job_has_a_duration_but_no_costs_yet(self) -> None:
        running = description(TrainingJobStatus="InProgress", TrainingStartTime=NOW - timedelta(minutes=2))
        del running["TrainingTimeInSeconds"], running["BillableTimeInSeconds"]
        job = JobRecord.read(running, NOW)
        assert (job.seconds, job.cost(PRICES)) == (120, None)

    def test_a_job_that_never_trained_has_neither(self) -> None:
        failed = description(TrainingJobStatus="Failed")
        del failed["TrainingTimeInSeconds"], failed["BillableTimeInSeconds"]
        job = JobRecord.read(failed, NOW)
        assert (job.seconds, job.cost(PRICES), job.spot_saving) == (None, None, None)

    def test_without_a_price_the_costs_are_unknown(self) -> None:
        assert record().cost({"ml.g5.xlarge": Price(None, "reason")}) is None


class TestTable:
    def test_each_job_is_a_row(self, terminal: Terminal) -> None:
        spot = record(EnableManagedSpotTraining=True, BillableTimeInSeconds=300)
        show_jobs([spot], PRICES, terminal)
        assert isinstance(terminal.out.file, StringIO)
        (row,) = [line.split() for line in terminal.out.file.getvalue().splitlines() if "shades-2030" in line]
        assert row[1:] == ["Completed", "2", "x", "ml.g5.xlarge", "16:40", "300", "70%", "0.30"]

    @pytest.mark.parametrize("algorithm", ["digits-cnn", "a" * 43])
    def test_in_80_columns_no_cell_is_cut(self, algorithm: str) -> None:
        file, name = StringIO(), f"{algorithm}-2030-01-01-10-00-00"
        narrow = Terminal(out=Console(file=file, width=80, highlight=False, soft_wrap=True, force_terminal=True))
        running = record(TrainingJobName=name, TrainingJobStatus="InProgress", BillableTimeInSeconds=86_400)
        show_jobs([running], {"ml.g5.xlarge": Price(100.0)}, narrow)
        lines = [re.sub(r"\x1b\[[\d;]*m", "", line) for line in file.getvalue().splitlines()]
        assert max(map(len, lines)) <= 80
        (first,) = [number for number, line in enumerate(lines) if "InProgress" in line]
        assert lines[first].split()[1:] == ["InProgress", "16:40", "86,400", "-", "4,800.00"]
        assert "".join(line.split()[0] for line in lines[first:] if line.strip()).startswith(f"{name}2")
        assert "2 x ml.g5.xlarge" in [line.strip() for line in lines]

    def test_what_is_no_terminal_gets_a_row_as_one_line(self, capsys: pytest.CaptureFixture[str]) -> None:
        show_jobs([record(TrainingJobName=f"{'a' * 43}-2030-01-01-10-00-00")], PRICES, Terminal())
        assert "2 x ml.g5.xlarge      16:40        1,000" in capsys.readouterr().out

    def test_why_a_price_is_unknown_is_said_once(self, terminal: Terminal) -> None:
        show_jobs([record(), record()], {"ml.g5.xlarge": Price(None, "AccessDenied")}, terminal)
        assert isinstance(terminal.out.file, StringIO)
        shown = terminal.out.file.getvalue()
        assert shown.count("the price of ml.g5.xlarge is unknown (AccessDenied)") == 1


class TestOnAws:
    @pytest.mark.slow
    def test_the_jobs_of_the_project_come_the_last_one_first(self, server: Server, wire: Wire, tmp_path: Path) -> None:
        aws = local_aws.Aws(server, tmp_path)
        jobs = [f"shades-2030-01-01-00-00-{second:02}" for second in range(12)]
        image = aws.push(aws.image_directory("true"))
        for job in [*jobs, "shades-other", "my-shades-2030-01-01-00-00-00"]:
            aws.sagemaker.create_training_job(
                **aws.request(image, TrainingJobName=job, Tags=[{"Key": "Project", "Value": "handwritten-digits"}])
            )
            aws.finish(job)
        answer_with(wire, offer("EUC1-Train:ml.m5.large", "3600"))
        settings = load_settings(assignments={"algorithm_name": "shades"})
        found = last_jobs(wire.aws(), settings)
        assert [job.name for job in found] == jobs[:1:-1]
        prices = prices_of(wire.aws(), found)
        assert [job.cost(prices) for job in found] == [job.billable_seconds for job in found]

    @pytest.mark.slow
    def test_the_command_shows_them(self, project: Project) -> None:
        shown = project.manage_local("--status", "--set", "algorithm_name=none-yet").stdout
        assert "there is no training job of none-yet yet" in shown
