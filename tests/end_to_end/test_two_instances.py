"""A job of two instances, as two processes."""

import pytest

from tests.project import Project
from tests.two_instances import assert_same_training

pytestmark = [pytest.mark.slow, pytest.mark.long]


def test_two_processes_train_what_one_with_twice_the_batch_does(split_project: Project) -> None:
    split_project.manage_local("--init_s3_buckets", "--build_and_push_docker_image")
    assert_same_training(split_project)
