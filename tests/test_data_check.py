"""`python data_handler.py --check` as its users meet it, on a folder in which everything is wrong."""

import csv
import hashlib
import io
import os
import re
import signal
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import data_handler
from tests.container.pages import read

ROOT = Path(data_handler.__file__).parent
LONG = "n" * 250 + ".png"


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
    more = {
        "cat/caf\\udce9.png": "name_not_unicode",
        "cat/gone.png": "no_file",
        "dog/self.png": "unreadable",
        "dog/pipe.png": "no_file",
        "cat/loop": "repeated_folder",
        "dog/again/loop": "repeated_folder",
        "Cat": "class_names",
        "cat": "class_names",
        "cat/1.png": "same_image",
        "cat/2.png": "near_image",
        "cat/3.png": "two_classes",
        "cat/4.png": "near_two_classes",
    }
    named = {name.replace("\n", "\\n"): rule for name, (_, rule) in files.items() if rule}
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
    assert "1 images are new or changed since --check" in capsys.readouterr().err


def test_sets_that_share_an_image_are_a_problem(tmp_path: Path) -> None:
    for position, name in enumerate(("train", "test")):
        for number in range(4):
            write(tmp_path / f"images/{name}/cat/{number}.png", encoded(pixels(10 * position + number)))
    write(tmp_path / "images/test/cat/seen.png", encoded(pixels(0)))
    assert run(tmp_path / "images", "--strict") == 1
    assert {("train/cat/0.png", "two_sets"), ("test/cat/seen.png", "two_sets")} <= findings(tmp_path / "images")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--set", "data.check_directory={images}/in"], "would lie one in the other"),
        (["--fix", "{images}/in"], "would lie one in the other"),
        (["--fix", "{images}-sets"], "was not made from these images: remove it, or name another folder"),
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


@pytest.mark.slow
def test_killed_at_any_moment_the_next_run_finds_the_same(tmp_path: Path) -> None:
    images = tmp_path / "images"
    for number in range(300):
        write(images / "ab"[number % 2] / f"{number}.jpg", encoded(pixels(number % 250, side=200), "JPEG"))
    command = [sys.executable, str(ROOT / "data_handler.py"), "--set", f"data.directory={images}", "--check", "--fix"]
    results = ("images-check/findings.csv", "images-check/fixes.csv")
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    expected = [(tmp_path / name).read_bytes() for name in results]
    fixed = {path: state[2] for path, state in snapshot(tmp_path / "images-fixed").items()}
    for seconds in (0.3, 0.6, 0.9, 1.2):
        for folder in ("images-check", "images-fixed"):
            subprocess.run(["rm", "-rf", str(tmp_path / folder)], check=True)
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            try:
                process.wait(seconds)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
        subprocess.run(command, check=True, capture_output=True, timeout=120)
        assert [(tmp_path / name).read_bytes() for name in results] == expected
        assert {path: state[2] for path, state in snapshot(tmp_path / "images-fixed").items()} == fixed
        assert sorted(path.name for path in tmp_path.iterdir()) == ["images", "images-check", "images-fixed"]
