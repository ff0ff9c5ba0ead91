"""`python data_handler.py` as its users meet it."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

import data_handler
from container.errors import DataError

PNG = b"\x89PNG\r\n\x1a\n"
ROOT = Path(data_handler.__file__).parent


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A folder of two classes, with 10 and 20 images."""
    for name, count in (("cat", 10), ("dog", 20)):
        for number in range(count):
            write(tmp_path / "images" / name / f"{number:02}.png")
    return tmp_path / "images"


def write(path: Path, content: bytes | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    content = PNG + f"{path.parent.name}/{path.name}".encode(errors="replace") if content is None else content
    path.write_bytes(content)
    return path


def run(images: Path, *arguments: str) -> int:
    return data_handler.main(["--set", f"data.directory={images}", *arguments])


def error(capsys: pytest.CaptureFixture[str]) -> str:
    """The only line that a failed command prints."""
    printed = capsys.readouterr()
    assert printed.out == ""
    assert re.fullmatch(r"error: .+\n", printed.err)
    return printed.err


def files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def has_row(table: str, *cells: str) -> bool:
    """Whether a table has a line with these cells, whatever it is drawn with."""
    return bool(re.search(r"[^\w\n]+?".join(re.escape(cell) for cell in cells) + r"\s*[^\w\s]?\n", table))


class TestSplit:
    def test_the_sets_hold_every_image_once(self, images: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert run(images) == 0
        sets = images.with_name("images-sets")
        placed = [path.split("/", 1) for path in files(sets) if path != "split.json"]
        assert sorted(name for _, name in placed) == files(images)
        assert {set_name: [place for place, _ in placed].count(set_name) for set_name, _ in placed} == {
            "training": 24,
            "validation": 3,
            "evaluation": 3,
        }
        output = capsys.readouterr().out
        assert has_row(output, "dog", "16", "2", "2", "20")
        assert has_row(output, "all 2 classes", "24", "3", "3", "30")
        assert "(hard links)" in output
        assert all(path.stat().st_nlink == 2 for path in images.rglob("*.png"))

    def test_the_record_says_what_was_done(self, images: Path) -> None:
        write(images / "cat/broken.png", b"no image")
        write(images / "cat/.DS_Store")
        run(images, "--set", "data.seed=7")
        record = json.loads((images.with_name("images-sets") / "split.json").read_text())
        assert record["seed"] == 7
        assert record["directory"] == str(images)
        assert record["fractions"] == {"training": 0.8, "validation": 0.1, "evaluation": 0.1}
        assert record["classes"][1] == {"name": "dog", "training": 16, "validation": 2, "evaluation": 2}
        assert (record["linked"], record["copied"], record["left_out"]["hidden"]) == (30, 0, 1)
        assert record["left_out"]["bad_files"][0]["path"] == "cat/broken.png"

    def test_again_is_unchanged(self, images: Path, capsys: pytest.CaptureFixture[str]) -> None:
        run(images)
        capsys.readouterr()
        assert run(images) == 0
        output = capsys.readouterr().out
        assert "unchanged  " in output
        assert has_row(output, "dog", "16", "2", "2", "20")

    @pytest.mark.parametrize(
        "arguments",
        [
            ["--set", "data.seed=1"],
            ["--set", "data.training_fraction=0.6", "--set", "data.validation_fraction=0.3"],
        ],
    )
    def test_other_settings_replace_the_split(self, images: Path, arguments: list[str]) -> None:
        run(images)
        sets = images.with_name("images-sets")
        before = files(sets)
        assert run(images, *arguments) == 0
        assert files(sets) != before
        assert len(files(sets)) == 31
        assert sorted(path.name for path in images.parent.iterdir()) == ["images", "images-sets"]

    def test_other_images_replace_the_split(self, images: Path, capsys: pytest.CaptureFixture[str]) -> None:
        run(images)
        write(images / "dog/new.png")
        (images / "cat/00.png").unlink()
        changed = images / "dog/00.png"
        changed.unlink()
        write(changed, PNG + b"other pixels")
        assert run(images) == 0
        sets = images.with_name("images-sets")
        assert sorted(path.split("/", 1)[1] for path in files(sets) if path != "split.json") == files(images)
        assert next(sets.glob("*/dog/00.png")).read_bytes() == PNG + b"other pixels"
        assert "unchanged" not in capsys.readouterr().out

    def test_what_was_left_out_is_told(self, images: Path, capsys: pytest.CaptureFixture[str]) -> None:
        write(images / "cat/.hidden.png")
        write(images / "cat/notes.txt")
        for number in range(12):
            write(images / f"dog/broken{number:02}.jpg", b"<html>")
        assert run(images) == 0
        output, printed = capsys.readouterr()
        assert "1 hidden, 1 without an image's extension" in output
        assert "warning: left out dog/broken00.jpg: its first bytes are no known image's" in printed
        assert "broken10" not in printed
        assert "left out 2 more" in printed

    @pytest.mark.parametrize(
        "name", ["with space", "quote'\"", "line\nbreak", "🐈 cat", "[bold]:cat:", "-rf", "a" * 200]
    )
    def test_any_name_will_do(self, images: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
        for number in range(3):
            write(images / name / f"{name} {number}.png")
        write(images / name / f"broken {name}.png", b"no image")
        assert run(images) == 0
        assert len(list((images.with_name("images-sets") / "training" / name).iterdir())) == 1
        printed = capsys.readouterr()
        shown = name.replace("\n", "\\n")
        assert f"broken {shown}.png: " in printed.err
        assert len(name) > 80 or has_row(printed.out, shown, "1", "1", "1", "3")

    def test_a_name_that_is_not_utf8_is_told(self, images: Path, capsys: pytest.CaptureFixture[str]) -> None:
        write(images / os.fsdecode(b"cat/caf\xe9.png"))
        assert run(images) == 0
        assert "its name is not UTF-8" in capsys.readouterr().err

    def test_many_classes_are_one_line_each(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        for label in range(133):
            for number in range(3):
                write(tmp_path / "images" / f"breed {label:03} of dog" / f"{number}.png")
        assert run(tmp_path / "images") == 0
        rows = [line for line in capsys.readouterr().out.splitlines() if "breed" in line]
        assert len(rows) == 133

    def test_what_a_check_calls_a_problem_of_the_classes_is_told(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        for name in ("Rose", "rose", "cafe\u0301", "caf\u00e9", "tulip"):
            for number in range(3):
                write(tmp_path / "images" / name / f"{number}.png")
        # Also where nothing is to be done.
        for _ in range(2):
            assert run(tmp_path / "images") == 0
            (line,) = capsys.readouterr().err.splitlines()
            assert "class names that are the same but for case or form, 'Rose' and 'rose'; 'caf" in line
            assert line.endswith(": bring them into one folder")
            assert "tulip" not in line
        shutil.rmtree(tmp_path / "images")
        for number in range(3):
            write(tmp_path / "images" / "rose" / f"{number}.png")
        assert run(tmp_path / "images") == 0
        said = "warning: images of one class only, 'rose': add a folder of another class: training needs two\n"
        assert capsys.readouterr().err == said

    def test_of_classes_whose_names_are_the_same_some_are_named(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        for name in (form for letter in "abcdefgh" for form in (letter, letter.upper())):
            for number in range(3):
                write(tmp_path / "images" / name / f"{number}.png")
        assert run(tmp_path / "images") == 0
        assert "; 'E' and 'e', and 3 more such: bring them" in capsys.readouterr().err

    def test_what_our_own_programs_leave_is_not_counted(self, images: Path, capsys: pytest.CaptureFixture[str]) -> None:
        write(images / ".fixed.json", b"{}")
        write(images / ".ingested.json", b"{}")
        assert run(images) == 0
        assert "left out" not in capsys.readouterr().out
        write(images / "cat/.fixed.json", b"{}")
        assert run(images) == 0
        assert "left out   1 hidden" in capsys.readouterr().out

    def test_images_that_are_alike_in_several_classes_are_counted_as_groups(
        self, images: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        for name in ("cat", "dog"):
            write(images / name / "same.png", PNG + b"same")
        assert run(images) == 0
        printed = capsys.readouterr()
        assert "warning: images of several classes are alike, in 1 group: --check names them" in printed.err
        assert "2 images stay together in 1 group: 2 are the same file" in printed.out


class TestLabels:
    def table(self, images: Path, text: str = "") -> None:
        rows = "".join(f"{path},{number},by hand\n" for number, path in enumerate(files(images)))
        (images / "labels.csv").write_text(text or f"image,weight,note\n{rows}")

    def rows(self, images: Path, set_name: str) -> list[str]:
        return (images.with_name("images-sets") / set_name / "labels.csv").read_text().splitlines()

    def test_each_set_gets_the_rows_of_its_images(self, images: Path, capsys: pytest.CaptureFixture[str]) -> None:
        numbers = {path: number for number, path in enumerate(files(images))}
        self.table(images)
        assert run(images) == 0
        sets = images.with_name("images-sets")
        for set_name in ("training", "validation", "evaluation"):
            held = [path for path in files(sets / set_name) if path != "labels.csv"]
            expected = [f"{path},{numbers[path]},by hand" for path in held]
            assert self.rows(images, set_name) == ["image,weight,note", *expected]
        assert len(files(sets)) == 30 + 3 + 1
        printed = capsys.readouterr()
        assert "labels.csv has rows for 30 of 30 images" in printed.out
        assert "left out" not in printed.out + printed.err

    def test_images_that_are_left_out_count_among_those_without_a_row(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        for number in range(20):
            write(tmp_path / f"images/{number}.png")
        rows = "".join(f"{number}.png,{'ab'[number % 2]}\n" for number in range(18))
        write(tmp_path / "images/labels.csv", f"image,label\n{rows}".encode())
        assert run(tmp_path / "images") == 0
        printed = capsys.readouterr()
        assert "labels.csv has rows for 18 of 20 images" in printed.out
        assert "left out 2 images without a row in labels.csv" in printed.err

    def test_bare_names_become_paths_and_rows_without_an_image_are_told(
        self, images: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        self.table(images, "weight,image\n5,15.png\n6,cat/99.png\n7,cat/03.png\n")
        assert run(images) == 0
        rows = [row for name in ("training", "validation", "evaluation") for row in self.rows(images, name)]
        assert sorted(rows) == ["5,dog/15.png", "7,cat/03.png", *["weight,image"] * 3]
        printed = capsys.readouterr()
        assert "labels.csv has rows for 2 of 30 images" in printed.out
        assert "warning: 1 row of labels.csv names no image of a class: line 3" in printed.err

    def test_again_is_unchanged_until_the_table_changes_or_goes(
        self, images: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        sets = images.with_name("images-sets")
        run(images)
        without = files(sets)
        self.table(images)
        assert run(images) == 0
        record = (sets / "split.json").read_bytes()
        capsys.readouterr()
        assert run(images) == 0
        assert "unchanged  " in capsys.readouterr().out
        self.table(images, "image,weight\ncat/00.png,3\n")
        assert run(images) == 0
        assert "unchanged  " not in capsys.readouterr().out
        # The record goes to S3 with the sets, and tells two splits apart.
        assert (sets / "split.json").read_bytes() != record
        (images / "labels.csv").unlink()
        assert run(images) == 0
        assert files(sets) == without

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("name,weight\n", "labels.csv, line 1: there is no column 'image'"),
            ("image\n03.png\n", "labels.csv, line 2: '03.png' is the name of 2 images"),
        ],
    )
    def test_a_table_that_is_wrong_leaves_the_earlier_split(
        self, images: Path, capsys: pytest.CaptureFixture[str], text: str, said: str
    ) -> None:
        run(images)
        before = files(images.with_name("images-sets"))
        capsys.readouterr()
        self.table(images, text)
        assert run(images) == 1
        assert said in error(capsys)
        assert files(images.with_name("images-sets")) == before

    def test_a_table_that_a_user_put_into_a_set_is_not_thrown_away(
        self, images: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        run(images)
        capsys.readouterr()
        mine = write(images.with_name("images-sets") / "training/labels.csv", b"image,weight\n")
        assert run(images, "--set", "data.seed=1") == 1
        assert "has files that the split did not put there, in 'training/labels.csv'" in error(capsys)
        assert mine.exists()


class TestRefusedSplits:
    @pytest.mark.parametrize(
        ("table", "said"),
        [
            ("", "a labels.csv beside them that tells each one's class would do as well (docs/data.md)"),
            (
                "image,kind\n",
                "name the column of labels.csv ('image', 'kind') that tells each one's class in data.class_column",
            ),
        ],
    )
    def test_images_without_classes(
        self, images: Path, capsys: pytest.CaptureFixture[str], table: str, said: str
    ) -> None:
        if table:
            write(images / "cat/labels.csv", table.encode())
        assert run(images / "cat") == 1
        assert f"one sub-folder of images per class; {said}" in error(capsys)

    @pytest.mark.parametrize(
        ("directory", "said"),
        [
            ("none", "none does not exist: set data.directory"),
            ("images/cat", "has no class folders"),
            ("images/cat/00.png", "is a file"),
        ],
    )
    def test_no_class_folders(
        self, images: Path, capsys: pytest.CaptureFixture[str], directory: str, said: str
    ) -> None:
        assert run(images.parent / directory) == 1
        assert said in error(capsys)

    def test_a_class_that_is_too_small(self, images: Path, capsys: pytest.CaptureFixture[str]) -> None:
        write(images / "cow/1.png")
        write(images / "cow/2.png")
        write(images / "cow/3.png", b"no image")
        (images / "yak").mkdir()
        assert run(images) == 1
        assert "at least 3 images, one for each set, but in" in (said := error(capsys))
        assert "'cow' has 2, 'yak' has 0" in said
        assert not images.with_name("images-sets").exists()

    @pytest.mark.parametrize(
        "fractions", [("1", "0", "0"), ("0.9", "0.1", "0"), ("0.8", "0.1", "0.2"), ("1.2", "-0.1", "-0.1")]
    )
    def test_fractions_that_leave_a_set_empty_or_are_no_fractions(
        self, images: Path, capsys: pytest.CaptureFixture[str], fractions: tuple[str, str, str]
    ) -> None:
        names = ("data.training_fraction", "data.validation_fraction", "data.evaluation_fraction")
        arguments = [word for pair in zip(names, fractions, strict=True) for word in ("--set", "=".join(pair))]
        assert run(images, *arguments) == 1
        assert re.search(r"data\.\w+_fraction=\S+: .* \(it is number > 0, < 1\)|must add up to 1", error(capsys))

    def test_a_folder_that_is_no_split_is_left_alone(self, images: Path, capsys: pytest.CaptureFixture[str]) -> None:
        thesis = write(images.with_name("images-sets") / "training/thesis.odt", b"years of work")
        assert run(images) == 1
        assert "was not made by this program" in error(capsys)
        assert thesis.read_bytes() == b"years of work"

    @pytest.mark.parametrize(
        "name", ["training/cat/mine.png", "training/cow/mine.png", "notes.txt", "training/mine.png"]
    )
    def test_files_that_a_user_put_into_the_sets_are_not_thrown_away(
        self, images: Path, capsys: pytest.CaptureFixture[str], name: str
    ) -> None:
        run(images)
        capsys.readouterr()
        mine = write(images.with_name("images-sets") / name)
        assert run(images, "--set", "data.seed=1") == 1
        assert "has files that the split did not put there" in error(capsys)
        assert mine.exists()

    @pytest.mark.parametrize("sets_directory", ["images", "images/sets", "."])
    def test_images_and_sets_one_in_the_other(
        self, images: Path, capsys: pytest.CaptureFixture[str], sets_directory: str
    ) -> None:
        assert run(images, "--set", f"data.sets_directory={images.parent / sets_directory}") == 1
        assert "one in the other" in error(capsys)
        assert len(files(images.parent)) == 30

    def test_a_split_of_a_split(self, images: Path, capsys: pytest.CaptureFixture[str]) -> None:
        run(images)
        capsys.readouterr()
        assert run(images.with_name("images-sets")) == 1
        assert "is itself a split" in error(capsys)

    def test_sets_where_a_file_is_in_the_way(self, images: Path, capsys: pytest.CaptureFixture[str]) -> None:
        write(images.parent / "file", b"")
        assert run(images, "--set", f"data.sets_directory={images.parent / 'file/sets'}") == 1
        assert "cannot be written" in error(capsys)


class TestSample:
    def test_the_digits_are_written_as_they_are(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert run(tmp_path / "digits", "--sample", "digits") == 0
        assert f"next: python data_handler.py --set data.directory={tmp_path / 'digits'}" in capsys.readouterr().out
        digits = load_digits()
        paths = sorted((tmp_path / "digits").glob("*/*.png"), key=lambda path: path.name)
        assert [path.parent.name for path in paths] == [str(label) for label in digits.target]
        with Image.open(paths[0]) as image:
            assert (image.mode, image.size) == ("L", (8, 8))
        pixels = np.stack([np.asarray(Image.open(path)) for path in paths])
        assert (pixels.min(), pixels.max()) == (0, 255)
        assert np.abs(pixels / 255 - digits.images / 16).max() < 0.5 / 255 + 1e-9

        before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
        assert run(tmp_path / "digits", "--sample", "digits") == 0
        assert "unchanged  " in capsys.readouterr().out
        assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before

        assert run(tmp_path / "digits") == 0
        assert has_row(capsys.readouterr().out, "all 10 classes", "1,438", "180", "179", "1,797")

        (tmp_path / "digits/3/0003.png").unlink()
        assert run(tmp_path / "digits", "--sample", "digits") == 1
        assert "lacks 1 of the sample's 1797 images" in error(capsys)

    def test_an_empty_folder_is_filled(self, tmp_path: Path) -> None:
        (tmp_path / "digits").mkdir()
        assert run(tmp_path / "digits", "--sample", "digits") == 0
        assert len(files(tmp_path / "digits")) == 1797

    def test_a_folder_of_other_things_is_left_alone(self, images: Path, capsys: pytest.CaptureFixture[str]) -> None:
        before = files(images)
        assert run(images, "--sample", "digits") == 1
        assert "holds 'cat/00.png', which is not of the sample" in error(capsys)
        assert files(images) == before

    def test_an_unknown_sample_is_wrong_usage(self, tmp_path: Path) -> None:
        with pytest.raises(SystemExit) as raised:
            run(tmp_path, "--sample", "flowers")
        assert raised.value.code == 2


class TestCommandLine:
    @pytest.mark.parametrize("arguments", [["--set", "data.seed"], ["--set"], ["split"], ["--seed", "1"]])
    def test_wrong_usage(self, arguments: list[str]) -> None:
        with pytest.raises(SystemExit) as raised:
            data_handler.main(arguments)
        assert raised.value.code == 2

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            (["--check", "--prepare"], "not allowed with argument --check: run one after the other"),
            (["--check", "--stable"], "--stable and --group_by go with the split, and --check does none: leave them"),
            (["--ingest", "a.zip", "--group_by", "a"], "go with the split, and --ingest does none"),
            (["--as_arrays", "--stable"], "go with the split, and --as_arrays does none"),
        ],
    )
    def test_what_does_not_go_together_is_told(
        self, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
    ) -> None:
        with pytest.raises(SystemExit) as raised:
            data_handler.main(arguments)
        assert raised.value.code == 2
        assert said in capsys.readouterr().err

    def test_an_unknown_setting(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert data_handler.main(["--set", "data.sed=1"]) == 1
        assert "did you mean 'data.seed'?" in error(capsys)

    def test_settings_of_another_file(self, images: Path, capsys: pytest.CaptureFixture[str]) -> None:
        config_file = write(images.parent / "my.yaml", f"data: {{directory: {images}, seed: 3}}".encode())
        assert data_handler.main(["--config", str(config_file)]) == 0
        assert json.loads((images.with_name("images-sets") / "split.json").read_text())["seed"] == 3
        capsys.readouterr()
        assert data_handler.main(["--config", str(images.parent / "none.yaml")]) == 1
        assert "none.yaml does not exist" in error(capsys)

    def test_debug_lets_the_error_through(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match="does not exist"):
            run(tmp_path / "none", "--debug")

    def test_paths_are_relative_to_the_project_and_not_to_the_shell(self, images: Path, tmp_path: Path) -> None:
        project = tmp_path / "project"
        for package in ("container", "manager"):
            shutil.copytree(ROOT / package, project / package, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "data_handler.py", project)
        shutil.copytree(images, project / "data/pets")
        command = [sys.executable, str(project / "data_handler.py"), "--set", "data.directory=data/pets"]
        elsewhere = {**os.environ, "PYTHONIOENCODING": "ascii"}
        done = subprocess.run(command, cwd="/", env=elsewhere, capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, "")
        assert "30 images of data/pets are split into data/pets-sets" in done.stdout
        record = json.loads((project / "data/pets-sets/split.json").read_text())
        assert record["directory"] == "data/pets"

    def test_progress_is_shown_on_a_terminal_only(self, images: Path) -> None:
        command = [sys.executable, str(ROOT / "data_handler.py"), "--set", f"data.directory={images}"]
        terminal, its_program_side = os.openpty()
        on_terminal = subprocess.run(command, stdout=subprocess.PIPE, stderr=its_program_side)
        os.close(its_program_side)
        assert b"Filling the sets" in os.read(terminal, 100_000)
        os.close(terminal)
        piped = subprocess.run([*command, "--set", "data.seed=1"], capture_output=True)
        assert (on_terminal.returncode, piped.returncode, piped.stderr) == (0, 0, b"")
        assert b"Filling" not in on_terminal.stdout + piped.stdout

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            ([], "begins anew"),
            (["--check"], "goes on where it was"),
            (["--ingest", "s3://bucket/a"], "goes on where it was"),
            (["--ingest", "a.zip"], "begins anew"),
            (["--prepare"], "goes on where it was"),
        ],
    )
    def test_ctrl_c_is_one_line(self, images: Path, arguments: list[str], said: str) -> None:
        # A config file is a program: this one waits to be interrupted.
        started = images.parent / "started"
        content = f"import pathlib, time\npathlib.Path({str(started)!r}).touch()\ntime.sleep(60)\n"
        config_file = write(images.parent / "slow.py", content.encode())
        command = [sys.executable, str(ROOT / "data_handler.py"), "--config", str(config_file), *arguments]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
            while not started.exists() and process.poll() is None:
                time.sleep(0.01)
            process.send_signal(signal.SIGINT)
            _, printed = process.communicate(timeout=20)
        assert process.returncode == 1
        assert re.fullmatch(rf"error: interrupted; .+ {said}\n", printed)

    def test_help_imports_nothing_heavy(self) -> None:
        code = "import sys, data_handler\ntry: data_handler.main(['--help'])\nfinally: print(sorted(sys.modules))"
        done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
        for module in ("pydantic", "rich", "sklearn", "PIL", "numpy", "tensorflow"):
            assert f"'{module}'" not in done.stdout
        assert "--sample" in done.stdout


def test_images_that_come_into_another_set_are_told_of(images: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(10, 60):
        write(images / "cat" / f"{number}.png")
    assert run(images, "--stable", "--group_by", r"(\d\d)\.png") == 0
    told = capsys.readouterr()
    assert "another set" not in told.out + told.err
    run(images)
    told = capsys.readouterr()
    assert re.search(
        r"warning: \d+ images came into another set than before: the split was made with --stable --group_by "
        r"'\(\\d\\d\)\\\.png', and now without",
        " ".join(told.err.split()),
    )
    run(images, "--set", "data.seed=1")
    assert re.search(r"\d+ images came into another set than before; --stable keeps", capsys.readouterr().out)
    run(images, "--set", "data.seed=1")
    assert "another set" not in capsys.readouterr().out
