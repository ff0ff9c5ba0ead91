"""The project's buckets, and the upload of the three sets of images (`--init_s3_buckets`)."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError

from container.dataset.record import RECORD, SETS, Split
from container.errors import DataError
from container.modeling.settings import Settings
from manager import names
from manager.aws import Aws, error_code
from manager.bucket_aspects import Aspect
from manager.errors import AwsError
from manager.plan import ApiCall, Plan


@dataclass(frozen=True)
class RemoteObject:
    """An object in a bucket."""

    size: int
    """Bytes."""
    etag: str
    """S3's entity tag: the MD5 of an object that was sent in one piece and is not encrypted by a KMS key."""
    modified: datetime


@dataclass(frozen=True)
class BucketState:
    """What was read of a bucket."""

    exists: bool
    present: Mapping[str, Any]
    """The present value of each aspect by its title."""
    has_objects: bool = False
    """Whether it holds anything, old versions and markers of deletions included."""

    @property
    def project(self) -> str | None:
        """The project that the bucket's tags name; None: they name none."""
        tag_set = (self.present.get("tags") or {}).get("TagSet", [])
        return next((tag["Value"] for tag in tag_set if tag["Key"] == "Project"), None)


def read_bucket(aws: Aws, bucket: str, wanted: Iterable[Aspect]) -> BucketState:
    """Ask AWS what a bucket is now.

    Raises:
        AwsError: the bucket is in another account or another region, or AWS refuses to tell.
    """
    s3 = aws.client("s3")
    with aws.explained(f"could not look at the bucket {bucket}"):
        try:
            # boto3 follows a redirection to the bucket's own region.
            region = s3.head_bucket(Bucket=bucket, ExpectedBucketOwner=aws.place.account).get("BucketRegion", "")
        except ClientError as error:
            if error_code(error) in ("404", "NoSuchBucket"):
                return BucketState(False, {})
            if error_code(error) in ("403", "AccessDenied"):
                raise AwsError(
                    f"the bucket {bucket} belongs to another account, or your permissions do not let you see it: names "
                    "of buckets are unique among all users of S3, so choose another PROJECT_NAME, such as one that "
                    "begins with your company's name"
                ) from None
            raise
        if region and region != aws.place.region:
            raise AwsError(
                f"the bucket {bucket} lies in {region}, not in {aws.place.region}: set aws.region={region}, or choose "
                "another PROJECT_NAME"
            )
        present = {aspect.title: _read_aspect(s3, bucket, aspect) for aspect in wanted}
        listed = s3.list_object_versions(Bucket=bucket, MaxKeys=1)
    return BucketState(True, present, has_objects=bool(listed.get("Versions") or listed.get("DeleteMarkers")))


def plan_bucket(settings: Settings, bucket: str, region: str, wanted: Iterable[Aspect], state: BucketState) -> Plan:
    """Plan what makes a bucket exist as it is wanted.

    Raises:
        AwsError: the bucket is another project's, or was there before the project with somebody's objects in it.
    """
    if state.exists:
        _check_owned(settings, bucket, state)
        calls = []
    else:
        # us-east-1 is what S3 means where no location is given, and the one value that it refuses.
        location = {} if region == "us-east-1" else {"LocationConstraint": region}
        create = {
            "Bucket": bucket,
            "ObjectOwnership": "BucketOwnerEnforced",
            # Tagged from the first moment on, so that nobody takes it for somebody else's.
            "CreateBucketConfiguration": {**location, "Tags": names.tag_list(settings)},
        }
        calls = [ApiCall("s3", "create_bucket", create, f"create the bucket {bucket}", "created")]
    calls += [
        ApiCall(
            "s3",
            aspect.put,
            {"Bucket": bucket, aspect.parameter: aspect.sent(state.present.get(aspect.title))},
            f"set up the bucket {bucket}: {aspect.title}",
            "changed" if state.exists else "done",
            # S3 tells all of itself about a new bucket within some seconds.
            retry_on=() if state.exists else ("NoSuchBucket",),
        )
        for aspect in wanted
        if not aspect.is_met_by(state.present.get(aspect.title))
    ]
    return Plan(tuple(calls), () if calls else (f"bucket {bucket}",))


def local_files(settings: Settings, project_root: Path) -> dict[str, Path]:
    """Return the files of the three sets, and the record of the split, by their keys in the data bucket.

    Raises:
        DataError: the images were not split yet.
    """
    directory = project_root / settings.data.sets_path
    Split.read(directory)
    files = {
        path.relative_to(directory).as_posix(): path
        for channel in SETS
        for path in sorted((directory / channel).rglob("*"))
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(directory).parts)
    }
    return files | {RECORD: directory / RECORD}


def remote_objects(aws: Aws, bucket: str) -> dict[str, RemoteObject]:
    """Return the objects of the three sets by their keys; a missing bucket has none.

    Raises:
        AwsError: AWS refuses to tell.
    """
    objects: dict[str, RemoteObject] = {}
    pages = aws.client("s3").get_paginator("list_objects_v2")
    with aws.explained(f"could not list the bucket {bucket}"):
        try:
            for prefix in (*(f"{channel}/" for channel in SETS), RECORD):
                for page in pages.paginate(Bucket=bucket, Prefix=prefix):
                    for item in page.get("Contents", []):
                        etag = item["ETag"].strip('"')
                        objects[item["Key"]] = RemoteObject(item["Size"], etag, item["LastModified"])
        except ClientError as error:
            if error_code(error) != "NoSuchBucket":
                raise
    return objects


def check_uploaded(aws: Aws, settings: Settings, project_root: Path) -> None:
    """See that the bucket holds the split that lies on this machine, where there is one.

    Raises:
        DataError: it holds another one: a job would train on other images than one thinks.
        AwsError: AWS refuses to tell.
    """
    record, bucket = project_root / settings.data.sets_path / RECORD, names.data_bucket(settings)
    if not record.is_file():
        return
    with aws.explained(f"could not look at the images in {bucket}"):
        try:
            remote = aws.client("s3").get_object(Bucket=bucket, Key=RECORD)["Body"].read()
        except ClientError as error:
            # SageMaker itself refuses a job without images.
            if error_code(error) in ("NoSuchKey", "NoSuchBucket"):
                return
            raise
    if remote != record.read_bytes():
        raise DataError(
            f"s3://{bucket} holds another split than {settings.data.sets_path}: upload this one by --init_s3_buckets "
            "--prune, or name the other by data.directory"
        )


def is_encrypted_otherwise(aws: Aws, settings: Settings) -> bool:
    """Whether the images were encrypted by another key than the settings'.

    The record of the split tells for all of them, since it is uploaded last; a listing does not tell it.

    Raises:
        AwsError: AWS refuses to tell.
    """
    bucket = names.data_bucket(settings)
    with aws.explained(f"could not look at the encryption of the images in {bucket}"):
        try:
            record = aws.client("s3").head_object(Bucket=bucket, Key=RECORD)
        except ClientError as error:
            if error_code(error) in ("404", "NoSuchKey", "NoSuchBucket"):
                return False
            raise
    return bool(record.get("SSEKMSKeyId", "") != settings.storage.kms_key)


def plan_upload(
    settings: Settings,
    files: Mapping[str, Path],
    objects: Mapping[str, RemoteObject],
    *,
    prune: bool = False,
    again: bool = False,
) -> Plan:
    """Plan what makes the bucket hold the local sets: the files that are new or differ are sent, the record last.

    Args:
        settings: the settings.
        files: the local files by their keys.
        objects: what the bucket holds, by its keys.
        prune: whether objects that are in no set are deleted.
        again: whether all files are sent, since those in the bucket are encrypted otherwise.

    Raises:
        DataError: the bucket holds images that the sets do not, and they are not to be pruned.
    """
    bucket = names.data_bucket(settings)
    stale = sorted(key for key in objects if key not in files)
    if stale and not prune:
        raise DataError(
            f"{len(stale):,} objects in s3://{bucket}, such as {stale[0]}, are not in the present split, but training "
            "would read them: add --prune to delete them, or choose another PROJECT_NAME"
        )
    is_same = _has_same_time if settings.storage.kms_key else _has_same_content
    fresh = [key for key, path in files.items() if again or key not in objects or not is_same(path, objects[key])]
    uploads = [
        ApiCall(
            "s3",
            "put_object",
            {"Bucket": bucket, "Key": key, "Body": files[key]},
            f"upload {key}",
            group="" if key == RECORD else f"upload images to s3://{bucket}",
        )
        for key in sorted(fresh, key=lambda key: key == RECORD)
    ]
    deletions = [
        ApiCall(
            "s3",
            "delete_object",
            {"Bucket": bucket, "Key": key},
            f"delete {key}",
            "deleted",
            group=f"delete images that are in no set from s3://{bucket}",
        )
        for key in stale
    ]
    same = len(files) - len(fresh)
    return Plan((*deletions, *uploads), (f"{same:,} images and records in s3://{bucket}",) if same else ())


def _check_owned(settings: Settings, bucket: str, state: BucketState) -> None:
    # Where tags are not set on creation, a run that was ended right after it leaves an empty bucket without them.
    if state.project == settings.project_name or (state.project is None and not state.has_objects):
        return
    owner = f"the project {state.project}" if state.project else "something else: it holds objects and lacks our tags"
    raise AwsError(f"the bucket {bucket} exists and belongs to {owner}; choose another PROJECT_NAME in config.py")


def _read_aspect(s3: Any, bucket: str, aspect: Aspect) -> Any:
    try:
        return aspect.read(getattr(s3, aspect.get)(Bucket=bucket))
    except ClientError as error:
        # What was never set is answered by an error of its own code: NoSuchBucketPolicy, NoSuchTagSet and so on.
        if error_code(error).startswith(
            ("NoSuch", "OwnershipControlsNotFound", "ServerSideEncryptionConfigurationNot")
        ):
            return None
        raise


def _has_same_content(path: Path, remote: RemoteObject) -> bool:
    if remote.size != path.stat().st_size:
        return False
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest() == remote.etag


def _has_same_time(path: Path, remote: RemoteObject) -> bool:
    """Whether the file is as large as the object and not changed since; with a KMS key no listing tells more."""
    status = path.stat()
    changed = max(status.st_mtime, status.st_ctime)
    return remote.size == status.st_size and remote.modified.timestamp() > changed
