"""What the person who types the commands must be allowed to do, and what IAM says about it.

`policies/user.json` has what the way to a trained model takes, `user-further.json` what tuning, serving and preparing
take, and `user-delete.json` what `--delete` takes: an administrator can read them, and grant them with their
placeholders filled in.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

from container.modeling.settings import Settings
from manager import encryption, names, template
from manager.aws import Aws
from manager.template import ABSENT

# Three, since IAM takes 6,144 characters in a policy, blanks not counted:
# https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html
USER_POLICIES: Mapping[str, str] = {
    "user.json": "the way to a trained model",
    "user-further.json": "tuning, serving, preparing on SageMaker",
    "user-delete.json": "--delete",
}
"""Each one's template, and what it is for."""


@dataclass(frozen=True)
class Statement:
    """A statement of a policy: these actions on each of these resources."""

    sid: str
    actions: tuple[str, ...]
    resources: tuple[str, ...]
    conditions: tuple[tuple[str, str], ...] = ()
    """Condition keys, and what each must be."""

    @property
    def purpose(self) -> str:
        """What it is good for, in words: `push the image`."""
        return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", self.sid).lower()

    @property
    def is_on_the_way(self) -> bool:
        """Whether a model cannot be trained without it."""
        return not self.sid.startswith(("Delete", "Find", "Check", "Resume", "Tune", "Serve", "Prepare"))

    @property
    def is_for_the_role(self) -> bool:
        """Whether it is only needed to make the role, or to change it."""
        return self.sid in ("CreateTheRole", "BoundTheRole", "LetSageMakerAssumeTheRole")


@dataclass(frozen=True)
class Denial:
    """An action that IAM does not allow on a resource."""

    action: str
    resource: str
    missing_context: tuple[str, ...]
    """Condition keys that decide, and that only a real request has, such as aws:MultiFactorAuthPresent."""


def user_policies(settings: Settings, place: names.Place) -> tuple[Any, ...]:
    """Return what all commands together need, as IAM policies, in the order of USER_POLICIES.

    Raises:
        TemplateError: a policy's template is missing or broken.
    """
    values = {
        "PARTITION": place.partition,
        "REGION": place.region,
        "ACCOUNT": place.account,
        "PROJECT": settings.project_name,
        "LOG_BUCKET": names.log_bucket(settings),
        "DATA_BUCKET": names.data_bucket(settings),
        "OUTPUT_BUCKET": names.output_bucket(settings),
        "ROLE_ARN": names.role_arn(settings, place),
        "BOUNDED_ROLE_ARN": names.role_arn(settings, place) if settings.aws.permissions_boundary else ABSENT,
        "PERMISSIONS_BOUNDARY": settings.aws.permissions_boundary or ABSENT,
        "REPOSITORY_ARN": names.repository_arn(settings, place),
        # SageMaker writes names in ARNs in lower case.
        "ALGORITHM_NAME": settings.algorithm_name.lower(),
        "TUNING_PREFIX": names.tuning_prefix(settings).lower(),
        "PROCESSING_PREFIX": names.processing_prefix(settings).lower(),
        # In names of log groups it does not.
        "ENDPOINT": names.endpoint(settings),
        "KMS_KEYS": list(encryption.kms_keys(settings)) or ABSENT,
    }
    policies = [template.policy(name, values) for name in USER_POLICIES]
    return tuple(
        policy | {"Statement": [statement for statement in policy["Statement"] if "Resource" in statement]}
        for policy in policies
    )


def needed(settings: Settings, place: names.Place) -> tuple[Statement, ...]:
    """Return the statements of these policies.

    Raises:
        TemplateError: a policy's template is missing or broken.
    """
    return tuple(
        Statement(
            statement["Sid"],
            _texts(statement["Action"]),
            _texts(statement["Resource"]),
            tuple(pair for keys in statement.get("Condition", {}).values() for pair in keys.items()),
        )
        for policy in user_policies(settings, place)
        for statement in policy["Statement"]
    )


def policy_source(aws: Aws, caller_arn: str) -> str | None:
    """Return the ARN of the user or the role whose policies decide what a caller may do; None: IAM has none.

    Args:
        aws: where a role's full ARN is asked.
        caller_arn: as GetCallerIdentity tells it. That of a role's session lacks the role's path.
    """
    session = re.fullmatch(r"arn:([^:]+):sts::(\d+):assumed-role/([^/]+)/.*", caller_arn)
    if session is None:
        return caller_arn if re.fullmatch(r"arn:[^:]+:(iam|sts)::\d+:user/.+", caller_arn) else None
    partition, account, role = session.groups()
    try:
        return str(aws.client("iam").get_role(RoleName=role)["Role"]["Arn"])
    except ClientError:
        # Who may not ask still gets an answer, where the role has no path.
        return f"arn:{partition}:iam::{account}:role/{role}"


def denials(aws: Aws, source: str, statement: Statement) -> tuple[Denial, ...]:
    """Ask IAM which actions of a statement the policies of `source` do not allow.

    Policies of the resources themselves have no part in the answer.

    Raises:
        ClientError, BotoCoreError: AWS does not answer.
    """
    pages = aws.client("iam").get_paginator("simulate_principal_policy")
    found = pages.paginate(
        PolicySourceArn=source,
        ActionNames=list(statement.actions),
        ResourceArns=list(statement.resources),
        ContextEntries=[
            *(
                _context(key, "boolean" if value in ("true", "false") else "string", value)
                for key, value in statement.conditions
            ),
            _context("aws:RequestedRegion", "string", aws.place.region),
            _context("aws:SecureTransport", "boolean", "true"),
        ],
    )
    return tuple(denial for page in found for result in page["EvaluationResults"] for denial in _denials_of(result))


def _denials_of(result: Any) -> Iterator[Denial]:
    action = str(result["EvalActionName"])
    for specific in result.get("ResourceSpecificResults") or [result]:
        decision = specific.get("EvalResourceDecision", result["EvalDecision"])
        if decision != "allowed":
            yield Denial(action, str(specific["EvalResourceName"]), tuple(specific.get("MissingContextValues", ())))


def _context(name: str, kind: str, value: str) -> dict[str, Any]:
    return {"ContextKeyName": name, "ContextKeyType": kind, "ContextKeyValues": [value]}


def _texts(value: str | list[str]) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value)
