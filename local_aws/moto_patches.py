"""Every place where this package changes moto, each with the reason, for moto 5.2.5 (pinned exactly).

moto's internals move: with another version, read each entry here against its source before anything else.

- SageMaker's response class, replaced in `moto.sagemaker.urls` by `local_aws.sagemaker_api`: moto's training jobs are
  born Completed, drop fields of the request, and cannot be stopped or deleted; ours run. So with tuning jobs, which
  moto has without training jobs, and with models, endpoints and transform jobs, which it has without programs
  that serve. Its processing jobs are born Completed, too.
- ECR's PutImage, replaced in `moto.ecr.urls`: takes the snapshot of a directory image, gives an image the
  digest of its manifest (moto makes one up from the layers' digests, or a random one), and answers for a
  missing repository and bad JSON (moto: status 500).
- ECR's PutImage, GetAuthorizationToken and repositoryUri, where a registry of this machine holds the images: they
  are the registry's. An image's size is that of its layers (moto: of its configuration alone).
- CloudWatch Logs' FilterLogEvents, replaced in `moto.logs.urls`: moto ignores logStreamNamePrefix, so that
  `aws logs tail GROUP --log-stream-name-prefix JOB/` would show every job's lines.
- S3's DeleteBucket: moto keeps the tags of a deleted bucket, so that a new one of its name would have them.
- No CORS headers, which moto adds to every answer: no web page has any business here.
- The names of moto's services, which moto reads from the disk twice for each request: read once.
- IAM policy statements: moto ignores most conditions, so that a bucket policy which denies requests without
  TLS denies everything. Requests to this server never leave the machine and count as sent with TLS.
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterator
from datetime import timedelta
from typing import Any, ClassVar

from moto import backends
from moto.core.responses import ActionResult
from moto.ecr import models as ecr_models
from moto.ecr import urls as ecr_urls
from moto.ecr.exceptions import ImageAlreadyExistsException, InvalidParameterException, RepositoryNotFoundException
from moto.ecr.responses import ECRResponse
from moto.iam.access_control import IAMPolicyStatement, PermissionResult
from moto.logs import urls as logs_urls
from moto.logs.responses import LogsResponse
from moto.moto_server import werkzeug_app
from moto.s3.models import FakeBucket, S3Backend
from moto.sagemaker import urls as sagemaker_urls

from local_aws.images import ImageError, ImageSnapshots, manifest_digest
from local_aws.registry import RegistryError
from local_aws.repositories import USER, PushError, Repositories, RepositoryName
from local_aws.sagemaker_api import SageMakerApi
from local_aws.services import Services
from local_aws.times import this_moment

# What a request over TLS 1.3 has for these condition keys.
_TLS_CONTEXT = {"aws:securetransport": "true", "s3:tlsversion": "1.3"}

# ECR's own.
_LOGIN_HOURS = 12

# ECR's errors for those of the OCI distribution specification.
_ECR_ERRORS = {"TAG_INVALID": "ImageTagAlreadyExistsException", "MANIFEST_BLOB_UNKNOWN": "LayersNotFoundException"}


def install(services: Services, images: ImageSnapshots | Repositories) -> None:
    """Changes moto as this module's docstring says; to be called before the first request."""
    SageMakerApi.services = services
    sagemaker_urls.url_paths["{0}/$"] = SageMakerApi.dispatch
    ecr_models.Image.get_image_size_in_bytes = _size
    if isinstance(images, Repositories):
        _RegistryResponse.repositories = _RegistryRepository.repositories = images
        ecr_models.Repository = _RegistryRepository
        ecr_urls.url_paths["{0}/$"] = _RegistryResponse.dispatch
    else:
        _PutImageResponse.snapshots = images
        ecr_urls.url_paths["{0}/$"] = _PutImageResponse.dispatch
    logs_urls.url_paths["{0}/$"] = _FilterLogEventsResponse.dispatch
    werkzeug_app.DISABLE_GLOBAL_CORS = True
    modules = frozenset(backends.list_of_moto_modules())
    backends.list_of_moto_modules = lambda: modules
    IAMPolicyStatement.is_action_permitted = _is_action_permitted
    S3Backend.delete_bucket = _delete_bucket


class _FilterLogEventsResponse(LogsResponse):
    body: str

    def filter_log_events(self) -> str:
        prefix = self._get_param("logStreamNamePrefix")
        group = self.logs_backend.groups.get(self._get_param("logGroupName"))
        if prefix and group:
            names = [name for name in list(group.streams) if name.startswith(prefix)]
            # An empty list would mean all streams; no stream has the prefix itself as its name then.
            self.body = json.dumps({**json.loads(self.body), "logStreamNames": names or [prefix]})
        answer: str = super().filter_log_events()
        return answer


class _EcrResponse(ECRResponse):
    def _digest(self, manifest: str) -> str:
        digest = manifest_digest(manifest)
        if self._get_param("imageDigest", digest) != digest:
            raise InvalidParameterException(
                "ImageDigestDoesNotMatchException", f"The digest of the image manifest is {digest}"
            )
        return digest


class _PutImageResponse(_EcrResponse):
    snapshots: ClassVar[ImageSnapshots]

    def put_image(self) -> ActionResult:
        manifest = self._get_param("imageManifest")
        repository, account = self._get_param("repositoryName"), self.current_account
        if repository not in self.ecr_backend.repositories:
            raise RepositoryNotFoundException(repository, account)
        try:
            if not isinstance(json.loads(manifest), dict):
                raise ValueError("it is no JSON object")
            self.snapshots.take(manifest)
        except ImageError as error:
            raise InvalidParameterException(str(error)) from error
        except ValueError as error:
            raise InvalidParameterException(f"Invalid image manifest: {error}") from error
        digest = self._digest(manifest)
        tag, media_type = self._get_param("imageTag"), self._get_param("imageManifestMediaType")
        image = self.ecr_backend.put_image(repository, manifest, tag, media_type, digest)
        return ActionResult({"image": image})


class _RegistryRepository(ecr_models.Repository):
    repositories: ClassVar[Repositories]

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.uri = self.repositories.uri(RepositoryName(self.registry_id, self.region_name, self.name))


class _RegistryResponse(_EcrResponse):
    repositories: ClassVar[Repositories]

    def get_authorization_token(self) -> ActionResult:
        token = b64encode(f"{USER}:{self.repositories.password}".encode()).decode()
        expires = this_moment() + timedelta(hours=_LOGIN_HOURS)
        entry = {
            "authorizationToken": token,
            "expiresAt": expires,
            "proxyEndpoint": f"http://{self.repositories.registry_uri(self.current_account, self.region)}",
        }
        return ActionResult({"authorizationData": [entry]})

    def put_image(self) -> ActionResult:
        manifest, tag = self._get_param("imageManifest"), self._get_param("imageTag")
        name = RepositoryName(self.current_account, self.region, self._get_param("repositoryName"))
        digest = self._digest(manifest)
        # Unlike `docker push`, this must bring something new.
        if tag and self.repositories.holds(name, tag, digest):
            raise ImageAlreadyExistsException(
                repository_name=name.name, registry_id=name.account_id, digest=digest, image_tag=tag
            )
        try:
            media_type = self._get_param("imageManifestMediaType") or json.loads(manifest)["mediaType"]
            image = self.repositories.push(name, tag, manifest, media_type)
        except PushError as error:
            code = _ECR_ERRORS.get(error.code, InvalidParameterException.code)
            raise InvalidParameterException(code, str(error)) from error
        except RegistryError as error:
            raise InvalidParameterException("ServerException", str(error)) from error
        except (ValueError, KeyError, TypeError) as error:
            raise InvalidParameterException(f"Invalid image manifest: {error!r}") from error
        return ActionResult({"image": image})


def _size(self: ecr_models.Image) -> int | None:
    manifest = json.loads(self.image_manifest)
    if "layers" not in manifest:
        return None
    return sum(part.get("size", 0) for part in [manifest.get("config", {}), *manifest["layers"]])


_motos_is_action_permitted = IAMPolicyStatement.is_action_permitted


_motos_delete_bucket = S3Backend.delete_bucket


def _delete_bucket(self: S3Backend, bucket_name: str) -> FakeBucket | None:
    deleted: FakeBucket | None = _motos_delete_bucket(self, bucket_name)
    if deleted:
        self.tagger.delete_all_tags_for_resource(deleted.arn)
    return deleted


def _is_action_permitted(self: IAMPolicyStatement, *arguments: Any, **named: Any) -> PermissionResult:
    if all(_holds(*condition) for condition in _tls_conditions(self._statement.get("Condition") or {})):
        return _motos_is_action_permitted(self, *arguments, **named)
    return PermissionResult.NEUTRAL


def _tls_conditions(conditions: dict[str, dict[str, Any]]) -> Iterator[tuple[str, str, list[str]]]:
    for operator, keys in conditions.items():
        for key, expected in keys.items():
            if key.lower() in _TLS_CONTEXT:
                values = expected if isinstance(expected, list) else [expected]
                yield operator.removesuffix("IfExists"), key.lower(), [str(value).lower() for value in values]


def _holds(operator: str, key: str, expected: list[str]) -> bool:
    actual = _TLS_CONTEXT[key]
    if operator == "NumericLessThan":
        return any(float(actual) < float(value) for value in expected)
    # Any other operator on these keys keeps moto's treatment.
    return operator != "Bool" or actual in expected
