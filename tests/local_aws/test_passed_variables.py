"""Keys of other services, which jobs get from the environment of whoever starts the AWS, and which nothing shows."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.aws import Aws, start_in_foreground

KEY = "a-key-that-nobody-may-see"


@pytest.mark.slow
def test_a_job_gets_the_named_variables_and_nothing_shows_them(tmp_path: Path) -> None:
    server = start_in_foreground(
        tmp_path / "home", LOCAL_AWS_PASS_ENVIRONMENT="SOME_KEY, NOT_SET", SOME_KEY=KEY, ANOTHER_KEY="another"
    )
    try:
        aws = Aws(server, tmp_path)
        name = aws.start('echo "${#SOME_KEY} characters, ${ANOTHER_KEY-no other}"')
        isolated = aws.start('echo "${SOME_KEY-none}"', EnableNetworkIsolation=True)
        described = json.dumps([aws.finish(name), aws.finish(isolated)], default=str)
        assert aws.lines(name) == [f"{len(KEY)} characters, no other"]
        assert aws.lines(isolated) == ["none"]
        log = [*aws.log(name), *aws.log(isolated)]
    finally:
        server.process.terminate()
        output, _ = server.process.communicate(timeout=20)
    files = [path.read_bytes() for path in server.home.rglob("*") if path.is_file()]
    assert KEY not in "".join([described, *log, output or ""])
    assert not [content for content in files if KEY.encode() in content]


@pytest.mark.parametrize("names", ["AWS_SECRET_ACCESS_KEY", "A-B", "*"])
def test_names_that_cannot_be_passed_are_refused(local_aws: Callable[..., Any], tmp_path: Path, names: str) -> None:
    done = local_aws("start", home=tmp_path / "home", LOCAL_AWS_PASS_ENVIRONMENT=names)
    assert done.returncode != 0
    assert f"LOCAL_AWS_PASS_ENVIRONMENT has '{names}'" in done.stderr
