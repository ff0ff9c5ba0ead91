"""What `data_handler.py` makes of the split: `--prepare` and `--as_arrays`."""

from collections.abc import Sequence
from pathlib import Path

from container.dataset.array_sets import ArraySet, write_arrays
from container.dataset.index import BadFile
from container.dataset.left_out import LeftOutCounts
from container.dataset.prepare import Layout, PreparedSet, prepare_sets
from container.dataset.progress import Progress
from container.dataset.recipe import Recipe
from container.modeling.settings import Settings
from container.words import plural, plural_are
from manager.console import Terminal
from manager.left_out import show_left_out

PROBLEMS_SHOWN = 10
# Where each of several hosts gets a share of the shards, they are nearly equal if each gets a few.
SHARDS_OF_A_HOST = 4


def prepare(settings: Settings, project_root: Path, progress: Progress) -> tuple[PreparedSet, ...]:
    """Prepare the training and validation images of the split as the settings say.

    Raises:
        DataError: there is no split, or a folder cannot be read or written.
    """
    data = settings.data
    return prepare_sets(
        project_root / data.sets_path,
        project_root / data.prepared_path,
        Recipe.of(settings),
        layout(settings),
        progress,
        settings.preparation.processes,
    )


def layout(settings: Settings) -> Layout:
    """Return how many shards the settings want."""
    job = settings.training_job
    is_sharded = job.data_distribution == "ShardedByS3Key"
    return Layout(settings.preparation.shard_mb * 1_000_000, SHARDS_OF_A_HOST * job.instance_count if is_sharded else 1)


def show_prepared(prepared: tuple[PreparedSet, ...], folder: str, terminal: Terminal) -> None:
    """Show what was prepared in a folder."""
    rows = [
        (
            prepared_set.name,
            f"{prepared_set.index.images:,}",
            f"{len(prepared_set.index.shards):,}",
            f"{prepared_set.original_bytes / 1e6:,.1f}",
            f"{prepared_set.index.bytes / 1e6:,.1f}",
        )
        for prepared_set in prepared
    ]
    terminal.table("Prepared sets", ("set", "images", "shards", "MB before", "MB now"), rows)
    left_out = (LeftOutCounts.of(prepared_set.left_out, f"{prepared_set.name}/") for prepared_set in prepared)
    show_left_out(LeftOutCounts.together(left_out), terminal)
    show_problems([problem for prepared_set in prepared for problem in prepared_set.index.problems], terminal)
    if all(prepared_set.unchanged for prepared_set in prepared):
        terminal.unchanged(f"{folder} holds these images already, prepared so")
        return
    count, shrunk = (sum(each) for each in zip(*((row.index.images, row.shrunk) for row in prepared), strict=True))
    taken_over = f"; {count - shrunk:,} of them were so before" if shrunk < count else ""
    terminal.done(f"{plural_are(count, 'image')} prepared in {folder}{taken_over}")


def show_problems(problems: Sequence[BadFile], terminal: Terminal) -> None:
    """Show which images could not be decoded, and are in the shards as they were."""
    for problem in problems[:PROBLEMS_SHOWN]:
        terminal.warn(f"left as it is {problem.path}: it cannot be decoded ({problem.reason})")
    if more := problems[PROBLEMS_SHOWN:]:
        terminal.warn(
            f"left as they are {plural(len(more), 'more such image')}: index.json beside the shards names all"
        )


def write_sets_as_arrays(settings: Settings, project_root: Path, progress: Progress) -> tuple[ArraySet, ...]:
    """Write the sets of the split as arrays of the input size.

    Raises:
        DataError: there is no split, or a folder cannot be read or written.
    """
    data = settings.data
    return write_arrays(
        project_root / data.sets_path,
        project_root / data.arrays_path,
        settings.image,
        progress,
        settings.preparation.processes,
    )


def show_arrays(written: tuple[ArraySet, ...], folder: str, terminal: Terminal) -> None:
    """Show which arrays were written into a folder."""
    left_out = [file for array_set in written for file in array_set.left_out]
    for file in left_out[:PROBLEMS_SHOWN]:
        terminal.warn(f"left out {file.path}: it cannot be decoded ({file.reason})")
    if more := left_out[PROBLEMS_SHOWN:]:
        terminal.warn(f"left out {plural(len(more), 'more such image')}")
    for array_set in written:
        size = array_set.file.stat().st_size / 1e6
        terminal.done(f"{plural_are(array_set.images, 'image')} in {folder}/{array_set.file.name} ({size:,.1f} MB)")
