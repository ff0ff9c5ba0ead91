"""Where the trackers' keys come from, and that nobody sees them."""

import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from container.modeling.tracking.keys import KeysError, hide_keys, read_keys
from tests.aws import REGION, Server, start_in_foreground
from tests.container.followed import follow, warnings
from tests.container.servers import MlflowServer, answering, dead_url, silent_server

pytestmark = pytest.mark.slow

PASSWORD = "a-key-that-nobody-may-see"
KEYS = {"MLFLOW_TRACKING_USERNAME": "somebody", "MLFLOW_TRACKING_PASSWORD": PASSWORD}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """An AWS that holds secrets."""
    server = start_in_foreground(tmp_path_factory.mktemp("home"))
    yield server
    server.process.terminate()
    assert server.process.wait(20) == 0


@pytest.fixture(autouse=True)
def environment(server: Server) -> Iterator[None]:
    """What a job's program finds there."""
    before = dict(os.environ)
    for name in [name for name in os.environ if name.startswith(("WANDB_", "MLFLOW_", "AWS_"))]:
        del os.environ[name]
    credentials = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
    os.environ |= {"AWS_ENDPOINT_URL": server.endpoint_url, "AWS_REGION": REGION, **credentials}
    yield
    os.environ.clear()
    os.environ.update(before)


def secret(server: Server, name: str, content: Any) -> str:
    """Makes a secret; returns its ARN."""
    made = server.client("secretsmanager").create_secret(Name=name, SecretString=json.dumps(content))
    return str(made["ARN"])


def test_a_secret_is_read_by_its_name_and_by_its_arn(server: Server) -> None:
    arn = secret(server, "team/keys", KEYS)
    assert read_keys("team/keys") == read_keys(arn) == KEYS
    os.environ["AWS_REGION"] = "us-east-1"
    assert read_keys(arn) == KEYS


def test_a_training_is_followed_with_them_and_leaves_no_trace_of_them(
    server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "container")
    secret(server, "keys", KEYS)
    with answering(MlflowServer(password=PASSWORD)) as mlflow:
        settings = {"tracking.secret": "keys", "tracking.tensorboard": "true", "tracking.mlflow_uri": mlflow.url}
        offline = {"tracking.wandb_project": "p", "tracking.wandb_mode": "offline"}
        follow(tmp_path, settings | offline)
    (run,) = mlflow.runs.values()
    assert run["info"]["status"] == "FINISHED"
    written = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert len(written) > 10
    assert not [content for content in (*written, *mlflow.artifacts.values()) if PASSWORD.encode() in content]
    assert PASSWORD not in json.dumps(run) + caplog.text


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (["a"], "must be a JSON object of texts"),
        ({"WANDB_API_KEY": 3}, "must be a JSON object of texts"),
        ({"WANDB_API_KEY": PASSWORD, "PATH": PASSWORD}, "and not PATH"),
        ({"AWS_SECRET_ACCESS_KEY": PASSWORD}, "and not AWS_SECRET_ACCESS_KEY"),
    ],
)
def test_what_is_no_set_of_keys_is_refused_without_showing_it(server: Server, content: Any, reason: str) -> None:
    arn = secret(server, f"bad/{abs(hash(json.dumps(content)))}", content)
    with pytest.raises(KeysError, match=reason) as caught:
        read_keys(arn)
    assert PASSWORD not in str(caught.value)


@pytest.mark.parametrize(
    "kind", ["missing", "dead", pytest.param("silent", marks=[pytest.mark.slow, pytest.mark.long])]
)
def test_a_secret_that_cannot_be_read_is_a_warning_that_says_what_to_do(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    with silent_server() as silent, answering(MlflowServer()) as mlflow:
        os.environ |= {"dead": {"AWS_ENDPOINT_URL": dead_url()}, "silent": {"AWS_ENDPOINT_URL": silent}}.get(kind, {})
        follow(tmp_path, {"tracking.secret": "no/such", "tracking.mlflow_uri": mlflow.url}, epochs=range(1, 2))
    (warning,) = warnings(caplog)
    assert warning.startswith("the secret no/such gives no keys to the trackers: ")
    assert "--init_s3_buckets" in warning
    # A server that asks for no key is followed all the same.
    assert len(mlflow.runs) == 1


def test_keys_are_hidden_in_what_is_logged() -> None:
    environment = {"WANDB_API_KEY": "abcd", "MLFLOW_TRACKING_TOKEN": "abcdef", "WANDB_PROJECT": "shown", "PATH": "/bin"}
    assert hide_keys("abcdef: abcd shown /bin", environment) == "***: *** shown /bin"
