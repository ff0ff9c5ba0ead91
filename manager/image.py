"""The training image: what it is made of, and how it gets into its repository (`--build_and_push_docker_image`).

Its tag is `FLAVOR-CONTENT-BASE`: a hash of what goes into it, and the beginning of its base image's digest. The same
code with the same backbones and trackers has the same tag, and a tag, being immutable, always the same content. No
other setting is a part of it.
"""

import hashlib
import importlib.util
import json
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from container.modeling.settings import Settings
from manager import names, repository
from manager.aws import Aws
from manager.docker_engine import PLATFORM, Engine, context_files, registry_login
from manager.errors import ImageError
from manager.plan import ApiCall, DockerCall, Plan

Flavor = Literal["gpu", "cpu", "directory"]
"""A Docker image with or without the CUDA libraries, or a directory on the machine of the AWS that runs it."""


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


def additions(settings: Settings) -> tuple[str, ...]:
    """Return what the settings put into a Docker image beside the code: backbones and trackers, by name."""
    return (*settings.training_image.backbones, *settings.tracking.extras)


def content_tag(container: Path, flavor: Flavor, additions: Sequence[str] = ()) -> str:
    """Return the beginning of the image's tag that the same code with the same additions always has.

    A directory holds no additions.
    """
    digest = _digest(context_files(container), container)
    if flavor != "directory" and additions:
        digest = hashlib.sha256(f"{digest} {_listed(additions)}".encode()).hexdigest()
    return f"{flavor}-{digest[:16]}"


def missing_extras(settings: Settings, container: Path, flavor: Flavor) -> str:
    """Return what installs the trackers that the settings ask for and this Python lacks; empty: nothing is to be done.

    A directory runs with this Python; a Docker image is built with what the settings ask for.
    """
    # An extra is called as the module that it brings.
    missing = [extra for extra in settings.tracking.extras if importlib.util.find_spec(extra) is None]
    if flavor != "directory" or not missing:
        return ""
    files = " ".join(f"-r {container / f'requirements-{extra}.txt'}" for extra in missing)
    return f"{sys.executable} -m pip install {files} -c {container / 'constraints.txt'}"


def find(aws: Aws, settings: Settings, tag: str) -> Image | None:
    """Return the image, of those whose tags begin with `tag`, that was pushed last; None: there is none.

    Raises:
        AwsError: AWS refuses to tell.
    """
    uri = repository.uri(aws, settings)
    if not uri:
        return None
    name = names.repository(settings)
    with aws.explained(f"could not look into the repository {name}"):
        pages = (
            aws.client("ecr")
            .get_paginator("describe_images")
            .paginate(repositoryName=name, filter={"tagStatus": "TAGGED"})
        )
        found = [
            (image["imagePushedAt"], known, image["imageDigest"])
            for page in pages
            for image in page["imageDetails"]
            for known in image["imageTags"]
            if known.startswith(tag)
        ]
    return Image(uri, *max(found)[1:]) if found else None


def pushed(aws: Aws, settings: Settings, container: Path, flavor: Flavor) -> Image:
    """Return the pushed image of the present code.

    Raises:
        ImageError: it was not pushed yet.
    """
    image = find(aws, settings, content_tag(container, flavor, additions(settings)))
    if image is None:
        raise ImageError(
            f"the repository {names.repository(settings)} has no image of the present code: build and push it first "
            "by --build_and_push_docker_image"
        )
    return image


def plan_directory_image(settings: Settings, container: Path, tag: str) -> Plan:
    """Plan the push of the container's folder as an image that is a directory.

    Such an image has no layers: its manifest names the directory, and an AWS on the same machine takes a snapshot of
    it. It runs as a process, so that no Docker engine is needed.
    """
    empty = {"mediaType": "application/vnd.oci.empty.v1+json", "digest": f"sha256:{hashlib.sha256(b'{}').hexdigest()}"}
    copied = (path for path in sorted(container.rglob("*")) if path.is_file() and "__pycache__" not in path.parts)
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {**empty, "size": 2},
        "layers": [],
        # The whole folder is copied, settings included: another content needs another manifest.
        "annotations": {"local-aws.image-directory": str(container.resolve()), "content": _digest(copied, container)},
    }
    request = {
        "repositoryName": names.repository(settings),
        "imageManifest": json.dumps(manifest),
        "imageManifestMediaType": manifest["mediaType"],
        "imageTag": tag,
    }
    return Plan((ApiCall("ecr", "put_image", request, f"push the image {names.repository(settings)}:{tag}"),))


def _digest(files: Iterable[Path], folder: Path) -> str:
    """Return the SHA-256 over the files' names below a folder, whether they are executable, and their content."""
    digest = hashlib.sha256()
    for path in files:
        content = path.read_bytes()
        mode = "x" if path.stat().st_mode & 0o100 else "-"
        digest.update(f"{path.relative_to(folder).as_posix()}\0{mode}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()


def plan_docker_image(
    settings: Settings, engine: Engine, container: Path, flavor: Flavor, image: Image, aws: Aws
) -> Plan:
    """Plan the build of the container's folder as a Docker image, and its push to the project's repository."""
    name = f"{image.repository_uri}:{image.tag}"
    arguments = {
        "BASE_IMAGE": settings.training_image.base_image,
        "FLAVOR": flavor,
        "EXTRAS": _listed(settings.tracking.extras),
        "IMAGENET_BACKBONES": _listed(settings.training_image.backbones),
        "VERSION": _version(container.parent),
        "REVISION": _revision(container.parent),
    }
    options = [word for key, value in arguments.items() for word in ("--build-arg", f"{key}={value}")]
    return Plan(
        (
            DockerCall(
                ("docker", "build", "--platform", PLATFORM, *options, "--tag", name, str(container)),
                f"build the image {name}",
                partial(engine.build, container, name, arguments),
            ),
            DockerCall(
                ("docker", "push", name),
                f"push the image {name}",
                partial(engine.push, image.repository_uri, image.tag, partial(registry_login, aws)),
                registry=image.repository_uri.partition("/")[0],
            ),
        )
    )


def _listed(names: Sequence[str]) -> str:
    return " ".join(sorted(set(names)))


def _version(project_root: Path) -> str:
    with (project_root / "pyproject.toml").open("rb") as file:
        return str(tomllib.load(file)["project"]["version"])


def _revision(project_root: Path) -> str:
    """Return git's name of the present state of the code, or `unknown` outside a git checkout."""
    try:
        done = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],
            cwd=project_root,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return done.stdout.strip()
