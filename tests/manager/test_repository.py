"""The repository: what ECR's scan of a pushed image tells."""

import pytest

from container.modeling.config_file import load_settings
from manager import repository
from tests.manager.wire import Answer, Wire

DIGEST = f"sha256:{'0' * 64}"


def scan(wire: Wire, *statuses: str, counts: dict[str, int] | None = None) -> dict[str, int] | None:
    """What is read of a scan that is in these statuses, one look after the other."""
    coming = list(statuses)

    def answer(document: object) -> Answer:
        status = coming.pop(0)
        if status == "none":
            return Answer.of_json({"__type": "ScanNotFoundException", "message": "no scan"}, 400)
        findings = {"findingSeverityCounts": counts or {}} if status == "COMPLETE" else {}
        return Answer.of_json({"imageScanStatus": {"status": status}, "imageScanFindings": findings})

    wire.answers["DescribeImageScanFindings"] = answer
    return repository.read_scan(wire.aws(), load_settings(), DIGEST)


def test_findings_are_counted_by_severity(wire: Wire) -> None:
    assert scan(wire, "COMPLETE", counts={"HIGH": 2, "LOW": 7}) == {"HIGH": 2, "LOW": 7}


def test_a_clean_image_has_none(wire: Wire) -> None:
    assert scan(wire, "COMPLETE") == {}


def test_a_scan_that_failed_or_was_never_begun_tells_nothing(wire: Wire) -> None:
    assert scan(wire, "FAILED") is None
    assert scan(wire, "none") is None


@pytest.mark.slow
def test_the_end_of_a_scan_is_waited_for(wire: Wire) -> None:
    assert scan(wire, "IN_PROGRESS", "COMPLETE", counts={"MEDIUM": 1}) == {"MEDIUM": 1}
