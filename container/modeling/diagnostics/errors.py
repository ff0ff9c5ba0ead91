"""Why a rule is not checked."""


class NotCheckedError(Exception):
    """A rule cannot be checked for this model, or on this machine; the text says why."""
