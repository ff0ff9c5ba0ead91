"""What a check of images can find, what is to be done about each, and the table that tells of all of it."""

import csv
import itertools
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, TextIO

from container.dataset.text import printable

COLUMNS = ("level", "finding", "path", "class", "group", "detail")
# Findings of a kind that a page shows.
SHOWN = 48


@dataclass(frozen=True)
class Rule:
    """A kind of finding."""

    key: str
    title: str
    level: Literal["problem", "warning"]
    """`problem`: training would fail, leave the image out, or be judged by wrong figures."""
    remedy: str
    """What to do, or why nothing need be done."""


RULES: Mapping[str, Rule] = {
    rule.key: rule
    for rule in (
        Rule("empty", "files without a byte", "problem", "get them anew, or remove them"),
        Rule("unreadable", "files and folders that cannot be read", "problem", "change their permissions or the disk"),
        Rule("no_file", "links to nowhere, pipes and the like", "problem", "remove them, or put the images there"),
        Rule("undecodable", "files that are no images, or damaged", "problem", "get them anew, or remove them"),
        Rule("truncated", "images whose end is missing", "problem", "get them anew, or remove them"),
        Rule("too_many_pixels", "images beyond data.most_pixels", "problem", "scale them down; they were not decoded"),
        Rule("name_not_unicode", "names that are not UTF-8", "problem", "rename them: S3 takes no others"),
        Rule(
            "two_classes", "the same image under several classes", "problem", "decide for one class, remove the others"
        ),
        Rule("two_sets", "the same image in several sets", "problem", "remove it from all sets but one"),
        Rule(
            "class_names", "class names that are the same but for case or form", "problem", "bring them into one folder"
        ),
        Rule("one_class", "images of one class only", "problem", "add a folder of another class: training needs two"),
        Rule("small_class", "classes with fewer than 3 images", "problem", "add images, or remove the class"),
        Rule(
            "untrained_class",
            "classes without an image in the training set",
            "problem",
            "give it a folder of the class, or rename the class's folder as there",
        ),
        Rule("wrong_labels", "a labels.csv that no split can use", "problem", "mend the row that is named"),
        Rule("same_image", "images that are the same", "warning", "a split keeps them in one set; one is enough"),
        Rule("near_two_classes", "nearly the same image under several classes", "warning", "see which class is right"),
        Rule("near_two_sets", "nearly the same image in several sets", "warning", "remove it from all sets but one"),
        Rule("near_image", "images that are nearly the same", "warning", "a split keeps them in one set"),
        Rule("imbalance", "classes with less than a tenth of the largest one's images", "warning", "set loss.balance"),
        Rule("too_small", "images with a side below data.smallest_side", "warning", "see whether they tell anything"),
        Rule("wrong_extension", "files whose extension is not of what they are", "warning", "rename them"),
        Rule("animated", "images of several frames", "warning", "training takes the first frame"),
        Rule("cmyk", "images in the colors of print (CMYK)", "warning", "training converts them, roughly, to RGB"),
        Rule("sixteen_bit", "images of 16 bits a channel", "warning", "training takes the upper 8 bits"),
        Rule("rotated", "images that EXIF turns", "warning", "training turns JPEG files upright, others not"),
        Rule("odd_name", "names that make trouble in shells, tables or S3", "warning", "rename them"),
        Rule("repeated_folder", "links to folders that were seen already", "warning", "remove them; they are left out"),
        Rule("unlabeled", "images without a row in labels.csv", "warning", "add rows; they are left out"),
        Rule("unmatched_row", "rows of labels.csv that name no image", "warning", "mend the names, or remove them"),
    )
}


class Finding(NamedTuple):
    """One thing that was found."""

    rule: str
    """Its key in RULES."""
    path: str
    """Of the file from the folder of images; of a class, its name."""
    class_name: str
    """Empty where it is not of one class."""
    detail: str
    group: int = 0
    """The same number for images that belong together; 0: none."""
    has_pixels: bool = False
    """Whether it is of an image that can be decoded, and so be shown."""


@dataclass
class Findings:
    """Takes findings, writes each into a table, and keeps counts and the first ones."""

    file: TextIO
    counts: Counter[str] = field(default_factory=Counter)
    shown: dict[str, list[Finding]] = field(default_factory=dict)
    """Of each rule."""

    def __post_init__(self) -> None:
        self._writer: Any = csv.writer(self.file, lineterminator="\n")
        self._writer.writerow(COLUMNS)
        self._groups = itertools.count(1)

    def add(self, finding: Finding) -> None:
        """Take one."""
        rule = RULES[finding.rule]
        self.counts[finding.rule] += 1
        # All rows of a group are shown, or none.
        kept = self.shown.setdefault(finding.rule, [])
        if len(kept) < SHOWN or (finding.group and finding.group == kept[-1].group and len(kept) < 2 * SHOWN):
            kept.append(finding)
        self._writer.writerow(
            (
                rule.level,
                finding.rule,
                printable(finding.path),
                printable(finding.class_name),
                finding.group or "",
                printable(finding.detail),
            )
        )

    def add_group(self, rule: str, images: Iterable[tuple[str, str, str]]) -> None:
        """Take images with pixels that belong together, as path, class and detail."""
        number = next(self._groups)
        for path, class_name, detail in images:
            self.add(Finding(rule, path, class_name, detail, number, has_pixels=True))
