"""What SageMaker refuses before it accepts a job or a model.

Error codes and wordings are SageMaker's own where they are known, so that a client that handles them here
handles them there.
"""

from __future__ import annotations

import json
from typing import Any

from moto.ecr.exceptions import ImageNotFoundException, RepositoryNotFoundException
from moto.ecr.models import Image as EcrImage
from moto.ecr.models import ecr_backends
from moto.iam.exceptions import NotFoundException
from moto.iam.models import iam_backends
from moto.sagemaker.exceptions import ResourceInUseException, SagemakerClientError, ValidationError
from moto.utilities.utils import get_partition

from local_aws.channels import S3Uri
from local_aws.executors import Executor
from local_aws.images import Image, ImageReference, ImageSource
from local_aws.storage import Storage
from local_aws.training_requests import TrainingRequest, require
from local_aws.validation import WrongTypeError, input_shape, violations

# What SageMaker runs; other manifests are lists of manifests (for several platforms, or with attestations).
_RUNNABLE_MANIFESTS = (
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.oci.image.manifest.v1+json",
)


def check_document(operation: str, body: str | bytes) -> dict[str, Any]:
    """The JSON document of a SageMaker request, once it agrees with the service model.

    Raises:
        SagemakerClientError: SerializationException where it is no JSON object or a type is wrong,
            ValidationException with every other violation.
    """
    try:
        document = json.loads(body or "{}", object_hook=_without_nulls)
        found = violations(input_shape("sagemaker", operation), document)
    except (WrongTypeError, ValueError) as error:
        raise SagemakerClientError("SerializationException", str(error)) from error
    if found:
        count = f"{len(found)} validation error{'s' if len(found) > 1 else ''} detected"
        raise ValidationError(message=f"{count}: {'; '.join(found)}")
    assert isinstance(document, dict)
    return document


def check_unused(is_used: bool, arn: str) -> None:
    """
    Raises:
        ResourceInUseException: a job has this name already.
    """
    if is_used:
        raise ResourceInUseException(
            message="Training job names must be unique within an AWS account and region, and a training job "
            f"with this name already exists ({arn})"
        )


def check_job_name(is_used: bool, arn: str) -> None:
    """
    Raises:
        ResourceInUseException: a transform or processing job has this name already.
    """
    if is_used:
        raise ResourceInUseException(
            message="Job name must be unique within an AWS account and region, and a job with this name already "
            f"exists ({arn})"
        )


def check_role(role_arn: str, account_id: str, region: str) -> None:
    """
    Raises:
        ValidationError: the role does not exist or does not trust SageMaker.
    """
    try:
        role = iam_backends[account_id][get_partition(region)].get_role_by_arn(role_arn)
        trusted = "sagemaker.amazonaws.com" in role.assume_role_policy_document
    except NotFoundException:
        trusted = False
    require(
        trusted,
        f"Could not assume role {role_arn}. Please ensure that the role exists and allows principal "
        "'sagemaker.amazonaws.com' to assume the role.",
    )


def find_image(image_uri: str, role_arn: str, images: ImageSource, executor: Executor) -> Image:
    """A job's image in the embedded ECR.

    Raises:
        ValidationError: there is no such repository or image, or SageMaker or the executor cannot run it.
    """
    reference = images.reference(image_uri)
    permissions = (
        f"and role {role_arn} has proper pull permissions for SageMaker: "
        "ecr:BatchCheckLayerAvailability, ecr:BatchGetImage, ecr:GetDownloadUrlForLayer"
    )
    if reference is None:
        raise ValidationError(
            message=f"Cannot find the requested image: {image_uri} is no image of the form "
            "ACCOUNT.dkr.ecr.REGION.amazonaws.com/REPOSITORY:TAG, and local_aws has no other registry"
        )
    try:
        found = _describe_image(reference)
    except (RepositoryNotFoundException, KeyError) as error:
        raise ValidationError(
            message=f"Cannot find repository: {reference.repository} in registry ID: {reference.registry_id} "
            f"Please check if your ECR repository exists {permissions}"
        ) from error
    except ImageNotFoundException as error:
        raise ValidationError(
            message=f"Cannot find the requested image: {image_uri}. Please check if your ECR image exists {permissions}"
        ) from error
    return _runnable_image(image_uri, reference, found, images, executor)


def find_serving_image(image_uri: str, images: ImageSource, executor: Executor) -> Image:
    """A model's image in the embedded ECR.

    Raises:
        ValidationError: there is no such image, it cannot serve, or SageMaker or the executor cannot run it.
    """
    reference = images.reference(image_uri)
    try:
        found = _describe_image(reference) if reference else None
    except (RepositoryNotFoundException, ImageNotFoundException, KeyError):
        found = None
    if reference is None or found is None:
        raise ValidationError(message=f"Requested image {image_uri} not found.")
    image = _runnable_image(image_uri, reference, found, images, executor)
    require(
        image.serves,
        f"The directory image {image_uri} has no executable `serve`, the program that answers for a model: add it to "
        "the directory, and push the image again",
    )
    return image


def check_directories(request: TrainingRequest, executor: Executor) -> None:
    """
    Raises:
        ValidationError: the executor cannot give the program a directory that it asks for.
    """
    for directory in request.directories_in_s3:
        require(
            directory.is_below_opt_ml or executor.has_own_root,
            f"LocalPath '{directory.local_path}' of {directory.field} must lie below /opt/ml: without a container "
            "engine local_aws runs images as processes, which share this machine's other directories",
        )


def check_buckets(request: TrainingRequest, storage: Storage) -> None:
    """
    Raises:
        ValidationError: a bucket that is written to does not exist, or a channel has no object (or no bucket).
    """
    for channel in request.channels:
        check_objects(channel.uri, request.role_arn, storage)
    check_bucket("S3OutputPath", request.output_path, storage)
    for directory in request.directories_in_s3:
        check_bucket(directory.field, directory.uri, storage)


def check_objects(uri: S3Uri, role_arn: str, storage: Storage) -> None:
    """
    Args:
        uri: of input, a prefix or a manifest.
        role_arn: whoever reads it.

    Raises:
        ValidationError: there is no object whose key begins so.
    """
    require(
        any(not key.endswith("/") for key in storage.keys(uri.bucket, uri.key)),
        f'No S3 objects found under S3 URL "{uri}" given in input data source. '
        f"Please ensure that the bucket exists in the selected region ({storage.region}), "
        f'that objects exist under that S3 prefix, and that the role "{role_arn}" has '
        f'"s3:ListBucket" permissions on bucket "{uri.bucket}".',
    )


def check_bucket(field: str, uri: S3Uri, storage: Storage) -> None:
    """
    Args:
        field: of the request, that asks for something to be written there.

    Raises:
        ValidationError: the bucket does not exist.
    """
    require(
        storage.has_bucket(uri.bucket),
        f'Could not find S3 bucket "{uri.bucket}" given in {field} "{uri}". '
        f"Please ensure that the bucket exists in the selected region ({storage.region}).",
    )


def _describe_image(reference: ImageReference) -> EcrImage:
    wanted = {"imageTag": reference.tag, "imageDigest": reference.digest}
    image_id = {key: value for key, value in wanted.items() if value}
    backend = ecr_backends[reference.registry_id][reference.region]
    (found,) = backend.describe_images(reference.repository, reference.registry_id, [image_id])
    return found


def _runnable_image(
    uri: str, reference: ImageReference, found: EcrImage, images: ImageSource, executor: Executor
) -> Image:
    require(
        found.image_manifest_media_type in _RUNNABLE_MANIFESTS,
        f"Unsupported manifest media type {found.image_manifest_media_type} for image {uri}. Push an "
        "image of one platform without attestations: docker buildx build --platform linux/amd64 --provenance=false",
    )
    image = images.image(uri, reference, found.image_digest)
    if reason := executor.refusal(image):
        raise ValidationError(message=reason)
    return image


def _without_nulls(members: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in members.items() if value is not None}
