"""What the settings of several kinds of jobs say of SageMaker's instances alike: types, keys, networks."""

import re
from typing import Annotated

from pydantic import Field

InstanceType = Annotated[str, Field(pattern=r"^ml\.[a-z0-9-]+\.[a-z0-9-]+$")]
KmsKeyArn = Annotated[str, Field(pattern=r"^(arn:aws[a-z-]*:kms:[a-z0-9-]+:\d{12}:key/[A-Za-z0-9-]+)?$")]

# SageMaker's families with NVIDIA GPUs: p3, p4d, p5en, g4dn, g5, g6e, gr6 and so on.
GPU_INSTANCE_TYPE = r"ml\.(p\d|g\d|gr\d).*"

# Instance families whose storage is a local NVMe disk: CreateTrainingJob refuses VolumeKmsKeyId with them, and so do
# CreateEndpointConfig and CreateTransformJob.
# https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_ResourceConfig.html
_NVME_FAMILIES = frozenset(
    {"c5d", "c6id", "g4dn", "g5", "g6", "g6e", "gr6", "m5d", "m6id", "p3dn", "p4d", "p4de", "p5", "p5e", "p5en"}
    | {"p6-b200", "r5d", "r6id", "trn1", "trn1n", "trn2"}
)


def has_gpu(instance_type: str) -> bool:
    """Whether instances of a type have NVIDIA GPUs."""
    return re.fullmatch(GPU_INSTANCE_TYPE, instance_type) is not None


def check_network(subnets: tuple[str, ...], security_group_ids: tuple[str, ...]) -> None:
    """Raise ValueError where only one of two is set that go together."""
    if bool(subnets) != bool(security_group_ids):
        raise ValueError("subnets and security_group_ids go together: set both, or neither")


def check_volume_key(instance_type: str, volume_kms_key: str) -> None:
    """Raise ValueError where an instance's storage cannot be encrypted by a key of one's own."""
    if volume_kms_key and instance_type.split(".")[1] in _NVME_FAMILIES:
        raise ValueError(
            f"volume_kms_key cannot be used with {instance_type}: its storage is a local NVMe disk, which the "
            "instance encrypts by a key of its own; leave volume_kms_key empty"
        )
