"""How Prowler's findings are judged, and that docs/security.md can be what they are judged by; without Prowler."""

from dataclasses import replace

import pytest

from scripts.prowler_check import RESOURCES, RULES, CheckError, Finding, Pattern, Rules, judge

RULES_HERE = Rules.read(
    "<!-- in force: begin -->|S3.5|`s3_tls` `iam_narrow`|<!-- in force: end -->"
    "<!-- accepted: begin -->|`s3_lock`|\n|`iam_password_*`|\n|`s3_log` on `*.logs`|<!-- accepted: end -->"
)
GOOD = [
    *(Finding("s3_tls", "PASS", bucket, "denies") for bucket in ("data", "output", "logs")),
    Finding("s3_log", "FAIL", "arn:aws:s3:::project.logs", "has no log"),
    Finding("iam_narrow", "PASS", "role", "is narrow"),
    Finding("s3_lock", "FAIL", "data", "has no lock"),
    Finding("iam_password_length", "FAIL", "account", "is short"),
]


def test_what_the_document_says_is_no_complaint() -> None:
    assert judge(RULES_HERE, GOOD, "") == []


@pytest.mark.parametrize(
    ("found", "complaint"),
    [
        ([*GOOD, Finding("s3_public", "FAIL", "data", "is public")], "s3_public fails: is public (data)"),
        ([*GOOD, Finding("s3_log", "FAIL", "data", "has no log")], "s3_log fails: has no log (data)"),
        ([replace(GOOD[0], status="FAIL"), *GOOD[1:]], "s3_tls fails: denies (data)"),
        (GOOD[1:], "s3_tls is to look at 3 resource(s), and looked at 2"),
        ([finding for finding in GOOD if finding.check != "iam_narrow"], "iam_narrow is to look at 1 resource(s)"),
    ],
)
def test_anything_else_is(found: list[Finding], complaint: str) -> None:
    (told,) = judge(RULES_HERE, found, "")
    assert told.startswith(complaint)


def test_a_check_that_broke_off_has_not_passed() -> None:
    log = '{"level": "ERROR", "module": "%s", "message": "%s"}\n'
    lacking = log % (
        "iam_service",
        "ClientError: An error occurred (InvalidAction): not offered by this AWS: local_aws has no X",
    )
    assert judge(RULES_HERE, GOOD, lacking) == []
    (told,) = judge(RULES_HERE, GOOD, lacking + log % ("privilege_escalation", "Service not found"))
    assert told.startswith("Prowler broke off in privilege_escalation: Service not found")


def test_the_document_names_what_is_in_force_and_what_is_accepted() -> None:
    rules = Rules.read(RULES.read_text(encoding="utf-8"))
    assert {required.check.partition("_")[0] for required in rules.in_force} == RESOURCES.keys()
    failures = [Finding(required.check, "FAIL", "data", "fails") for required in rules.in_force]
    assert not any(accepted.fits(failure) for accepted in rules.accepted for failure in failures)
    assert Pattern("s3_bucket_object_lock") in rules.accepted


def test_a_document_without_its_tables_is_refused() -> None:
    with pytest.raises(CheckError, match="no table of checks between the marks 'in force: begin'"):
        Rules.read("# Security\n")
