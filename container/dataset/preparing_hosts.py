"""Preparing the sets by several hosts, each of which is given a share of their images, as a SageMaker processing job.

The hosts need not know of each other: an order tells all of them the classes, so that the same label means the same
class everywhere, and the shards of each bear its number. What each has made it tells in a part; whoever has all parts
writes the index of each set, without which the shards are not taken for a prepared set.
"""

import contextlib
import errno
import hashlib
import json
import logging
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from container.dataset.labels import LABELS_FILE
from container.dataset.left_out import MOST_NAMED, LeftOutCounts
from container.dataset.prepare import MARK, Layout, prepare_sets
from container.dataset.prepared import INDEX, PREPARED_SETS, TRAINING, ClassImages, SetIndex
from container.dataset.raw_images import EVALUATION, RawSplit, divide, keep
from container.dataset.recipe import Recipe
from container.dataset.record import RECORD, Split
from container.errors import DataError
from container.words import plural

PROCESSING = "processing"
"""Folder of /opt/ml that all inputs and outputs lie in."""
INPUT, OUTPUT, ORDER, RAW = "input", "output", "order", "raw"
"""Folders in that one: a folder for each set, what becomes of them, and the order; of images that are not split yet, a
single folder in the first."""
ORDER_FILE = "order.json"
PARTS = "parts"
"""Folder beside the prepared sets, with a file for each host."""
SETS = ".sets"
"""Folder below the output, in which the input is put together; it is gone at the end. There is room for what lies in
the output: it is on the volume whose size the job's request names."""
TOLD_EVERY = 30.0  # seconds
CLASSES_NAMED = 5
FULL = (errno.ENOSPC, errno.EDQUOT)

logger = logging.getLogger(__name__)


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class SetOrder(_Record):
    """A set that is to be prepared."""

    name: str
    classes: tuple[str, ...] = Field(min_length=1)
    """Names of its class folders, sorted."""


class Order(_Record):
    """What all hosts do."""

    version: int = Field(1, ge=1, le=1)
    hosts: int = Field(ge=1)
    recipe: Recipe
    shard_bytes: int = Field(ge=1)
    least_training_shards: int = Field(ge=1)
    """Of all hosts together."""
    processes: int = Field(ge=0)
    """That work side by side on each host; 0: one for each core."""
    record: str
    """The text of the split.json of the sets; empty: there is none. Of images that are not split yet, how they are."""
    raw: RawSplit | None = None
    """How the hosts split the images; None: they are split already."""
    fingerprint: str | None = None
    """Of the sets, as the manifest of the data bucket told it at the launch; None: it told none."""
    sets: tuple[SetOrder, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _names_the_sets(self) -> Self:
        if (found := tuple(one.name for one in self.sets)) != PREPARED_SETS:
            raise ValueError(f"the sets must be {' and '.join(PREPARED_SETS)}, not {', '.join(found)}")
        return self


class Part(_Record):
    """What one host has made of its share."""

    host: int = Field(ge=0)
    sets: tuple[SetIndex, ...]
    """In the order's order."""
    evaluation: int = Field(0, ge=0)
    """Images that this host has put into the evaluation set."""
    left_out: LeftOutCounts = LeftOutCounts()
    """What lies in this host's share besides images."""


def run(base: Path) -> Part:
    """Prepare the share of this host.

    Args:
        base: /opt/ml.

    Raises:
        DataError: there is no order, or something cannot be read or written.
    """
    processing = base / PROCESSING
    with _explained(processing):
        return _prepare_share(base, processing)


def _prepare_share(base: Path, processing: Path) -> Part:
    order = _order(processing / ORDER / ORDER_FILE)
    host, hosts = _place(base / "config" / "resourceconfig.json")
    if hosts != order.hosts:
        raise DataError(f"the order is for {order.hosts} hosts, but there are {hosts}")
    logger.info("host %d of %d prepares its share of %s", host + 1, hosts, " and ".join(PREPARED_SETS))
    target, most = processing / OUTPUT, MOST_NAMED // hosts
    sets = target / SETS
    # Without it the folder of the sets would be taken for somebody else's.
    (target / MARK).touch()
    try:
        left_out = [_fill(sets, processing, order, most)]
        layout = Layout(order.shard_bytes, -(-order.least_training_shards // hosts))
        prepared = prepare_sets(sets, target, order.recipe, layout, _Told(), order.processes)
        left_out += [LeftOutCounts.of(one.left_out, f"{one.name}/", most) for one in prepared]
        own = tuple(_own(target / one.name, one.name, one.index, host) for one in prepared)
        (target / MARK).unlink()
        evaluation = keep(sets / EVALUATION, target / EVALUATION) if order.raw else 0
    finally:
        shutil.rmtree(sets, ignore_errors=True)
    part = Part(host=host, sets=own, evaluation=evaluation, left_out=LeftOutCounts.together(left_out, most))
    (target / PARTS).mkdir()
    (target / PARTS / part_file(host)).write_text(part.model_dump_json(indent=1) + "\n", encoding="utf-8")
    for one in part.sets:
        logger.info("%d images, %d shards, %d bytes", one.images, len(one.shards), one.bytes)
    return part


def part_file(host: int) -> str:
    """Return the name of the file with what a host has made; hosts count from 0."""
    return f"{host:05}.json"


def merged(order: Order, parts: Sequence[Part]) -> dict[str, SetIndex]:
    """Return the index of each set, by its name, from the parts of all hosts.

    Raises:
        DataError: a host's part is missing, or all of them together have no image of a set, or none of a class to train
            on.
    """
    found = {part.host: part for part in parts}
    if missing := [host for host in range(order.hosts) if host not in found]:
        raise DataError(f"{len(missing)} of {order.hosts} hosts left no part, the first of them host {missing[0] + 1}")
    columns = zip(*(found[host].sets for host in range(order.hosts)), strict=True)
    indexes = {wanted.name: _together(column) for wanted, column in zip(order.sets, columns, strict=True)}
    for name, index in indexes.items():
        if not index.images:
            raise DataError(f"no host was given an image of the {name} set")
    if order.raw and not any(part.evaluation for part in parts):
        raise DataError(f"no host was given an image of the {EVALUATION} set")
    if empty := [repr(one.name) for one in indexes[TRAINING].classes if not one.images]:
        where = order.raw.source if order.raw else f"{TRAINING}/ of the data bucket"
        more = f" and {len(empty) - CLASSES_NAMED} more" if len(empty) > CLASSES_NAMED else ""
        raise DataError(
            f"no image of {plural(len(empty), 'class', 'classes')} came into the {TRAINING} set: "
            f"{', '.join(empty[:CLASSES_NAMED])}{more}; add images, or move the folders out of {where}, and prepare "
            "again"
        )
    return indexes


def differences(order: Order, indexes: Mapping[str, SetIndex]) -> tuple[str, ...]:
    """Return where the sets hold another number of images of a class than the record of their split tells."""
    try:
        split = Split.model_validate_json(order.record)
    except ValidationError:
        # Sets that were made elsewhere, or images that the hosts split.
        return ()
    told = {(name, row.name): count for row in split.classes for name, count in row.by_set()}
    return tuple(
        f"the {name} set has {plural(one.images, 'image')} of {one.name!r}, and {RECORD} tells of {expected:,}"
        for name, index in indexes.items()
        for one in index.classes
        if one.images != (expected := told.get((name, one.name), 0))
    )


def _together(indexes: Sequence[SetIndex]) -> SetIndex:
    first = indexes[0]
    return SetIndex(
        recipe=first.recipe,
        split=first.split,
        fingerprint=hashlib.sha256(" ".join(index.fingerprint for index in indexes).encode()).hexdigest(),
        classes=tuple(
            ClassImages(name=column[0].name, images=sum(one.images for one in column))
            for column in zip(*(index.classes for index in indexes), strict=True)
        ),
        shards=tuple(sorted((shard for index in indexes for shard in index.shards), key=lambda shard: shard.name)),
        has_labels=any(index.has_labels for index in indexes),
        problems=tuple(problem for index in indexes for problem in index.problems),
    )


def _order(file: Path) -> Order:
    try:
        return Order.model_validate_json(file.read_bytes())
    except (OSError, ValidationError) as error:
        raise DataError(f"{file} cannot be understood: {' '.join(str(error).split())}") from None


def _place(file: Path) -> tuple[int, int]:
    """Return which of how many hosts this is, counted from 0."""
    try:
        config = json.loads(file.read_text())
        # SageMaker may list them in any order.
        hosts = sorted(config["hosts"])
        return hosts.index(config["current_host"]), len(hosts)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{file} does not tell which host this is: {error}") from None


@contextlib.contextmanager
def _explained(folder: Path) -> Iterator[None]:
    """Make a DataError of any OSError, and of a full disk the name of the setting that makes it larger."""
    try:
        yield
    except (DataError, OSError) as error:
        cause = error if isinstance(error, OSError) else error.__cause__
        if isinstance(cause, OSError) and cause.errno in FULL:
            raise DataError(
                f"{cause.filename or folder} cannot be written: the disk is full. It has to hold this host's share of "
                "the images before and after: set preparation.volume_size_gb higher, or take more instances"
            ) from None
        if isinstance(error, OSError):
            why = error.strerror or error
            raise DataError(f"{error.filename or folder} cannot be read or written: {why}") from None
        raise


def _fill(sets: Path, processing: Path, order: Order, most: int) -> LeftOutCounts:
    """Fill a folder of the sets with all class folders, also those of which this host was given no image.

    What SageMaker brought is left as it is: it may not let itself be written to.

    Args:
        sets: the folder, which is missing.
        processing: where inputs and outputs lie.
        order: what all hosts do.
        most: bad files that are named.

    Returns:
        What was left out so far: of images that are split already, what lies outside their class folders.

    Raises:
        DataError: there is a class folder that the order does not name.
        OSError: the folder cannot be made.
    """
    given = processing / INPUT
    if order.raw:
        left_out = LeftOutCounts.of(divide(given / RAW, order.raw, order.sets[0].classes, sets), most=most)
    else:
        left_out = LeftOutCounts.together(
            _link(wanted, given / wanted.name, sets / wanted.name) for wanted in order.sets
        )
    (sets / RECORD).write_text(order.record, encoding="utf-8")
    return left_out


def _link(wanted: SetOrder, given: Path, own: Path) -> LeftOutCounts:
    """Link the class folders of a set into a folder of its own; return what lies beside them."""
    hidden = others = 0
    own.mkdir(parents=True)
    found = {path.name: path for path in given.iterdir()} if given.is_dir() else {}
    for name, path in sorted(found.items()):
        if name.startswith("."):
            hidden += 1
        elif path.is_dir() and name not in wanted.classes:
            raise DataError(f"the {wanted.name} set has the class folder {name!r}, which the order does not name")
        else:
            others += not path.is_dir() and name != LABELS_FILE
    for name in wanted.classes:
        if name in found:
            (own / name).symlink_to(found[name])
        else:
            (own / name).mkdir()
    if LABELS_FILE in found:
        (own / LABELS_FILE).symlink_to(found[LABELS_FILE])
    return LeftOutCounts(hidden=hidden, other_files=others)


def _own(folder: Path, name: str, index: SetIndex, host: int) -> SetIndex:
    """Give the shards of a set names that no other host's have, and take its index, which is this host's only."""
    shards = []
    for shard in index.shards:
        own = shard.model_copy(update={"name": f"{name}-{host:05}{shard.name.removeprefix(name)}"})
        (folder / shard.name).rename(folder / own.name)
        shards.append(own)
    (folder / INDEX).unlink()
    return index.model_copy(update={"shards": tuple(shards)})


@dataclass
class _Told:
    """Progress as lines of the log."""

    step: str = ""
    total: int | None = None
    done: int = 0
    told: float = field(default_factory=time.monotonic)

    def start(self, step: str, total: int | None = None) -> None:
        self.step, self.total, self.done = step, total, 0
        logger.info("%s%s", step, f": {total:,}" if total else "")

    def advance(self) -> None:
        self.done += 1
        now = time.monotonic()
        if now - self.told >= TOLD_EVERY:
            self.told = now
            logger.info("%s: %s%s", self.step, f"{self.done:,}", f" of {self.total:,}" if self.total else "")
