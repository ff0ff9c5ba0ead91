"""How a request for what this AWS does not offer is refused: by an error of the service, as on AWS.

moto answers for an operation or a service that it lacks by a page of HTML, mostly with status 500, at which a client
asks again for a while and then cannot tell what is wrong.
"""

from __future__ import annotations

import json
import uuid
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

from flask import Flask, Response, request
from moto.moto_server.werkzeug_app import create_backend_app
from werkzeug.exceptions import NotFound

if TYPE_CHECKING:
    from werkzeug.wrappers import Response as AnyResponse


def create_app(service: str | None) -> Flask:
    """moto's application of a service, None where moto has no such service, with these refusals."""
    if service is None:
        app = Flask(__name__)
        app.before_request(_refuse)
        return app
    app = create_backend_app(service)
    app.register_error_handler(NotImplementedError, lambda _: _refuse())
    app.register_error_handler(NotFound, _refuse_without_route)
    return app


def _refuse_without_route(error: NotFound) -> AnyResponse:
    return _refuse() if request.routing_exception else error.get_response()


def _refuse() -> Response:
    """The answer in the request's own protocol. https://smithy.io/2.0/aws/protocols/"""
    operation = _operation()
    message = f"not offered by this AWS: local_aws has no {operation}"
    if _is_query():
        error = f"<Error><Type>Sender</Type><Code>InvalidAction</Code><Message>{escape(message)}</Message></Error>"
        body = f"<ErrorResponse>{error}<RequestId>{uuid.uuid4()}</RequestId></ErrorResponse>"
        return Response(body, 400, content_type="text/xml")
    code = "UnknownOperationException"
    body = json.dumps({"__type": code, "message": message})
    return Response(body, 400, {"x-amzn-ErrorType": code}, content_type="application/x-amz-json-1.1")


def _operation() -> str:
    if target := request.headers.get("X-Amz-Target"):
        return target.rpartition(".")[2]
    return str(request.form.get("Action", f"{request.method} {request.path}"))


def _is_query() -> bool:
    return request.mimetype == "application/x-www-form-urlencoded"
