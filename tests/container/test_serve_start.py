"""`serve` where it cannot start: it ends with 1 and says what to do; and its settings as variables."""

import json
import socket
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from container.errors import SettingsError
from container.modeling.serving_environment import from_environment, to_environment
from container.modeling.serving_settings import Serving
from container.modeling.settings import ContainerSettings
from container.report import facts
from container.serving.hosting import Hosting
from tests.container.served import failed_start


def lay_out(base: Path) -> Path:
    """Lay out a model's folder whose model is none."""
    folder = base / "model"
    folder.mkdir()
    (folder / facts.CONFIG_FILE).write_text(ContainerSettings().model_dump_json())
    (folder / facts.CLASSES_FILE).write_text(json.dumps(["a", "b"]))
    (folder / facts.KERAS_FILE).write_bytes(b"no model")
    return folder


def test_a_folder_without_a_model_is_told(tmp_path: Path) -> None:
    assert failed_start(tmp_path).endswith("SageMaker unpacks model.tar.gz there before it runs `serve`")
    folder = lay_out(tmp_path)
    for name in (facts.KERAS_FILE, facts.CLASSES_FILE, facts.CONFIG_FILE):
        (folder / name).unlink()
        assert f"holds no {name}: serve the model.tar.gz of a training job" in failed_start(tmp_path)


@pytest.mark.slow
def test_a_file_that_is_no_model_is_told(tmp_path: Path) -> None:
    lay_out(tmp_path)
    assert "model.keras cannot be loaded: " in failed_start(tmp_path)


def test_a_config_that_no_job_of_this_image_wrote_is_told(tmp_path: Path) -> None:
    (lay_out(tmp_path) / facts.CONFIG_FILE).write_text('{"image": {"hight": 8}}')
    last = failed_start(tmp_path)
    assert "there is no setting 'image.hight': did you mean 'image.height'?" in last
    assert last.endswith("serve the model in the image that it was trained in")


@pytest.mark.parametrize(
    ("variable", "value", "told"),
    [
        ("SERVING_BATCH_SIZE", "0", "SERVING_BATCH_SIZE of the model's Environment: serving.batch_size=0: "),
        ("SERVING_BATCHSIZE", "1", "there is no setting 'serving.batchsize': did you mean 'serving.batch_size'?"),
        ("SERVING_URL_HOSTS", '["https://a"]', "serving.url_hosts"),
        ("SAGEMAKER_BIND_TO_PORT", "http", "SAGEMAKER_BIND_TO_PORT=http must be a whole number from 0 to 65,535"),
        ("BIND_TO_ADDRESS", "nowhere.invalid", "nobody can listen at port 0 of nowhere.invalid"),
    ],
)
def test_variables_that_are_wrong_are_told(tmp_path: Path, variable: str, value: str, told: str) -> None:
    lay_out(tmp_path)
    assert told in failed_start(tmp_path, **{variable: value})


def test_a_port_that_is_taken_is_told(tmp_path: Path) -> None:
    lay_out(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = f"{taken.getsockname()[1]}"
        assert f"nobody can listen at port {port}" in failed_start(tmp_path, SAGEMAKER_BIND_TO_PORT=port)


SETTINGS = st.builds(
    Serving,
    batch_size=st.integers(1, 4096),
    batch_window_ms=st.floats(0, 10_000),
    max_waiting=st.integers(1, 100_000),
    url_hosts=st.lists(st.sampled_from(["a.example", "10.0.0.1:8000", "[::1]:80"]), max_size=3).map(tuple),
    input_fn=st.sampled_from(["", "own:read", "folder.own:read"]),
)


@given(SETTINGS)
def test_settings_come_back_from_the_variables_that_they_become(settings: Serving) -> None:
    variables = to_environment(settings)
    assert from_environment({"PATH": "/bin", **variables}) == settings
    assert set(variables) == {f"SERVING_{name.upper()}" for name in settings.model_dump(exclude_defaults=True)}


def test_a_value_that_is_too_long_for_sagemaker_is_told() -> None:
    hosts = tuple(f"host-{number}.example.com" for number in range(99))
    with pytest.raises(SettingsError, match=r"serving\.url_hosts is .* characters long; SageMaker takes at most 1024"):
        to_environment(Serving(url_hosts=hosts))


def test_a_transform_job_raises_the_limits() -> None:
    settings = Serving(max_body_mb=6, max_waiting=8)
    job = {"SAGEMAKER_BATCH": "true", "SAGEMAKER_MAX_PAYLOAD_IN_MB": "50", "SAGEMAKER_MAX_CONCURRENT_TRANSFORMS": "20"}
    hosting = Hosting.from_environment(job, settings)
    assert (hosting.max_body_mb, hosting.max_waiting) == (50, 20)
    endpoint = Hosting.from_environment(job | {"SAGEMAKER_BATCH": "false"}, settings)
    assert (endpoint.max_body_mb, endpoint.max_waiting, endpoint.port) == (6, 8, 8080)
    any_size = Hosting.from_environment(job | {"SAGEMAKER_MAX_PAYLOAD_IN_MB": "0"}, settings)
    assert any_size.max_body_mb == 1024


@pytest.mark.parametrize(
    ("payload", "count", "megabytes"),
    [("1", 64, 1), ("6", 16, 6), ("50", 2, 50), ("100", 1, 100), ("500", 1, 100), ("0", 1, 100)],
)
@pytest.mark.parametrize("own_limit", [1, 6, 25, 500])
def test_a_transform_job_sends_as_much_at_a_time_as_sagemaker_allows(
    payload: str, count: int, megabytes: int, own_limit: int
) -> None:
    settings = Serving(max_body_mb=own_limit, batch_size=64)
    job = {"SAGEMAKER_BATCH": "true", "SAGEMAKER_MAX_PAYLOAD_IN_MB": payload}
    hosting = Hosting.from_environment(job, settings)
    assert (hosting.max_concurrent_transforms, hosting.max_transformed_mb) == (count, megabytes)


@pytest.mark.parametrize(("own_limit", "count", "megabytes"), [(1, 64, 1), (6, 16, 6), (40, 2, 40), (500, 1, 100)])
@pytest.mark.parametrize("job", [{}, {"SAGEMAKER_BATCH": "true"}])
def test_where_no_payload_is_told_the_settings_limit_counts(
    job: dict[str, str], own_limit: int, count: int, megabytes: int
) -> None:
    hosting = Hosting.from_environment(job, Serving(max_body_mb=own_limit, batch_size=64))
    assert (hosting.max_concurrent_transforms, hosting.max_transformed_mb) == (count, megabytes)


def test_a_transform_job_waits_longer_for_an_answer() -> None:
    settings = Serving(answer_seconds=30)
    assert Hosting.from_environment({}, settings).answer_seconds == 30
    assert Hosting.from_environment({"SAGEMAKER_BATCH": "true"}, settings).answer_seconds == 3600
