"""Looks at everything that the way to a trained model needs, and changes nothing (`--check`)."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from container.errors import ProjectError
from container.modeling.settings import Settings
from manager.account_checks import Account, account_checks, has_role_as_planned, identify, identity_checks
from manager.aws import FAILURES, Aws, reason
from manager.errors import AwsError
from manager.findings import Check, Finding, Level
from manager.image import Flavor
from manager.machine_checks import machine_checks
from manager.permissions import Statement, denials, needed, policy_source

PARALLEL_CHECKS = 16
MOST_DENIALS_SHOWN = 4


@dataclass(frozen=True)
class Patient:
    """What is looked at."""

    settings: Settings
    connect: Callable[[], Aws]
    """Gives the account; raises `AwsError` where the settings name none."""
    flavor: Flavor
    project_root: Path


def examine(patient: Patient) -> Iterator[Finding]:
    """Yield what is found, in a fixed order. What cannot be checked is a finding, and hides no other."""
    with ThreadPoolExecutor(PARALLEL_CHECKS) as pool:
        on_machine = _start(pool, machine_checks(patient.settings, patient.flavor, patient.project_root))
        yield from _examine_account(patient, pool)
        for future in on_machine:
            yield future.result()


def _examine_account(patient: Patient, pool: Executor) -> Iterator[Finding]:
    try:
        aws = patient.connect().impatient()
        account = Account(aws, identify(aws), patient.settings, patient.flavor, patient.project_root)
    except ProjectError as error:
        has_no_region = isinstance(error, AwsError) and error.code == "NoRegionError"
        yield Finding("problem", str(error), "region" if has_no_region else "credentials")
        yield Finding("warning", "nothing there is checked, since it cannot be asked", "account")
        return
    for check in identity_checks(account):
        yield check.make()
    on_account = _start(pool, account_checks(account))
    on_permissions = _start(pool, _permission_checks(account))
    for future in (*on_permissions, *on_account):
        yield future.result()


def _permission_checks(account: Account) -> tuple[Check, ...]:
    try:
        statements = needed(account.settings, account.aws.place)
        source = policy_source(account.aws, account.caller_arn)
        if source is not None:
            # Whoever may not simulate one statement may not simulate the others.
            denials(account.aws, source, statements[0])
    except ProjectError as error:
        return (_permissions_as_a_whole("problem", str(error)),)
    except FAILURES as error:
        text = f"not checked (iam:SimulatePrincipalPolicy: {reason(error)}); manager/policies/user*.json list them"
        return (_permissions_as_a_whole("warning", text),)
    if account.is_root:
        return (_permissions_as_a_whole("ok", "the root user may do all that the organization does not forbid"),)
    if source is None:
        text = f"not checked: IAM does not tell what {account.caller_arn} may do"
        return (_permissions_as_a_whole("warning", text),)
    has_role = has_role_as_planned(account)
    return tuple(
        Check(
            f"permission to {statement.purpose}",
            partial(
                _permission,
                account.aws,
                source,
                statement,
                is_needed=statement.is_on_the_way and not (statement.is_for_the_role and has_role),
            ),
        )
        for statement in statements
    )


def _permissions_as_a_whole(level: Level, text: str) -> Check:
    return Check("permissions", lambda: Finding(level, text))


def _permission(aws: Aws, source: str, statement: Statement, *, is_needed: bool) -> Finding:
    denied = denials(aws, source, statement)
    if not denied:
        return Finding("ok", f"given ({len(statement.actions)} actions)")
    shown = ", ".join(f"{denial.action} on {denial.resource}" for denial in denied[:MOST_DENIALS_SHOWN])
    more = f" and {len(denied) - MOST_DENIALS_SHOWN} more" if len(denied) > MOST_DENIALS_SHOWN else ""
    conditions = sorted({key for denial in denied for key in denial.missing_context})
    if conditions:
        return Finding("warning", f"{shown}{more} may be denied: that depends on {', '.join(conditions)}")
    remedy = f"ask the account's administrator for the statement {statement.sid} of manager/policies/user*.json"
    if statement.is_for_the_role and not is_needed:
        remedy = "the role is there as planned, so it needs no change now"
    return Finding("problem" if is_needed else "warning", f"{shown}{more} is denied: {remedy}")


def _start(pool: Executor, checks: Iterable[Check]) -> list[Future[Finding]]:
    return [pool.submit(check.make) for check in checks]
