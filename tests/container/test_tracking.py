"""Following a training: what each tracker shows, and that none of them can hold a training up."""

import io
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import wandb
from PIL import Image
from pydantic import ValidationError
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.util.tensor_util import make_ndarray

from container.modeling.settings import Settings, Tracking
from tests.container.followed import CLASSES, follow, warnings
from tests.container.servers import MlflowServer, WandbServer, answering, dead_url, silent_server
from tests.project import ROOT

pytestmark = pytest.mark.slow

KEY = "0123456789abcdef" * 3
PASSWORD = "a-key-that-nobody-may-see"
LONG = {"loss.class_weights": json.dumps({f"class {number}": 1.5 for number in range(500)})}
# A dead server is to cost less.
MOST_SECONDS = 30


@pytest.fixture(autouse=True)
def environment(tmp_path: Path) -> Iterator[None]:
    """No keys and no home of this machine's user, nor what a test leaves in the environment."""
    before = dict(os.environ)
    for name in [name for name in os.environ if name.startswith(("WANDB_", "MLFLOW_", "AWS_"))]:
        del os.environ[name]
    os.environ["HOME"] = str(tmp_path)
    yield
    # It remembers who logged in. Where its own process was ended, it says so by an exit.
    with suppress(SystemExit, ConnectionError):
        wandb.teardown()
    os.environ.clear()
    os.environ.update(before)


class TestTensorBoard:
    def test_every_epoch_has_its_figures_and_its_confusion_matrix(self, tmp_path: Path) -> None:
        follow(tmp_path, {"tracking.tensorboard": "true"})
        events = events_of(tmp_path)
        assert [event.step for event in events.Tensors("training/loss")] == [1, 2, 3]
        assert scalars(events, "training/loss") == pytest.approx([1, 1 / 2, 1 / 3])
        names = {"training/learning_rate", "training/gradient_norm", "validation/val_f1", "time/seconds"}
        assert names | {"time/data_seconds", "finished/evaluation_accuracy"} <= set(events.Tags()["tensors"])
        assert events.SummaryMetadata("training/loss").plugin_data.plugin_name == "scalars"
        assert len(events.Tensors("validation/confusion_matrix")) == 3

    def test_the_confusion_matrix_is_a_picture(self, tmp_path: Path) -> None:
        follow(tmp_path, {"tracking.tensorboard": "true"}, epochs=range(1, 2))
        events = events_of(tmp_path)
        assert events.SummaryMetadata("validation/confusion_matrix").plugin_data.plugin_name == "images"
        width, height, png = events.Tensors("validation/confusion_matrix")[0].tensor_proto.string_val
        picture = Image.open(io.BytesIO(png))
        assert picture.size == (int(width), int(height))
        right, never = cell(picture, 0, 0), cell(picture, 1, 0)
        assert sum(right) < sum(never) == 3 * 255

    def test_the_graph_is_that_of_the_model(self, tmp_path: Path) -> None:
        follow(tmp_path, {"tracking.tensorboard": "true"}, epochs=range(1, 2))
        nodes = {node.name.rpartition("/")[2] for node in events_of(tmp_path).Graph().node}
        assert {"pixels", "MatMul", "Softmax"} <= nodes

    def test_a_resumed_training_goes_on_with_its_numbers(self, tmp_path: Path) -> None:
        follow(tmp_path, {"tracking.tensorboard": "true"}, epochs=range(4, 6))
        assert [event.step for event in events_of(tmp_path).Tensors("training/loss")] == [4, 5]

    @pytest.mark.parametrize(("first", "profiled"), [(2, True), (5, True), (0, False), (99, False)])
    def test_chosen_steps_are_profiled(self, tmp_path: Path, first: int, profiled: bool) -> None:
        follow(tmp_path, {"tracking.tensorboard": "true", "tracking.profile_first_step": str(first)})
        assert bool([*tmp_path.glob("output/tensorboard/plugins/profile/*/*.xplane.pb")]) is profiled

    def test_a_folder_that_cannot_be_written_is_one_warning(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        (tmp_path / "output").write_text("a file")
        folder = follow(tmp_path, {"tracking.tensorboard": "true"})
        (warning,) = warnings(caplog)
        assert warning.startswith("TensorBoard is switched off, and training goes on: NotADirectoryError")
        assert (folder / "metrics.json").is_file()


class TestMlflow:
    def test_a_run_has_settings_figures_files_and_the_model(self, tmp_path: Path) -> None:
        with answering(MlflowServer()) as server:
            follow(tmp_path, {"tracking.mlflow_uri": server.url, "optimizer.name": "sgd", **LONG})
        (run,) = server.runs.values()
        assert (run["info"]["run_name"], run["info"]["status"]) == ("job-1", "FINISHED")
        assert run["params"]["optimizer.name"] == "sgd"
        assert run["params"]["training.epochs"] == "20"
        assert len(run["params"]["loss.class_weights"]) == 6000
        assert [step for step, _ in run["metrics"]["loss"]] == [1, 2, 3]
        assert [value for _, value in run["metrics"]["loss"]] == pytest.approx([1, 1 / 2, 1 / 3])
        assert run["metrics"]["evaluation_accuracy"] == [(3, 0.75)]
        assert run["metrics"]["evaluation_distance _px_"] == [(3, 2.5)]
        kept = {path.partition("/artifacts/")[2] for path in server.artifacts}
        files = {"metrics.json", "history.csv", "predictions.csv", "report.html", "confusion_matrix.png"}
        assert files | {"model/MLmodel", "model/data/model.keras"} <= kept

    def test_an_interrupted_job_goes_on_in_its_run(self, tmp_path: Path) -> None:
        with answering(MlflowServer()) as server:
            follow(tmp_path, {"tracking.mlflow_uri": server.url}, epochs=range(1, 3), ends_amid=True)
            (run,) = server.runs.values()
            assert run["info"]["status"] == "FAILED"
            follow(tmp_path, {"tracking.mlflow_uri": server.url}, epochs=range(3, 5))
            assert (len(server.runs), run["info"]["status"]) == (1, "FINISHED")
        assert [step for step, _ in run["metrics"]["loss"]] == [1, 2, 3, 4]

    def test_a_new_job_from_an_earlier_ones_checkpoint_shows_all_epochs(self, tmp_path: Path) -> None:
        with answering(MlflowServer()) as server:
            follow(tmp_path, {"tracking.mlflow_uri": server.url}, "job-2", range(3, 5))
        (run,) = server.runs.values()
        assert [step for step, _ in run["metrics"]["loss"]] == [1, 2, 3, 4]

    def test_keys_come_from_the_environment(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        os.environ |= {"MLFLOW_TRACKING_USERNAME": "me", "MLFLOW_TRACKING_PASSWORD": PASSWORD}
        with answering(MlflowServer(password=PASSWORD)) as server:
            follow(tmp_path, {"tracking.mlflow_uri": server.url})
            assert len(server.runs) == 1
            server.password = "another"
            caplog.clear()
            follow(tmp_path, {"tracking.mlflow_uri": server.url})
        (warning,) = warnings(caplog)
        assert "who are you?" in warning
        assert "has tracking.secret its MLFLOW_TRACKING_USERNAME" in warning
        assert PASSWORD not in caplog.text


class TestNobodyAnswers:
    """A server that is down or hangs costs seconds, one warning, and nothing else."""

    @pytest.mark.parametrize(
        ("setting", "hangs"),
        [
            ("mlflow_uri", False),
            pytest.param("mlflow_uri", True, marks=[pytest.mark.slow, pytest.mark.long]),
            pytest.param("wandb_project", False, marks=pytest.mark.slow),
            pytest.param("wandb_project", True, marks=[pytest.mark.slow, pytest.mark.long]),
        ],
    )
    def test_the_training_goes_on(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture, setting: str, hangs: bool
    ) -> None:
        with silent_server() as silent:
            url = silent if hangs else dead_url()
            os.environ |= {"WANDB_BASE_URL": url, "WANDB_API_KEY": KEY}
            began = time.monotonic()
            folder = follow(tmp_path, {f"tracking.{setting}": url if setting == "mlflow_uri" else "p"})
            assert time.monotonic() - began < MOST_SECONDS
        (warning,) = warnings(caplog)
        assert "is switched off, and training goes on" in warning
        assert (folder / "metrics.json").is_file()


# A training that is asked to stop, in a process of its own.
STOPPED = (
    "import sys, pathlib; from tests.container.followed import follow; "
    "follow(pathlib.Path(sys.argv[1]), {'tracking.wandb_project': 'p'}, is_stopped=True)"
)


class TestWandb:
    @pytest.mark.long
    def test_after_a_stop_a_server_that_hangs_does_not_hold_up_the_end_of_the_process(self, tmp_path: Path) -> None:
        server = WandbServer(hangs_after_begin=True)
        with answering(server):
            variables = os.environ | {"WANDB_BASE_URL": server.url, "WANDB_API_KEY": KEY}
            command = [sys.executable, "-c", STOPPED, str(tmp_path)]
            # Far less than the two minutes that SageMaker gives, far more than the tracker may take.
            done = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=50, check=True)
            server.ended.set()
        assert "Weights & Biases is switched off, and training goes on" in done.stderr

    def test_a_run_has_settings_figures_files_and_the_model(self, tmp_path: Path) -> None:
        with answering(WandbServer()) as server:
            os.environ |= {"WANDB_BASE_URL": server.url, "WANDB_API_KEY": KEY}
            follow(tmp_path, {"tracking.wandb_project": "flowers", "optimizer.name": "sgd"})
        check_run(server, "flowers")
        assert {"metrics.json", "history.csv", "predictions.csv", "model.keras"} <= set(server.uploaded)

    def test_without_a_network_it_lies_in_the_models_folder_for_wandb_sync(self, tmp_path: Path) -> None:
        settings = {"tracking.wandb_project": "flowers", "tracking.wandb_mode": "offline", "optimizer.name": "sgd"}
        folder = follow(tmp_path / "ml", settings)
        (run,) = (folder / "wandb").iterdir()
        # As after a download: nothing else is left of the job.
        run = run.rename(tmp_path / run.name)
        shutil.rmtree(tmp_path / "ml")
        with answering(WandbServer()) as server:
            sync(server, run)
        check_run(server, "flowers")

    def test_nothing_in_the_models_folder_leads_out_of_it(self, tmp_path: Path) -> None:
        folder = follow(tmp_path, {"tracking.wandb_project": "p", "tracking.wandb_mode": "offline"})
        assert not [path for path in folder.rglob("*") if path.is_symlink()]
        assert not [*folder.rglob("*.log")]

    def test_a_resumed_training_shows_all_its_epochs(self, tmp_path: Path) -> None:
        settings = {"tracking.wandb_project": "p", "tracking.wandb_mode": "offline"}
        (run,) = (follow(tmp_path, settings, epochs=range(3, 5)) / "wandb").iterdir()
        with answering(WandbServer()) as server:
            sync(server, run)
        assert [row["epoch"] for row in server.history if "loss" in row] == [1, 2, 3, 4]

    def test_without_a_key_there_is_a_warning(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        follow(tmp_path, {"tracking.wandb_project": "p"})
        (warning,) = warnings(caplog)
        assert "has tracking.secret a WANDB_API_KEY" in warning


@pytest.mark.parametrize(("setting", "package"), [("mlflow_uri", "mlflow"), ("wandb_project", "wandb")])
def test_a_missing_package_is_a_warning_that_says_what_to_type(tmp_path: Path, setting: str, package: str) -> None:
    (tmp_path / f"{package}.py").write_text(f"raise ModuleNotFoundError(\"No module named '{package}'\")")
    value = "http://127.0.0.1:9" if setting == "mlflow_uri" else "p"
    program = (
        "import logging; from pathlib import Path; from tests.container.followed import follow; "
        f"logging.basicConfig(); print(follow(Path({str(tmp_path / 'ml')!r}), {{'tracking.{setting}': {value!r}}}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {"PYTHONPATH": f"{tmp_path}:{ROOT}"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert f"No module named '{package}'" in done.stderr
    assert f"-m pip install -r container/requirements-{package}.txt -c container/constraints.txt" in done.stderr


class TestSettings:
    def test_what_is_asked_for_decides_what_the_image_needs(self) -> None:
        assert Tracking(tensorboard=True).extras == ()
        both = Tracking(mlflow_uri="https://mlflow.example.com", wandb_project="p", wandb_mode="offline")
        assert both.extras == ("mlflow", "wandb")
        assert both.online == ("tracking.mlflow_uri",)

    @pytest.mark.parametrize(
        ("values", "reason"),
        [
            ({"mlflow_uri": "https://me:secret@example.com/"}, "mlflow_uri"),
            ({"mlflow_uri": "sqlite:///mlflow.db"}, "mlflow_uri"),
            ({"profile_first_step": 3}, "is shown by TensorBoard alone"),
            ({"secret": "arn:aws:s3:::bucket"}, "secret"),
        ],
    )
    def test_what_cannot_work_is_refused(self, values: dict[str, Any], reason: str) -> None:
        with pytest.raises(ValidationError, match=reason):
            Tracking(**values)

    @pytest.mark.parametrize(
        ("values", "reason"),
        [
            (
                {"training_job": {"network_isolation": True}, "tracking": {"wandb_project": "p"}},
                r"tracking\.wandb_mode=online needs a network",
            ),
            ({"training_job": {"environment": {"WANDB_API_KEY": KEY}}}, "would show WANDB_API_KEY to all"),
        ],
    )
    def test_what_does_not_go_together_is_refused(self, values: dict[str, Any], reason: str) -> None:
        with pytest.raises(ValidationError, match=reason):
            Settings(project_name="project", algorithm_name="algorithm", **values)


def events_of(base: Path) -> EventAccumulator:
    return EventAccumulator(str(base / "output" / "tensorboard"), size_guidance={"tensors": 0}).Reload()


def scalars(events: EventAccumulator, tag: str) -> list[float]:
    return [make_ndarray(event.tensor_proto).item() for event in events.Tensors(tag)]


def cell(picture: Image.Image, row: int, column: int) -> tuple[int, ...]:
    """The color in a corner of a cell, where no count stands; the cells reach to the picture's end."""
    side = 480 // len(CLASSES)
    x, y = (picture.width - side * (len(CLASSES) - position) + 2 for position in (column, row))
    color = picture.getpixel((x, y))
    assert isinstance(color, tuple)
    return color


def sync(server: WandbServer, run: Path) -> None:
    """Do what a person does with a run that was written without a network."""
    environment = os.environ | {"WANDB_BASE_URL": server.url, "WANDB_API_KEY": KEY, "WANDB_ERROR_REPORTING": "false"}
    program = [sys.executable, "-m", "wandb", "sync", str(run)]
    # It leaves a log in the working directory.
    done = subprocess.run(program, env=environment, cwd=run.parent, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def check_run(server: WandbServer, project: str) -> None:
    assert server.keys <= {KEY, ""}
    assert (server.run["name"], server.run["project"]) == ("job-1", project)
    assert json.loads(server.run["config"])["optimizer.name"]["value"] == "sgd"
    rows = [row for row in server.history if "loss" in row]
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    assert [row["loss"] for row in rows] == pytest.approx([1, 1 / 2, 1 / 3])
    summary = json.loads(server.uploaded["wandb-summary.json"])
    assert (summary["evaluation_accuracy"], summary["evaluation_distance (px)"]) == (0.75, 2.5)
    assert server.uploaded[summary["report"]["path"]] == b"<h1>How it went</h1>"
    assert Image.open(io.BytesIO(server.uploaded[summary["confusion_matrix"]["path"]])).format == "PNG"
