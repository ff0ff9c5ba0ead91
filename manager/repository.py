"""The project's repository of images in ECR (part of `--build_and_push_docker_image`)."""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from botocore.exceptions import ClientError

from container.modeling.settings import Settings
from manager import encryption, names
from manager.aws import Aws, error_code
from manager.errors import AwsError
from manager.plan import ApiCall, Effect, Plan


def uri(aws: Aws, settings: Settings) -> str:
    """Return the project's repository as the names of its images begin; empty: it does not exist.

    Raises:
        AwsError: AWS refuses to tell.
    """
    repository = names.repository(settings)
    with aws.explained(f"could not look for the repository {repository}"):
        try:
            found = aws.client("ecr").describe_repositories(repositoryNames=[repository])
        except ClientError as error:
            if error_code(error) == "RepositoryNotFoundException":
                return ""
            raise
    return str(found["repositories"][0]["repositoryUri"])


def future_uri(aws: Aws, settings: Settings) -> str:
    """Return what `uri` will be once the repository exists: its name at the registry of the account and the region.

    Raises:
        AwsError: AWS refuses to tell.
    """
    with aws.explained("could not ask for the registry of the account"):
        (login,) = aws.client("ecr").get_authorization_token()["authorizationData"]
    return f"{login['proxyEndpoint'].partition('://')[2]}/{names.repository(settings)}"


# A scan on push is done within a minute or two, after which it can be read in the console as well.
SCAN_LOOKS, SCAN_SECONDS = 24, 5.0


@dataclass(frozen=True)
class RepositoryState:
    """What was read of the repository."""

    exists: bool
    tags: Mapping[str, str] = field(default_factory=dict)
    is_immutable: bool = False
    is_scanned: bool = False
    lifecycle: Any = None
    encryption: Mapping[str, str] = field(default_factory=dict)
    """`encryptionType` and, with a KMS key, `kmsKey`: its ARN."""

    def is_own(self, settings: Settings) -> bool:
        """Whether it exists and carries the project's tag."""
        return self.exists and self.tags.get("Project") == settings.project_name


def read_repository(aws: Aws, settings: Settings) -> RepositoryState:
    """Ask AWS what the repository is now.

    Raises:
        AwsError: AWS refuses to tell.
    """
    name, ecr = names.repository(settings), aws.client("ecr")
    with aws.explained(f"could not look at the repository {name}"):
        try:
            (found,) = ecr.describe_repositories(repositoryNames=[name])["repositories"]
        except ClientError as error:
            if error_code(error) == "RepositoryNotFoundException":
                return RepositoryState(False)
            raise
        try:
            lifecycle = json.loads(ecr.get_lifecycle_policy(repositoryName=name)["lifecyclePolicyText"])
        except ClientError as error:
            if error_code(error) != "LifecyclePolicyNotFoundException":
                raise
            lifecycle = None
        tags = ecr.list_tags_for_resource(resourceArn=found["repositoryArn"])["tags"]
    return RepositoryState(
        True,
        {tag["Key"]: tag["Value"] for tag in tags},
        found["imageTagMutability"] == "IMMUTABLE",
        found["imageScanningConfiguration"]["scanOnPush"],
        lifecycle,
        found.get("encryptionConfiguration", {}),
    )


def read_scan(aws: Aws, settings: Settings, digest: str) -> dict[str, int] | None:
    """Return how many findings of each severity ECR's scan of a pushed image has; wait some time for its end.

    None: the scan was not begun, or goes on for longer.

    Raises:
        AwsError: AWS refuses to tell.
    """
    name, ecr = names.repository(settings), aws.client("ecr")
    with aws.explained(f"could not ask for the scan of the image in {name}"):
        for _ in range(SCAN_LOOKS):
            try:
                answer = ecr.describe_image_scan_findings(repositoryName=name, imageId={"imageDigest": digest})
            except ClientError as error:
                if error_code(error) in ("ScanNotFoundException", "ImageNotFoundException"):
                    return None
                raise
            status = answer["imageScanStatus"]["status"]
            if status in ("COMPLETE", "ACTIVE"):
                return dict(answer["imageScanFindings"].get("findingSeverityCounts", {}))
            if status not in ("IN_PROGRESS", "PENDING"):
                return None
            time.sleep(SCAN_SECONDS)
    return None


def plan_repository(settings: Settings, place: names.Place, state: RepositoryState) -> Plan:
    """Plan what makes the repository exist: scanned on push, its tags immutable, encrypted, old images deleted.

    Raises:
        AwsError: a repository of that name exists that is not the project's.
        SettingsError: a KMS key is of another region.
    """
    encryption.check_regions(settings, place)
    name = names.repository(settings)
    if state.exists and not state.is_own(settings):
        raise AwsError(
            f"the repository {name} exists but does not carry this project's tag, so it is somebody else's: choose "
            "another PROJECT_NAME in config.py, or delete the repository if nobody needs it"
        )
    scan = {"scanOnPush": True}
    effect: Effect = "changed" if state.exists else "created"
    request: dict[str, Any]
    calls = []
    if not state.exists:
        request = {
            "repositoryName": name,
            "imageScanningConfiguration": scan,
            "imageTagMutability": "IMMUTABLE",
            "encryptionConfiguration": _encryption(settings),
            "tags": names.tag_list(settings),
        }
        calls.append(ApiCall("ecr", "create_repository", request, f"create the repository {name}", effect))
    if state.exists and not state.is_scanned:
        request = {"repositoryName": name, "imageScanningConfiguration": scan}
        message = f"scan what is pushed to the repository {name}"
        calls.append(ApiCall("ecr", "put_image_scanning_configuration", request, message, effect))
    if state.exists and not state.is_immutable:
        request = {"repositoryName": name, "imageTagMutability": "IMMUTABLE"}
        message = f"make the tags of the repository {name} immutable"
        calls.append(ApiCall("ecr", "put_image_tag_mutability", request, message, effect))
    if state.exists and names.tags(settings).items() - state.tags.items():
        request = {"resourceArn": names.repository_arn(settings, place), "tags": names.tag_list(settings)}
        calls.append(ApiCall("ecr", "tag_resource", request, f"tag the repository {name}", effect))
    if state.lifecycle != (lifecycle := _lifecycle(settings)):
        request = {"repositoryName": name, "lifecyclePolicyText": json.dumps(lifecycle)}
        message = f"keep the last {settings.training_image.keep_last} images of the repository {name}"
        calls.append(ApiCall("ecr", "put_lifecycle_policy", request, message, effect))
    return Plan(tuple(calls), () if calls else (f"repository {name}",))


def fixed_encryption(settings: Settings, state: RepositoryState) -> str:
    """Return in what the encryption of a repository that exists is not the settings', and what to do; empty: it is.

    ECR fixes it when a repository is created. What is encrypted by a key although the settings name none may stay.
    """
    key, present = settings.storage.kms_key, state.encryption.get("kmsKey", "ECR's own key")
    if not state.exists or not key or key == present:
        return ""
    name = names.repository(settings)
    return (
        f"the repository {name} is encrypted by {present}, not by storage.kms_key, and that cannot be changed: to have "
        f"its images encrypted by {key}, delete it by `aws ecr delete-repository --repository-name {name} --force`, "
        "then build and push again"
    )


def _encryption(settings: Settings) -> dict[str, str]:
    key = settings.storage.kms_key
    return {"encryptionType": "KMS", "kmsKey": key} if key else {"encryptionType": "AES256"}


def _lifecycle(settings: Settings) -> Any:
    keep = settings.training_image.keep_last
    selection = {"tagStatus": "any", "countType": "imageCountMoreThan", "countNumber": keep}
    rule = {
        "rulePriority": 1,
        "description": f"keep the last {keep} images",
        "selection": selection,
        "action": {"type": "expire"},
    }
    return {"rules": [rule]}
