"""Puts many small objects into a bucket, by the parts of botocore that it takes: a signature and a connection.

A client's `put_object` does as much again around these, which is most of the work where objects are small. Whatever
does not succeed at once is left to it, with its retries and its errors.
"""

import base64
import socket
from typing import Any
from urllib.parse import quote

from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.exceptions import BotoCoreError
from botocore.httpsession import URLLib3Session
from botocore.utils import get_environ_proxies

from manager.aws import Aws

# As a client's connections have them: else the end of what is sent waits until the server confirms its beginning.
SOCKET_OPTIONS: Any = [(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)]

# In a row: then this way is closed, as by a proxy that wants more than a client is needed for, and each try costs time.
MOST_FAILURES = 64


class ObjectWriter:
    """Writes into one bucket; may be used by several threads."""

    def __init__(self, aws: Aws, bucket: str, threads: int) -> None:
        self._s3, self._bucket = aws.client("s3"), bucket
        self._url, self._region = f"{self._s3.meta.endpoint_url}/{bucket}/", self._s3.meta.region_name
        self._credentials = aws.session.get_credentials()
        self._failures = 0
        self._http = URLLib3Session(
            # As the client's: a proxy of the user's is for the way to AWS.
            proxies={} if aws.endpoint_url else get_environ_proxies(self._url),
            verify=aws.certificates,
            timeout=aws.timeout_seconds,
            max_pool_connections=threads,
            socket_options=SOCKET_OPTIONS,
        )

    def put(self, key: str, content: bytes, sha256: bytes) -> str:
        """Put an object, which S3 verifies by its SHA-256; return its entity tag without quotes.

        Raises:
            ClientError, BotoCoreError: AWS refuses.
        """
        if self._failures < MOST_FAILURES:
            answer = self._try(key, content, sha256)
            if answer is not None and answer.status_code == 200 and "ETag" in answer.headers:
                self._failures = 0
                return str(answer.headers["ETag"]).strip('"')
            self._failures += 1
        return self.put_patiently(key, content, sha256)

    def put_patiently(self, key: str, body: Any, sha256: bytes) -> str:
        """Do the same by the client; `body` may be an open file."""
        checksum = {"ChecksumAlgorithm": "SHA256", "ChecksumSHA256": encoded(sha256)}
        return str(self._s3.put_object(Bucket=self._bucket, Key=key, Body=body, **checksum)["ETag"]).strip('"')

    def _try(self, key: str, content: bytes, sha256: bytes) -> Any:
        if self._credentials is None:
            return None
        headers = {
            "Content-Length": str(len(content)),
            "x-amz-sdk-checksum-algorithm": "SHA256",
            "x-amz-checksum-sha256": encoded(sha256),
        }
        request = AWSRequest("PUT", self._url + quote(key, safe="/~"), headers, content)
        # Temporary credentials are renewed by this where they are about to expire.
        credentials = self._credentials.get_frozen_credentials()
        try:
            _Signature(credentials, "s3", self._region, sha256).add_auth(request)
            return self._http.send(request.prepare())
        except BotoCoreError:
            return None


class _Signature(S3SigV4Auth):
    """A signature of a content whose SHA-256 is known, which is not computed once more."""

    def __init__(self, credentials: Any, service: str, region: str, sha256: bytes) -> None:
        super().__init__(credentials, service, region)
        self._sha256 = sha256

    def payload(self, request: Any) -> str:
        return self._sha256.hex()


def encoded(sha256: bytes) -> str:
    """Return a checksum as S3 writes it."""
    return base64.b64encode(sha256).decode()
