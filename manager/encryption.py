"""The KMS keys that the settings name: of the project's region, or nothing there can use them."""

from container.errors import SettingsError
from container.modeling.settings import Settings
from manager import names


def kms_keys(settings: Settings) -> tuple[str, ...]:
    """Return the ARNs of all keys that the settings name, each once."""
    return tuple(sorted({settings.storage.kms_key, settings.training_job.volume_kms_key} - {""}))


def check_regions(settings: Settings, place: names.Place) -> None:
    """See that all keys are of the project's region: no service uses one of another.

    Raises:
        SettingsError: one is of another region.
    """
    keys = {
        "storage.kms_key": settings.storage.kms_key,
        "training_job.volume_kms_key": settings.training_job.volume_kms_key,
    }
    for name, arn in keys.items():
        if arn and (region := arn.split(":")[3]) != place.region:
            raise SettingsError(
                f"{name}={arn} is a key of {region}, and the project is in {place.region}, where nothing can use it: "
                f"name a key of {place.region}, or set aws.region={region}"
            )
