"""Fixtures that several test folders share."""

import io
import signal
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
from PIL import Image

from tests.project import Project, copy_project

# How long an example takes tells of the machine and what else it does, not of the code. The examples are the same in
# every run, so that a red test tells of the change at hand; `--hypothesis-profile explore` draws others.
hypothesis.settings.register_profile("explore", deadline=None, print_blob=True)
hypothesis.settings.register_profile("repeatable", deadline=None, derandomize=True)
hypothesis.settings.load_profile("repeatable")

# A shell starts what runs in its background with Ctrl-C ignored, and programs pass that on to those they start.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """A copy of the project with its own AWS on this machine, which ends with the module's tests."""
    copy = copy_project(tmp_path_factory.mktemp("project"))
    yield copy
    copy.manage("--stop_local_aws")


@pytest.fixture(scope="module")
def split_project(project: Project) -> Project:
    """A project with a small split data set, and settings to train it in a second."""
    split_shades(project)
    return project


def split_shades(project: Project) -> None:
    """Give a project a data set of two classes, light and dark, 10 images each, split, and settings to train it."""
    for name, shade in (("dark", 10), ("light", 240)):
        for number in range(10):
            path = project.root / "data" / "images" / name / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(png(shade + number))
    write_config(project.root / "container" / "modeling" / "config.py")
    done = project.run("data_handler.py")
    assert done.returncode == 0, done.stderr


def png(shade: int) -> bytes:
    """Return a grey image of 8x8 pixels as a PNG file."""
    content = io.BytesIO()
    Image.new("L", (8, 8), shade).save(content, "PNG")
    return content.getvalue()


def write_config(path: Path) -> None:
    """Write a config.py for a data set that trains in a second."""
    path.write_text(
        "from container.modeling.settings import *\n"
        "PROJECT_NAME = 'shades-project'\n"
        "ALGORITHM_NAME = 'shades'\n"
        "_fractions = dict(training_fraction=0.6, validation_fraction=0.2, evaluation_fraction=0.2)\n"
        "DATA = Data(directory='data/images', **_fractions)\n"
        "IMAGE = Image(height=8, width=8, channels=1)\n"
        "MODEL = Model(filters=(2, 2, 2, 2, 2), head=((4, 0.3),))\n"
        "TRAINING = Training(epochs=2, batch_size=4)\n",
        encoding="utf-8",
    )
