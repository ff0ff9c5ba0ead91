"""What the project's buckets are to be, aspect by aspect: how each is asked for, and the call that sets it.

Each aspect answers a control of the AWS Foundational Security Best Practices standard, named beside it:
https://docs.aws.amazon.com/securityhub/latest/userguide/s3-controls.html
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from container.modeling.settings import Settings
from manager import names, template

ENCRYPTION = "encryption"


@dataclass(frozen=True)
class Aspect:
    """One property of a bucket."""

    title: str
    get: str
    put: str
    parameter: str
    """Name of the value in the `put` call and in the answer of the `get` call."""
    value: Any
    bare: bool = False
    """Whether the answer has the value's fields themselves, not under the parameter's name."""

    def read(self, answer: Mapping[str, Any]) -> Any:
        """Return the property's present value, in the form of `value`."""
        if self.parameter == "Policy":
            return json.loads(answer["Policy"])
        return answer if self.bare else answer.get(self.parameter)

    def is_met_by(self, present: Any) -> bool:
        """Whether the present value is the wanted one; of tags and of what AWS fills in itself there may be more."""
        if present is None:
            return False
        if self.parameter == "Tagging":
            return all(tag in present.get("TagSet", []) for tag in self.value["TagSet"])
        if self.parameter == "ServerSideEncryptionConfiguration":
            (rule,) = self.value["Rules"]
            return any(rule.items() <= found.items() for found in present.get("Rules", []))
        if self.bare:
            return all(present.get(name) == wanted for name, wanted in self.value.items())
        return bool(present == self.value)

    def sent(self, present: Any) -> Any:
        """Return the value as the `put` call takes it; other tags than ours are kept."""
        if self.parameter == "Policy":
            return json.dumps(self.value)
        if self.parameter == "Tagging":
            own = {tag["Key"] for tag in self.value["TagSet"]}
            others = [tag for tag in (present or {}).get("TagSet", []) if tag["Key"] not in own]
            return {"TagSet": [*others, *self.value["TagSet"]]}
        return self.value


def aspects(settings: Settings, bucket: str, place: names.Place) -> tuple[Aspect, ...]:
    """Return what a bucket of the project is to be, in the order in which it is to be set."""
    return (
        _tags(settings),
        _block_public_access(),
        _ownership(),
        _encryption(settings, bucket),
        _policy(settings, bucket, place),
        _versioning(),
        _lifecycle(settings, bucket),
        _logging(settings, bucket),
    )


def owner_and_encryption(settings: Settings, bucket: str) -> tuple[Aspect, ...]:
    """Return those aspects of a bucket that matter to whoever puts something into it."""
    return _tags(settings), _encryption(settings, bucket)


def has_encryption(wanted: Iterable[Aspect], present: Mapping[str, Any]) -> bool:
    """Whether a bucket encrypts what is put into it as it is wanted to; `present` is by the aspects' titles."""
    return all(aspect.is_met_by(present.get(aspect.title)) for aspect in wanted if aspect.title == ENCRYPTION)


def _tags(settings: Settings) -> Aspect:
    value = {"TagSet": names.tag_list(settings)}
    return Aspect("tags", "get_bucket_tagging", "put_bucket_tagging", "Tagging", value, bare=True)


def _block_public_access() -> Aspect:
    """S3.2, S3.3, S3.8."""
    blocks = ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets")
    return Aspect(
        "no public access",
        "get_public_access_block",
        "put_public_access_block",
        "PublicAccessBlockConfiguration",
        dict.fromkeys(blocks, True),
    )


def _ownership() -> Aspect:
    """S3.12: access control lists are off."""
    value = {"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]}
    return Aspect(
        "no access control lists",
        "get_bucket_ownership_controls",
        "put_bucket_ownership_controls",
        "OwnershipControls",
        value,
    )


def _encryption(settings: Settings, bucket: str) -> Aspect:
    """S3.17 where there is a key. S3 delivers access logs only into buckets that it encrypts by itself."""
    rule: dict[str, Any] = {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}
    if settings.storage.kms_key and bucket != names.log_bucket(settings):
        key = {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": settings.storage.kms_key}
        rule = {"ApplyServerSideEncryptionByDefault": key, "BucketKeyEnabled": True}
    return Aspect(
        ENCRYPTION,
        "get_bucket_encryption",
        "put_bucket_encryption",
        "ServerSideEncryptionConfiguration",
        {"Rules": [rule]},
    )


def _policy(settings: Settings, bucket: str, place: names.Place) -> Aspect:
    """S3.5: requests without TLS are refused."""
    file = "log-delivery.json" if bucket == names.log_bucket(settings) else "bucket.json"
    values = {
        "BUCKET": bucket,
        "PARTITION": place.partition,
        "ACCOUNT": place.account,
        "PROJECT": settings.project_name,
    }
    policy = template.policy(file, values)
    return Aspect("TLS only", "get_bucket_policy", "put_bucket_policy", "Policy", policy)


def _versioning() -> Aspect:
    """S3.14: what is overwritten or deleted can be brought back for some days."""
    return Aspect(
        "versioning",
        "get_bucket_versioning",
        "put_bucket_versioning",
        "VersioningConfiguration",
        {"Status": "Enabled"},
        bare=True,
    )


def _lifecycle(settings: Settings, bucket: str) -> Aspect:
    """S3.10, S3.13."""
    storage = settings.storage
    rules = [
        {
            "ID": "abort-unfinished-uploads",
            "Filter": {"Prefix": ""},
            "Status": "Enabled",
            "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": storage.abort_uploads_after_days},
        },
        {
            "ID": "delete-old-versions",
            "Filter": {"Prefix": ""},
            "Status": "Enabled",
            "NoncurrentVersionExpiration": {"NoncurrentDays": storage.delete_old_versions_after_days},
            # The marker that a deletion leaves is of no use once the versions behind it are gone.
            "Expiration": {"ExpiredObjectDeleteMarker": True},
        },
    ]
    if bucket == names.output_bucket(settings):
        # A job overwrites and deletes them all the time. Where two rules meet, S3 takes the earlier one.
        outdated = {"NoncurrentVersionExpiration": {"NoncurrentDays": 1}}
        prefix = {"Prefix": f"{names.CHECKPOINTS}/"}
        rules.append({"ID": "delete-old-checkpoints", "Filter": prefix, "Status": "Enabled", **outdated})
    if bucket == names.log_bucket(settings):
        expiration = {"Days": storage.delete_logs_after_days}
        rules.append({"ID": "delete-logs", "Filter": {"Prefix": ""}, "Status": "Enabled", "Expiration": expiration})
    return Aspect(
        "lifecycle",
        "get_bucket_lifecycle_configuration",
        "put_bucket_lifecycle_configuration",
        "LifecycleConfiguration",
        {"Rules": rules},
        bare=True,
    )


def _logging(settings: Settings, bucket: str) -> Aspect:
    """S3.9: who accessed what is recorded, and so is who accessed the record.

    The log of the bucket of the logs tells of its own deliveries too: some small objects an hour, which its lifecycle
    deletes.
    """
    value = {"LoggingEnabled": {"TargetBucket": names.log_bucket(settings), "TargetPrefix": f"{bucket}/"}}
    return Aspect("access log", "get_bucket_logging", "put_bucket_logging", "BucketLoggingStatus", value, bare=True)
