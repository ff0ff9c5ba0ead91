"""The project's two buckets, and the upload of the three sets of images (`--init_s3_buckets`)."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError

from container.dataset.record import RECORD, SETS, Split
from container.errors import DataError
from container.modeling.settings import Settings
from manager import names, template
from manager.aws import Aws, error_code
from manager.errors import AwsError
from manager.plan import ApiCall, Plan

POLICY_TEMPLATE = Path(__file__).parent / "policies" / "bucket.json"


@dataclass(frozen=True)
class Aspect:
    """One property of a bucket: how it is asked for, and the call that sets it."""

    title: str
    get: str
    put: str
    parameter: str
    """Name of the value in the `put` call and in the answer of the `get` call."""
    value: Any
    bare: bool = False
    """Whether the answer has the value's fields themselves, not under the parameter's name."""

    def read(self, response: Mapping[str, Any]) -> Any:
        """Return the property's present value, in the form of `value`."""
        if self.parameter == "Policy":
            return json.loads(response["Policy"])
        return response if self.bare else response.get(self.parameter)

    @property
    def sent(self) -> Any:
        """The value as the `put` call takes it."""
        return json.dumps(self.value) if self.parameter == "Policy" else self.value


def aspects(settings: Settings, bucket: str, place: names.Place) -> tuple[Aspect, ...]:
    """Return what each of the project's buckets must be: private, encrypted, reached by TLS only, tagged."""
    policy = template.render(
        template.read(POLICY_TEMPLATE), {"BUCKET": bucket, "PARTITION": place.partition}, POLICY_TEMPLATE.name
    )
    tag_set = [{"Key": key, "Value": value} for key, value in sorted(names.tags(settings).items())]
    blocks = ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets")
    encryption = {"Rules": [{"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}]}
    return (
        Aspect(
            "block public access",
            "get_public_access_block",
            "put_public_access_block",
            "PublicAccessBlockConfiguration",
            dict.fromkeys(blocks, True),
        ),
        Aspect(
            "turn access control lists off",
            "get_bucket_ownership_controls",
            "put_bucket_ownership_controls",
            "OwnershipControls",
            {"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]},
        ),
        Aspect(
            "encrypt what is stored",
            "get_bucket_encryption",
            "put_bucket_encryption",
            "ServerSideEncryptionConfiguration",
            encryption,
        ),
        Aspect("refuse requests without TLS", "get_bucket_policy", "put_bucket_policy", "Policy", policy),
        Aspect("tag it", "get_bucket_tagging", "put_bucket_tagging", "Tagging", {"TagSet": tag_set}, bare=True),
    )


@dataclass(frozen=True)
class BucketState:
    """What was read of a bucket: whether it exists, and the present value of each aspect by its title."""

    exists: bool
    present: Mapping[str, Any]


def read_bucket(aws: Aws, bucket: str, wanted: Iterable[Aspect]) -> BucketState:
    """Ask AWS what a bucket is now.

    Raises:
        AwsError: the bucket belongs to somebody else, or AWS refuses to tell.
    """
    s3 = aws.client("s3")
    with aws.explained(f"could not look at the bucket {bucket}"):
        try:
            s3.head_bucket(Bucket=bucket)
        except ClientError as error:
            if error_code(error) in ("404", "NoSuchBucket"):
                return BucketState(False, {})
            if error_code(error) in ("403", "301", "AccessDenied"):
                raise AwsError(
                    f"the bucket {bucket} belongs to somebody else or lies in another region (names are unique among "
                    "all users of S3): choose another PROJECT_NAME in config.py"
                ) from None
            raise
        return BucketState(True, {aspect.title: _read_aspect(s3, bucket, aspect) for aspect in wanted})


def plan_bucket(bucket: str, region: str, wanted: Iterable[Aspect], state: BucketState) -> Plan:
    """Plan what makes a bucket exist as it is wanted."""
    calls = []
    if not state.exists:
        # us-east-1 is what S3 means where no location is given, and the one value that it refuses.
        location = {} if region == "us-east-1" else {"CreateBucketConfiguration": {"LocationConstraint": region}}
        create = {"Bucket": bucket, "ObjectOwnership": "BucketOwnerEnforced"}
        calls.append(ApiCall("s3", "create_bucket", create | location, f"create the bucket {bucket}"))
    calls += [
        ApiCall("s3", aspect.put, {"Bucket": bucket, aspect.parameter: aspect.sent}, f"{aspect.title}: {bucket}")
        for aspect in wanted
        if not _matches(state.present.get(aspect.title), aspect.value)
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
        if path.is_file()
    }
    return files | {RECORD: directory / RECORD}


def remote_objects(aws: Aws, bucket: str) -> dict[str, tuple[int, str]]:
    """Return size in bytes and entity tag of each object of the three sets by its key; a missing bucket has none."""
    objects: dict[str, tuple[int, str]] = {}
    pages = aws.client("s3").get_paginator("list_objects_v2")
    with aws.explained(f"could not list the bucket {bucket}"):
        try:
            for prefix in (*(f"{channel}/" for channel in SETS), RECORD):
                for page in pages.paginate(Bucket=bucket, Prefix=prefix):
                    for item in page.get("Contents", []):
                        objects[item["Key"]] = (item["Size"], item["ETag"].strip('"'))
        except ClientError as error:
            if error_code(error) != "NoSuchBucket":
                raise
    return objects


def plan_upload(
    bucket: str, files: Mapping[str, Path], objects: Mapping[str, tuple[int, str]], *, prune: bool = False
) -> Plan:
    """Plan what makes the bucket hold the local sets: the files that are new or differ are sent.

    Raises:
        DataError: the bucket holds images that the sets do not, and they are not to be pruned.
    """
    stale = sorted(key for key in objects if key not in files)
    if stale and not prune:
        raise DataError(
            f"{len(stale):,} objects in s3://{bucket}, such as {stale[0]}, are not in the present split, but training "
            "would read them: add --prune to delete them, or choose another PROJECT_NAME"
        )
    fresh = [key for key, path in files.items() if not _is_same(path, objects.get(key))]
    uploads = [
        ApiCall(
            "s3",
            "put_object",
            {"Bucket": bucket, "Key": key, "Body": files[key]},
            f"upload {key}",
            group=f"upload images to s3://{bucket}",
        )
        for key in fresh
    ]
    deletions = [
        ApiCall(
            "s3",
            "delete_object",
            {"Bucket": bucket, "Key": key},
            f"delete {key}",
            group=f"delete images that are in no set from s3://{bucket}",
        )
        for key in stale
    ]
    same = len(files) - len(fresh)
    return Plan((*deletions, *uploads), (f"{same:,} images and records in s3://{bucket}",) if same else ())


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


def _matches(present: Any, wanted: Any) -> bool:
    """Whether what is present has all that is wanted; AWS adds fields of its own (BucketKeyEnabled)."""
    if isinstance(wanted, Mapping):
        return isinstance(present, Mapping) and all(_matches(present.get(key), wanted[key]) for key in wanted)
    if isinstance(wanted, list):
        return (
            isinstance(present, list)
            and len(present) == len(wanted)
            and all(any(_matches(have, want) for have in present) for want in wanted)
        )
    return bool(present == wanted)


def _is_same(path: Path, remote: tuple[int, str] | None) -> bool:
    # S3's entity tag of an object sent in one piece, without a KMS key, is its MD5.
    if remote is None or remote[0] != path.stat().st_size:
        return False
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest() == remote[1]
