"""ECR's repositories where images are real: moto knows what is in them, a registry holds what that is made of.

moto's records are the truth about manifests and tags: what a push adds and a deletion takes away is there at once.
The registry keeps the layers, and checks that a pushed manifest has all of its own.
"""

from __future__ import annotations

import json
import re
import secrets
import threading
from dataclasses import dataclass
from typing import Any

from moto.ecr.exceptions import ImageAlreadyExistsException, ImageNotFoundException, RepositoryNotFoundException
from moto.ecr.models import ecr_backends

from local_aws.images import DIRECTORY_ANNOTATION, Image, ImageReference, manifest_digest
from local_aws.registry import Registry

# What a client logs in with beside the password.
USER = "AWS"

_PATH = re.compile(r"(?P<account>\d{12})/(?P<region>[a-z0-9-]+)/(?P<name>[a-z0-9][a-z0-9._/-]*)")


class PushError(Exception):
    """A manifest is refused.

    Attributes:
        code: the OCI distribution specification's, such as TAG_INVALID.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True)
class RepositoryName:
    """A repository's name in its account and region; `path` is its name in the registry, which has all of them."""

    account_id: str
    region: str
    name: str

    @classmethod
    def from_path(cls, path: str) -> RepositoryName | None:
        """None where it is no such path."""
        match = _PATH.fullmatch(path)
        return cls(match["account"], match["region"], match["name"]) if match else None

    @property
    def path(self) -> str:
        return f"{self.account_id}/{self.region}/{self.name}"


class Repositories:
    """All repositories of a server. Safe to share by threads.

    Args:
        registry: stores the layers.
        address: `localhost:PORT`, where this machine's engine finds the registry. It trusts that name without TLS.

    Attributes:
        registry: as given.
        address: as given.
        password: what GetAuthorizationToken hands out.
    """

    def __init__(self, registry: Registry, address: str) -> None:
        self.registry = registry
        self.address = address
        self._lock = threading.Lock()
        self.password = secrets.token_urlsafe()

    def uri(self, name: RepositoryName) -> str:
        """What a client puts before the tag: ECR's repositoryUri."""
        return f"{self.registry_uri(name.account_id, name.region)}/{name.name}"

    def registry_uri(self, account_id: str, region: str) -> str:
        """What the URIs of an account's repositories in a region begin with."""
        return f"{self.address}/{account_id}/{region}"

    def reference(self, uri: str) -> ImageReference | None:
        """See `ImageSource`: `localhost:PORT/ACCOUNT/REGION/NAME`, or as ECR itself calls it."""
        parts = uri.removeprefix(f"{self.address}/").split("/", 2)
        if uri.startswith(f"{self.address}/") and len(parts) == 3:
            uri = "{}.dkr.ecr.{}.amazonaws.com/{}".format(*parts)
        return ImageReference.parse(uri)

    def image(self, uri: str, reference: ImageReference, digest: str) -> Image:
        """See `ImageSource`."""
        name = RepositoryName(reference.registry_id, reference.region, reference.repository)
        return Image(uri, digest, pull_uri=f"{self.uri(name)}@{digest}")

    def tags(self, name: RepositoryName) -> list[str]:
        """
        Raises:
            RepositoryNotFoundException: there is no such repository.
        """
        return sorted(tag for image in self._find(name).images for tag in image.image_tags)

    def manifest(self, name: RepositoryName, tag_or_digest: str) -> Any:
        """moto's record of an image.

        Raises:
            RepositoryNotFoundException: there is no such repository.
            ImageNotFoundException: there is no such image in it.
        """
        repository = self._find(name)
        is_digest = ":" in tag_or_digest
        return repository._get_image(None if is_digest else tag_or_digest, tag_or_digest if is_digest else None)

    def check(self, name: RepositoryName) -> None:
        """
        Raises:
            RepositoryNotFoundException: there is no such repository.
        """
        self._find(name)

    def holds(self, name: RepositoryName, tag: str, digest: str) -> bool:
        """Whether the tag stands for this image.

        Raises:
            RepositoryNotFoundException: there is no such repository.
        """
        return any(tag in image.image_tags and image.image_digest == digest for image in self._find(name).images)

    def push(self, name: RepositoryName, tag: str | None, manifest: str, media_type: str) -> Any:
        """Puts a manifest whose layers were pushed before; returns moto's record of the image.

        What is there already, manifest and tag, may be put again.

        Raises:
            RepositoryNotFoundException: there is no such repository.
            PushError: the registry refuses the manifest, or the tag stands for another image and is immutable.
        """
        _check(manifest)
        digest = manifest_digest(manifest)
        with self._lock:
            self._check_tag(name, tag, digest)
            self._store(name, digest, manifest, media_type)
            return self._record(name, tag, digest, manifest, media_type)

    def _find(self, name: RepositoryName) -> Any:
        try:
            return ecr_backends[name.account_id][name.region]._get_repository(name.name, name.account_id)
        except KeyError as error:
            # There is no such region.
            raise RepositoryNotFoundException(name.name, name.account_id) from error

    def _check_tag(self, name: RepositoryName, tag: str | None, digest: str) -> None:
        if tag is None or self.holds(name, tag, digest):
            return
        try:
            ecr_backends[name.account_id][name.region]._resolve_image_tag_mutability(self._find(name), tag)
        except ImageAlreadyExistsException as error:
            raise PushError(
                "TAG_INVALID",
                f"The image tag '{tag}' already exists in the '{name.name}' repository and cannot be overwritten "
                "because the tag is immutable.",
            ) from error

    def _store(self, name: RepositoryName, digest: str, manifest: str, media_type: str) -> None:
        target = f"/v2/{name.path}/manifests/{digest}"
        with self.registry.request("PUT", target, {"Content-Type": media_type}, manifest.encode()) as answer:
            content = answer.read()
            if answer.status >= 300:
                raise _refusal(content)

    def _record(self, name: RepositoryName, tag: str | None, digest: str, manifest: str, media_type: str) -> Any:
        try:
            found = self.manifest(name, digest)
        except ImageNotFoundException:
            found = None
        if found and (tag is None or tag in found.image_tags):
            return found
        return ecr_backends[name.account_id][name.region].put_image(name.name, manifest, tag, media_type, digest)


def _check(manifest: str) -> None:
    try:
        document = json.loads(manifest)
    except ValueError as error:
        raise PushError("MANIFEST_INVALID", f"the manifest is no JSON: {error}") from error
    if not isinstance(document, dict):
        raise PushError("MANIFEST_INVALID", "the manifest is no JSON object")
    if DIRECTORY_ANNOTATION in (document.get("annotations") or {}):
        raise PushError(
            "MANIFEST_INVALID",
            "this server runs images as containers and takes no directory image: push one with `docker push`, or "
            "start the server with LOCAL_AWS_EXECUTOR=process",
        )


def _refusal(answer: bytes) -> PushError:
    try:
        first = json.loads(answer)["errors"][0]
        return PushError(first["code"], f"{first['message']} {json.dumps(first.get('detail', ''))}")
    except (ValueError, KeyError, IndexError, TypeError):
        return PushError("UNKNOWN", f"the registry refused the manifest: {answer.decode(errors='replace')[:500]}")
