"""Plans: shown as commands that can be pasted, checked before the first call is sent."""

import io
import json
import shlex
from pathlib import Path

import boto3
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from manager.aws import Aws
from manager.console import Terminal
from manager.errors import AwsError
from manager.plan import ApiCall, Plan, describe, execute, to_command

# Nothing listens there: whatever is sent fails.
NOWHERE = Aws(
    boto3.Session(aws_access_key_id="test", aws_secret_access_key="test", region_name="eu-central-1"),
    "http://127.0.0.1:9",
)


def terminal() -> Terminal:
    return Terminal(out=Console(file=io.StringIO(), soft_wrap=True), err=Console(file=io.StringIO()))


def test_a_call_is_shown_as_the_command_that_makes_it() -> None:
    call = ApiCall("s3", "create_bucket", {"Bucket": "b", "ObjectLockEnabledForBucket": False}, "create b")
    assert to_command(call) == "aws s3api create-bucket --bucket b --no-object-lock-enabled-for-bucket"


@given(st.dictionaries(st.text(), st.text()))
def test_a_shell_reads_back_what_a_command_says(tags: dict[str, str]) -> None:
    call = ApiCall("ecr", "tag_resource", {"resourceArn": "it's $HOME", "tags": tags}, "tag")
    *_, arn, option, shown = shlex.split(to_command(call))
    assert (arn, option, json.loads(shown)) == ("it's $HOME", "--tags", tags)


@pytest.mark.parametrize("executor", [execute, describe])
def test_nothing_is_sent_when_one_call_is_invalid(executor: object) -> None:
    good = ApiCall("s3", "create_bucket", {"Bucket": "b"}, "create the bucket b")
    bad = ApiCall("s3", "put_bucket_policy", {"Bucket": "b"}, "set the policy of b")
    shown = terminal()
    with pytest.raises(AwsError, match=r"nothing was sent: cannot set the policy of b: .*Missing .*Policy"):
        executor(Plan((good, bad)), NOWHERE, shown)  # type: ignore[operator]
    assert shown.out.file.getvalue() == ""  # type: ignore[attr-defined]


def test_a_refusal_names_what_was_tried() -> None:
    with pytest.raises(AwsError, match="could not create the bucket b: Could not connect"):
        execute(Plan((ApiCall("s3", "create_bucket", {"Bucket": "b"}, "create the bucket b"),)), NOWHERE, terminal())


def test_describing_sends_nothing_and_shortens_groups() -> None:
    uploads = tuple(
        ApiCall(
            "s3", "put_object", {"Bucket": "b", "Key": str(n), "Body": Path(f"/f/{n}")}, f"upload {n}", group="upload"
        )
        for n in range(5)
    )
    shown = terminal()
    describe(Plan(uploads), NOWHERE, shown)
    assert shown.out.file.getvalue().splitlines() == [  # type: ignore[attr-defined]
        "# upload 0",
        "aws s3api put-object --bucket b --key 0 --body /f/0 --region eu-central-1 --endpoint-url http://127.0.0.1:9",
        "# upload: 4 more like this one",
    ]
