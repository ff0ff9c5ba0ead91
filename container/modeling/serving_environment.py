"""Serving's settings as variables of a model's Environment: SERVING_BATCH_SIZE=16 is serving.batch_size=16."""

from collections.abc import Mapping

from container.errors import SettingsError
from container.modeling.overrides import flatten, override, to_text
from container.modeling.section import Section
from container.modeling.serving_settings import Serving

PREFIX = "SERVING_"
# https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_ContainerDefinition.html
MAX_VALUE_LENGTH = 1024


class _Settings(Section):
    """Gives the settings the names that they have everywhere."""

    serving: Serving = Serving()


def to_environment(serving: Serving) -> dict[str, str]:
    """Return the variables that turn the defaults into these settings.

    Raises:
        SettingsError: a value is longer than SageMaker's 1024 characters.
    """
    defaults = dict(flatten(Serving()))
    texts = {name: to_text(value) for name, value in flatten(serving) if value != defaults[name]}
    for name, text in texts.items():
        if len(text) > MAX_VALUE_LENGTH:
            raise SettingsError(
                f"serving.{name} is {len(text)} characters long; SageMaker takes at most {MAX_VALUE_LENGTH} in a "
                "variable of a model's Environment: shorten it"
            )
    return {PREFIX + name.upper(): text for name, text in texts.items()}


def from_environment(variables: Mapping[str, str]) -> Serving:
    """Return the settings that the variables make of the defaults; other variables are passed over.

    Raises:
        SettingsError: a variable with the prefix names no setting, or its value is wrong.
    """
    names = {f"serving.{name.removeprefix(PREFIX).lower()}": name for name in variables if name.startswith(PREFIX)}
    settings = _Settings()
    for name, variable in names.items():
        try:
            settings = override(settings, {name: variables[variable]})
        except SettingsError as error:
            raise SettingsError(f"the variable {variable} of the model's Environment: {error}") from None
    return settings.serving
