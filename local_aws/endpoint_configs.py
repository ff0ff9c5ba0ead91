"""SageMaker's operations on endpoint configurations, on moto's SageMaker backend as their store."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

from moto.sagemaker.exceptions import ValidationError
from moto.sagemaker.models import sagemaker_backends
from moto.sagemaker.utils import arn_formatter

from local_aws import admission, listing
from local_aws.hosting_requests import EndpointConfigRequest, parse_endpoint_config
from local_aws.models import ModelService
from local_aws.times import this_moment


class EndpointConfig:
    """One endpoint configuration. moto's own operations on tags find it by the attributes `arn` and `tags`."""

    def __init__(self, request: EndpointConfigRequest, arn: str) -> None:
        self.request = request
        self.arn = arn
        self.creation_time = this_moment()
        self.tags: list[dict[str, str]] = list(request.document.get("Tags", ()))

    def describe(self) -> dict[str, Any]:
        """The answer of DescribeEndpointConfig."""
        request = {name: value for name, value in self.request.document.items() if name != "Tags"}
        variants = [{"InitialVariantWeight": variant.weight, **variant.document} for variant in self.request.variants]
        return {
            "EnableNetworkIsolation": False,
            **request,
            "ProductionVariants": variants,
            "EndpointConfigArn": self.arn,
            "CreationTime": self.creation_time,
        }

    def summary(self) -> dict[str, Any]:
        """The configuration's entry in the answer of ListEndpointConfigs."""
        return {
            "EndpointConfigName": self.request.name,
            "EndpointConfigArn": self.arn,
            "CreationTime": self.creation_time,
        }


_SORT_KEYS: dict[str, Callable[[EndpointConfig], Any]] = {
    "Name": lambda config: config.request.name,
    "CreationTime": lambda config: config.creation_time,
}


class EndpointConfigService:
    """The endpoint configurations of a server. Its methods take a request's JSON text and return the answer's document.

    Safe to share by threads. All raise moto's ServiceException with SageMaker's error codes.
    """

    def __init__(self, models: ModelService) -> None:
        self._models = models

    def create(self, account_id: str, region: str, body: str) -> dict[str, Any]:
        """CreateEndpointConfig: accepts the configuration, or refuses it."""
        request = parse_endpoint_config(admission.check_document("CreateEndpointConfig", body))
        arn = arn_formatter("endpoint-config", request.name, account_id, region)
        for variant in request.variants:
            self._models.find(account_id, region, variant.model_name)
        config = EndpointConfig(request, arn)
        if _configs(account_id, region).setdefault(request.name, config) is not config:
            raise ValidationError(message=f'Cannot create already existing endpoint configuration "{arn}".')
        return {"EndpointConfigArn": arn}

    def describe(self, account_id: str, region: str, body: str) -> dict[str, Any]:
        """DescribeEndpointConfig."""
        document = admission.check_document("DescribeEndpointConfig", body)
        return self.find(account_id, region, document["EndpointConfigName"]).describe()

    def list(self, account_id: str, region: str, body: str) -> dict[str, Any]:
        """ListEndpointConfigs, with its filters, its orders and its pages."""
        # Unlike those of training jobs the newest come first.
        document = {"SortOrder": "Descending", **admission.check_document("ListEndpointConfigs", body)}
        found = [config for config in list(_configs(account_id, region).values()) if _matches(config, document)]
        found.sort(key=_SORT_KEYS[document.get("SortBy", "CreationTime")], reverse=listing.is_descending(document))
        return listing.page("EndpointConfigs", [config.summary() for config in found], document)

    def delete(self, account_id: str, region: str, body: str) -> None:
        """DeleteEndpointConfig: forgets a configuration; an endpoint that has it goes on."""
        name = admission.check_document("DeleteEndpointConfig", body)["EndpointConfigName"]
        self.find(account_id, region, name)
        _configs(account_id, region).pop(name, None)

    def find(self, account_id: str, region: str, name: str) -> EndpointConfig:
        """The configuration of that name.

        Raises:
            ValidationError: there is none.
        """
        config = _configs(account_id, region).get(name)
        if config is None:
            arn = arn_formatter("endpoint-config", name, account_id, region)
            raise ValidationError(message=f'Could not find endpoint configuration "{arn}".')
        return config


def _configs(account_id: str, region: str) -> dict[str, EndpointConfig]:
    # moto's tag operations look for configurations in this dictionary.
    return cast("dict[str, EndpointConfig]", sagemaker_backends[account_id][region].endpoint_configs)


def _matches(config: EndpointConfig, document: Mapping[str, Any]) -> bool:
    created = config.creation_time
    return listing.is_listed(config.request.name, created, created, "", document)
