"""The training image: what it is made of, its repository, and how it gets there (`--build_and_push_docker_image`)."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from botocore.exceptions import ClientError

from container.modeling.settings import Settings
from manager import names
from manager.aws import Aws, error_code
from manager.errors import ImageError
from manager.plan import ApiCall, Plan

# The container gets its settings as hyperparameters: a changed setting needs no new image.
NO_PART = ("modeling/config*.py", "**/__pycache__/**", "**/.*")


@dataclass(frozen=True)
class Image:
    """An image in the project's repository."""

    repository_uri: str
    tag: str
    digest: str = ""
    """`sha256:...`; empty while the image is not pushed yet."""

    @property
    def uri(self) -> str:
        """The image as CreateTrainingJob takes it: by its digest where there is one, since that names its content."""
        return f"{self.repository_uri}@{self.digest}" if self.digest else f"{self.repository_uri}:{self.tag}"


def files(container: Path) -> Iterator[Path]:
    """Yield the files that the image is made of, in a fixed order."""
    left_out = {path for pattern in NO_PART for path in container.glob(pattern)}
    for path in sorted(container.rglob("*")):
        if path.is_file() and path not in left_out and "__pycache__" not in path.parts:
            yield path


def content_tag(container: Path) -> str:
    """Return a tag that is the same for the same code: a hash of the image's files, their names and modes."""
    digest = hashlib.sha256()
    for path in files(container):
        content = path.read_bytes()
        mode = "x" if path.stat().st_mode & 0o100 else "-"
        digest.update(f"{path.relative_to(container).as_posix()}\0{mode}\0{len(content)}\0".encode())
        digest.update(content)
    return f"code-{digest.hexdigest()[:16]}"


def find(aws: Aws, settings: Settings, tag: str) -> Image | None:
    """Return the pushed image that has a tag; None: there is none.

    Raises:
        AwsError: AWS refuses to tell.
    """
    repository = names.repository(settings)
    with aws.explained(f"could not look into the repository {repository}"):
        try:
            found = aws.client("ecr").describe_images(repositoryName=repository, imageIds=[{"imageTag": tag}])
        except ClientError as error:
            if error_code(error) in ("RepositoryNotFoundException", "ImageNotFoundException"):
                return None
            raise
    return Image(names.repository_uri(settings, aws.place), tag, found["imageDetails"][0]["imageDigest"])


def pushed(aws: Aws, settings: Settings, container: Path) -> Image:
    """Return the pushed image of the present code.

    Raises:
        ImageError: it was not pushed yet.
    """
    image = find(aws, settings, content_tag(container))
    if image is None:
        raise ImageError(
            f"the repository {names.repository(settings)} has no image of the present code: build and push it first "
            "by --build_and_push_docker_image"
        )
    return image


def repository_exists(aws: Aws, settings: Settings) -> bool:
    """Ask whether the project's repository exists.

    Raises:
        AwsError: AWS refuses to tell.
    """
    repository = names.repository(settings)
    with aws.explained(f"could not look for the repository {repository}"):
        try:
            aws.client("ecr").describe_repositories(repositoryNames=[repository])
        except ClientError as error:
            if error_code(error) == "RepositoryNotFoundException":
                return False
            raise
    return True


def plan_repository(settings: Settings, exists: bool) -> Plan:
    """Plan what makes the repository exist: scanned on push, its tags immutable, encrypted, tagged."""
    repository = names.repository(settings)
    if exists:
        return Plan(unchanged=(f"repository {repository}",))
    request = {
        "repositoryName": repository,
        "imageScanningConfiguration": {"scanOnPush": True},
        "imageTagMutability": "IMMUTABLE",
        "encryptionConfiguration": {"encryptionType": "AES256"},
        "tags": [{"Key": key, "Value": value} for key, value in names.tags(settings).items()],
    }
    return Plan((ApiCall("ecr", "create_repository", request, f"create the repository {repository}"),))


def plan_directory_image(settings: Settings, container: Path, present: Image | None) -> Plan:
    """Plan the push of the container's folder as an image that is a directory.

    Such an image has no layers: its manifest names the directory, and an AWS on the same machine takes a snapshot of
    it. It runs as a process, so that no Docker engine is needed.
    """
    tag = content_tag(container)
    if present is not None:
        return Plan(unchanged=(f"image {present.repository_uri}:{tag}",))
    empty = {"mediaType": "application/vnd.oci.empty.v1+json", "digest": f"sha256:{hashlib.sha256(b'{}').hexdigest()}"}
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {**empty, "size": 2},
        "layers": [],
        "annotations": {"local-aws.image-directory": str(container.resolve()), "content": tag},
    }
    request = {
        "repositoryName": names.repository(settings),
        "imageManifest": json.dumps(manifest),
        "imageManifestMediaType": manifest["mediaType"],
        "imageTag": tag,
    }
    return Plan((ApiCall("ecr", "put_image", request, f"push the image {names.repository(settings)}:{tag}"),))
