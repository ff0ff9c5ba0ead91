"""What `--check` looks at on this machine: images, Docker, disk."""

import shutil
from pathlib import Path

from container.dataset.labels import LABELS_FILE
from container.dataset.prepared import PREPARED_SETS, SetIndex
from container.dataset.record import SETS, Split
from container.modeling.settings import Settings
from manager.docker_engine import Engine
from manager.findings import Check, Finding
from manager.image import Flavor
from manager.local_sets import local_files

GB = 10**9
# An image of 7 GB with the CUDA libraries, or of 2 GB without, and as much again for its build.
IMAGE_BYTES = {"gpu": 16 * GB, "cpu": 5 * GB}
# Results, and the copies of images where they cannot be linked.
PROJECT_BYTES = 2 * GB
ENGINE_SECONDS = 10


def machine_checks(settings: Settings, flavor: Flavor, project_root: Path) -> tuple[Check, ...]:
    """Return what is to be looked at on this machine."""
    return (
        Check("images", lambda: _images(settings, project_root)),
        Check("Docker", lambda: _docker(flavor)),
        Check("disk", lambda: _disk(project_root)),
    )


def _images(settings: Settings, project_root: Path) -> Finding:
    sets, originals = project_root / settings.data.sets_path, project_root / settings.data.directory
    if not sets.is_dir():
        if originals.is_dir():
            return Finding("warning", f"{settings.data.directory} is not split yet: run python data_handler.py")
        return Finding(
            "problem",
            f"{settings.data.directory} does not exist: put a folder of images per class into it, or set "
            "data.directory to where they are",
        )
    split = Split.read(sets)
    tables = {f"{name}/{LABELS_FILE}" for name in SETS}
    images = local_files(settings, project_root).keys() - tables
    counts = {name: sum(key.startswith(f"{name}/") for key in images) for name in SETS}
    # Shards that are not whole, or of other images, were refused just now.
    shards = {name: SetIndex.read(project_root / settings.data.prepared_path / name) for name in PREPARED_SETS}
    counts |= {name: index.images for name, index in shards.items() if index}
    expected = {name: sum(dict(counts.by_set())[name] for counts in split.classes) for name in SETS}
    found = ", ".join(f"{count:,} {name}" for name, count in counts.items())
    if counts != expected:
        told = ", ".join(f"{count:,} {name}" for name, count in expected.items())
        return Finding(
            "problem", f"{settings.data.sets_path} holds {found} images, and the split made {told}: split again"
        )
    prepared = f", prepared in {settings.data.prepared_path}" if any(shards.values()) else ""
    return Finding("ok", f"{len(split.classes):,} classes in {settings.data.sets_path}{prepared}: {found} images")


def _docker(flavor: Flavor) -> Finding:
    if flavor == "directory":
        return Finding("ok", "not needed: the AWS on this machine runs the image as a process")
    engine = Engine.connect(ENGINE_SECONDS).info()
    version, root = engine.get("ServerVersion", "of unknown version"), Path(engine.get("DockerRootDir", ""))
    if engine.get("OSType") != "linux":
        return Finding("problem", f"the engine runs {engine.get('OSType')} containers: switch it to Linux containers")
    # Docker Desktop keeps images in a virtual machine of its own, where this path is not one of this machine.
    if root.is_absolute() and root.is_dir() and (free := shutil.disk_usage(root).free) < IMAGE_BYTES[flavor]:
        return Finding(
            "warning",
            f"{root} has {_gb(free)} left, and building the image takes about {_gb(IMAGE_BYTES[flavor])}: "
            "`docker system prune` makes room",
        )
    return Finding("ok", f"engine {version}")


def _disk(project_root: Path) -> Finding:
    free = shutil.disk_usage(project_root).free
    if free < PROJECT_BYTES:
        return Finding("warning", f"{project_root} has {_gb(free)} left; results and splits may need more: make room")
    return Finding("ok", f"{_gb(free)} left in {project_root}")


def _gb(size: int) -> str:
    return f"{size / GB:,.1f} GB"
