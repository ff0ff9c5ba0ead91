"""The keys of trackers: environment variables, which a secret of AWS Secrets Manager holds as one JSON object.

They get into this process alone, never into a job's request, its settings or its files; the warnings about a tracker
pass through `hide_keys`.
"""

import os
import re
from collections.abc import Mapping

from pydantic import TypeAdapter, ValidationError

from container.modeling.insight_settings import TRACKERS_KEY

# The trackers' own variables: nobody who may write the secret can change anything else of the job.
ALLOWED = re.compile(r"(WANDB|MLFLOW)_[A-Z0-9_]+")

# A network without a way to AWS answers nothing at all.
CONNECT_SECONDS, READ_SECONDS, ATTEMPTS = 3, 5, 2


class KeysError(Exception):
    """The secret cannot be read, or is not what it should be."""


def read_keys(secret: str) -> dict[str, str]:
    """Return the environment variables that a secret holds.

    Args:
        secret: name or ARN, of this job's region or, where the ARN names another one, of that.

    Raises:
        KeysError: it cannot be read, or is no JSON object of texts whose names begin with WANDB_ or MLFLOW_.
    """
    # A quarter of a second, which a job without a secret need not wait for.
    import boto3
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError

    config = Config(
        connect_timeout=CONNECT_SECONDS, read_timeout=READ_SECONDS, retries={"total_max_attempts": ATTEMPTS}
    )
    region = secret.split(":")[3] if secret.startswith("arn:") else os.environ.get("AWS_REGION")
    try:
        client = boto3.client("secretsmanager", region_name=region, config=config)
        text = client.get_secret_value(SecretId=secret).get("SecretString", "")
    except (BotoCoreError, ClientError, ValueError) as error:
        raise KeysError(f"{error}") from None
    try:
        keys = TypeAdapter(dict[str, str]).validate_json(text)
    except ValidationError:
        # The error would show the content.
        raise KeysError('it must be a JSON object of texts, such as {"WANDB_API_KEY": "..."}') from None
    if others := sorted(name for name in keys if not ALLOWED.fullmatch(name)):
        raise KeysError(f"it may hold names that begin with WANDB_ or MLFLOW_ only, and not {', '.join(others)}")
    return keys


def hide_keys(text: str, environment: Mapping[str, str] = os.environ) -> str:
    """Return a text with `***` in place of each key that the environment holds."""
    keys = {value for name, value in environment.items() if value and re.fullmatch(TRACKERS_KEY, name)}
    for key in sorted(keys, key=len, reverse=True):
        text = text.replace(key, "***")
    return text
