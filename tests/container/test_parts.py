"""A user's own functions imported, and jobs that train with them."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from container.modeling.job import OptMl
from container.report import facts
from tests.container.jobs import CHANNELS, CLASSES, TINY, copied_program, failure_reason, lay_out, picture, run

DOCS = Path(__file__).parents[2] / "docs" / "parts.md"


def examples() -> dict[str, str]:
    """The modules that the documentation shows, by file name."""
    blocks = re.findall(r"```python\n# container/parts/(\S+)\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)
    return dict(blocks)


PROGRAM = """
import json
import logging
import sys
from pathlib import Path

from container.modeling.overrides import override
from container.modeling.own_parts.errors import explained_parts
from container.modeling.own_parts.parts import load_parts
from container.modeling.settings import ContainerSettings

logging.basicConfig(level=logging.INFO)


def outcome(assignments):
    settings = override(ContainerSettings(), assignments)
    try:
        parts = load_parts(settings)
        if parts.loader:
            list(parts.loader(Path("training"), settings.image))
        if parts.model_builder:
            model = parts.model_builder(settings.image, 3)
            with explained_parts():
                model.layers[-1](model.inputs[0])
        return f"loaded {parts.model_builder.own_settings if parts.model_builder else parts.metrics.names}"
    except Exception as error:
        return f"{type(error).__name__}: {error}"


print(json.dumps([outcome(assignments) for assignments in json.loads(sys.argv[1])]))
"""

FAULTY = """
import helpers_that_nobody_installed

def build(image, class_count): ...
"""

MODULE = """
from __future__ import annotations
from typing import Annotated, Literal
import keras
import tensorflow as tf
from pydantic import Field
from container.parts.helpers import fail
from . import helpers

COUNT = 3

Kind = Literal["a", "b"]

class Odd(keras.layers.Layer):
    def call(self, inputs):
        if inputs.shape[1:] != (3,):
            raise ValueError("of an odd size")
        return inputs

def build(image, class_count, *, width: Annotated[int, Field(ge=1)] = 1, sizes: list[int] = [], kind: Kind = "a"):
    if kind == "b":
        fail(width)
    layers = [keras.layers.GlobalAveragePooling2D(), keras.layers.Softmax(), Odd()]
    return keras.Sequential([keras.Input((8, 8, 3)), *layers])

def odd(image, class_count, *, width: keras.Model = None): ...
def unknown(image, class_count, *, width: Widht = 1): ...

def generate(folder, image):
    yield 1
    raise KeyError("label")

def mapped(folder, image):
    def read(number):
        if number > 3:
            raise ValueError("too many")
        return number
    return tf.data.Dataset.range(10).map(read)

def in_python(folder, image):
    def read(number):
        return 1 // int(number - 2)
    return tf.data.Dataset.range(10).map(lambda number: tf.py_function(read, [number], tf.int64))

def in_graph(folder, image):
    return tf.data.Dataset.range(10).map(lambda number: tf.reshape(tf.range(number), (2,)))
"""

HELPERS = """
def fail(width):
    raise RuntimeError(f"no such width:\\n{width}")
"""

CASES = {
    "layer": {"model.name": "mine:build", "parts.settings.width": "2", "parts.settings.sizes": "[1, 2]"},
    "range": {"model.name": "mine:build", "parts.settings.width": "0"},
    "literal": {"model.name": "mine:build", "parts.settings.kind": "c"},
    "list": {"model.name": "mine:build", "parts.settings.sizes": "[1, 'a']"},
    "unknown": {"model.name": "mine:build", "parts.settings.kinds": "a"},
    "helper": {"model.name": "mine:build", "parts.settings.kind": "b", "parts.settings.width": "7"},
    "type": {"model.name": "mine:odd", "parts.settings.width": "1"},
    "annotation": {"model.name": "mine:unknown"},
    "no function": {"model.name": "mine:COUNT"},
    "not installed": {"model.name": "faulty:build"},
    "generator": {"parts.loader": "mine:generate"},
    "mapped": {"parts.loader": "mine:mapped"},
    "in python": {"parts.loader": "mine:in_python"},
    "in graph": {"parts.loader": "mine:in_graph"},
    "evaluator": {"parts.evaluator": "judge:metrics", "parts.settings.top": "3"},
}


def line_of(text: str) -> int:
    return next(number for number, line in enumerate(MODULE.splitlines(), 1) if text in line)


class TestImported:
    """Functions that are imported and fail, in a program of its own, whose folder container/parts is its own."""

    @pytest.fixture(scope="class")
    @classmethod
    def outcomes(cls, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
        modules = {
            "mine.py": MODULE,
            "helpers.py": HELPERS,
            "faulty.py": f"{FAULTY}\ndef build(image, class_count): ...",
        }
        program = copied_program(tmp_path_factory.mktemp("imported"), examples() | modules)
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, json.dumps(list(CASES.values()))],
            cwd=program.parents[1],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert "Traceback" in done.stderr
        return dict(zip(CASES, json.loads(done.stdout), strict=True))

    @pytest.mark.parametrize(
        ("case", "said"),
        [
            (
                "layer",
                rf"^PartError: a function failed at container/parts/mine.py:{line_of('of an odd')}: ValueError: .*odd",
            ),
            ("range", r"SettingsError: parts.settings.width=0: .* greater than or equal to 1"),
            ("literal", r"SettingsError: parts.settings.kind=c: must be a or b"),
            ("list", r"SettingsError: parts.settings.sizes="),
            ("unknown", r"there is no setting 'parts.settings.kinds': did you mean 'kind'\?"),
            (
                "helper",
                r"PartError: the model builder mine:build failed at container/parts/helpers.py:3: "
                r"RuntimeError: no such width: 7$",
            ),
            ("type", r"PartError: .*no text can be read as the type of its setting width"),
            ("annotation", r"PartError: .*Widht"),
            ("no function", r"PartError: .*COUNT of container/parts/mine is no function"),
            (
                "not installed",
                r"PartError: the model builder faulty:build failed at container/parts/faulty.py:2: "
                r"ModuleNotFoundError: .*container/requirements.txt",
            ),
            ("generator", rf"loader mine:generate failed at container/parts/mine.py:{line_of('KeyError')}: KeyError"),
            ("mapped", rf"container/parts/mine.py:{line_of('too many')}: ValueError: too many$"),
            ("in python", rf"container/parts/mine.py:{line_of('1 // int')}: ZeroDivisionError: .*by zero"),
            ("in graph", r"PartError: the loader mine:in_graph failed: InvalidArgumentError: .*expected \[2\]"),
            ("evaluator", r"^loaded \('in_top', 'brier'\)$"),
        ],
    )
    def test_what_fails_names_the_users_line(self, outcomes: dict[str, str], case: str, said: str) -> None:
        assert re.search(said, outcomes[case]), outcomes[case]


# As `train` runs one job, but several after each other: most of the time goes into importing TensorFlow.
TRAIN_ALL = """
import contextlib
import logging
import sys
from pathlib import Path

from container.modeling.job import OptMl
from container.modeling.train import TrainingFailedError, reported_failure, run_job

logging.basicConfig(level=logging.INFO)
for base in sys.argv[1:]:
    opt_ml = OptMl(Path(base))
    with contextlib.suppress(TrainingFailedError), reported_failure(opt_ml):
        run_job(opt_ml)
"""


def job_with_model(base: Path) -> OptMl:
    return lay_out(base, TINY | {"model.name": "my_model:build", "parts.settings.width": "5"})


def job_with_all_other_parts(base: Path) -> OptMl:
    chosen = {
        "parts.loader": "named_files:load",
        "parts.preprocessor": "blur:build",
        "parts.augmentor": "noise:build",
        "parts.evaluator": "judge:metrics",
        "parts.settings": '{"separator": "_", "size": "2", "strength": "0.01", "top": "3"}',
    }
    opt_ml = lay_out(base, TINY | chosen)
    for channel in CHANNELS:
        folder = opt_ml.channel_dir(channel)
        for file in list(folder.glob("*/*.png")):
            file.rename(folder / f"{file.parent.name}_{file.name}")
    return opt_ml


def job_with_archives(base: Path) -> OptMl:
    opt_ml = lay_out(base, TINY | {"parts.loader": "archives:load", "parts.settings.labels": "classes"})
    random = np.random.default_rng(0)
    for channel, count in CHANNELS.items():
        shutil.rmtree(opt_ml.channel_dir(channel))
        opt_ml.channel_dir(channel).mkdir()
        labels = [name for name in CLASSES for _ in range(count)]
        pixels = np.stack([np.asarray(picture(name, random))[:, :, None] for name in labels])
        np.savez(opt_ml.channel_dir(channel) / "1.npz", pixels=pixels, classes=labels)
    return opt_ml


def job_with_wrong_archives(base: Path) -> OptMl:
    opt_ml = lay_out(base, TINY | {"parts.loader": "archives:load"})
    for channel in CHANNELS:
        np.savez(opt_ml.channel_dir(channel) / "1.npz", pixels=np.zeros((1, 4, 4, 3), np.uint8))
    return opt_ml


JOBS = {
    "model": job_with_model,
    "all others": job_with_all_other_parts,
    "archives": job_with_archives,
    "wrong archives": job_with_wrong_archives,
}


@pytest.mark.slow
class TestJobs:
    """The examples of docs/parts.md, trained with."""

    @pytest.fixture(scope="class")
    @classmethod
    def jobs(cls, tmp_path_factory: pytest.TempPathFactory) -> dict[str, OptMl]:
        folder = tmp_path_factory.mktemp("jobs")
        program = copied_program(folder, examples())
        jobs = {name: lay_out_job(folder / name) for name, lay_out_job in JOBS.items()}
        done = subprocess.run(
            [sys.executable, "-c", TRAIN_ALL, *(str(opt_ml.base) for opt_ml in jobs.values())],
            cwd=program.parents[1],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return jobs

    def trained(self, opt_ml: OptMl) -> tuple[keras.Model, facts.Metrics, facts.Predictions]:
        assert not opt_ml.failure_file.exists(), failure_reason(opt_ml)
        return (
            keras.models.load_model(opt_ml.model_dir / facts.KERAS_FILE),
            facts.Metrics.read(opt_ml.model_dir / facts.METRICS_FILE),
            facts.Predictions.read(opt_ml.model_dir / facts.PREDICTIONS_FILE),
        )

    def test_the_model_has_under_20_lines(self) -> None:
        assert len(examples()["my_model.py"].strip().splitlines()) + 1 < 20

    def test_a_model_of_ones_own_is_trained(self, jobs: dict[str, OptMl]) -> None:
        model, metrics, predicted = self.trained(jobs["model"])
        assert [layer.filters for layer in model.layers if isinstance(layer, keras.layers.Conv2D)] == [5, 10]
        assert (metrics.epochs, metrics.own_metrics) == (2, {})
        assert {row.path for row in predicted.rows} == {f"{name}/{i}.png" for name in CLASSES for i in range(4)}
        assert all(row.path.startswith(f"{row.label}/") for row in predicted.rows)

    def test_all_other_parts_take_part(self, jobs: dict[str, OptMl]) -> None:
        model, metrics, predicted = self.trained(jobs["all others"])
        assert any(isinstance(layer, keras.layers.AveragePooling2D) for layer in model.layers)
        assert predicted.classes == CLASSES
        rows = [row for row in predicted.rows if row.set == "evaluation"]
        assert {row.path for row in rows} == {f"{name}_{i}.png" for name in CLASSES for i in range(4)}
        # Of three classes, each is among the first three.
        assert metrics.own_metrics["in_top"] == 1
        one_hot = [np.array([name == row.label for name in CLASSES], float) for row in rows]
        errors = [((y - row.probabilities) ** 2).sum() for y, row in zip(one_hot, rows, strict=True)]
        assert metrics.own_metrics["brier"] == pytest.approx(np.mean(errors), abs=1e-6)

    def test_a_generator_loads_the_images(self, jobs: dict[str, OptMl]) -> None:
        _, metrics, predicted = self.trained(jobs["archives"])
        assert (metrics.training_images, metrics.validation_images, metrics.evaluation_images) == (36, 12, 12)
        sets = ("evaluation", "validation")
        assert [row.path for row in predicted.rows] == [f"{name}/{number:06d}" for name in sets for number in range(12)]

    def test_a_failure_is_the_jobs_reason(self, jobs: dict[str, OptMl]) -> None:
        line = "the loader archives:load failed at container/parts/archives.py:11: KeyError:"
        assert failure_reason(jobs["wrong archives"]).startswith(line)
        assert not jobs["wrong archives"].model_dir.exists()

    @pytest.mark.slow
    @pytest.mark.long
    def test_train_ends_well_or_badly_with_parts(self, tmp_path: Path) -> None:
        program = copied_program(tmp_path, examples())
        exit_code, log = run(job_with_all_other_parts(tmp_path / "good"), program)
        assert exit_code == 0, log
        exit_code, log = run(job_with_wrong_archives(tmp_path / "bad"), program)
        assert exit_code == 1
        assert "Traceback" in log
