"""`python data_handler.py --prepare` as its users meet it, and what is then uploaded."""

import re
import shutil
from pathlib import Path

import pytest

import data_handler
from container.dataset.sharded_folder import index_shards
from container.errors import DataError
from container.modeling.config_file import CONFIG_FILE, load_settings
from manager.local_sets import local_files
from manager.machine_checks import machine_checks
from tests.container.dataset.preparing import encoded, write

INPUT = {"image.height": "8", "image.width": "8"}


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A split folder of two classes with 20 images each."""
    for name in ("cat", "dog"):
        for number in range(20):
            write(tmp_path / "images" / name / f"{number}.png", encoded(number, (20, 16)))
    assert run(tmp_path / "images") == 0
    return tmp_path / "images"


def run(images: Path, *arguments: str, **changes: str) -> int:
    values = {"data.directory": str(images), "preparation.processes": "1", **INPUT, **changes}
    words = [word for name, value in values.items() for word in ("--set", f"{name}={value}")]
    return data_handler.main([*words, *arguments])


def uploaded(images: Path, **changes: str) -> list[str]:
    settings = load_settings(CONFIG_FILE, {"data.directory": str(images), **INPUT, **changes})
    return sorted(local_files(settings, Path(data_handler.__file__).parent))


def test_the_sets_are_prepared_and_uploaded_in_place_of_the_folders(
    images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folders = uploaded(images)
    assert len(folders) == 41
    capsys.readouterr()
    assert run(images, "--prepare") == 0
    printed = capsys.readouterr()
    assert re.search(r"training\s+32\s+1\s", printed.out)
    assert "36 images are prepared in" in printed.out
    assert uploaded(images) == sorted(
        [key for key in folders if key.startswith("evaluation/")]
        + ["split.json", "training/index.json", "training/training-00000-of-00001.tfrecord"]
        + ["validation/index.json", "validation/validation-00000-of-00001.tfrecord"]
    )
    assert run(images, "--prepare") == 0
    assert "unchanged" in capsys.readouterr().out


def test_what_is_left_out_of_the_sets_is_told(images: Path, capsys: pytest.CaptureFixture[str]) -> None:
    training = images.with_name("images-sets") / "training"
    broken = next((training / "cat").iterdir())
    broken.unlink()
    broken.touch()
    (training / "dog" / "notes.txt").touch()
    for _ in range(2):
        assert run(images, "--prepare") == 0
        printed = capsys.readouterr()
        assert f"left out training/cat/{broken.name}: it is empty" in printed.err
        assert "left out   1 without an image's extension or outside the class folders" in printed.out


@pytest.mark.parametrize("way", ["--prepare", "--as_arrays"])
def test_images_that_changed_since_the_split_are_told_of(
    images: Path, way: str, capsys: pytest.CaptureFixture[str]
) -> None:
    changed = f"{images} has changed since it was split into {images}-sets: run python data_handler.py to split it"
    assert run(images, way) == 0
    assert "has changed since" not in told(capsys)
    write(images / "cat/20.png", encoded(20, (20, 16)))
    assert run(images, way) == 0
    assert changed in told(capsys)
    thirds = {"data.training_fraction": "0.4", "data.validation_fraction": "0.3", "data.evaluation_fraction": "0.3"}
    assert run(images, "--stable", **thirds) == 0
    write(images / "cat/21.png", encoded(21, (20, 16)))
    run(images, way)
    assert "run python data_handler.py --stable to split it again" in told(capsys)
    assert run(images) == run(images, way) == 0
    assert "has changed since" not in told(capsys)
    shutil.rmtree(images)
    assert run(images, way) == 0
    assert "has changed since" not in told(capsys)


def told(capsys: pytest.CaptureFixture[str]) -> str:
    """What was printed, without the ends of lines."""
    return " ".join("".join(capsys.readouterr()).split())


def test_what_is_not_current_is_not_uploaded(images: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(images, "--prepare")
    with pytest.raises(
        DataError, match=r"prepared by other settings .* run python data_handler.py --prepare, or remove"
    ):
        uploaded(images, **{"image.width": "10"})
    assert run(images, **{"data.seed": "1"}) == 0
    with pytest.raises(DataError, match="prepared from another split"):
        uploaded(images, **{"data.seed": "1"})
    capsys.readouterr()
    assert run(images, "--prepare", **{"data.seed": "1"}) == 0
    assert "of them were so before" in capsys.readouterr().out
    assert len(uploaded(images, **{"data.seed": "1"})) == 9


def test_a_job_of_many_instances_gets_a_few_shards_for_each(images: Path) -> None:
    several = {"training_job.instance_count": "2", "training_job.data_distribution": "ShardedByS3Key"}
    assert run(images, "--prepare", **several) == 0
    prepared = images.with_name("images-sets-prepared")
    assert len(index_shards(prepared / "training").files) == 8
    assert len(index_shards(prepared / "validation").files) == 1


def test_images_that_cannot_be_decoded_are_named(images: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(12):
        write(images.with_name("images-sets") / f"training/cat/broken{number:02}.png", encoded(0, (99, 99))[:9_000])
    capsys.readouterr()
    assert run(images, "--prepare") == 0
    printed = capsys.readouterr().err
    assert len(re.findall(r"warning: left as it is cat/broken\d\d.png: it cannot be decoded \(", printed)) == 10
    assert "left as they are 2 more" in printed


@pytest.mark.parametrize(("name", "value"), [("short_side", "7"), ("quality", "0"), ("format", "webp")])
def test_settings_that_make_no_sense_are_errors(
    images: Path, capsys: pytest.CaptureFixture[str], name: str, value: str
) -> None:
    capsys.readouterr()
    assert run(images, "--prepare", **{f"preparation.{name}": value}) == 1
    assert re.fullmatch(rf"error: .*preparation\.{name}.*\n", capsys.readouterr().err)


def test_a_larger_short_side_serves_several_input_sizes(images: Path) -> None:
    assert run(images, "--prepare", **{"preparation.short_side": "12"}) == 0
    recipe = index_shards(images.with_name("images-sets-prepared") / "training").recipe
    assert (recipe.height, recipe.width) == (12, 12)


def test_prepared_sets_are_counted_by_their_images(images: Path) -> None:
    run(images, "--prepare")
    settings = load_settings(CONFIG_FILE, {"data.directory": str(images), **INPUT})
    checks = {
        check.subject: check for check in machine_checks(settings, "directory", Path(data_handler.__file__).parent)
    }
    told = checks["images"].look()
    assert told.level == "ok"
    assert told.text.endswith("-sets-prepared: 32 training, 4 validation, 4 evaluation images")
