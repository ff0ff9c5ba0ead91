"""`python data_handler.py --check` as its users meet it, on a folder in which everything is wrong."""

import csv
import errno
import hashlib
import io
import multiprocessing
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

import data_handler
from container.dataset.check import check_images
from container.dataset.fixing import fix_images
from container.dataset.looks import look_into
from container.dataset.split import split_images
from container.dataset.text import printable
from container.errors import DataError
from container.modeling.settings import Data
from manager.checking import show_check
from manager.console import Terminal
from tests.container.dataset.unwatched import Unwatched
from tests.container.pages import read

ROOT = Path(data_handler.__file__).parent
LONG = "n" * 250 + ".png"
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}
# Looks at an image with room for a tenth of its pixels.
LITTLE_MEMORY = """
import resource
from pathlib import Path
from container.dataset.looks import look_at

look_at("missing.png", 1)
pages = int(Path("/proc/self/statm").read_text().split()[0])
resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + 20_000_000,) * 2)
print(look_at("large.png", 10**9))
"""
# Runs a program whom a file's mode binds, also where these tests are root's, who may read anything: capabilities(7),
# CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH; prctl(2), PR_CAPBSET_DROP.
BOUND_BY_MODES = """
import ctypes, os, sys
if os.geteuid() == 0:
    for capability in (1, 2):
        assert ctypes.CDLL(None).prctl(24, capability, 0, 0, 0) == 0
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""
# Checks and mends the folder `images` of its working directory, and dies at the nth image of a step.
KILLED = """
import os, signal, sys
from pathlib import Path
from container.dataset.check import check_images
from container.dataset.fixing import fix_images
from container.modeling.settings import Data

class Watch:
    def start(self, step, total=None):
        self.step, self.done = step, 0
        self.die()

    def advance(self):
        self.done += 1
        self.die()

    def die(self):
        if (self.step, self.done) == (sys.argv[1], int(sys.argv[2])):
            os.kill(os.getpid(), signal.SIGKILL)

if __name__ == "__main__":
    data, here = Data(directory="images"), Path.cwd()
    check_images(data, here, Watch())
    fix_images(data, here, here / "images-fixed", Watch())
"""


def pixels(seed: int, side: int = 40) -> Image.Image:
    """A picture that is like no other: some colored squares."""
    squares = np.random.default_rng(seed).integers(0, 256, (5, 5, 3), np.uint8)
    return Image.fromarray(squares).resize((side, side), Image.Resampling.BILINEAR)


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    content = io.BytesIO()
    image.save(content, kind, **options)
    return content.getvalue()


def write(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def jpeg(seed: int, **options: object) -> bytes:
    return encoded(pixels(seed), "JPEG", quality=90, **options)


def rotated(seed: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return jpeg(seed, exif=exif)


def hostile(directory: Path) -> dict[str, str]:
    """Fill a folder with one of each defect; return what is to be found, by the path as it is shown."""
    for name, first in (("cat", 0), ("dog", 100)):
        for number in range(8):
            write(directory / name / f"{number}.png", encoded(pixels(first + number)))
    large = encoded(Image.new("1", (20_000, 20_000)))
    deep = encoded(Image.fromarray(np.arange(4096, dtype=np.uint16).reshape(64, 64) * 16))
    frames = [pixels(number) for number in (31, 32)]
    files = {
        "cat/nothing.png": (b"", "empty"),
        "cat/page.jpg": (b"<!DOCTYPE html>", "undecodable"),
        "cat/cut.jpg": (jpeg(21)[:-300], "truncated"),
        "cat/cut.png": (encoded(pixels(22))[:-600], "truncated"),
        "cat/large.png": (large, "too_many_pixels"),
        "cat/really a png.jpg": (encoded(pixels(23)), "wrong_extension"),
        "cat/photo.jfif": (jpeg(24), "wrong_extension"),
        "cat/cut.jfif": (jpeg(28)[:-300], "truncated"),
        "cat/BMW.txt": (b"BM is how a bitmap begins as well", ""),
        "cat/dot.png": (encoded(pixels(25, side=3)), "too_small"),
        "cat/moving.gif": (encoded(frames[0], "GIF", save_all=True, append_images=frames[1:]), "animated"),
        "cat/print.jpg": (encoded(pixels(26).convert("CMYK"), "JPEG"), "cmyk"),
        "cat/scan.png": (deep, "sixteen_bit"),
        "cat/lying.jpg": (rotated(27), "rotated"),
        "cat/copy of 1.bmp": (encoded(pixels(1), "BMP"), "same_image"),
        "cat/small 2.jpg": (encoded(pixels(2).resize((30, 30), Image.Resampling.BILINEAR), "JPEG"), "near_image"),
        "dog/cat 3.png": (encoded(pixels(3)), "two_classes"),
        "dog/like cat 4.jpg": (encoded(pixels(4), "JPEG", quality=80), "near_two_classes"),
        "dog/line\nbreak.png": (encoded(pixels(41)), "odd_name"),
        "dog/return\r1.png": (encoded(pixels(48)), "odd_name"),
        "dog/quote'\".png": (encoded(pixels(42)), "odd_name"),
        "dog/ 🐈 .png ": (encoded(pixels(43)), "wrong_extension"),
        "dog/🐈 with spaces.png": (b"\x89PNG", "undecodable"),
        f"dog/{LONG}": (encoded(pixels(44))[:60], "truncated"),
        "dog/e\u0301.png": (encoded(pixels(45)), "odd_name"),
        "Cat/1.png": (encoded(pixels(51)), ""),
        "Cat/2.png": (encoded(pixels(52)), ""),
    }
    for name, (content, _) in files.items():
        write(directory / name, content)
    write(Path(os.fsdecode(os.fsencode(directory) + b"/cat/caf\xe9.png")), encoded(pixels(46)))
    (directory / "cat/gone.png").symlink_to("nowhere.png")
    (directory / "cat/loop").symlink_to("..")
    (directory / "dog/again").mkdir()
    (directory / "dog/again/loop").symlink_to(".")
    (directory / "dog/self.png").symlink_to("self.png")
    write(directory / "dog/locked.png", encoded(pixels(47))).chmod(0)
    os.mkfifo(directory / "dog/pipe.png")
    os.mkfifo(directory / "dog/the 'pipe'.png")
    more = {
        "cat/caf\\udce9.png": "name_not_unicode",
        "cat/gone.png": "no_file",
        "dog/self.png": "unreadable",
        "dog/pipe.png": "no_file",
        "dog/the 'pipe'.png": "no_file",
        "cat/loop": "repeated_folder",
        "dog/again/loop": "repeated_folder",
        "Cat": "class_names",
        "cat": "class_names",
        "cat/1.png": "same_image",
        "cat/2.png": "near_image",
        "cat/3.png": "two_classes",
        "cat/4.png": "near_two_classes",
    }
    named = {printable(name): rule for name, (_, rule) in files.items() if rule}
    # Root may read anything.
    return named | more | ({} if os.geteuid() == 0 else {"dog/locked.png": "unreadable"})


def snapshot(directory: Path) -> dict[str, tuple[int, int, str]]:
    """Everything below a directory: kinds, times of change, contents."""
    found = {}
    for folder, _, names in os.walk(directory):
        for path in [Path(folder), *(Path(folder, name) for name in names)]:
            state = path.lstat()
            is_read = stat.S_ISREG(state.st_mode) and os.access(path, os.R_OK)
            content = path.read_bytes() if is_read else b""
            found[str(path)] = (state.st_mode, state.st_mtime_ns, hashlib.sha256(content).hexdigest())
    return found


def run(images: Path, *arguments: str) -> int:
    return data_handler.main(["--set", f"data.directory={images}", "--check", *arguments])


def run_bound_by_modes(images: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command line as somebody who may not read everything."""
    command = ["data_handler.py", "--set", f"data.directory={images}", *arguments]
    return subprocess.run(
        [sys.executable, "-c", BOUND_BY_MODES, *command], cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True
    )


def findings(images: Path) -> set[tuple[str, str]]:
    with (images.with_name("images-check") / "findings.csv").open(encoding="utf-8", newline="") as opened:
        return {(row["path"], row["finding"]) for row in csv.DictReader(opened)}


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A folder of two classes of 12 images each, that are all right."""
    for label, name in enumerate(("cat", "dog")):
        for number in range(12):
            write(tmp_path / "images" / name / f"{number:02}.png", encoded(pixels(100 * label + number)))
    return tmp_path / "images"


class TestHostileFolder:
    @pytest.fixture
    def images(self, tmp_path: Path) -> Path:
        hostile(tmp_path / "images")
        return tmp_path / "images"

    def test_every_defect_is_named_and_nothing_is_touched(
        self, images: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        expected = set(hostile(images.with_name("other")).items())
        before = snapshot(images)
        assert run(images) == 0
        assert snapshot(images) == before
        found = findings(images)
        assert expected - found == set()
        unexpected = {(path, rule) for path, rule in found - expected if rule not in ("odd_name", "small_class")}
        assert unexpected == set()
        printed = capsys.readouterr().out
        for text in ("cat/nothing.png", "cat/cut.jpg", "cat/lying.jpg", "cat/photo.jfif"):
            assert text in printed
        assert run(images, "--strict") == 1
        assert re.search(r"the check found \d+ problems", capsys.readouterr().err)

    def test_the_page_shows_what_was_found_and_needs_nothing_else(self, images: Path) -> None:
        run(images)
        page = read(images.with_name("images-check") / "check.html")
        for text in ("cat/nothing.png", "dog/line\\nbreak.png", "cat/copy of 1.bmp", "EXIF orientation 6"):
            assert text in page.text
        assert len(page.pictures) > 10
        sources = [value for _, attributes in page.tags for key, value in attributes.items() if key == "src"]
        assert all(value and value.startswith("data:") for value in sources)

    def test_fixed_images_have_no_problems_and_the_originals_stay(
        self, images: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        before = snapshot(images)
        assert run(images, "--fix") == 0
        assert {name: state[::2] for name, state in snapshot(images).items()} == {
            name: state[::2] for name, state in before.items()
        }
        fixed = images.with_name("images-fixed")
        with Image.open(fixed / "cat/lying.jpg") as upright:
            assert upright.getexif().get(0x0112, 1) == 1
        with Image.open(fixed / "cat/print.jpg") as print_colors, Image.open(fixed / "cat/scan.png") as scan:
            assert (print_colors.mode, scan.mode, scan.getpixel((63, 63))) == ("RGB", "RGB", (255, 255, 255))
        with Image.open(fixed / "cat/moving.png") as first:
            assert not getattr(first, "is_animated", False)
        assert (fixed / "cat/really a png.png").is_file()
        with Image.open(fixed / "cat/photo.jpg") as renamed:
            assert renamed.size == (40, 40)
        assert not list(fixed.glob("*/cut*"))
        assert "left out dog/cat 3.png: the same image lies under several classes" in capsys.readouterr().err
        assert run(fixed) == 0
        with (fixed.with_name("images-fixed-check") / "findings.csv").open(encoding="utf-8", newline="") as opened:
            rules = {row["finding"] for row in csv.DictReader(opened)}
        # These are for a person to decide.
        assert rules <= {"class_names", "small_class", "near_image", "near_two_classes", "too_small", "odd_name"}
        assert run(images, "--fix") == 0
        assert "unchanged" in capsys.readouterr().out


def test_images_without_defects_have_no_findings(images: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(images, "--strict") == 0
    assert "nothing is wrong with the images" in capsys.readouterr().out
    assert findings(images) == set()


@pytest.mark.parametrize("columns", [60, 80, 100, 160])
def test_findings_are_read_in_a_narrow_terminal(images: Path, columns: int) -> None:
    path = f"cat/{'summer-2019_' * 20}.png"
    for number in range(1_200):
        write(images / f"dog/{number}.jpg", b"")
    write(images / path, b"no image")
    data = Data(directory=str(images), check_directory=str(images.with_name("images-check")))
    outcome = check_images(data, images.parent, Unwatched())
    printed = io.StringIO()
    out = Console(file=printed, width=columns, force_terminal=True, color_system=None, soft_wrap=True)
    show_check(outcome, "images-check", "check.html", Terminal(out=out))
    lines = [line.rstrip() for line in printed.getvalue().splitlines()]
    assert max(map(len, lines)) <= columns
    start = lines.index("  problem  1,200  files without a byte")
    assert lines[start + 1 : start + 4] == [
        "                    dog/0.jpg, dog/1.jpg and 1,198 more",
        "                    get them anew, or remove them",
        "  problem      1  files that are no images, or damaged",
    ]
    assert path in "".join(line.strip() for line in lines[start + 4 :])


def test_the_page_says_once_what_images_of_a_group_are_like(images: Path) -> None:
    for number in range(2):
        write(images / f"cat/copy-{number}_of_1.PNG", (images / "cat/01.png").read_bytes())
    write(images / "dog/like 2.jpg", encoded(pixels(102), "JPEG", quality=80))
    run(images)
    page = read(images.with_name("images-check") / "check.html")
    assert page.text.count("the same pixels") == page.text.count("3 images with the same pixels") == 1
    assert page.text.count("2 images that are nearly the same") == 1
    assert page.text.count("nearly the same as") == 0
    assert page.rows[0] == ["level", "findings", "what, and what to do"]
    assert page.rows[1] == ["warning", "3", "images that are the same a split keeps them in one set; one is enough"]
    assert page.text.count("python data_handler.py --check --fix FOLDER") == 1
    html = (images.with_name("images-check") / "check.html").read_text(encoding="utf-8")
    assert "cat/<wbr>copy-<wbr>0_<wbr>of_<wbr>1<wbr>.PNG" in html


def test_images_of_too_many_pixels_are_told_of_with_the_limit(images: Path) -> None:
    write(images / "cat/large.png", encoded(Image.new("1", (20_000, 20_000))))
    write(images / "cat/middling.png", encoded(pixels(70, side=60)))
    run(images, "--set", "data.most_pixels=2000")
    page = read(images.with_name("images-check") / "check.html")
    assert ["cat/large.png", "400,000,000 pixels, more than data.most_pixels (2,000)"] in page.rows
    assert ["cat/middling.png", "3,600 pixels, more than data.most_pixels (2,000)"] in page.rows


def test_a_second_look_decodes_only_what_is_new_or_changed(images: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(images)
    assert "24 images: 24 decoded" in capsys.readouterr().out
    run(images)
    assert "24 images: 0 decoded, 24 known from before" in capsys.readouterr().out
    write(images / "cat/new.png", encoded(pixels(12)))
    write(images / "dog/00.png", encoded(pixels(13)))
    (images / "dog/01.png").unlink()
    run(images)
    assert "24 images: 2 decoded, 22 known from before" in capsys.readouterr().out


def fixes(images: Path) -> dict[str, tuple[str, str]]:
    with (images.with_name("images-check") / "fixes.csv").open(encoding="utf-8", newline="") as opened:
        return {row["path"]: (row["what"], row["target"]) for row in csv.DictReader(opened)}


class TestFixes:
    def test_every_file_is_in_the_new_folder_or_named(self, images: Path) -> None:
        hostile(images)
        assert run(images, "--fix") == 0
        named, fixed = fixes(images), images.with_name("images-fixed")
        assert named["cat/photo.jfif"] == ("extension .jpg", "cat/photo.jpg")
        for path, why in (
            ("cat/page.jpg", "its content is no known image's"),
            ("cat/gone.png", "it is a link to nowhere"),
            ("dog/pipe.png", "it is no regular file"),
            ("cat/caf\\udce9.png", "its name is not UTF-8, as a name in S3 must be"),
            ("cat/large.png", "400,000,000 pixels, more than data.most_pixels (89,478,485)"),
            ("cat/copy of 1.bmp", "the same pixels as cat/01.png, which stays"),
            ("cat/3.png", "the same pixels as dog/cat 3.png, which is of another class"),
            ("dog/cat 3.png", "the same pixels as cat/03.png, which is of another class"),
        ):
            assert named[path] == (f"left out: {why}", "")
        assert named["cat/cut.jfif"][0].startswith("left out: image file is truncated")
        assert list(named) == sorted(named)
        files = {path.relative_to(images).as_posix() for path in images.rglob("*") if not path.is_dir()}
        kept = {path.relative_to(fixed).as_posix() for path in fixed.rglob("*")}
        # That is a text, and no image.
        assert {printable(path) for path in files - kept} - set(named) == {"cat/BMW.txt"}

    def test_what_was_left_out_is_counted_by_its_kind(self, images: Path, capsys: pytest.CaptureFixture[str]) -> None:
        for number in range(2):
            write(images / f"cat/cut{number}.jpg", jpeg(60 + number)[: -300 - number])
            write(images / f"cat/twin of {number}.bmp", encoded(pixels(number), "BMP"))
        assert run(images, "--fix") == 0
        printed = capsys.readouterr().out
        assert re.search(r"left out: images whose end is missing\s+2\s", printed)
        assert re.search(r"left out: the same image as another one, which stays\s+2\s", printed)

    def test_of_sets_that_exist_the_training_set_keeps_its_image(self, tmp_path: Path) -> None:
        for name in ("test", "train"):
            for number in range(3):
                write(tmp_path / f"images/{name}/cat/{number}.png", encoded(pixels(10 * len(name) + number)))
            write(tmp_path / f"images/{name}/cat/seen.png", encoded(pixels(99)))
        run(tmp_path / "images", "--fix")
        assert fixes(tmp_path / "images") == {
            "test/cat/seen.png": ("left out: the same pixels as train/cat/seen.png, which stays", "")
        }

    def test_a_folder_of_other_things_is_refused_before_the_check(
        self, images: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        said = "was not made from these images with these settings: remove it, or name another folder for --fix"
        write(images.with_name("images-fixed") / "thesis.odt", b"years of work")
        assert run(images, "--fix") == 1
        printed = capsys.readouterr()
        assert printed.out == ""
        assert said in printed.err
        assert not images.with_name("images-check").exists()
        assert run(images, "--fix", str(images.with_name("other"))) == 0
        write(images / "cat/new.png", encoded(pixels(60)))
        capsys.readouterr()
        assert run(images, "--fix", str(images.with_name("other"))) == 1
        printed = capsys.readouterr()
        assert printed.out == ""
        assert said in printed.err

    def test_an_image_that_gets_another_name_is_named(self, images: Path) -> None:
        write(images / "cat/A.png", encoded(pixels(60)))
        write(images / "cat/a.png", encoded(pixels(61)))
        run(images, "--fix")
        assert fixes(images) == {"cat/a.png": ("renamed", "cat/a-1.png")}
        assert (images.with_name("images-fixed") / "cat/a-1.png").is_file()

    def test_a_name_of_255_bytes_stays_short_enough(self, images: Path) -> None:
        write(images / "cat" / ("é" * 125 + ".webp"), encoded(pixels(60)))
        write(images / "cat" / ("n" * 255), encoded(pixels(61)))
        write(images / "cat" / ("A" * 251 + ".png"), encoded(pixels(62)))
        write(images / "cat" / ("a" * 251 + ".png"), encoded(pixels(63)))
        assert run(images, "--fix") == 0
        targets = {path.removeprefix("cat/")[0]: fix for path, fix in fixes(images).items()}
        assert targets == {
            "n": ("extension .png, renamed", f"cat/{'n' * 251}.png"),
            "a": ("renamed", f"cat/{'a' * 249}-1.png"),
            "é": ("extension .png", f"cat/{'é' * 125}.png"),
        }
        assert all((images.with_name("images-fixed") / target).is_file() for _, target in targets.values())

    def test_only_an_images_extension_is_replaced(self, images: Path) -> None:
        for number, name in enumerate(("patient.001", "patient.002", "photo.jfif", "photo.1.webp")):
            write(images / "cat" / name, jpeg(60 + number))
        run(images, "--fix")
        assert {path: target for path, (_, target) in fixes(images).items()} == {
            "cat/patient.001": "cat/patient.001.jpg",
            "cat/patient.002": "cat/patient.002.jpg",
            "cat/photo.jfif": "cat/photo.jpg",
            "cat/photo.1.webp": "cat/photo.1.jpg",
        }

    @pytest.mark.parametrize("own", ["mine.png", ".notes.txt"])
    def test_images_that_are_gone_are_written_again(
        self, images: Path, own: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        run(images, "--fix")
        gone = images.with_name("images-fixed") / "cat/03.png"
        gone.unlink()
        capsys.readouterr()
        assert run(images, "--fix") == 0
        assert gone.is_file()
        assert "unchanged images-fixed" not in capsys.readouterr().out
        mine = write(gone.with_name(own), b"mine")
        gone.unlink()
        assert run(images, "--fix") == 1
        assert f"and holds others, such as 'cat/{own}', that are not its own: remove" in capsys.readouterr().err
        assert mine.read_bytes() == b"mine"

    def test_other_settings_make_another_folder(self, images: Path, capsys: pytest.CaptureFixture[str]) -> None:
        run(images, "--fix")
        assert run(images, "--fix", "--set", "data.most_pixels=100") == 1
        assert "was not made from these images with these settings: remove it" in capsys.readouterr().err

    @pytest.mark.slow
    def test_a_process_that_dies_is_told_of(self, images: Path) -> None:
        for number in range(40):
            write(images / f"cat/{number:02}.jpg", encoded(pixels(300 + number, side=600).convert("CMYK"), "JPEG"))
        assert run(images) == 0
        data = Data(directory=str(images), check_directory=str(images.with_name("images-check")))
        with pytest.raises(DataError, match="a process died while it wrote images anew: free memory"):
            fix_images(data, images.parent, images.with_name("images-fixed"), Deadly())
        assert not images.with_name("images-fixed").exists()


class Deadly(Unwatched):
    """Kills the processes of the work at the first image that is encoded anew, the 25th."""

    def __init__(self) -> None:
        self.done = 0

    def advance(self) -> None:
        """Count, and kill."""
        self.done += 1
        for process in multiprocessing.active_children():
            process.kill()


def test_an_odd_name_does_not_have_a_file_decoded_for_the_page(images: Path) -> None:
    write(images / "cat/it's large.png", encoded(pixels(70, side=60)))
    write(images / "cat/it's small.png", encoded(pixels(71)))
    run(images, "--set", "data.most_pixels=2000")
    page = read(images.with_name("images-check") / "check.html")
    assert [attributes["alt"] for tag, attributes in page.tags if tag == "img"] == ["cat/it's small.png"]


def test_a_memory_that_cannot_be_used_now_is_kept(images: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(images)
    file = images.with_name("images-check") / "images.sqlite"
    before = file.read_bytes()
    # Where SQLite keeps what it would have to undo.
    journal = file.with_name("images.sqlite-journal")
    journal.mkdir()
    assert run(images) == 1
    assert "cannot be used: disk I/O error; free the disk" in capsys.readouterr().err
    assert file.read_bytes() == before
    journal.rmdir()
    run(images)
    assert "24 images: 0 decoded" in capsys.readouterr().out


def test_a_damaged_memory_is_made_anew(images: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(images)
    write(images.with_name("images-check") / "images.sqlite", b"no database, but long enough to be taken for one" * 40)
    capsys.readouterr()
    assert run(images) == 0
    assert "24 images: 24 decoded" in capsys.readouterr().out


def test_a_split_keeps_together_what_a_check_found_alike(images: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(12):
        smaller = pixels(number).resize((30, 30), Image.Resampling.BILINEAR)
        write(images / f"cat/{number:02}-small.jpg", encoded(smaller, "JPEG", quality=95))
    split = ["--set", f"data.directory={images}"]
    assert data_handler.main(split) == 0
    assert "not looked for: images that are nearly the same" in capsys.readouterr().out
    run(images)
    capsys.readouterr()
    assert data_handler.main(split) == 0
    printed = capsys.readouterr()
    assert "24 images stay together in 12 groups" in printed.out
    sets = images.with_name("images-sets")
    for number in range(12):
        assert len({path.parts[-3] for path in sets.glob(f"*/cat/{number:02}*")}) == 1
    write(images / "dog/new.png", encoded(pixels(60)))
    data_handler.main(split)
    assert "1 image is new or changed since --check" in capsys.readouterr().err


@pytest.mark.parametrize(("first", "is_gone"), [("a.jfif", False), ("a.jpg", True)])
def test_a_split_keeps_images_together_without_the_one_that_they_were_compared_with(
    images: Path, first: str, is_gone: bool
) -> None:
    picture = pixels(60)
    for name in (first, "b.jpg"):
        write(images / "cat" / name, encoded(picture, "JPEG", quality=95))
    write(images / "cat/c.jpg", encoded(picture, "JPEG", quality=60))
    data = Data(directory="images")
    check_images(data, images.parent, Unwatched())
    assert {(f"cat/{first}", "same_image"), (f"cat/{first}", "near_image"), ("cat/c.jpg", "near_image")} <= findings(
        images
    )
    assert ("cat/b.jpg", "near_image") not in findings(images)
    if is_gone:
        (images / "cat" / first).unlink()
    outcome = split_images(data, images.parent, Unwatched())
    paths = [path for path, _ in outcome.source.images()]
    assert [[paths[position] for position in group] for group in outcome.grouping.groups] == [
        ["cat/b.jpg", "cat/c.jpg"]
    ]


@pytest.mark.skipif(sys.platform != "linux", reason="gives up what root may do")
def test_what_a_check_could_not_read_counts_as_not_checked(images: Path) -> None:
    locked = write(images / "cat/locked.png", (images / "cat/00.png").read_bytes())
    locked.chmod(0)
    assert run_bound_by_modes(images, "--check").returncode == 0
    assert findings(images) == {("cat/locked.png", "unreadable")}
    locked.chmod(0o644)
    data = Data(directory="images")
    assert split_images(data, images.parent, Unwatched()).changed_since_check == 1
    check_images(data, images.parent, Unwatched())
    assert split_images(data, images.parent, Unwatched()).changed_since_check == 0


class InterruptedAt(Unwatched):
    """A Progress at which the user presses Ctrl-C when a step begins."""

    def __init__(self, step: str) -> None:
        self.step = step

    def start(self, step: str, total: int | None = None) -> None:
        """Compare the step."""
        if step == self.step:
            raise KeyboardInterrupt


def test_a_split_tells_of_images_that_the_check_found_damaged(images: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = encoded(pixels(500))
    write(images / "cat/cut.png", content[: len(content) // 2])
    run(images)
    capsys.readouterr()
    assert data_handler.main(["--set", f"data.directory={images}"]) == 0
    assert "1 image is damaged, as --check found, such as cat/cut.png: a job" in capsys.readouterr().err


def test_what_a_check_decoded_but_did_not_compare_counts_as_not_checked(
    images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = Data(directory=str(images), check_directory=str(images.with_name("images-check")))
    with pytest.raises(KeyboardInterrupt):
        check_images(data, images.parent, InterruptedAt("Comparing images"))
    split = ["--set", f"data.directory={images}"]
    data_handler.main(split)
    assert "24 images are new or changed since --check, or it ended before it compared all" in capsys.readouterr().err
    run(images)
    assert "24 images: 0 decoded" in capsys.readouterr().out
    data_handler.main(split)
    assert capsys.readouterr().err == ""


def test_near_images_may_be_parted_where_they_would_all_be_one_group(
    images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(images)
    for number in range(12):
        write(images / f"cat/{number:02}.jpg", jpeg(0) + bytes(number) if number < 2 else frame(number))
    run(images)
    split = ["--set", f"data.directory={images}"]
    assert data_handler.main(split) == 1
    said = capsys.readouterr().err
    assert "the largest group ties 12 of 12 images, such as 'cat/00.jpg': 2 have the same pixels, 12 are nearly" in said
    assert data_handler.main([*split, "--set", "data.keep_near=false"]) == 0
    sets = images.with_name("images-sets")
    # Those with the same pixels stay together.
    assert len({path.parts[-3] for path in sets.glob("*/cat/0[01].jpg")}) == 1


def frame(number: int) -> bytes:
    """A picture of a film that grows lighter."""
    return encoded(pixels(0).point(lambda value: value * (100 - number) // 100), "JPEG", quality=95)


def test_sets_that_share_an_image_are_a_problem(tmp_path: Path) -> None:
    for position, name in enumerate(("train", "test")):
        for number in range(4):
            write(tmp_path / f"images/{name}/cat/{number}.png", encoded(pixels(10 * position + number)))
    write(tmp_path / "images/test/cat/seen.png", encoded(pixels(0)))
    assert run(tmp_path / "images", "--strict") == 1
    assert {("train/cat/0.png", "two_sets"), ("test/cat/seen.png", "two_sets")} <= findings(tmp_path / "images")


def write_sets(images: Path, **classes: str) -> None:
    """Write sets with four images of each of these classes, which are single letters."""
    for position, (name, letters) in enumerate(classes.items()):
        for letter in letters:
            for number in range(4):
                seed = 100 * position + 10 * ord(letter) + number
                write(images / name / letter / f"{number}.png", encoded(pixels(seed)))


@pytest.mark.skipif(sys.platform != "linux", reason="gives up what root may do")
def test_a_set_that_cannot_be_read_is_not_taken_for_a_missing_one(tmp_path: Path) -> None:
    images = tmp_path / "images"
    write_sets(images, train="ab", valid="ab", test="ab")
    (images / "valid").chmod(0)
    done = run_bound_by_modes(images)
    assert (done.returncode, done.stdout) == (1, "")
    assert f"'{images}/valid' cannot be read: Permission denied" in done.stderr
    assert run_bound_by_modes(images, "--check").returncode == 0
    assert findings(images) == {("valid", "unreadable")}


def test_a_class_of_which_there_is_nothing_to_train_with_is_a_problem(tmp_path: Path) -> None:
    images = tmp_path / "images"
    write_sets(images, train="ab", valid="abc")
    assert run(images, "--strict") == 1
    assert findings(images) == {("c", "untrained_class")}
    with pytest.raises(DataError, match="the class 'c' would have no image to train with"):
        split_images(Data(directory="images"), tmp_path, Unwatched())


def test_a_class_is_as_large_as_what_a_split_takes_of_it(images: Path) -> None:
    for number in range(2):
        write(images / f"fox/{number}.png", encoded(pixels(200 + number)))
    write(images / "fox/2.png", b"a text")
    write(images / "fox/3.jfif", jpeg(203))
    for number in range(2):
        write(images / f"owl/{number}.png", encoded(pixels(210 + number)))
    # That is damaged, but begins as an image, which is all that a split looks at.
    write(images / "owl/2.png", encoded(pixels(212))[:20])
    run(images)
    assert {path for path, rule in findings(images) if rule == "small_class"} == {"fox"}
    with pytest.raises(DataError, match=r"but in .*images 'fox' has 2: add images"):
        split_images(Data(directory="images"), images.parent, Unwatched())


class TestLabels:
    def test_a_table_that_contradicts_itself_is_a_problem(self, images: Path) -> None:
        write(images / "labels.csv", b"image,weight\ncat/00.png,1\n03.png,1\n")
        assert run(images, "--strict") == 1
        with (images.with_name("images-check") / "findings.csv").open(encoding="utf-8", newline="") as opened:
            (row,) = csv.DictReader(opened)
        assert (row["finding"], row["path"], row["class"]) == ("wrong_labels", "labels.csv", "")
        assert row["detail"].startswith("line 3: '03.png' is the name of 2 images (cat/03.png, dog/03.png): give")

    def test_rows_that_name_no_image_are_told_of(self, images: Path) -> None:
        write(images / "cat/text.png", b"a text")
        write(images / "labels.csv", b"image,weight\ncat/00.png,1\nfox/0.png,1\ncat/text.png,1\n")
        run(images)
        assert findings(images) == {
            ("cat/text.png", "undecodable"),
            ("fox/0.png", "unmatched_row"),
            ("cat/text.png", "unmatched_row"),
        }


def test_one_class_only_is_a_problem(images: Path) -> None:
    shutil.rmtree(images / "dog")
    assert run(images, "--strict") == 1
    assert findings(images) == {("cat", "one_class")}


def test_the_class_of_a_bad_file_is_its_class_folder_also_in_sets(tmp_path: Path) -> None:
    for name in ("train", "test"):
        for number in range(4):
            write(tmp_path / f"images/{name}/cat/{number}.png", encoded(pixels(len(name) * 10 + number)))
    write(tmp_path / "images/train/cat/empty.png", b"")
    run(tmp_path / "images")
    with (tmp_path / "images-check/findings.csv").open(encoding="utf-8", newline="") as opened:
        assert [row["class"] for row in csv.DictReader(opened) if row["finding"] == "empty"] == ["cat"]


def test_a_split_tells_of_sets_and_images_that_it_leaves_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(40):
        write(tmp_path / f"images/train/cat/{number}.png", encoded(pixels(number, side=8)))
    for number in range(4):
        write(tmp_path / f"images/test/{number}.png", encoded(pixels(50 + number, side=8)))
    assert data_handler.main(["--set", f"data.directory={tmp_path / 'images'}"]) == 0
    assert "left out test: it has a set's name, but no class folders" in capsys.readouterr().err
    rows = "".join(f"{number}.png,{'ab'[number % 2]}\n" for number in range(38))
    write(tmp_path / "table/labels.csv", f"image,label\n{rows}".encode())
    for number in range(40):
        write(tmp_path / f"table/{number}.png", encoded(pixels(number, side=8)))
    assert data_handler.main(["--set", f"data.directory={tmp_path / 'table'}"]) == 0
    assert "left out 2 images without a row in labels.csv" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--set", "data.check_directory={images}/in"], "would lie one in the other"),
        (["--fix", "{images}/in"], "would lie one in the other"),
        (["--fix", "{images}-sets"], "was not made from these images with these settings: remove it"),
    ],
)
def test_folders_that_are_not_ours_are_left_alone(
    images: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    thesis = write(images.with_name("images-sets") / "thesis.odt", b"years of work")
    assert run(images, *(text.format(images=images) for text in arguments)) == 1
    assert said in capsys.readouterr().err
    assert thesis.read_bytes() == b"years of work"


@pytest.mark.parametrize("arguments", [["--strict"], ["--fix"], ["--fix", "elsewhere"]])
def test_what_goes_with_a_check_is_wrong_usage_without(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as raised:
        data_handler.main(arguments)
    assert raised.value.code == 2


class Failing(io.BytesIO):
    """An image on a disk that fails beyond its first bytes."""

    def read(self, size: int | None = -1) -> bytes:
        """Read, or fail."""
        if self.tell() > 30:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return super().read(size)


def test_a_disk_that_fails_says_nothing_of_the_image() -> None:
    with pytest.raises(OSError, match="Input/output error"):
        look_into(Failing(encoded(pixels(0))), 10**6)


@pytest.mark.skipif(sys.platform != "linux", reason="limits a process's memory")
def test_too_little_memory_says_nothing_of_the_image(tmp_path: Path) -> None:
    write(tmp_path / "large.png", encoded(Image.new("1", (9_000, 9_000))))
    done = subprocess.run([sys.executable, "-c", LITTLE_MEMORY], cwd=tmp_path, env=ENVIRONMENT, capture_output=True)
    assert done.stderr.decode().strip().splitlines()[-1].startswith("MemoryError")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("step", "image"),
    [
        ("Decoding images", 40),
        ("Writing what was found", 0),
        ("Comparing images", 0),
        ("Writing images", 0),
        ("Writing images", 50),
    ],
)
def test_killed_at_any_moment_the_next_run_finds_the_same(tmp_path: Path, step: str, image: int) -> None:
    images = tmp_path / "images"
    for number in range(80):
        kind = "RGB" if number % 3 else "CMYK"
        write(images / "ab"[number % 2] / f"{number}.jpg", encoded(pixels(number, side=60).convert(kind), "JPEG"))
    results = ("images-check/findings.csv", "images-check/fixes.csv")
    assert run(images, "--fix") == 0
    expected = [(tmp_path / name).read_bytes() for name in results]
    fixed = {path: state[2] for path, state in snapshot(tmp_path / "images-fixed").items()}
    for folder in ("images-check", "images-fixed"):
        shutil.rmtree(tmp_path / folder)

    killed = subprocess.run([sys.executable, "-c", KILLED, step, str(image)], cwd=tmp_path, env=ENVIRONMENT)
    assert killed.returncode == -signal.SIGKILL
    has_compared = step == "Writing images"
    outcome = split_images(Data(directory="images"), tmp_path, Unwatched())
    assert outcome.changed_since_check == (0 if has_compared or not outcome.was_checked else 80)

    assert run(images, "--fix") == 0
    assert [(tmp_path / name).read_bytes() for name in results] == expected
    assert {path: state[2] for path, state in snapshot(tmp_path / "images-fixed").items()} == fixed
    assert sorted(path.name for path in tmp_path.iterdir()) == ["images", "images-check", "images-fixed", "images-sets"]
