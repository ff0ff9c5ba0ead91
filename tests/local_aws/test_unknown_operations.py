"""What this AWS does not offer is refused in the words of AWS, at once, and says so."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.aws import Server


@pytest.mark.slow
@pytest.mark.parametrize(
    ("service", "ask", "code", "operation"),
    [
        ("pricing", lambda pricing: pricing.get_products(ServiceCode="AmazonSageMaker"), None, "GetProducts"),
        (
            "service-quotas",
            lambda quotas: quotas.list_service_quotas(ServiceCode="sagemaker"),
            None,
            "ListServiceQuotas",
        ),
        ("sagemaker", lambda sagemaker: sagemaker.list_mlflow_apps(), None, "ListMlflowApps"),
        (
            "iam",
            lambda iam: iam.simulate_principal_policy(
                PolicySourceArn="arn:aws:iam::123456789012:user/ada", ActionNames=["a:b"]
            ),
            "InvalidAction",
            "SimulatePrincipalPolicy",
        ),
        ("ec2", lambda ec2: ec2.describe_fast_launch_images(), "InvalidAction", "DescribeFastLaunchImages"),
        ("polly", lambda polly: polly.list_speech_synthesis_tasks(), None, "GET /v1/synthesisTasks"),
        ("medialive", lambda live: live.list_clusters(), None, "GET /prod/clusters"),
    ],
)
def test_it_is_refused_by_name(
    server: Server, service: str, ask: Callable[[Any], Any], code: str | None, operation: str
) -> None:
    with pytest.raises(ClientError) as refused:
        ask(server.client(service))
    error = refused.value.response["Error"]
    assert (error["Code"], error["Message"]) == (
        code or "UnknownOperationException",
        f"not offered by this AWS: local_aws has no {operation}",
    )
    # Clients send again what is answered by 500.
    assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 400
