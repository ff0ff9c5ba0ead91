"""What can go wrong with hosts that serve a model; each message is for a person."""

from __future__ import annotations


class ServingError(Exception):
    """The hosts could not do what was asked of them."""


class ModelDataError(ServingError):
    """The model's data is missing, or is no archive that can be unpacked."""


class HealthCheckError(ServingError):
    """A program ended before it was ready, or was not ready in time."""


class SendError(ServingError):
    """A request got no answer."""


class NoHostError(SendError):
    """No host runs to which the request could be sent."""


class AnswerTimeoutError(SendError):
    """The program took too long to answer."""


class BrokenAnswerError(SendError):
    """The program ended, closed the connection, or sent what is no HTTP."""
