"""The IAM role that SageMaker assumes to run the project's jobs (part of `--init_s3_buckets`)."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

from container.modeling.settings import Settings
from manager import encryption, names, pretrained, template
from manager.aws import Aws, error_code
from manager.errors import AwsError, JobError
from manager.plan import ApiCall, Plan

POLICY_NAME = "training"


@dataclass(frozen=True)
class RoleState:
    """What was read of a role: its trust policy, its inline policy (None: there is none) and its tags."""

    trust: Any
    policy: Any
    tags: Mapping[str, str]
    inline: tuple[str, ...] = ()
    """Names of all inline policies."""
    attached: tuple[str, ...] = ()
    """ARNs of the managed policies that somebody attached."""
    boundary: str = ""
    """ARN of the policy that bounds its permissions; empty: there is none."""


def read_role(aws: Aws, role: str) -> RoleState | None:
    """Ask AWS what a role is now; None: it does not exist.

    Raises:
        AwsError: AWS refuses to tell.
    """
    iam = aws.client("iam")
    with aws.explained(f"could not look at the role {role}"):
        try:
            found = iam.get_role(RoleName=role)["Role"]
        except ClientError as error:
            if error_code(error) == "NoSuchEntity":
                return None
            raise
        try:
            policy = iam.get_role_policy(RoleName=role, PolicyName=POLICY_NAME)["PolicyDocument"]
        except ClientError as error:
            if error_code(error) != "NoSuchEntity":
                raise
            policy = None
        tags = {tag["Key"]: tag["Value"] for tag in found.get("Tags", [])}
        inline = iam.list_role_policies(RoleName=role)["PolicyNames"]
        listed = iam.list_attached_role_policies(RoleName=role)["AttachedPolicies"]
        attached = tuple(policy["PolicyArn"] for policy in listed)
        boundary = found.get("PermissionsBoundary", {}).get("PermissionsBoundaryArn", "")
        return RoleState(found["AssumeRolePolicyDocument"], policy, tags, tuple(inline), attached, boundary)


def plan_role(settings: Settings, place: names.Place, state: RoleState | None) -> Plan:
    """Plan what makes the role exist with exactly the trust and the permissions that the jobs need.

    Raises:
        AwsError: a role of that name exists that is not the project's.
        SettingsError: a KMS key is of another region, or the earlier model lies where no job can read it.
    """
    encryption.check_regions(settings, place)
    role, boundary = names.role(settings), settings.aws.permissions_boundary
    trust, policy = trust_policy(place), execution_policy(settings, place)
    put_policy = ApiCall(
        "iam",
        "put_role_policy",
        {"RoleName": role, "PolicyName": POLICY_NAME, "PolicyDocument": json.dumps(policy)},
        f"let the role {role} read the images, write the results and the logs",
        "changed" if state else "done",
    )
    if state is None:
        create = {
            "RoleName": role,
            "AssumeRolePolicyDocument": json.dumps(trust),
            "Description": f"Runs the SageMaker jobs of the project {settings.project_name}",
            "Tags": names.tag_list(settings),
            **({"PermissionsBoundary": boundary} if boundary else {}),
        }
        calls = (ApiCall("iam", "create_role", create, f"create the role {role}", "created"), put_policy)
        return Plan(calls)
    if state.tags.get("Project") != settings.project_name:
        raise AwsError(
            f"the role {role} exists but does not carry this project's tag, so it is somebody else's: choose another "
            "PROJECT_NAME in config.py, or delete the role if nobody needs it"
        )
    changes = []
    # Before all else: who may change bounded roles only may do so from now on. A boundary that is not asked for stays.
    if boundary and state.boundary != boundary:
        bounded = {"RoleName": role, "PermissionsBoundary": boundary}
        message = f"bound what the role {role} may do by {boundary}"
        changes.append(ApiCall("iam", "put_role_permissions_boundary", bounded, message, "changed"))
    # Exactly the permissions that the jobs need: what somebody added is taken away again.
    changes += plan_policies_removal(role, [name for name in state.inline if name != POLICY_NAME], state.attached)
    if state.trust != trust:
        document = {"RoleName": role, "PolicyDocument": json.dumps(trust)}
        message = f"let only SageMaker assume the role {role}"
        changes.append(ApiCall("iam", "update_assume_role_policy", document, message, "changed"))
    if state.policy != policy:
        changes.append(put_policy)
    if names.tags(settings).items() - state.tags.items():
        tagged = {"RoleName": role, "Tags": names.tag_list(settings)}
        changes.append(ApiCall("iam", "tag_role", tagged, f"tag the role {role}", "changed"))
    return Plan(tuple(changes), () if changes else (f"role {role}",))


def check_role(aws: Aws, settings: Settings) -> None:
    """See that a job with these settings can run with the role. One that may do more is no obstacle.

    Raises:
        JobError: the role does not exist, or lacks something.
        AwsError: it is somebody else's, or AWS refuses to tell.
        SettingsError: as of `plan_role`.
    """
    name, state = names.role(settings), read_role(aws, names.role(settings))
    if state is None:
        raise JobError(f"the role {name} does not exist: create it first by --init_s3_buckets")
    plan = plan_role(settings, aws.place, state)
    if plan.calls and not _is_sufficient(settings, aws.place, state):
        raise JobError(
            f"the role {name} is not as these settings need it ({'; '.join(call.message for call in plan.calls)}): run "
            "--init_s3_buckets with the same --set, by itself or in this same command"
        )


def _is_sufficient(settings: Settings, place: names.Place, state: RoleState) -> bool:
    given = state.policy["Statement"] if state.policy else []
    return (
        state.trust == trust_policy(place)
        and all(statement in given for statement in execution_policy(settings, place)["Statement"])
        and settings.aws.permissions_boundary in ("", state.boundary)
    )


def plan_policies_removal(role: str, inline: Iterable[str], attached: Iterable[str]) -> list[ApiCall]:
    """Return the calls that take policies from a role: inline ones by their names, managed ones by their ARNs."""
    detached = [
        ApiCall(
            "iam",
            "detach_role_policy",
            {"RoleName": role, "PolicyArn": arn},
            f"detach the policy {arn} from the role {role}",
            "changed",
        )
        for arn in attached
    ]
    deleted = [
        ApiCall(
            "iam",
            "delete_role_policy",
            {"RoleName": role, "PolicyName": name},
            f"delete the policy {name} of the role {role}",
            "deleted",
        )
        for name in inline
    ]
    return detached + deleted


def trust_policy(place: names.Place) -> Any:
    """Return who may assume the role: SageMaker, for jobs of this account."""
    return template.policy(
        "trust.json", {"ACCOUNT": place.account, "REGION": place.region, "PARTITION": place.partition}
    )


def execution_policy(settings: Settings, place: names.Place) -> Any:
    """Return what the role may do: exactly what a training job needs, on exactly the project's resources."""
    values = {
        "ACCOUNT": place.account,
        "REGION": place.region,
        "PARTITION": place.partition,
        "DATA_BUCKET": names.data_bucket(settings),
        "OUTPUT_BUCKET": names.output_bucket(settings),
        "REPOSITORY_ARN": names.repository_arn(settings, place),
        "KMS_KEYS": list(encryption.kms_keys(settings)),
    }
    foreign = pretrained.foreign_path(settings)
    values |= {"PRETRAINED_BUCKET": foreign.bucket, "PRETRAINED_KEY": foreign.key} if foreign else {}
    if secret := settings.tracking.secret:
        arn = names.secret_arn(secret, place)
        _, _, _, region, account, *_ = arn.split(":")
        values |= {"SECRET_ARN": arn, "SECRET_REGION": region, "SECRET_ACCOUNT": account}
    policy = template.policy("execution.json", values)
    if values["KMS_KEYS"]:
        policy["Statement"] += template.policy("kms.json", values)
    if foreign:
        policy["Statement"] += template.policy("pretrained.json", values)
    if secret:
        policy["Statement"] += template.policy("trackers-keys.json", values)
    if settings.training_job.save_checkpoints:
        policy["Statement"] += template.policy("checkpoints.json", values)
    if settings.training_job.subnets or settings.endpoint.subnets or settings.batch_transform.subnets:
        policy["Statement"] += template.policy("vpc.json", values)
    return policy
