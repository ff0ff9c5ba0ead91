"""The manager's branch of the project's exceptions."""

from container.errors import ProjectError


class TemplateError(ProjectError):
    """A request's template cannot be rendered, or is no valid request afterwards."""


class AwsError(ProjectError):
    """AWS refused a request, or could not be reached."""

    def __init__(self, text: str, code: str = "") -> None:
        """
        Args:
            text: what went wrong, and what to do.
            code: AWS's or boto3's word for it, such as `BucketNotEmpty` or `NoRegionError`; empty: there is none.
        """
        super().__init__(text)
        self.code = code


class ImageError(ProjectError):
    """The image cannot be built, pushed or found."""


class JobError(ProjectError):
    """A job failed, was stopped, or does not exist."""


class EndpointError(ProjectError):
    """An endpoint failed, does not exist, or does not answer as it should."""


class AnswerError(EndpointError):
    """What serves answers in another form than the project's own."""


class ImageRefusedError(EndpointError):
    """An endpoint did not predict one image; others it may."""

    def __init__(self, text: str, status: int) -> None:
        """
        Args:
            text: the endpoint's reason.
            status: the HTTP status of its answer.
        """
        super().__init__(text)
        self.status = status


class InterruptionError(ProjectError):
    """Somebody pressed Ctrl-C before all was done that the command line was asked for."""


class ResultsError(ProjectError):
    """A job's results cannot be downloaded or read."""


class LocalAwsError(ProjectError):
    """The AWS on this machine cannot be started or stopped."""


class RefusedError(ProjectError):
    """The user did not say yes to what was to be done."""


class CheckError(ProjectError):
    """Something stops the way to a trained model."""
