"""Buckets, where the local AWS mends what moto does with them."""

from typing import Any

import pytest
from botocore.exceptions import ClientError


def test_a_new_bucket_has_no_tags_of_a_deleted_one_of_its_name(aws: Any) -> None:
    tagging = {"TagSet": [{"Key": "Project", "Value": "first"}]}
    made = {"Bucket": "twice-made", "CreateBucketConfiguration": {"LocationConstraint": aws.s3.meta.region_name}}
    aws.s3.create_bucket(**made)
    aws.s3.put_bucket_tagging(Bucket="twice-made", Tagging=tagging)
    aws.s3.delete_bucket(Bucket="twice-made")
    aws.s3.create_bucket(**made)
    with pytest.raises(ClientError, match="NoSuchTagSet"):
        aws.s3.get_bucket_tagging(Bucket="twice-made")
    aws.s3.delete_bucket(Bucket="twice-made")
