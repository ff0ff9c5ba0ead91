"""`train` as SageMaker runs it: a job that ends well, jobs that fail, jobs that are stopped."""

import csv
import io
import json
import logging
import os
import pickle
import re
import shutil
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from container.errors import DataError
from container.modeling.job import JobError, OptMl
from container.modeling.settings import ContainerSettings
from container.modeling.train import TrainingFailedError, reported_failure, run_job
from container.report import facts
from tests.container.jobs import CLASSES, TINY, copied_program, failure_reason, lay_out, run, start


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[OptMl, str]:
    learning = {"training.epochs": "6", "training.learning_rate": "0.01"}
    opt_ml = lay_out(tmp_path_factory.mktemp("finished"), TINY | learning)
    exit_code, log = run(opt_ml)
    assert exit_code == 0, log
    return opt_ml, log


def test_a_finished_job_leaves_the_files_of_the_model_archive(finished: tuple[OptMl, str]) -> None:
    opt_ml, _ = finished
    assert sorted(path.name for path in opt_ml.model_dir.iterdir()) == [
        "checkpoint",
        "classes.json",
        "classes_dict.pkl",
        "classification_report.pkl",
        "config.json",
        "config_dict.pkl",
        "confusion_matrix.pkl",
        "diagnostics.json",
        "history.csv",
        "metrics.json",
        "model.h5",
        "model.keras",
        "predictions.csv",
        "report.html",
    ]
    saved_model = {path.name for path in (opt_ml.model_dir / "checkpoint").iterdir()}
    assert saved_model >= {"saved_model.pb", "variables", "assets"}
    assert not opt_ml.failure_file.exists()


def test_the_log_has_one_readable_line_per_epoch(finished: tuple[OptMl, str]) -> None:
    _, log = finished
    number = r"\d+\.\d{4}"
    lines = re.findall(
        rf"^epoch=(\d+) epochs=6 seconds=\d+\.\d\d loss={number} accuracy={number} "
        rf"val_loss={number} val_accuracy=({number}) val_f1={number} "
        rf"best_val_loss={number} best_val_accuracy=({number}) best_val_f1={number}$",
        log,
        re.MULTILINE,
    )
    assert [int(epoch) for epoch, _, _ in lines] == [1, 2, 3, 4, 5, 6]
    assert float(lines[-1][2]) == max(float(accuracy) for _, accuracy, _ in lines)
    assert "classes=3 training_images=36 validation_images=12 evaluation_images=12" in log.splitlines()
    assert re.search(rf"^evaluation_accuracy={number} evaluation_loss={number}$", log, re.MULTILINE)


def test_the_facts_agree_with_each_other_and_with_the_job(finished: tuple[OptMl, str]) -> None:
    folder = finished[0].model_dir
    metrics = facts.Metrics.read(folder / facts.METRICS_FILE)
    history = facts.read_history(folder / facts.HISTORY_FILE)
    assert facts.read_classes(folder / facts.CLASSES_FILE) == CLASSES == tuple(row.name for row in metrics.classes)
    assert (metrics.training_job, metrics.epochs, metrics.stopped) == ("test-job", 6, False)
    assert (metrics.training_images, metrics.validation_images, metrics.evaluation_images) == (36, 12, 12)
    assert np.trace(metrics.confusion_matrix) / 12 == pytest.approx(metrics.accuracy)
    assert metrics.best_epoch in history
    assert len(history) == 6
    assert metrics.accuracy > 0.6
    settings = ContainerSettings.model_validate_json((folder / facts.CONFIG_FILE).read_bytes())
    assert (settings.image.height, settings.model.filters) == (8, (4, 4, 4, 4, 4))


def test_the_pickles_need_nothing_but_numpy(finished: tuple[OptMl, str]) -> None:
    folder = finished[0].model_dir
    metrics = facts.Metrics.read(folder / facts.METRICS_FILE)
    confusion = NumpyUnpickler((folder / facts.CONFUSION_PICKLE).open("rb")).load()
    assert confusion.tolist() == [list(row) for row in metrics.confusion_matrix]
    classes = NumpyUnpickler((folder / facts.CLASSES_PICKLE).open("rb")).load()
    assert classes == {"bright": 0, "dark": 1, "striped": 2}
    report = NumpyUnpickler((folder / facts.REPORT_PICKLE).open("rb")).load()
    assert report["dark"]["f1-score"] == metrics.classes[1].f1
    assert NumpyUnpickler((folder / facts.CONFIG_PICKLE).open("rb")).load()["training"]["batch_size"] == 8


class NumpyUnpickler(pickle.Unpickler):
    """Reads pickles of plain Python and NumPy objects only."""

    def find_class(self, module: str, name: str) -> Any:
        assert module.partition(".")[0] == "numpy", f"{module}.{name}"
        return super().find_class(module, name)


def test_all_formats_of_the_model_give_the_evaluated_predictions(finished: tuple[OptMl, str]) -> None:
    import keras
    import tensorflow as tf

    from container.modeling.decoding import decode_image
    from container.modeling.settings import Evaluation, Image
    from container.report.judging import judge

    opt_ml, _ = finished
    files = sorted((opt_ml.channel_dir("evaluation")).glob("*/*.png"))
    encoded = tf.constant([file.read_bytes() for file in files])
    image = Image(height=8, width=8, channels=1)
    pixels = np.stack([decode_image(content, image) for content in encoded]).astype(np.float32)

    signatures = tf.saved_model.load(str(opt_ml.model_dir / "checkpoint")).signatures
    answers = {
        "model.keras": keras.models.load_model(opt_ml.model_dir / "model.keras").predict(pixels, verbose=0),
        "model.h5": keras.models.load_model(opt_ml.model_dir / "model.h5").predict(pixels, verbose=0),
        "default": signatures["serving_default"](pixels=tf.constant(pixels))["probabilities"].numpy(),
        "pixels": signatures["serving_pixels"](pixels=tf.constant(pixels))["probabilities"].numpy(),
        "images": signatures["serving_images"](image_bytes=encoded)["probabilities"].numpy(),
    }
    for name, probabilities in answers.items():
        np.testing.assert_allclose(probabilities, answers["model.keras"], atol=1e-5, err_msg=name)
    metrics = facts.Metrics.read(opt_ml.model_dir / facts.METRICS_FILE)
    labels = np.array([CLASSES.index(file.parent.name) for file in files])
    judged = judge(labels, answers["images"], CLASSES, Evaluation())
    assert (judged.accuracy, judged.loss) == (metrics.accuracy, pytest.approx(metrics.loss, abs=1e-5))


def test_the_weights_are_those_of_the_best_epoch(finished: tuple[OptMl, str]) -> None:
    rows = list(csv.DictReader(io.StringIO((finished[0].model_dir / facts.HISTORY_FILE).read_text())))
    metrics = facts.Metrics.read(finished[0].model_dir / facts.METRICS_FILE)
    best = max(rows, key=lambda row: float(row["val_accuracy"]))
    assert metrics.best_epoch.epoch == int(best["epoch"])


def test_an_unknown_hyperparameter_fails_the_job_and_names_the_nearest(tmp_path: Path) -> None:
    opt_ml = lay_out(tmp_path / "ml", TINY | {"training.learning_rat": "1"})
    exit_code, log = run(opt_ml, copied_program(tmp_path))
    assert exit_code == 1
    reason = failure_reason(opt_ml)
    assert reason == "there is no setting 'training.learning_rat': did you mean 'training.learning_rate'?"
    assert reason in log
    assert "Traceback" not in log


def test_what_is_wrong_with_the_data_becomes_the_failure_reason(tmp_path: Path) -> None:
    opt_ml = lay_out(tmp_path)
    (opt_ml.channel_dir("validation") / "zebra").mkdir()
    shutil.copy(next(opt_ml.channel_dir("training").glob("dark/*")), opt_ml.channel_dir("validation") / "zebra")
    exit_code, _ = run(opt_ml)
    assert exit_code == 1
    assert "'zebra'" in failure_reason(opt_ml)
    assert not opt_ml.model_dir.exists()


def test_without_a_job_the_program_says_so(tmp_path: Path) -> None:
    exit_code, log = run(OptMl(tmp_path))
    assert exit_code == 1
    assert log.startswith(f"{tmp_path}/input/config/hyperparameters.json does not exist")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("error", [SystemExit(0), KeyboardInterrupt(), OSError("no errno"), ValueError("why\n" * 999)])
def test_whatever_is_raised_ends_as_one_exception_and_a_short_reason(tmp_path: Path, error: BaseException) -> None:
    opt_ml = OptMl(tmp_path)
    with pytest.raises(TrainingFailedError), reported_failure(opt_ml):
        raise error
    reason = opt_ml.failure_file.read_text()
    assert reason.startswith(f"training failed with {type(error).__name__}, the job's log has the traceback")
    assert len(reason) <= 1024
    assert "\n" not in reason


def test_a_full_disk_names_the_setting_to_raise(tmp_path: Path) -> None:
    with pytest.raises(TrainingFailedError, match=r"training_job\.volume_size_gb"), reported_failure(OptMl(tmp_path)):
        raise OSError(28, "No space left on device")


def failed(opt_ml: OptMl) -> str:
    """Return why training fails in this process."""

    with pytest.raises((DataError, JobError)) as raised:
        run_job(opt_ml)
    assert not (opt_ml.model_dir / facts.METRICS_FILE).exists()
    return str(raised.value)


def test_a_missing_or_empty_channel_is_named(tmp_path: Path) -> None:
    opt_ml = lay_out(tmp_path)
    folder = opt_ml.channel_dir("evaluation")
    shutil.rmtree(folder)
    assert failed(opt_ml).startswith("the channel 'evaluation' is missing: add it to the job's InputDataConfig")
    folder.mkdir()
    assert failed(opt_ml).startswith("the channel 'evaluation' is empty")


def test_training_needs_two_classes_and_images_of_each(tmp_path: Path) -> None:
    opt_ml = lay_out(tmp_path)
    for image in (opt_ml.channel_dir("training") / "dark").iterdir():
        image.unlink()
    assert "no image of the class 'dark'" in failed(opt_ml)
    for name in ("bright", "dark"):
        shutil.rmtree(opt_ml.channel_dir("training") / name)
    assert "one class, 'striped'" in failed(opt_ml)


def test_an_instance_with_gpus_of_which_none_is_seen_is_refused(tmp_path: Path) -> None:
    reason = failed(lay_out(tmp_path, instance_type="ml.g5.xlarge"))
    assert reason.startswith("ml.g5.xlarge has GPUs, but TensorFlow sees none")


@pytest.mark.slow
@pytest.mark.parametrize("channel", ["training", "evaluation"])
def test_an_image_that_cannot_be_decoded_is_named(tmp_path: Path, channel: str) -> None:
    opt_ml = lay_out(tmp_path, TINY | {"training.epochs": "1"})
    broken = opt_ml.channel_dir(channel) / "dark" / "3.png"
    broken.write_bytes(broken.read_bytes()[:60])
    reason = failed(opt_ml)
    assert re.match(rf"1 of \d+ {channel} images cannot be read: 'dark/3\.png' \(", reason)
    assert "more than input.max_broken_share=0.01 allows" in reason


@pytest.mark.slow
def test_few_broken_images_are_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    opt_ml = lay_out(tmp_path, TINY | {"input.max_broken_share": "0.3"})
    for channel in ("training", "validation", "evaluation"):
        broken = opt_ml.channel_dir(channel) / "dark" / "3.png"
        broken.write_bytes(broken.read_bytes()[:60])
    run_job(opt_ml)
    assert [line.split(":")[0] for line in caplog.messages if "left out" in line] == [
        "1 of 36 training images cannot be read",
        "1 of 12 validation images cannot be read",
        "1 of 12 evaluation images cannot be read",
    ]
    metrics = facts.Metrics.read(opt_ml.model_dir / facts.METRICS_FILE)
    assert (metrics.evaluation_images, metrics.broken_images) == (12, 3)
    predicted = facts.Predictions.read(opt_ml.model_dir / facts.PREDICTIONS_FILE)
    assert len(predicted.of_set("validation").labels) == len(predicted.of_set("evaluation").labels) == 11
    assert sum(map(sum, metrics.confusion_matrix)) == 11
    assert "dark/3.png" not in {row.path for row in predicted.rows}


class StopAfterTwoEpochs(logging.Handler):
    """Sends this process SIGTERM when the log tells of the second epoch."""

    def emit(self, record: logging.LogRecord) -> None:
        if record.getMessage().startswith("epoch=2 "):
            os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.slow
def test_a_stop_keeps_the_best_model_so_far(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    opt_ml = lay_out(tmp_path, TINY | {"training.epochs": "9999", "training.patience": "0"})
    logger, handler = logging.getLogger("container"), StopAfterTwoEpochs()
    logger.addHandler(handler)
    try:
        with caplog.at_level(logging.INFO):
            run_job(opt_ml)
    finally:
        logger.removeHandler(handler)
    metrics = facts.Metrics.read(opt_ml.model_dir / facts.METRICS_FILE)
    assert metrics.stopped
    assert 2 <= metrics.epochs < 9999
    assert {path.name for path in opt_ml.model_dir.iterdir()} >= {"checkpoint", "model.keras", "metrics.json"}


@pytest.mark.slow
def test_a_stop_before_training_ends_at_once_with_nothing_saved(tmp_path: Path) -> None:
    opt_ml = lay_out(tmp_path)
    with start(opt_ml) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("classes="):
                process.send_signal(signal.SIGTERM)
                break
        rest = process.stdout.read()
        assert process.wait(timeout=60) == 1, rest
    assert failure_reason(opt_ml) == "the job was stopped before training began: there is no model to save"
    assert not opt_ml.model_dir.exists()


def test_unreadable_results_are_named(tmp_path: Path) -> None:
    file = tmp_path / facts.METRICS_FILE
    for content in ("", "[]", json.dumps({"accuracy": "high"})):
        file.write_text(content)
        with pytest.raises(DataError, match=r"metrics\.json cannot be read"):
            facts.Metrics.read(file)
