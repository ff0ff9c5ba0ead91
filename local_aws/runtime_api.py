"""SageMaker Runtime: InvokeEndpoint, before moto, which takes every body for text.

Codes and wordings of errors are SageMaker's own where they are known. https://docs.aws.amazon.com/sagemaker/latest/
APIReference/API_runtime_InvokeEndpoint.html
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from moto.iam.models import get_account_id_from
from moto.sagemaker.exceptions import ValidationError
from moto.utilities.utils import get_partition
from werkzeug.wrappers import Request, Response

from local_aws.deployments import NoVariantError, VariantDeployment, log_group
from local_aws.endpoint_service import EndpointService
from local_aws.endpoints import NotInServiceError
from local_aws.serving_errors import AnswerTimeoutError, NoHostError, SendError
from local_aws.serving_host import Answer, invocation

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

# The developer guide's limit for real-time inference ("payload sizes up to 25 MB"); it was 6 MB until 2025.
LARGEST_BODY = 25 << 20

# A longer message of the container is left out of the error, as on SageMaker.
_LONGEST_MESSAGE = 1 << 13

_CHUNK_BYTES = 1 << 16

_PATH = re.compile(r"/endpoints/(?P<name>[^/]+)/(?P<operation>(async-)?invocations(-response-stream)?)")

# The signature's scope tells SageMaker's paths from those of a bucket named `endpoints`.
_SCOPE = re.compile(r"Credential=(?P<key>[^/,\s]+)/\d{8}/(?P<region>[^/]+)/sagemaker/aws4_request")

# Headers that ask for what an endpoint here does not have.
_UNSUPPORTED = {
    "X-Amzn-SageMaker-Target-Model": "TargetModel, as no container serves several models",
    "X-Amzn-SageMaker-Target-Container-Hostname": "TargetContainerHostname, as no model has several containers",
    "X-Amzn-SageMaker-Inference-Component": "InferenceComponentName, as there are no inference components",
    "X-Amzn-SageMaker-Session-Id": "SessionId, as no container holds sessions",
    "X-Amzn-SageMaker-Enable-Explanations": "EnableExplanations, as there is no explainer",
}

_CUSTOM_ATTRIBUTES = "X-Amzn-SageMaker-Custom-Attributes"

_TIMED_OUT = (
    "Your invocation timed out while waiting for a response from container primary. Review the latency metrics for "
    "each container in Amazon CloudWatch, resolve the issue, and try again."
)


class RuntimeApi:
    """Answers the requests to endpoints."""

    def __init__(self, endpoints: EndpointService) -> None:
        self._endpoints = endpoints

    def before(self, application: WSGIApplication) -> WSGIApplication:
        """The application, except for the requests that are answered here."""

        def choose(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
            path = _PATH.fullmatch(environ["PATH_INFO"])
            scope = _SCOPE.search(environ.get("HTTP_AUTHORIZATION", ""))
            is_signed = "HTTP_AUTHORIZATION" in environ or "X-Amz-" in environ.get("QUERY_STRING", "")
            if not path or (is_signed and not scope) or environ["REQUEST_METHOD"] != "POST":
                return application(environ, start_response)
            request = Request(environ)
            if not scope:
                _discard(request)
                answer = _error(403, "MissingAuthenticationTokenException", "Missing Authentication Token")
            elif path["operation"] == "invocations":
                caller = _Caller(get_account_id_from(scope["key"]), scope["region"])
                answer = self._invoke(caller, path["name"], request)
            else:
                _discard(request)
                message = f"not offered by this AWS: local_aws has no {path['operation']}"
                answer = _error(400, "UnknownOperationException", message)
            answer.headers["x-amzn-RequestId"] = str(uuid.uuid4())
            return answer(environ, start_response)

        return choose

    def _invoke(self, caller: _Caller, name: str, request: Request) -> Response:
        length = request.content_length or 0
        body = request.get_data() if length <= LARGEST_BODY else b""
        if max(length, len(body)) > LARGEST_BODY:
            _discard(request)
            return _answer(413, {"Message": f"HTTP content length exceeded {LARGEST_BODY} bytes."})
        for header, what in _UNSUPPORTED.items():
            if header in request.headers:
                return _error(400, "ValidationError", f"local_aws has no {what}")
        not_found = f"Endpoint {name} of account {caller.account_id} not found."
        try:
            with self._endpoints.find(caller.account_id, caller.region, name).in_use() as deployment:
                variant = deployment.choose(request.headers.get("X-Amzn-SageMaker-Target-Variant"))
                return _send(caller, name, variant, request, body)
        except ValidationError:
            return _error(400, "ValidationError", not_found)
        except NotInServiceError as error:
            return _error(400, "ValidationError", f"{not_found} It is not InService but {error}.")
        except NoVariantError as error:
            return _error(400, "ValidationError", f"Endpoint {name} has no production variant {error}.")


class _Caller:
    def __init__(self, account_id: str, region: str) -> None:
        self.account_id = account_id
        self.region = region

    def model_error(self, endpoint: str, status: int, sent: bytes) -> Response:
        """What a client gets instead of a container's answer; a status of 0 means that there was none."""
        message = sent.decode(errors="replace")
        side = "client" if 400 <= status < 500 else "server"
        shown = f' with message "{message}"'
        if len(message) > _LONGEST_MESSAGE:
            shown, message = " and could not load the entire response body", message[:_LONGEST_MESSAGE]
        group = log_group(endpoint)
        document = {
            "ErrorCode": "CLIENT_ERROR_FROM_MODEL" if side == "client" else "INTERNAL_FAILURE_FROM_MODEL",
            "LogStreamArn": f"arn:{get_partition(self.region)}:logs:{self.region}:{self.account_id}:log-group:{group}",
            "Message": f"Received {side} error ({status}) from primary{shown}. See the log group {group} in account "
            f"{self.account_id} for more information.",
            "OriginalMessage": message,
            "OriginalStatusCode": status,
        }
        return _answer(424, document, "ModelError")


def _send(caller: _Caller, endpoint: str, variant: VariantDeployment, request: Request, body: bytes) -> Response:
    headers = request.headers
    sent = invocation(body, headers.get("Content-Type"), headers.get("Accept"), headers.get(_CUSTOM_ATTRIBUTES))
    try:
        answer = variant.send(sent)
    except NoHostError:
        return _error(503, "ServiceUnavailable", f"No host of variant {variant.variant.name} is in service. Try again.")
    except AnswerTimeoutError:
        return caller.model_error(endpoint, 0, _TIMED_OUT.encode())
    except SendError as error:
        reason = f"Amazon SageMaker could not get a response from the {endpoint} endpoint. ({error})"
        return caller.model_error(endpoint, 0, reason.encode())
    if not answer.is_success:
        return caller.model_error(endpoint, answer.status, answer.body)
    return _passed_on(answer, variant.variant.name)


def _passed_on(answer: Answer, variant: str) -> Response:
    response = Response(answer.body, 200, {"x-Amzn-Invoked-Production-Variant": variant})
    del response.headers["Content-Type"]
    if answer.content_type:
        response.headers["Content-Type"] = answer.content_type
    if attributes := answer.headers.get(_CUSTOM_ATTRIBUTES.lower()):
        response.headers[_CUSTOM_ATTRIBUTES] = attributes
    return response


def _discard(request: Request) -> None:
    # What is not read would be taken for the next request of a kept-alive connection.
    while request.stream.read(_CHUNK_BYTES):
        pass


def _error(status: int, code: str, message: str) -> Response:
    return _answer(status, {"Message": message}, code)


def _answer(status: int, document: dict[str, Any], code: str | None = None) -> Response:
    headers = {"x-amzn-ErrorType": code} if code else {}
    return Response(json.dumps(document), status, headers, content_type="application/json")
