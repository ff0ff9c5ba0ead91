"""What is derived from the settings alone."""

from datetime import datetime

import pytest

from container.modeling.config_file import load_settings
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


def test_a_training_job_tells_its_algorithm() -> None:
    settings = load_settings(assignments={"algorithm_name": "digits-2030"})
    job = names.training_job(settings, datetime(2030, 1, 2, 3, 4, 5))
    assert names.algorithm_of(job) == "digits-2030"
    assert names.algorithm_of("by-hand") == ""
