"""Types, limits and defaults of the settings for what becomes of images before they are trained on."""

from typing import Literal, Self

from pydantic import Field, model_validator

from container.modeling.instances import InstanceType, KmsKeyArn, check_volume_key
from container.modeling.section import Section


class Ingestion(Section):
    """How much an archive may hold that `data_handler.py --ingest` unpacks: a small one can be made to fill a disk."""

    max_files: int = Field(10_000_000, ge=1)
    """Files in an archive or a folder, at most."""
    max_gb: float = Field(0.0, ge=0)
    """GB of all of them together, at most; 0: as much as the disk has room for."""
    max_ratio: float = Field(100.0, ge=1)
    """How many times its own size an archive may unpack to; images hardly shrink in archives."""


class Preparation(Section):
    """What `data_handler.py --prepare` makes of training and validation images: small ones, many in one file."""

    short_side: int = Field(0, ge=0, le=16_384)
    """Shorter side of the prepared images, in pixels; 0: they are just large enough for the input. None is enlarged."""
    format: Literal["jpeg", "png"] = "jpeg"
    """What images that shrink are encoded as; `png` loses nothing more, and takes several times the space."""
    quality: int = Field(92, ge=1, le=100)
    """`jpeg`: the higher, the less is lost."""
    shard_mb: int = Field(192, ge=1, le=4096)
    """MB of a shard, at most by about 1 %; each has more than half of that where there are several."""
    processes: int = Field(0, ge=0, le=1024)
    """How many processes work side by side; 0: one for each core."""
    raw_folder: str = Field("", pattern=r"^([\w!.*'()-]+(/[\w!.*'()-]+)*)?$")
    """`--on_sagemaker`: folder of the data bucket with class folders that are not split yet; empty: the sets."""
    instance_type: InstanceType = "ml.c5.4xlarge"
    """`--on_sagemaker`: what each of the processing job's instances is; only its cores are used."""
    volume_size_gb: int = Field(100, ge=1, le=16_384)
    """`--on_sagemaker`: storage of each instance, in GB, for its share of the images before and after."""
    max_runtime_seconds: int = Field(86_400, ge=1, le=432_000)
    """`--on_sagemaker`: seconds after which SageMaker stops the job, whose work is then lost."""
    volume_kms_key: KmsKeyArn = ""
    """`--on_sagemaker`: KMS key that encrypts the instances' storage; empty: a key of SageMaker's own."""

    @model_validator(mode="after")
    def _sagemaker_takes_the_key(self) -> Self:
        check_volume_key(self.instance_type, self.volume_kms_key)
        return self
