"""A labels.csv goes the way of the images: counted as none of them, and uploaded with its set."""

from pathlib import Path

from container.dataset.split import split_images
from container.modeling.settings import Data, Settings
from manager.local_sets import local_files
from manager.machine_checks import machine_checks
from tests.container.dataset.unwatched import Unwatched


def test_each_sets_table_is_uploaded_but_is_no_image(tmp_path: Path) -> None:
    for name in ("cat/1", "cat/2", "cat/3", "dog/1", "dog/2", "dog/3"):
        path = tmp_path / "images" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"\x89PNG\r\n\x1a\n" + name.encode())
    (tmp_path / "images/labels.csv").write_text("image,weight\ncat/1.png,2\n")
    settings = Settings(project_name="pets", algorithm_name="pets", data=Data(directory="images"))
    split_images(settings.data, tmp_path, Unwatched())

    uploaded = local_files(settings, tmp_path).keys()
    assert {key for key in uploaded if not key.endswith(".png")} == {
        "training/labels.csv",
        "validation/labels.csv",
        "evaluation/labels.csv",
        "split.json",
    }
    assert len(uploaded) == 10
    checks = {check.subject: check for check in machine_checks(settings, "directory", tmp_path)}
    assert checks["images"].look().text == "2 classes in images-sets: 2 training, 2 validation, 2 evaluation images"
