"""What the user's machine sees of a user's own functions before a launch, by their source text."""

from pathlib import Path

import pytest

from container.errors import ProjectError
from container.modeling.overrides import override
from container.modeling.own_parts.sources import (
    check_parts,
)
from container.modeling.settings import ContainerSettings
from tests.container.refusals import refusal


class TestSource:
    """What the user's machine sees of the functions before a launch."""

    SOURCE = """
import functools
from elsewhere import imported

def build(image, class_count, *, width: int = 3, shape: "list[int]" = (1,), name: str = "x"): ...
def load(folder, image, *, width: float = 1.0): ...
def untyped(image, class_count, *, width=3): ...
def required(image, class_count, *, width: int): ...
def few(image): ...
def many(image, class_count, width=3): ...
def anything(*arguments, **rest): ...
@functools.cache
def decorated(image, class_count): ...
partial = functools.partial(build, width=2)
if True:
    def inside(image, class_count): ...
"""

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        (tmp_path / "my.py").write_text(self.SOURCE)
        (tmp_path / "sub").mkdir()
        (tmp_path / "sub" / "deep.py").write_text("def build(image, class_count): ...")
        (tmp_path / "broken.py").write_text("def build(:\n")
        return tmp_path

    def check(self, folder: Path, **assignments: str) -> None:
        check_parts(override(ContainerSettings(), {k.replace("__", "."): v for k, v in assignments.items()}), folder)

    @pytest.mark.parametrize("name", ["my:build", "my:anything", "my:decorated", "my:partial", "my:inside"])
    def test_what_exists_is_found(self, folder: Path, name: str) -> None:
        self.check(folder, model__name=name)

    def test_modules_may_lie_in_packages(self, folder: Path) -> None:
        self.check(folder, model__name="sub.deep:build")
        (folder / "sub" / "__init__.py").write_text("def build(image, class_count): ...")
        self.check(folder, model__name="sub:build")

    def test_what_nobody_can_know_by_reading_is_let_through(self, folder: Path) -> None:
        self.check(folder, model__name="my:imported", parts__settings__anything="1")

    @pytest.mark.parametrize(
        ("assignments", "said"),
        [
            (
                {"model__name": "mine:build"},
                "container/parts/mine.py does not exist; the folder has broken, my, sub.deep",
            ),
            ({"model__name": "sub.dep:build"}, "container/parts/sub/dep.py does not exist: did you mean 'sub.deep'?"),
            ({"model__name": "my:biuld"}, "container/parts/my.py has no function 'biuld': did you mean 'build'?"),
            ({"model__name": "my:zzz"}, "has no function 'zzz'; it has build, load, untyped"),
            (
                {"model__name": "my:build", "parts__settings__widht": "3"},
                "there is no setting 'parts.settings.widht': did you mean 'width'?",
            ),
            (
                {"model__name": "my:build", "parts__settings__momentum": "3"},
                "there is no setting 'parts.settings.momentum'; the model builder my:build declares name, shape, width",
            ),
            ({"parts__settings__width": "3"}, "parts.settings.width is set, but no function of your own is chosen"),
            ({"model__name": "my:build", "parts__settings__width": "wide"}, "parts.settings.width=wide: "),
        ],
    )
    def test_a_wrong_setting_is_explained(self, folder: Path, assignments: dict[str, str], said: str) -> None:
        assert said in refusal(lambda: self.check(folder, **assignments), ProjectError)

    @pytest.mark.parametrize(
        ("name", "said"),
        [
            ("my:untyped", "its setting width needs a type and a default"),
            ("my:required", "its setting width needs a type and a default"),
            ("my:few", "the model builder my:few takes (image), but is called with (image, class_count)"),
            ("my:many", "takes (image, class_count, width), but is called with (image, class_count)"),
            ("broken:build", "container/parts/broken.py:1 is no Python"),
        ],
    )
    def test_a_function_of_another_kind_is_refused(self, folder: Path, name: str, said: str) -> None:
        assert said in refusal(lambda: self.check(folder, model__name=name))

    def test_a_value_must_suit_all_functions_that_declare_it(self, folder: Path) -> None:
        both = {"model__name": "my:build", "parts__loader": "my:load"}
        self.check(folder, **both, parts__settings__width="2")
        text = refusal(lambda: self.check(folder, **both, parts__settings__width="0.5"), ProjectError)
        assert text.startswith("parts.settings.width=0.5: input should be a valid integer")
