"""The page of a tuning job, from what SageMaker tells of its trials."""

import io
from pathlib import Path

from container.modeling.config_file import load_settings
from manager import tuning_commands
from manager.console import Terminal
from manager.plan import describe
from manager.session import Session
from tests.container.pages import read
from tests.manager.tuning_answers import JOB, Tuned, trial
from tests.manager.wire import Wire


def session(wire: Wire, terminal: Terminal, root: Path) -> Session:
    settings, aws = load_settings(), wire.aws()
    return Session(settings, aws, terminal, describe, "directory", root, lambda question, answer: None, "manage")


def test_the_command_writes_the_page_of_the_trials(wire: Wire, terminal: Terminal, tmp_path: Path) -> None:
    Tuned().answer_on(wire)
    tuning_commands.tuning_results(session(wire, terminal, tmp_path), JOB)
    assert isinstance(terminal.out.file, io.StringIO)
    assert f"the page, with charts, is results/{JOB}/tuning.html" in terminal.out.file.getvalue()
    page = read(tmp_path / "results" / JOB / "tuning.html")
    assert f"manage --launch_training --from_tuning {JOB}" in page.texts
    assert "The best trial is number 3, with 0.9." in page.text
    assert "AlgorithmError: no" in page.texts
    assert "setting-3" in page.charts()


def test_a_page_is_written_where_no_trial_has_an_objective(wire: Wire, terminal: Terminal, tmp_path: Path) -> None:
    Tuned(["InProgress"], (trial(1, "InProgress"),)).answer_on(wire)
    tuning_commands.tuning_results(session(wire, terminal, tmp_path), JOB)
    page = read(tmp_path / "results" / JOB / "tuning.html")
    assert "and is InProgress." in page.text
    assert page.charts() == {}
