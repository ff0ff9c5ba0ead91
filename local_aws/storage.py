"""The embedded S3 as the engine uses it: in this process, as HTTP would cost milliseconds an object."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from moto.s3.exceptions import MissingBucket
from moto.s3.models import S3Backend, s3_backends
from moto.utilities.utils import get_partition

from local_aws.channels import S3Uri


@dataclass(frozen=True)
class Storage:
    """The buckets that one account sees from one region."""

    account_id: str
    region: str

    def has_bucket(self, bucket: str) -> bool:
        try:
            self._backend.get_bucket(bucket)
        except MissingBucket:
            return False
        return True

    def keys(self, bucket: str, prefix: str) -> Sequence[str]:
        """The keys of objects that begin with `prefix`, sorted; none where there is no such bucket."""
        if not self.has_bucket(bucket):
            return ()
        found, _, _, _ = self._backend.list_objects(self._backend.get_bucket(bucket), prefix, None, None, None)
        return [key.name for key in found]

    def has(self, uri: S3Uri) -> bool:
        """Whether there is such an object."""
        return self.has_bucket(uri.bucket) and self._backend.get_object(uri.bucket, uri.key) is not None

    def read(self, bucket: str, key: str) -> bytes | None:
        """An object's content; None where there is none of that name."""
        if not self.has_bucket(bucket):
            return None
        found = self._backend.get_object(bucket, key)
        return found.value if found else None

    def write(self, target: S3Uri, content: bytes) -> None:
        """Puts an object, whole: nobody can see a part of it.

        Raises:
            MissingBucket: the bucket is gone.
        """
        self._backend.put_object(target.bucket, target.key, content)

    def delete(self, target: S3Uri) -> None:
        """Deletes an object; there may be none.

        Raises:
            MissingBucket: the bucket is gone.
        """
        self._backend.delete_object(target.bucket, target.key)

    @property
    def _backend(self) -> S3Backend:
        return s3_backends[self.account_id][get_partition(self.region)]
