"""What is derived from the settings alone."""

import pytest

from manager import names


@pytest.mark.parametrize(
    ("place", "page"),
    [
        (
            names.Place("123456789012", "eu-west-1"),
            "https://eu-west-1.console.aws.amazon.com/sagemaker/home?region=eu-west-1#/jobs/digits-1",
        ),
        (
            names.Place("123456789012", "cn-north-1", "aws-cn"),
            "https://cn-north-1.console.amazonaws.cn/sagemaker/home?region=cn-north-1#/jobs/digits-1",
        ),
        (
            names.Place("123456789012", "us-gov-west-1", "aws-us-gov"),
            "https://us-gov-west-1.console.amazonaws-us-gov.com/sagemaker/home?region=us-gov-west-1#/jobs/digits-1",
        ),
        (names.Place("123456789012", "us-iso-east-1", "aws-iso"), ""),
    ],
)
def test_a_job_has_its_page_in_the_console_of_its_partition(place: names.Place, page: str) -> None:
    assert names.console_url(place, "digits-1") == page
