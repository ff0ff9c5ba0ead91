"""The project's buckets (`--init_s3_buckets`)."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

from container.modeling.settings import Settings
from manager import names
from manager.aws import Aws, error_code
from manager.bucket_aspects import Aspect
from manager.errors import AwsError
from manager.plan import ApiCall, Plan


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
