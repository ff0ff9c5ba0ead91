"""What `--check` looks at on AWS: who asks, what the account allows, what is there already. Nothing is changed."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from botocore.exceptions import ClientError

from container.errors import ProjectError
from container.modeling.settings import Settings
from manager import image, names, repository, role, training
from manager.aws import Aws, error_code
from manager.bucket_aspects import aspects
from manager.buckets import plan_bucket, read_bucket
from manager.findings import Check, Finding
from manager.plan import Plan
from manager.pricing import machines_of

INIT, PUSH = "--init_s3_buckets", "--build_and_push_docker_image"


@dataclass(frozen=True)
class Account:
    """An account whose credentials work, and what is wanted of it."""

    aws: Aws
    caller_arn: str
    """Who asks, as GetCallerIdentity tells it."""
    settings: Settings
    flavor: image.Flavor
    project_root: Path

    @property
    def is_root(self) -> bool:
        """Whether the account's root user asks."""
        return self.caller_arn.endswith(":root")


@dataclass(frozen=True)
class Quota:
    """How much of something Service Quotas allows at a time."""

    code: str
    value: float


def identify(aws: Aws) -> str:
    """Return the ARN of who asks.

    Raises:
        AwsError: there are no credentials or no region, or AWS does not accept them.
    """
    with aws.explained("could not ask AWS who you are"):
        return str(aws.client("sts").get_caller_identity()["Arn"])


def identity_checks(account: Account) -> tuple[Check, ...]:
    """Return what is known of the account without asking once more."""
    return (Check("credentials", partial(_credentials, account)), Check("region", partial(_region, account)))


def account_checks(account: Account) -> tuple[Check, ...]:
    """Return what is to be looked at on AWS, beside the permissions."""
    return (
        Check("quota", partial(_quota, account)),
        Check("public access", partial(_public_access, account)),
        *(Check(f"bucket {bucket}", partial(_bucket, account, bucket)) for bucket in names.buckets(account.settings)),
        Check(f"role {names.role(account.settings)}", partial(_role, account)),
        Check(f"repository {names.repository(account.settings)}", partial(_repository, account)),
        Check("image", partial(_image, account)),
    )


def _credentials(account: Account) -> Finding:
    number = account.aws.place.account
    if account.is_root:
        return Finding(
            "warning",
            f"you are the root user of account {number}, who may do everything: work as an IAM user or role, and "
            "delete the root user's access keys",
        )
    return Finding("ok", f"{account.caller_arn} in account {number}")


def _region(account: Account) -> Finding:
    place = account.aws.place
    if place.region not in account.aws.session.get_available_regions("sagemaker", place.partition):
        return Finding(
            "warning", f"{place.region} is none of SageMaker's regions as this boto3 knows them: is it right?"
        )
    return Finding("ok", place.region)


def _quota(account: Account) -> Finding:
    request = training.render_request(
        account.settings, account.aws.place, "image", "job", account.project_root / training.TEMPLATE
    )
    kind = "spot training job" if request.get("EnableManagedSpotTraining") else "training job"
    is_kept = request["ResourceConfig"].get("KeepAlivePeriodInSeconds")
    kinds = [kind, "training warm pool"] if is_kept else [kind]
    wanted = {
        f"{group.instance_type} for {name} usage": group.count for name in kinds for group in machines_of(request)
    }
    quotas = _quotas(account.aws, wanted)
    for name, count in wanted.items():
        if name not in quotas:
            return Finding("warning", f"Service Quotas knows none by the name '{name}': does this instance type exist?")
        if (quota := quotas[name]).value < count:
            return Finding(
                "problem",
                f"'{name}' is {quota.value:g}, and a job needs {count}: ask for more by `aws service-quotas "
                f"request-service-quota-increase --service-code sagemaker --quota-code {quota.code} --desired-value "
                f"{count}`, which can take days, or choose another training_job.instance_type",
            )
    return Finding("ok", ", ".join(f"'{name}' is {quota.value:g}" for name, quota in quotas.items()))


def _quotas(aws: Aws, wanted: Iterable[str]) -> dict[str, Quota]:
    """Return the quotas of these names; one that the account never had changed is told by its default."""
    client, missing = aws.client("service-quotas"), set(wanted)
    found: dict[str, Quota] = {}
    for operation in ("list_service_quotas", "list_aws_default_service_quotas"):
        for page in client.get_paginator(operation).paginate(ServiceCode="sagemaker"):
            here = {quota["QuotaName"]: quota for quota in page["Quotas"] if quota["QuotaName"] in missing}
            found |= {name: Quota(quota["QuotaCode"], quota["Value"]) for name, quota in here.items()}
            missing -= here.keys()
            if not missing:
                return found
    return found


def _public_access(account: Account) -> Finding:
    flags: Mapping[str, bool] = {}
    try:
        answer = account.aws.client("s3control").get_public_access_block(AccountId=account.aws.place.account)
        flags = answer["PublicAccessBlockConfiguration"]
    except ClientError as error:
        if error_code(error) != "NoSuchPublicAccessBlockConfiguration":
            raise
    if len(flags) == 4 and all(flags.values()):
        return Finding("ok", "blocked for all buckets of the account")
    return Finding(
        "warning",
        "not blocked for the account as a whole; the project's own buckets block it, and the rest is the account's "
        "administrator's to decide",
    )


def _bucket(account: Account, bucket: str) -> Finding:
    place = account.aws.place
    wanted = aspects(account.settings, bucket, place)
    state = read_bucket(account.aws, bucket, wanted)
    plan = plan_bucket(account.settings, bucket, place.region, wanted, state)
    return _as_planned(plan, exists=state.exists, flag=INIT)


def _role(account: Account) -> Finding:
    state = role.read_role(account.aws, names.role(account.settings))
    plan = role.plan_role(account.settings, account.aws.place, state)
    return _as_planned(plan, exists=state is not None, flag=INIT)


def has_role_as_planned(account: Account) -> bool:
    """Whether the role is there, and nobody needs to change it; what cannot be told counts as no."""
    try:
        state = role.read_role(account.aws, names.role(account.settings))
        return state is not None and not role.plan_role(account.settings, account.aws.place, state).calls
    except ProjectError:
        return False


def _repository(account: Account) -> Finding:
    state = repository.read_repository(account.aws, account.settings)
    plan = repository.plan_repository(account.settings, account.aws.place, state)
    if not plan.calls and (difference := repository.fixed_encryption(account.settings, state)):
        return Finding("warning", difference)
    return _as_planned(plan, exists=state.exists, flag=PUSH)


def _image(account: Account) -> Finding:
    additions = image.additions(account.settings)
    tag = image.content_tag(account.project_root / "container", account.flavor, additions)
    if found := image.find(account.aws, account.settings, tag):
        return Finding("ok", f"the present code is pushed as {found.tag}")
    return Finding("warning", f"the present code is not pushed yet: {PUSH} does it")


def _as_planned(plan: Plan, *, exists: bool, flag: str) -> Finding:
    if not exists:
        return Finding("warning", f"does not exist yet: {flag} creates it")
    if plan.calls:
        changes = "; ".join(call.message for call in plan.calls)
        return Finding("warning", f"is not as planned: {flag} would {changes}")
    return Finding("ok", "as planned")
