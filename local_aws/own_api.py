"""What one can ask of this AWS and not of the real one: paths below `/_local_aws/`.

    POST /_local_aws/training-jobs/NAME/interrupt     takes the capacity of a spot job away; ?region= where several
                                                      regions have a job of that name

The answer is one line of text: with status 200 what happens now, else why nothing does.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

from moto.sagemaker.exceptions import ResourceNotFound
from werkzeug.wrappers import Request, Response

from local_aws.training_jobs import NotInterruptibleError
from local_aws.training_service import TrainingService

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

# No service has such a path: the name of a bucket has no underscore.
_PREFIX = "/_local_aws/"

_INTERRUPT = re.compile(_PREFIX + r"training-jobs/(?P<name>[A-Za-z0-9-]+)/interrupt")


class OwnApi:
    """Answers these requests."""

    def __init__(self, training: TrainingService) -> None:
        self._training = training

    def before(self, application: WSGIApplication) -> WSGIApplication:
        """The application, except for the requests that are answered here."""

        def choose(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
            if not environ["PATH_INFO"].startswith(_PREFIX):
                return application(environ, start_response)
            return self._answer(Request(environ))(environ, start_response)

        return choose

    def _answer(self, request: Request) -> Response:
        match = _INTERRUPT.fullmatch(request.path)
        if match is None:
            return _line(404, f"local_aws has no {request.path}; it has {_PREFIX}training-jobs/NAME/interrupt")
        if request.method != "POST":
            return _line(405, f"{request.path} is asked by POST, not by {request.method}", {"Allow": "POST"})
        try:
            self._training.interrupt(match["name"], request.args.get("region"))
        except ResourceNotFound:
            return _line(404, f"there is no training job {match['name']}")
        except NotInterruptibleError as error:
            return _line(409, str(error))
        return _line(200, f"the capacity of {match['name']} is taken away, if it is still training")


def _line(status: int, text: str, headers: dict[str, str] | None = None) -> Response:
    return Response(f"{text}\n", status, headers, content_type="text/plain; charset=utf-8")
