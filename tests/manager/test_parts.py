"""A user's own functions on the way to a job: into the image, and looked at before the launch."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from manager.docker_engine import context_files
from tests.project import Project, copy_project

MODULE = "import keras\n\ndef build(image, class_count, *, width: int = 1): ...\n"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    project = copy_project(tmp_path_factory.mktemp("project"))
    (project.root / "container" / "parts" / "my_model.py").write_text(MODULE)
    yield project
    project.manage("--stop_local_aws")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (
            {"model.name": "my_model:biuld"},
            "container/parts/my_model.py has no function 'biuld': did you mean 'build'?",
        ),
        ({"parts.loader": "my_data:load"}, "container/parts/my_data.py does not exist"),
        (
            {"model.name": "my_model:build", "parts.settings.widht": "2"},
            "there is no setting 'parts.settings.widht': did you mean 'width'?",
        ),
        (
            {"model.name": "my_model:build", "parts.settings.width": "wide"},
            "parts.settings.width=wide: input should be",
        ),
        # With all of it right, the next thing that is missing is named.
        ({"model.name": "my_model:build", "parts.settings.width": "2"}, "--build_and_push_docker_image"),
    ],
)
def test_a_launch_fails_where_a_function_or_its_setting_is_wrong(
    project: Project, settings: dict[str, str], said: str
) -> None:
    words = [word for name, text in settings.items() for word in ("--set", f"{name}={text}")]
    done = project.manage("--local", "--launch_training", *words)
    assert done.returncode == 1
    assert said in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr


def test_the_image_has_the_functions_and_what_lies_beside_them(tmp_path: Path) -> None:
    container = copy_project(tmp_path).root / "container"
    for name in ("my_model.py", "words/list.txt", ".env", "words/.secret", "__pycache__/my_model.pyc"):
        file = container / "parts" / name
        file.parent.mkdir(exist_ok=True)
        file.touch()
    files = {
        path.relative_to(container / "parts").as_posix() for path in context_files(container) if "parts" in path.parts
    }
    assert files == {"__init__.py", "my_model.py", "words/list.txt"}
