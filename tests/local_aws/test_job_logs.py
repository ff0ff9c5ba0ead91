"""Output becomes lines, and lines become events, while the program runs."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local_aws.job_logs import LONGEST_MESSAGE, LineSplitter


def split(*chunks: bytes) -> list[str]:
    splitter = LineSplitter()
    return [line for chunk in chunks for line in splitter.feed(chunk, 0.0)] + splitter.rest()


@pytest.mark.parametrize(
    ("chunks", "lines"),
    [
        ([b"one\ntwo\n"], ["one", "two", ""]),
        ([b"o", b"ne\nt", b"wo"], ["one", "two"]),
        ([b"windows\r\n"], ["windows", ""]),
        ([b" 1%\r 50%\r100%\n"], ["100%", ""]),
        ([b"100%\r", b"\n"], ["100%", ""]),
        ([b" 1%\r 50%\r"], [" 50%"]),
        ([b"\xff\xfe\n"], ["��", ""]),
        (["grün".encode()[:3], "grün".encode()[3:] + b"\n"], ["grün", ""]),
    ],
)
def test_lines(chunks: list[bytes], lines: list[str]) -> None:
    assert split(*chunks) == lines


@given(st.lists(st.text(st.characters(exclude_characters="\n\r", codec="utf-8"))), st.data())
def test_lines_do_not_depend_on_how_the_bytes_come(lines: list[str], data: st.DataObject) -> None:
    content = "".join(f"{line}\n" for line in lines).encode()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(content)), max_size=5)))
    chunks = [content[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(content)], strict=True)]
    assert split(*chunks) == [*lines, ""]


@pytest.mark.parametrize("ending", [b"", b"\n"])
def test_a_line_that_is_too_long_becomes_several(ending: bytes) -> None:
    line = "a" + "ä" * LONGEST_MESSAGE
    pieces = [piece for piece in split(line.encode() + ending) if piece]
    assert "".join(pieces) == line
    assert all(len(piece.encode()) <= LONGEST_MESSAGE for piece in pieces)
    assert len(pieces) == 3


def test_an_unfinished_line_is_shown_after_a_second() -> None:
    splitter = LineSplitter()
    assert splitter.feed(b"before\n10%", 5.0) == ["before"]
    assert splitter.feed(b"\r20%", 5.9) == []
    assert splitter.unfinished(5.9) == []
    assert splitter.unfinished(6.0) == ["20%"]
    assert splitter.unfinished(9.0) == []
    assert splitter.feed(b"\r30%", 9.0) == []
    assert splitter.unfinished(9.5) == []
    assert splitter.rest() == ["30%"]


def test_lines_come_while_the_program_runs(aws: Any) -> None:
    name = aws.start('echo first; printf asking; while ! [ -e "$HOME/../go" ]; do sleep 0.02; done; echo " done"')
    aws.eventually(lambda: aws.lines(name) == ["first", "asking"])
    assert aws.describe(name)["SecondaryStatus"] == "Training"
    (own,) = (aws.server.home / "jobs").glob("*/1")
    (own / "go").touch()
    aws.finish(name)
    assert aws.lines(name) == ["first", "asking", " done"]


def test_the_stream_is_named_as_sagemaker_names_it_and_can_be_filtered(aws: Any) -> None:
    name = aws.start("echo out; echo err >&2; echo; echo end")
    job = aws.finish(name)
    stream = aws.stream(name)
    job_name, _, host = stream.partition("/")
    assert job_name == name
    assert host.startswith("algo-1-")
    assert abs(int(host.removeprefix("algo-1-")) - job["TrainingStartTime"].timestamp()) <= 2
    for chosen in ({"logStreamNames": [stream]}, {"logStreamNamePrefix": f"{name}/"}):
        group = "/aws/sagemaker/TrainingJobs"
        found = aws.logs.filter_log_events(logGroupName=group, filterPattern="err", **chosen)
        assert [event["message"] for event in found["events"]] == ["err"]
    assert aws.logs.filter_log_events(logGroupName=group, logStreamNamePrefix="no/")["events"] == []
    assert aws.lines(name) == ["out", "err", "end"]


def test_a_log_group_that_is_deleted_does_not_disturb_the_job(aws: Any) -> None:
    name = aws.start('echo first; while ! [ -e "$HOME/../go" ]; do sleep 0.02; done; echo second')
    aws.eventually(lambda: aws.lines(name) == ["first"])
    aws.logs.delete_log_stream(logGroupName="/aws/sagemaker/TrainingJobs", logStreamName=aws.stream(name))
    (own,) = (aws.server.home / "jobs").glob("*/1")
    (own / "go").touch()
    assert aws.finish(name)["TrainingJobStatus"] == "Completed"
    assert aws.lines(name) == ["second"]
