"""What is told to a client whose request cannot be answered."""

from http import HTTPStatus

from container.errors import ProjectError


class RefusedError(ProjectError):
    """A request is refused: a status of HTTP, and the reason in one line, which the client reads.

    A user's own functions may raise it too.
    """

    def __init__(self, status: HTTPStatus, reason: str) -> None:
        super().__init__(" ".join(reason.split()))
        self.status = status

    def of_image(self, number: int, count: int) -> "RefusedError":
        """Return the refusal of one of several images, counted from 1."""
        return RefusedError(self.status, f"image {number} of {count}: {self}")


class BrokenPartError(ProjectError):
    """A function of the user's own failed while it answered a request. The log has more than the client is told."""


def bad_request(reason: str) -> RefusedError:
    """Return the refusal of what is not as docs/serving.md has it."""
    return RefusedError(HTTPStatus.BAD_REQUEST, reason)


def too_large(reason: str) -> RefusedError:
    """Return the refusal of what has too many bytes, pixels or parts."""
    return RefusedError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, reason)


def given_up(seconds: float) -> RefusedError:
    """Return the refusal of a request whose answer takes too long; it would take as long again."""
    return RefusedError(
        HTTPStatus.GATEWAY_TIMEOUT,
        f"the answer takes more than {seconds:g} seconds (serving.answer_seconds): send fewer images at a time",
    )


def unavailable(reason: str) -> RefusedError:
    """Return the refusal of a request that may be answered when it is sent again."""
    return RefusedError(HTTPStatus.SERVICE_UNAVAILABLE, reason)
