"""What `policies/user.json` asks an administrator for."""

import json
from typing import Any

import pytest
from parliament import analyze_policy_string

from container.modeling.config_file import load_settings
from manager import names, permissions

PLACE = names.Place("123456789012", "eu-central-1")


def actions_of(statement: dict[str, Any]) -> list[str]:
    return statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]]


def test_with_a_boundary_no_statement_lets_the_role_grow_beyond_it() -> None:
    boundary = "arn:aws:iam::123456789012:policy/boundary"
    policy = permissions.user_policy(load_settings(assignments={"aws.permissions_boundary": boundary}), PLACE)
    growing = {"iam:CreateRole", "iam:PutRolePolicy", "iam:AttachRolePolicy", "iam:PutRolePermissionsBoundary"}
    statements = [statement for statement in policy["Statement"] if growing & set(actions_of(statement))]
    assert statements
    for statement in statements:
        assert statement["Condition"] == {"ArnEquals": {"iam:PermissionsBoundary": boundary}}
    assert "iam:DeleteRolePermissionsBoundary" not in json.dumps(policy)


def test_without_one_nothing_is_asked_of_it() -> None:
    assert "PermissionsBoundary" not in json.dumps(permissions.user_policy(load_settings(), PLACE))


@pytest.mark.parametrize(
    "assignments",
    [
        {},
        {"storage.kms_key": "arn:aws:kms:eu-central-1:123456789012:key/1111-2222"},
        {"aws.permissions_boundary": "arn:aws:iam::123456789012:policy/boundary"},
    ],
)
def test_parliament_finds_nothing_in_it(assignments: dict[str, str]) -> None:
    policy = permissions.user_policy(load_settings(assignments=assignments), PLACE)
    key = assignments.get("storage.kms_key", "")
    assert [statement["Sid"] for statement in policy["Statement"]].count("UseTheKey") == bool(key)
    found = [str(finding) for finding in analyze_policy_string(json.dumps(policy)).findings]
    # An action that is younger than this parliament.
    assert [finding for finding in found if "Unknown action sagemaker:DeleteTrainingJob" not in finding] == []
