"""What the user's machine knows of the images before they are trained on: where they lie, how they are split.

All of it is the section `data`; the sections `ingestion` and `preparation` stand in preparation_settings.py.
"""

import math
import re
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from container.modeling.section import Section

# What a model's file ends in: a job's model.tar.gz, or what Keras saves.
MODEL_SUFFIXES = (".tar.gz", ".keras", ".h5")


def _pretrained(source: str) -> str:
    is_job = re.fullmatch(r"[A-Za-z0-9](-*[A-Za-z0-9]){0,62}", source)
    is_uri = re.fullmatch(r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]/[\w./!()'=+@:-]+", source)
    if source and not (is_job or is_uri or (source.endswith(MODEL_SUFFIXES) and "://" not in source)):
        raise ValueError(
            "must be the name of a training job, an s3://bucket/key, or a file of this machine that ends in "
            + ", ".join(MODEL_SUFFIXES)
        )
    return source


def _expression(text: str) -> str:
    try:
        re.compile(text)
    except re.error as error:
        raise ValueError(f"must be a regular expression: {error}") from None
    return text


class Data(Section):
    """The images on this machine, and how they are split."""

    directory: str = Field("data/images", min_length=1)
    """Folder with one sub-folder of images per class; relative to the folder of `project_manager.py`."""
    sets_directory: str = ""
    """Folder that receives `training/`, `validation/` and `evaluation/`; empty: `directory` with `-sets` added."""
    training_fraction: float = Field(0.8, gt=0, lt=1)
    """Share of each class that the network learns from."""
    validation_fraction: float = Field(0.1, gt=0, lt=1)
    """Share of each class that decides when to stop and which weights to keep."""
    evaluation_fraction: float = Field(0.1, gt=0, lt=1)
    """Share of each class that the finished model is judged by."""
    seed: int = Field(0, ge=0, le=2**31 - 1)
    """Seed of the split: the same seed and images give the same sets."""
    group_by: Annotated[str, AfterValidator(_expression)] = ""
    """Regular expression: images in whose paths it finds the same text (its first group) stay in one set."""
    keep_near: bool = True
    """Images that `--check` found nearly the same stay in one set, as those that are the same always do."""
    stable: bool = False
    """Assign by a hash: a data set that grows keeps its images where they are; fractions are then kept roughly."""
    class_column: str = ""
    """Column of `labels.csv` that tells the classes; empty: `label`, where there are no class folders."""
    refill_below: float = Field(0.02, ge=0, lt=1)
    """Where sets exist already: the share of all images up to which a validation set is too small."""
    refill_fraction: float = Field(0.1, gt=0, le=0.4)
    """Where sets exist already: the share of another set's images that a missing or too small one is given."""
    refill_from: Literal["training", "evaluation"] = "training"
    """Where sets exist already: the set that gives images to a missing or too small validation set."""
    check_directory: str = ""
    """Folder that receives what `--check` finds; empty: `directory` with `-check` added."""
    smallest_side: int = Field(8, ge=1, le=4096)
    """`--check` tells of images with a side of fewer pixels."""
    most_pixels: int = Field(89_478_485, ge=1, le=178_956_970)
    """`--check` tells of images with more pixels, and does not decode them."""
    pretrained: Annotated[str, AfterValidator(_pretrained)] = ""
    """What becomes the channel `pretrained`: an earlier training job by its name, an s3:// URI, or a model's file."""
    prepared_by: str = Field("", pattern=r"^([A-Za-z0-9](-*[A-Za-z0-9]){0,62})?$")
    """Processing job of `--prepare --on_sagemaker` whose images are trained on; empty: those of the data bucket."""

    @model_validator(mode="after")
    def _fractions_make_one(self) -> Self:
        total = math.fsum((self.training_fraction, self.validation_fraction, self.evaluation_fraction))
        if not math.isclose(total, 1, abs_tol=1e-6):
            raise ValueError(f"training, validation and evaluation fractions must add up to 1, not {total:g}")
        return self

    @property
    def sets_path(self) -> str:
        """Folder of the three sets, relative to the folder of `project_manager.py`."""
        return self.sets_directory or self.directory.rstrip("/") + "-sets"

    @property
    def check_path(self) -> str:
        """Folder of what `--check` finds, relative to the folder of `project_manager.py`."""
        return self.check_directory or self.directory.rstrip("/") + "-check"

    @property
    def prepared_path(self) -> str:
        """Folder of the prepared sets, relative to the folder of `project_manager.py`."""
        return self.sets_path.rstrip("/") + "-prepared"

    @property
    def arrays_path(self) -> str:
        """Folder of the sets as arrays, relative to the folder of `project_manager.py`."""
        return self.sets_path.rstrip("/") + "-arrays"
