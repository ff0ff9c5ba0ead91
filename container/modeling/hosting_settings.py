"""The settings of what a trained model is served on: an endpoint, and the instances of a batch transform."""

from typing import Literal, Self

from pydantic import Field, model_validator

from container.modeling.instances import InstanceType, KmsKeyArn, check_network, check_volume_key
from container.modeling.section import Section

# The payloads of all requests that an instance of a transform job works on at a time, in MB.
# https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_CreateTransformJob.html
MOST_PAYLOAD_MB = 100


class Hosting(Section):
    """What an endpoint and a batch transform have in common."""

    instance_type: InstanceType = "ml.m5.xlarge"
    """SageMaker instance type; a CPU is enough for most models of images."""
    instance_count: int = Field(1, ge=1)
    """Instances that share the requests, as far as the account's quota goes."""
    image: Literal["trained", "present"] = "trained"
    """`trained`: the image that the model was trained in. `present`: the pushed one of the present code."""
    network_isolation: bool = True
    """Give the container no network at all; requests and answers still come and go."""
    subnets: tuple[str, ...] = Field((), max_length=16)
    """Subnets of your VPC that the instances join; needs `security_group_ids`."""
    security_group_ids: tuple[str, ...] = Field((), max_length=5)
    """Security groups of the instances in your VPC; needs `subnets`."""
    volume_kms_key: KmsKeyArn = ""
    """KMS key that encrypts the instances' storage; empty: a key of SageMaker's own."""

    @model_validator(mode="after")
    def _sagemaker_takes_the_machines(self) -> Self:
        check_network(self.subnets, self.security_group_ids)
        check_volume_key(self.instance_type, self.volume_kms_key)
        return self


class Endpoint(Hosting):
    """The endpoint that `--deploy` makes."""


class BatchTransform(Hosting):
    """The instances that `--batch_transform` runs on, each with a share of the images."""

    max_payload_mb: int = Field(6, ge=1, le=MOST_PAYLOAD_MB)
    """Largest image file, in MB."""
    max_concurrent: int = Field(0, ge=0, le=MOST_PAYLOAD_MB)
    """Images that an instance is sent at a time; 0: as many as the container asks for."""

    @model_validator(mode="after")
    def _sagemaker_takes_the_payloads(self) -> Self:
        if self.max_concurrent * self.max_payload_mb > MOST_PAYLOAD_MB:
            raise ValueError(
                f"max_concurrent={self.max_concurrent} times max_payload_mb={self.max_payload_mb} must be at most "
                f"{MOST_PAYLOAD_MB}: lower one of them"
            )
        return self
