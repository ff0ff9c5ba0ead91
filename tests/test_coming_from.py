"""docs/coming-from.md for readers who type what stands in it: every snippet runs, and every name in it exists."""

import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import pytest

from container.modeling import overrides
from container.modeling.settings import Settings
from data_handler import parser as data_handler_grammar
from manager import flags
from tests.conftest import png
from tests.project import REGION, ROOT, Project, copy_project

DOCUMENT = (ROOT / "docs" / "coming-from.md").read_text(encoding="utf-8")
FENCE = "```"
BLOCK = re.compile(rf"^{FENCE}(\w*)\n(.*?)^{FENCE}$", re.DOTALL | re.MULTILINE)
# The first line of a block that is a file tells its name.
FILE = re.compile(r"# (\S+\.\w+)\n")
FLAGS_OF_HYDRA = {"--config-name", "--cfg"}
LANGUAGES = ("python", "shell", "yaml", "text")

# Sections that a reader is through with in about a second; all others, and those that are new, are slow.
QUICK = ("get_logger, setup_logger", "classification_report")
# Lets a reader export where the AWS on this machine answers: that must not be there before.
INTRODUCTION = "Coming from elsewhere"
NO_ACCOUNT = {"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}
# What a section leans on, which says so.
AFTER = {
    "TuningVisualizer": "HyperparameterTuner",
    "ErrorAnalyzer": "Estimator, ModelTrainer",
    "Functions that serve": "Estimator, ModelTrainer",
    "Model.deploy, ModelBuilder, Predictor": "Estimator, ModelTrainer",
    "Transformer": "Estimator, ModelTrainer",
    "Local mode": "Estimator, ModelTrainer",
}
LEFT_BEHIND = {
    "TuningVisualizer": "trials.png",
    "ErrorAnalyzer": "eights.png",
    "Estimator, ModelTrainer": "results/digits-cnn-20*/model.keras",
    "HyperparameterTuner": "results/digits-cnn-*/trials.csv",
    "Model.deploy, ModelBuilder, Predictor": "predictions.csv",
    "Transformer": "results/digits-cnn-batch-*/predictions.csv",
}
LONG = [pytest.mark.slow, pytest.mark.long]


@dataclass(frozen=True)
class Block:
    """What stands between two fences."""

    language: str
    text: str

    @property
    def file(self) -> str:
        """The file that it is to become; empty: it is none, and is run."""
        found = FILE.match(self.text)
        return found[1] if found else ""


def sections(document: str) -> dict[str, tuple[Block, ...]]:
    """The blocks of each section that has any, by the section's heading."""
    # A comment of a shell or of Python looks like a heading.
    without = BLOCK.sub(lambda found: found[0].replace("\n#", "\n\0#"), document)
    _, *parts = re.split(r"^#+ (.+)$", without, flags=re.MULTILINE)
    found = {
        heading: tuple(Block(*block) for block in BLOCK.findall(text.replace("\0", "")))
        for heading, text in zip(parts[::2], parts[1::2], strict=True)
    }
    return {heading: blocks for heading, blocks in found.items() if blocks}


SECTIONS = sections(DOCUMENT)


@dataclass
class Reader:
    """Somebody who has the project as it is after `make run`, and types what a section says."""

    project: Project
    done: set[str] = field(default_factory=set)

    @cached_property
    def account(self) -> dict[str, str]:
        """What the document lets a reader export."""
        keys = {"AWS_ACCESS_KEY_ID": "any", "AWS_SECRET_ACCESS_KEY": "any", "AWS_DEFAULT_REGION": REGION}
        return {"AWS_ENDPOINT_URL": self.project.endpoint_url, **keys}

    def read(self, section: str) -> None:
        """Type a section's blocks in their order, once, and those of the section that it leans on before."""
        if section in self.done:
            return
        if section in AFTER:
            self.read(AFTER[section])
        said, account = "", NO_ACCOUNT if section in (*QUICK, INTRODUCTION) else self.account
        for block in SECTIONS[section]:
            if block.language == "text":
                assert_said(block.text, said)
            elif block.file:
                path = self.project.root / block.file
                assert path.parent.is_dir(), path
                path.write_text(block.text, encoding="utf-8")
            else:
                said = self.typed(block, account)
        self.done.add(section)

    def typed(self, block: Block, account: Mapping[str, str]) -> str:
        """Run a block to its end, in a shell or an interpreter of its own, and return what it printed."""
        program = {"shell": ["sh", "-e", "-c"], "python": [sys.executable, "-c"]}[block.language]
        done = subprocess.run(
            [*program, block.text],
            cwd=self.project.root,
            env={**self.project.environment, **account},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, f"{block.text}\n{done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    project = copy_project(tmp_path_factory.mktemp("project"))
    for label in range(10):
        folder = project.root / "data" / "digits" / str(label)
        folder.mkdir(parents=True)
        for number in range(10):
            (folder / f"{number}.png").write_bytes(png(25 * label + number))
    config = project.root / "container" / "modeling" / "config.py"
    written = config.read_text(encoding="utf-8")
    assert "epochs=20" in written
    config.write_text(written.replace("epochs=20", "epochs=1"), encoding="utf-8")
    split = project.run("data_handler.py")
    assert split.returncode == 0, split.stderr
    # As in an activated environment: `python` is the one that has all packages.
    path = f"{Path(sys.executable).parent}:{project.environment['PATH']}"
    yield Reader(Project(project.root, project.environment | {"PATH": path}))
    project.manage("--stop_local_aws")


@pytest.mark.parametrize("section", [pytest.param(name, marks=[] if name in QUICK else LONG) for name in SECTIONS])
def test_what_a_section_shows_runs(section: str, reader: Reader) -> None:
    reader.read(section)
    if section in LEFT_BEHIND:
        assert list(reader.project.root.glob(LEFT_BEHIND[section]))


def test_no_snippet_is_passed_over() -> None:
    blocks = [block for section in SECTIONS.values() for block in section]
    assert DOCUMENT.count(FENCE) == 2 * len(blocks)
    assert {block.language for block in blocks} <= set(LANGUAGES)
    # Neither of these would be found as a block.
    assert not re.search(r"^(    |\t|~~~|<pre)", BLOCK.sub("", DOCUMENT), re.MULTILINE)
    assert {*QUICK, *AFTER, *AFTER.values(), *LEFT_BEHIND} <= SECTIONS.keys()
    for section, of_section in SECTIONS.items():
        for block in of_section:
            if not block.file:
                continue
            # A file counts as run where a command names it.
            commands = [other.text for other in of_section if other.language == "shell"]
            name = Path(block.file)
            called = f"={name.stem}:" if name.parent.name == "parts" else f"--config {name} "
            assert any(called in command for command in commands), f"{section}: {name} is in no command"


def test_every_setting_and_flag_exists() -> None:
    prose = BLOCK.sub("", DOCUMENT)
    names = {name for name, _ in overrides.leaves(Settings)}
    groups = {name.partition(".")[0] for name in names if "." in name}
    named = set(re.findall(r"`([a-z_]+\.[a-z_]+)(?:\.\w+)?`", prose))
    settings = {name for name in named if name.partition(".")[0] in groups} - {"model.tar"}
    assert len(settings) > 40
    assert settings <= names
    known = flags.parser().format_help() + data_handler_grammar().format_help()
    shown = set(re.findall(r"(?<![\w-])--[a-z][\w-]*", prose)) - FLAGS_OF_HYDRA
    assert len(shown) > 20
    assert shown <= set(re.findall(r"--[a-z]\w*", known))


def test_every_link_leads_somewhere() -> None:
    headings = re.findall(r"^#+ (.+)$", BLOCK.sub("", DOCUMENT), re.MULTILINE)
    anchors = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
    links = re.findall(r"\]\(([^)#]*)#?([^)]*)\)", BLOCK.sub("", DOCUMENT))
    assert len(links) > 10
    for file, anchor in links:
        assert (ROOT / "docs" / file).is_file() if file else anchor in anchors, (file, anchor)


def assert_said(expected: str, said: str) -> None:
    """Each line that a document shows is among those that were printed, whatever stands around it."""
    for line in expected.splitlines():
        assert line in said, f"not printed: {line}\n{said}"
