"""Sets of small pictures for the tests, and what they are prepared to."""

import io
import os
from pathlib import Path

import numpy as np
from PIL import Image

from container.dataset.prepare import Layout, PreparedSet, prepare_sets
from container.dataset.recipe import Recipe
from container.dataset.sharded_folder import index_shards
from tests.container.dataset.unwatched import Unwatched

RECIPE = Recipe(height=6, width=6, channels=3, format="png", quality=90)
# A prepared picture of these has some 200 bytes.
SMALL_SHARDS = Layout(shard_bytes=1000)


def encoded(seed: int, size: tuple[int, int] = (9, 12), kind: str = "PNG") -> bytes:
    """Return a picture of noise; `size` is its width and height."""
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), np.uint8)
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, kind)
    return content.getvalue()


def write(path: Path, content: bytes) -> None:
    """Write a file, at the same time on every machine, so that the same names make the same images."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    os.utime(path, (0, 0))


def write_sets(project: Path, training: int = 40, validation: int = 5) -> Path:
    """Write a split of two classes; return its folder."""
    sets = project / "sets"
    for name, count in (("training", training), ("validation", validation), ("evaluation", 2)):
        for label, class_name in enumerate(("cat", "dog")):
            for number in range(count):
                write(sets / name / class_name / f"{number}.png", encoded(2 * number + label))
    write(sets / "split.json", b"{}")
    return sets


def prepare(
    sets: Path, target: Path | None = None, recipe: Recipe = RECIPE, layout: Layout = SMALL_SHARDS
) -> tuple[PreparedSet, ...]:
    """Prepare a split, beside it unless a target is given, in this process."""
    return prepare_sets(sets, target or sets.with_name("prepared"), recipe, layout, Unwatched(), processes=1)


def contents(folder: Path) -> dict[str, bytes]:
    """Return the encoded images in a folder's shards by their names."""
    shards = index_shards(folder)
    return {name: shards.content(position) for position, name in enumerate(shards.names)}


def files(folder: Path) -> dict[str, bytes]:
    """Return all files below a folder."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
