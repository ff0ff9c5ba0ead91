"""The root of the project's exceptions: each says where, what, and what to do next in one readable line."""


class ProjectError(Exception):
    """An error that a user can act on. Its text is one line: the thing, the rule, the next step."""


class SettingsError(ProjectError):
    """A setting is unknown, of the wrong type or out of its range."""


class DataError(ProjectError):
    """The images, or the folders that hold them, are not what is needed."""
