"""Steps of a plan that are no single request to AWS: what AWS takes several for, and what it does not offer."""

import urllib.error
import urllib.request
from dataclasses import dataclass, replace
from typing import Any, Literal, Self

from manager.errors import LocalAwsError


@dataclass(frozen=True)
class ObjectPath:
    """An object of S3, or a folder of them: then the key ends in a slash, or is empty."""

    bucket: str
    key: str

    @classmethod
    def parse(cls, uri: str) -> Self:
        """Return what a URI `s3://BUCKET/KEY` names."""
        bucket, _, key = uri.removeprefix("s3://").partition("/")
        return cls(bucket, key)

    def as_folder(self) -> Self:
        """Return the folder of this name, with the slash that may be missing at its end."""
        return replace(self, key=f"{self.key.rstrip('/')}/".lstrip("/"))

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.key}"


@dataclass(frozen=True)
class CopyCall:
    """An object of S3 that is to be copied within S3. One above 5 GB takes several requests."""

    source: ObjectPath
    target: ObjectPath
    message: str
    group: str = ""
    """As an `ApiCall`'s."""
    effect: Literal["created"] = "created"

    def send(self, s3: Any) -> None:
        """Send what it takes by this client of S3."""
        s3.copy({"Bucket": self.source.bucket, "Key": self.source.key}, self.target.bucket, self.target.key)


@dataclass(frozen=True)
class PostCall:
    """Something that only the AWS on this machine can be asked for: a POST request without a body."""

    url: str
    message: str

    def send(self) -> None:
        """Send it.

        Raises:
            LocalAwsError: it is refused.
        """
        # A proxy of the user's is for the way to AWS.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            opener.open(urllib.request.Request(self.url, method="POST")).close()
        except urllib.error.HTTPError as error:
            raise LocalAwsError(f"could not {self.message}: {error.read().decode(errors='replace').strip()}") from None
        except urllib.error.URLError as error:
            raise LocalAwsError(f"could not {self.message}: {error.reason}") from None
