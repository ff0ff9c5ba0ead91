"""The HTTP side: /ping, /invocations and /execution-parameters, and what a client is told when something is wrong."""

import asyncio
from collections.abc import Coroutine
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from container.serving.answers import Answer
from container.serving.errors import BrokenPartError, RefusedError, given_up, unavailable
from container.serving.hosting import Hosting
from container.serving.incoming import IncomingBody

if TYPE_CHECKING:
    # It imports TensorFlow.
    from container.serving.inference import Inference

# Seconds after which a client that was refused for now may come again.
RETRY_AFTER = "1"
# What nobody reads any more: the client is gone.
NOBODY = Response(status_code=HTTPStatus.BAD_REQUEST)


class Service:
    """What the server answers with, once it is loaded."""

    def __init__(self, hosting: Hosting) -> None:
        self.hosting = hosting
        self.inference: Inference | None = None

    def application(self) -> Starlette:
        """Return the ASGI application."""
        return Starlette(
            routes=[
                Route("/ping", self._ping, methods=["GET"]),
                Route("/invocations", self._invocations, methods=["POST"]),
                Route("/execution-parameters", self._execution_parameters, methods=["GET"]),
            ],
            exception_handlers={
                RefusedError: _refused,
                BrokenPartError: _broken_part,
                HTTPException: _no_such_route,
                Exception: _unforeseen,
            },
        )

    async def _ping(self, request: Request) -> Response:
        self._ready()
        return Response()

    async def _execution_parameters(self, request: Request) -> Response:
        # https://docs.aws.amazon.com/sagemaker/latest/dg/your-algorithms-batch-code.html
        return JSONResponse(
            {
                "MaxConcurrentTransforms": self.hosting.max_concurrent_transforms,
                "BatchStrategy": "SINGLE_RECORD",
                "MaxPayloadInMB": self.hosting.max_transformed_mb,
            }
        )

    async def _invocations(self, request: Request) -> Response:
        body = IncomingBody(request, self.hosting.max_body_bytes)
        try:
            answer = await self._answer(request, body)
        except ClientDisconnect:
            return NOBODY
        except RefusedError:
            try:
                await body.drain()
            except ClientDisconnect:
                return NOBODY
            raise
        return Response(answer.body, headers={"Content-Type": answer.content_type})

    async def _answer(self, request: Request, body: IncomingBody) -> Answer:
        inference = self._ready()
        content_type = request.headers.get("Content-Type", "")
        accept = ",".join(request.headers.getlist("Accept"))
        inference.check_headers(content_type, accept)
        with inference.admission.request() as ticket:
            content = await body.read(ticket)
            return await self._while_wanted(inference.answer(content, content_type, accept, ticket), body)

    async def _while_wanted(self, answering: Coroutine[Any, Any, Answer], body: IncomingBody) -> Answer:
        """Return the answer, unless it takes too long, or the client leaves first: then nobody works on it any more.

        Raises:
            RefusedError: it takes too long, or cannot be given.
            ClientDisconnect: the client is gone.
        """
        answer, leaving = asyncio.create_task(answering), asyncio.create_task(body.client_left())
        seconds = self.hosting.answer_seconds
        try:
            await asyncio.wait((answer, leaving), timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            if answer.done():
                return answer.result()
            if leaving.done():
                raise ClientDisconnect
            raise given_up(seconds)
        finally:
            answer.cancel()
            leaving.cancel()

    def _ready(self) -> "Inference":
        if self.inference is None:
            raise unavailable("the model is being loaded")
        return self.inference


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, RefusedError)
    headers = {"Retry-After": RETRY_AFTER} if error.status == HTTPStatus.SERVICE_UNAVAILABLE else None
    return _error(error.status, str(error), headers)


async def _broken_part(request: Request, error: Exception) -> Response:
    return _error(HTTPStatus.INTERNAL_SERVER_ERROR, str(error))


async def _no_such_route(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return _error(
        error.status_code,
        f"{error.detail}: there are GET /ping, POST /invocations and GET /execution-parameters",
        dict(error.headers or {}),
    )


async def _unforeseen(request: Request, error: Exception) -> Response:
    # Starlette raises it again, and the server logs its traceback.
    return _error(HTTPStatus.INTERNAL_SERVER_ERROR, "the server failed: its log says why")


def _error(status: int, reason: str, headers: dict[str, str] | None = None) -> Response:
    return JSONResponse({"error": reason}, status, headers)
