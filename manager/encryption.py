"""The KMS keys that the settings name: of the project's region, or nothing there can use them."""

from container.errors import SettingsError
from container.modeling.settings import Settings
from manager import names


def kms_keys(settings: Settings) -> tuple[str, ...]:
    """Return the ARNs of all keys that the settings name, each once."""
    return tuple(sorted(set(_named(settings).values()) - {""}))


def check_regions(settings: Settings, place: names.Place) -> None:
    """See that all keys are of the project's region: no service uses one of another.

    Raises:
        SettingsError: one is of another region.
    """
    for name, arn in _named(settings).items():
        if arn and (region := arn.split(":")[3]) != place.region:
            raise SettingsError(
                f"{name}={arn} is a key of {region}, and the project is in {place.region}, where nothing can use it: "
                f"name a key of {place.region}, or set aws.region={region}"
            )


def _named(settings: Settings) -> dict[str, str]:
    return {
        "storage.kms_key": settings.storage.kms_key,
        "training_job.volume_kms_key": settings.training_job.volume_kms_key,
        "endpoint.volume_kms_key": settings.endpoint.volume_kms_key,
        "batch_transform.volume_kms_key": settings.batch_transform.volume_kms_key,
        "preparation.volume_kms_key": settings.preparation.volume_kms_key,
    }
