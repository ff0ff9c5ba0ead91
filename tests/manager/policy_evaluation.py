"""Evaluates policies of resources and of identities for a request, by the rules of AWS that the project's lean on.

No maintained Python package does it. What the evaluator does not know fails the test instead of counting for something.
https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic.html
https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_condition_operators.html
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any

ANYBODY = "arn:aws:iam::123456789012:root"
KNOWN = ("Bool", "StringEquals", "StringLike", "ArnLike", "ArnEquals")


@dataclass(frozen=True)
class Request:
    """Who asks for what, and the condition keys that AWS fills in for the request."""

    action: str
    resource: str
    context: Mapping[str, str] = field(default_factory=dict)
    principal: str = ANYBODY


def decision(policy: Any, request: Request) -> str:
    """`Deny`, `Allow`, or empty where the policy says nothing and the caller's own permissions decide."""
    effects = {statement["Effect"] for statement in policy["Statement"] if _applies(statement, request)}
    return "Deny" if "Deny" in effects else "Allow" if effects else ""


def _applies(statement: Mapping[str, Any], request: Request) -> bool:
    unknown = statement.keys() - {"Sid", "Effect", "Principal", "Action", "Resource", "Condition"}
    assert not unknown, f"the test has to learn {unknown}"
    # Names of actions know no upper and lower case.
    actions = [_matches(pattern.lower(), request.action.lower()) for pattern in _listed(statement["Action"])]
    resources = [_matches(pattern, request.resource) for pattern in _listed(statement["Resource"])]
    conditions = [
        _holds(operator, _listed(expected), request.context.get(key))
        for operator, keys in statement.get("Condition", {}).items()
        for key, expected in keys.items()
    ]
    return (
        _is_meant(statement.get("Principal", "*"), request.principal)
        and any(actions)
        and any(resources)
        and all(conditions)
    )


def _is_meant(principal: Any, who: str) -> bool:
    assert principal == "*" or principal.keys() == {"Service"}, f"the test has to learn {principal}"
    return principal == "*" or who in _listed(principal["Service"])


def _holds(operator: str, expected: list[str], actual: str | None) -> bool:
    # A key that the request does not have matches nothing, unless the operator says so (...IfExists).
    if actual is None:
        assert operator in KNOWN, f"the test has to learn {operator}"
        return False
    if operator == "Bool":
        return actual.lower() in [value.lower() for value in expected]
    if operator == "StringEquals":
        return actual in expected
    if operator == "StringLike":
        return any(_matches(pattern, actual) for pattern in expected)
    assert operator in ("ArnLike", "ArnEquals"), f"the test has to learn {operator}"
    # Wildcards do not reach over the colons of an ARN.
    return any(
        all(_matches(part, given) for part, given in zip_longest(arn.split(":", 5), actual.split(":", 5), fillvalue=""))
        for arn in expected
    )


def _matches(pattern: str, text: str) -> bool:
    return re.fullmatch(re.escape(pattern).replace(r"\*", ".*").replace(r"\?", "."), text, re.DOTALL) is not None


def _listed(value: str | list[str]) -> list[str]:
    return value if isinstance(value, list) else [value]
