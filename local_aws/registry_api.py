"""The registry's HTTP API (the OCI distribution specification, `/v2/`) on the server's own port.

Layers pass through to the registry. Manifests and tags are ECR's, and so is what is asked of a client: it has to log in
by GetAuthorizationToken, its repository has to exist, and an immutable tag stays what it is.
"""

from __future__ import annotations

import hmac
import json
import re
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING

from moto.ecr.exceptions import ImageNotFoundException, RepositoryNotFoundException
from werkzeug.exceptions import HTTPException
from werkzeug.wrappers import Request, Response

from local_aws.images import manifest_digest
from local_aws.registry import BLOCK_BYTES, RegistryError
from local_aws.repositories import USER, PushError, Repositories, RepositoryName

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

_PATH = re.compile(r"/v2/(?:(?P<repository>[a-z0-9-]+/.+)/(?P<kind>manifests|blobs|tags)/(?P<rest>.+))?")

_BLOB = re.compile(r"sha256:[0-9a-f]{64}|uploads/[\w-]*")

# What a request about a layer means; the rest is the connection's and the login's.
_FORWARDED_HEADERS = {"accept", "content-length", "content-range", "content-type", "range"}

# Of a connection, not of what it carries.
_HOP_HEADERS = {"connection", "date", "keep-alive", "server", "transfer-encoding"}

# The registry's own limit.
_LARGEST_MANIFEST = 4 << 20

_DIGEST_HEADER = "Docker-Content-Digest"
_VERSION_HEADER = {"Docker-Distribution-Api-Version": "registry/2.0"}


class RegistryApi:
    """Answers `/v2/` requests."""

    def __init__(self, repositories: Repositories) -> None:
        self._repositories = repositories

    def before(self, application: WSGIApplication) -> WSGIApplication:
        """The application, except for the requests that are for the registry."""

        def choose(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
            match = _PATH.fullmatch(environ["PATH_INFO"])
            # Some AWS services have paths of this form; their clients sign their requests.
            if match is None or environ.get("HTTP_AUTHORIZATION", "").startswith("AWS"):
                return application(environ, start_response)
            return self._answer(Request(environ), match)(environ, start_response)

        return choose

    def _answer(self, request: Request, match: re.Match[str]) -> Response:
        if not self._is_logged_in(request):
            challenge = {"WWW-Authenticate": 'Basic realm="local_aws",service="ecr.amazonaws.com"'}
            return _error(401, "UNAUTHORIZED", "log in with what ECR's GetAuthorizationToken gives", challenge)
        if match["kind"] is None:
            return Response("{}", 200, _VERSION_HEADER, content_type="application/json")
        name = RepositoryName.from_path(match["repository"])
        answers: dict[str, Callable[[Request, RepositoryName, str], Response]] = {
            "manifests": self._manifests,
            "blobs": self._blobs,
            "tags": self._tags,
        }
        try:
            if name is None:
                raise RepositoryNotFoundException(match["repository"], "")
            return answers[match["kind"]](request, name, match["rest"])
        except RepositoryNotFoundException as error:
            return _error(404, "NAME_UNKNOWN", error.message)
        except ImageNotFoundException as error:
            return _error(404, "MANIFEST_UNKNOWN", error.message)
        except PushError as error:
            return _error(400, error.code, str(error))
        except RegistryError as error:
            return _error(503, "UNAVAILABLE", str(error))
        except HTTPException as error:
            # The client went away, or sent too much.
            return _error(error.code or 400, "UNKNOWN", error.description or "")

    def _is_logged_in(self, request: Request) -> bool:
        given = request.authorization
        if given is None or given.type != "basic":
            return False
        password = str(given.password).encode()
        return given.username == USER and hmac.compare_digest(password, self._repositories.password.encode())

    def _manifests(self, request: Request, name: RepositoryName, tag_or_digest: str) -> Response:
        if request.method == "PUT":
            request.max_content_length = _LARGEST_MANIFEST
            tag = None if ":" in tag_or_digest else tag_or_digest
            try:
                manifest = request.get_data().decode()
            except UnicodeDecodeError as error:
                raise PushError("MANIFEST_INVALID", f"the manifest is no text in UTF-8: {error}") from error
            if tag is None and tag_or_digest != manifest_digest(manifest):
                raise PushError("DIGEST_INVALID", f"the digest of the manifest is {manifest_digest(manifest)}")
            digest = self._repositories.push(name, tag, manifest, request.content_type or "").image_digest
            location = f"/v2/{name.path}/manifests/{digest}"
            return Response(status=201, headers=_VERSION_HEADER | {"Location": location, _DIGEST_HEADER: digest})
        if request.method not in ("GET", "HEAD"):
            return _unsupported(request)
        image = self._repositories.manifest(name, tag_or_digest)
        headers = _VERSION_HEADER | {_DIGEST_HEADER: image.image_digest}
        return Response(image.image_manifest, 200, headers, content_type=image.image_manifest_media_type)

    def _blobs(self, request: Request, name: RepositoryName, rest: str) -> Response:
        self._repositories.check(name)
        # Layers are never deleted alone; an upload may be given up.
        if not _BLOB.fullmatch(rest) or (request.method == "DELETE" and ":" in rest):
            return _unsupported(request)
        headers = {key: value for key, value in request.headers.items() if key.lower() in _FORWARDED_HEADERS}
        query = f"?{request.query_string.decode()}" if request.query_string else ""
        has_body = "Content-Length" in request.headers or "Transfer-Encoding" in request.headers
        connection = ExitStack()
        answer = connection.enter_context(
            self._repositories.registry.request(
                request.method, request.path + query, headers, request.stream if has_body else None
            )
        )
        kept = [(key, value) for key, value in answer.getheaders() if key.lower() not in _HOP_HEADERS]
        response = Response(iter(partial(answer.read, BLOCK_BYTES), b""), answer.status, kept)
        response.call_on_close(connection.close)
        return response

    def _tags(self, request: Request, name: RepositoryName, rest: str) -> Response:
        if request.method != "GET" or rest != "list":
            return _unsupported(request)
        tags = json.dumps({"name": name.path, "tags": self._repositories.tags(name)})
        return Response(tags, 200, _VERSION_HEADER, content_type="application/json")


def _unsupported(request: Request) -> Response:
    return _error(405, "UNSUPPORTED", f"{request.method} is not supported here")


def _error(status: int, code: str, message: str, headers: dict[str, str] | None = None) -> Response:
    body = json.dumps({"errors": [{"code": code, "message": message}]})
    return Response(body, status, _VERSION_HEADER | (headers or {}), content_type="application/json")
