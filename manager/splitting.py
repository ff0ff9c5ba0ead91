"""What `data_handler.py` says of a split."""

from collections.abc import Sequence

from container.dataset.assign import shares
from container.dataset.findings import RULES
from container.dataset.inspection import colliding_names
from container.dataset.left_out import LeftOutCounts
from container.dataset.record import SETS, ClassCounts, Split
from container.dataset.split import SplitOutcome
from container.dataset.text import printable
from container.words import plural, plural_are
from manager.console import Terminal
from manager.left_out import show_left_out

LACKING_SHOWN = 5
COLLIDING_SHOWN = 5


def show_split(outcome: SplitOutcome, data_directory: str, sets_path: str, terminal: Terminal) -> None:
    """Say which images went where, and what may surprise."""
    split = outcome.split
    _show_counts(split, terminal)
    _show_classes(split, terminal)
    _show_groups(outcome, terminal)
    _show_moved(outcome, terminal)
    _show_damaged(outcome, terminal)
    _show_difference(split, terminal)
    _show_left_out(split, terminal)
    _show_labels(split, terminal)
    if outcome.unchanged:
        terminal.unchanged(f"{sets_path} holds this split already")
    else:
        how = "hard links" if not split.copied else "copies" if not split.linked else "hard links and copies"
        terminal.done(f"{split.total:,} images of {data_directory} are split into {sets_path} ({how})")


def _show_counts(split: Split, terminal: Terminal) -> None:
    rows = [(row.name, row.training, row.validation, row.evaluation, row.total) for row in split.classes]
    sums = [sum(column) for column in list(zip(*rows, strict=True))[1:]]
    rows = [*rows, (f"all {len(rows)} classes", *sums)]
    terminal.table(
        "Images in each set",
        ("class", *SETS, "all sets"),
        [(printable(name), *(f"{count:,}" for count in counts)) for name, *counts in rows],
    )


def _show_classes(split: Split, terminal: Terminal) -> None:
    """Tell of classes that --check calls a problem."""
    names = [row.name for row in split.classes]
    if len(names) == 1:
        rule = RULES["one_class"]
        terminal.warn(f"{rule.title}, {printable(names[0])!r}: {rule.remedy}")
    if groups := colliding_names(names):
        rule = RULES["class_names"]
        shown = "; ".join(" and ".join(repr(printable(name)) for name in group) for group in groups[:COLLIDING_SHOWN])
        more = f", and {len(groups) - COLLIDING_SHOWN:,} more such" if len(groups) > COLLIDING_SHOWN else ""
        terminal.warn(f"{rule.title}, {shown}{more}: {rule.remedy}")


def _show_groups(outcome: SplitOutcome, terminal: Terminal) -> None:
    split, grouping, source = outcome.split, outcome.grouping, outcome.source
    if split.given_sets:
        found = ", ".join(f"{given.folder} as {given.name}" for given in source.sets)
        terminal.plain(f"  sets that were there already are kept: {printable(found)}")
    if split.refill:
        terminal.plain(
            f"  the {' and the '.join(split.refill.sets)} set had too few images, and got "
            f"{split.refill.fraction:.0%} of another set's"
        )
    if grouping.groups:
        terminal.plain(
            f"  {grouping.images:,} images stay together in {plural(len(grouping.groups), 'group')}: "
            f"{grouping.identical:,} are the same file, {grouping.alike:,} were found alike by --check, data.group_by "
            f"finds something in {len(grouping.keys):,}"
        )
    if not outcome.was_checked:
        terminal.plain(
            "  not looked for: images that are nearly the same; --check finds them, and they stay together then"
        )
    elif outcome.changed_since_check:
        terminal.warn(
            f"{plural_are(outcome.changed_since_check, 'image')} new or changed since --check, or it ended before it "
            "compared all: run it again"
        )
    if grouping.unmatched:
        terminal.warn(
            f"data.group_by finds nothing in {plural(len(grouping.unmatched), 'path')}, such as "
            f"{printable(grouping.unmatched[0])}: each of these images stays alone"
        )
    _show_conflicts(outcome, terminal)


def _show_moved(outcome: SplitOutcome, terminal: Terminal) -> None:
    """Tell of images that came into another set: a model may have learned what is to judge the next one."""
    if not (outcome.moved and outcome.earlier):
        return
    moved = f"{plural(outcome.moved, 'image')} came into another set than before"
    if dropped := outcome.earlier.dropped_options(outcome.split.stable, outcome.split.group_by):
        terminal.warn(
            f"{moved}: the split was made with {' '.join(dropped)}, and now without; split again with it, or set it "
            "for good by data.stable and data.group_by"
        )
    else:
        terminal.plain(
            f"  {moved}" + ("" if outcome.split.stable else "; --stable keeps those that it has where they are")
        )


def _show_damaged(outcome: SplitOutcome, terminal: Terminal) -> None:
    if damaged := outcome.damaged:
        terminal.warn(
            f"{plural_are(len(damaged), 'image')} damaged, as --check found, such as {printable(damaged[0])}: "
            "a job leaves such out, and fails where they are more than input.max_broken_share of a set; --check --fix "
            "makes a folder without them"
        )


def _show_conflicts(outcome: SplitOutcome, terminal: Terminal) -> None:
    """Tell of groups that should not be: of several classes, or of several sets that exist."""
    owners = [
        (given.name, folder.name) for given in outcome.source.sets for folder in given.classes for _ in folder.files
    ]
    classes = leaks = 0
    for group in outcome.grouping.groups:
        tied_by_key = all(position in outcome.grouping.keys for position in group)
        classes += not tied_by_key and len({owners[position][1] for position in group}) > 1
        leaks += len({owners[position][0] for position in group}) > 1
    if classes:
        terminal.warn(f"images of several classes are alike, in {plural(classes, 'group')}: --check names them")
    if leaks:
        terminal.warn(
            f"images that belong together, in {plural(leaks, 'group')}, lie in several of the sets that were there "
            "already: the model will be judged by images that it knows; --check names them"
        )


def _show_difference(split: Split, terminal: Terminal) -> None:
    """Tell how far the sets are from the fractions, where these could not be kept."""
    if not split.given_sets:
        fractions = (split.fractions.training, split.fractions.validation, split.fractions.evaluation)
        row, off, name = max((_furthest(row, fractions) for row in split.classes), key=lambda found: abs(found[1]))
        if off:
            why = "a hash divides roughly" if split.stable else "groups do not let each class be divided exactly"
            terminal.plain(
                f"  {why}: furthest off is {printable(row.name)}, with {abs(off):,} "
                f"{'more' if off > 0 else 'fewer'} for {name} than its share"
            )
    lacking = [f"{row.name} in {name}" for row in split.classes for name, count in row.by_set() if not count]
    if lacking:
        more = f" and {len(lacking) - LACKING_SHOWN} more" if len(lacking) > LACKING_SHOWN else ""
        terminal.warn(f"no images of {printable(', '.join(lacking[:LACKING_SHOWN]))}{more}")


def _furthest(row: ClassCounts, fractions: Sequence[float]) -> tuple[ClassCounts, int, str]:
    wanted = shares(row.total, fractions)
    off = {name: count - share for (name, count), share in zip(row.by_set(), wanted, strict=True)}
    name = max(off, key=lambda name: abs(off[name]))
    return row, off[name], name


def _show_left_out(split: Split, terminal: Terminal) -> None:
    for folder in split.without_classes:
        terminal.warn(
            f"left out {folder}: it has a set's name, but no class folders with images in it; put its images into such "
            "folders, or move it away"
        )
    if split.unlabeled:
        left = plural(split.unlabeled, "image")
        terminal.warn(f"left out {left} without a row in labels.csv: add rows, or move away what has none")
    show_left_out(LeftOutCounts.of(split.left_out), terminal, "split.json beside the sets names them all")


def _show_labels(split: Split, terminal: Terminal) -> None:
    if split.labels:
        images = plural(split.total + split.unlabeled, "image")
        terminal.plain(f"  labels.csv has rows for {split.labels.labeled:,} of {images}")
        if lines := split.labels.unmatched_lines:
            which = "names no image of a class:" if len(lines) == 1 else "name no image of a class, the first in"
            terminal.warn(f"{plural(len(lines), 'row')} of labels.csv {which} line {lines[0]:,}")
