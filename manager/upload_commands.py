"""The function behind `--upload_data`, and its part of `--init_s3_buckets`."""

from collections.abc import Mapping

from manager import bucket_aspects, buckets, local_sets, names, upload
from manager.checksums import LocalFile
from manager.errors import AwsError
from manager.plan import Plan
from manager.session import Session


def upload_data(session: Session, *, prune: bool = False) -> None:
    """Send the sets of images to the data bucket: what is new or changed.

    Args:
        session: the session.
        prune: whether objects that are in no set are deleted.

    Raises:
        ProjectError: the images are not split, the bucket is missing or not as it should be, or AWS refuses.
    """
    settings, place, bucket = session.settings, session.aws.place, names.data_bucket(session.settings)
    files = local_sets.local_files(settings, session.project_root)
    session.terminal.heading(f"Images for s3://{bucket}")
    wanted = bucket_aspects.owner_and_encryption(settings, bucket)
    state = buckets.read_bucket(session.aws, bucket, wanted)
    if not state.exists:
        raise AwsError(f"the bucket {bucket} does not exist: create it by --init_s3_buckets", "NoSuchBucket")
    if buckets.plan_bucket(settings, bucket, place.region, wanted, state).calls:
        raise AwsError(
            f"the bucket {bucket} is not as the settings want it: --init_s3_buckets makes it so, and uploads"
        )
    session.carry_out(plan_sets(session, files, prune=prune))


def plan_sets(session: Session, files: Mapping[str, LocalFile], *, prune: bool, again: bool = False) -> Plan:
    """Plan the upload of the sets.

    Args:
        session: the session.
        files: the sets' files by their keys.
        prune: whether objects that are in no set are deleted.
        again: whether all is sent, since the bucket's encryption changes.

    Raises:
        ProjectError: the bucket holds what is in no set and is not to be pruned, a file cannot be read, or AWS refuses.
    """
    settings, checksums = session.settings, local_sets.checksums_file(session.settings, session.project_root)
    local_sets.warn_if_outdated(settings, session.project_root, session.terminal)
    again |= upload.is_encrypted_otherwise(session.aws, settings)
    remote = upload.compare(session.aws, settings, files, checksums, session.terminal)
    if since := remote.manifest.under_way_since:
        session.terminal.warn(
            f"an upload that began at {since.astimezone():%Y-%m-%d %H:%M:%S} has not ended: "
            "if it was interrupted, this one goes on; if it still runs, end one of the two"
        )
    return upload.plan_upload(settings, files, remote, checksums, prune=prune, again=again)
