"""SageMaker's operations on endpoints, on moto's SageMaker backend as their store."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, cast

from moto.sagemaker.exceptions import ValidationError
from moto.sagemaker.models import sagemaker_backends
from moto.sagemaker.utils import arn_formatter

from local_aws import admission, listing
from local_aws.deployments import Deployment, DeploymentError, VariantDeployment, VariantPlan
from local_aws.endpoint_configs import EndpointConfigService
from local_aws.endpoints import Endpoint
from local_aws.hosting_requests import warnings
from local_aws.models import ModelService
from local_aws.run_threads import RunThreads
from local_aws.serving_hosts import ServingSurroundings
from local_aws.storage import Storage

_CLOSE_SECONDS = 10.0

_SORT_KEYS: dict[str, Callable[[Endpoint], Any]] = {
    "Name": lambda endpoint: endpoint.name,
    "CreationTime": lambda endpoint: endpoint.creation_time,
    "Status": lambda endpoint: endpoint.state.status,
}

_log = logging.getLogger(__name__)


class EndpointService:
    """The endpoints of a server. Its methods take a request's JSON text and return the answer's document.

    Safe to share by threads. All raise moto's ServiceException with SageMaker's error codes.
    """

    def __init__(self, models: ModelService, configs: EndpointConfigService, surroundings: ServingSurroundings) -> None:
        self._models = models
        self._configs = configs
        self._surroundings = surroundings
        self._threads = RunThreads()
        self._lock = threading.Lock()
        self._all: set[Endpoint] = set()

    def create(self, account_id: str, region: str, body: str) -> dict[str, Any]:
        """CreateEndpoint: accepts the endpoint, or refuses it, and brings it into service."""
        document = admission.check_document("CreateEndpoint", body)
        name = document["EndpointName"]
        arn = arn_formatter("endpoint", name, account_id, region)
        deployment = self._deployment(account_id, region, name, document["EndpointConfigName"])
        endpoint = Endpoint(document, arn, deployment)
        with self._lock:
            if _endpoints(account_id, region).setdefault(name, endpoint) is not endpoint:
                raise ValidationError(message=f'Cannot create already existing endpoint "{arn}".')
            self._all.add(endpoint)
        self._threads.start(lambda: self._deploy(endpoint, deployment))
        return {"EndpointArn": arn}

    def update(self, account_id: str, region: str, body: str) -> dict[str, Any]:
        """UpdateEndpoint: brings another configuration into service; until then the endpoint answers as before."""
        document = admission.check_document("UpdateEndpoint", body)
        if document.get("RetainAllVariantProperties"):
            raise ValidationError(
                message="local_aws has no RetainAllVariantProperties: name counts and weights in the configuration"
            )
        endpoint = self.find(account_id, region, document["EndpointName"])
        deployment = self._deployment(account_id, region, endpoint.name, document["EndpointConfigName"])
        endpoint.begin_updating(deployment, document.get("DeploymentConfig"))
        self._threads.start(lambda: self._deploy(endpoint, deployment))
        return {"EndpointArn": endpoint.arn}

    def describe(self, account_id: str, region: str, body: str) -> dict[str, Any]:
        """DescribeEndpoint."""
        document = admission.check_document("DescribeEndpoint", body)
        return self.find(account_id, region, document["EndpointName"]).describe()

    def list(self, account_id: str, region: str, body: str) -> dict[str, Any]:
        """ListEndpoints, with its filters, its orders and its pages."""
        # Unlike those of training jobs the newest come first.
        document = {"SortOrder": "Descending", **admission.check_document("ListEndpoints", body)}
        found = [endpoint for endpoint in list(_endpoints(account_id, region).values()) if _matches(endpoint, document)]
        found.sort(key=_SORT_KEYS[document.get("SortBy", "CreationTime")], reverse=listing.is_descending(document))
        return listing.page("Endpoints", [endpoint.summary() for endpoint in found], document)

    def delete(self, account_id: str, region: str, body: str) -> None:
        """DeleteEndpoint: ends the endpoint's programs; it is gone some time later."""
        document = admission.check_document("DeleteEndpoint", body)
        endpoint = self.find(account_id, region, document["EndpointName"])
        answering = endpoint.begin_deleting()

        def remove() -> None:
            for deployment in answering:
                deployment.close()
            with self._lock:
                _endpoints(account_id, region).pop(endpoint.name, None)
                self._all.discard(endpoint)
            _log.info("endpoint %s: deleted", endpoint.name)

        self._threads.start(remove)

    def find(self, account_id: str, region: str, name: str) -> Endpoint:
        """The endpoint of that name.

        Raises:
            ValidationError: there is none.
        """
        endpoint = _endpoints(account_id, region).get(name)
        if endpoint is None:
            arn = arn_formatter("endpoint", name, account_id, region)
            raise ValidationError(message=f'Could not find endpoint "{arn}".')
        return endpoint

    def close(self) -> None:
        """Kills the programs of all endpoints."""
        self._surroundings.closing.set()
        self._threads.join(_CLOSE_SECONDS)
        with self._lock:
            endpoints = list(self._all)
        for endpoint in endpoints:
            for deployment in endpoint.state.answering:
                deployment.close()

    def _deployment(self, account_id: str, region: str, endpoint_name: str, config_name: str) -> Deployment:
        storage, executor = Storage(account_id, region), self._surroundings.executor
        config = self._configs.find(account_id, region, config_name).request
        hosts = sum(variant.hosts(executor) for variant in config.variants)
        variants = []
        for variant in config.variants:
            model = self._models.served(account_id, region, variant.model_name)
            request = self._models.find(account_id, region, variant.model_name).request
            isolation = model.network_isolation or config.network_isolation
            plan = VariantPlan(
                variant,
                replace(model, network_isolation=isolation),
                tuple(warnings(config, variant, request, executor)),
                hosts_beside=hosts - variant.hosts(executor),
            )
            variants.append(VariantDeployment(endpoint_name, plan, storage, self._surroundings))
        return Deployment(config_name, variants, self._surroundings.closing)

    def _deploy(self, endpoint: Endpoint, deployment: Deployment) -> None:
        try:
            deployment.start()
            old = endpoint.put_in_service(deployment)
            _log.info("endpoint %s: %s", endpoint.name, endpoint.state.status)
            if old:
                old.retire()
                endpoint.forget(old)
        except DeploymentError as error:
            endpoint.fail(str(error))
            _log.info("endpoint %s: %s %s", endpoint.name, endpoint.state.status, error)
        except Exception as error:
            _log.exception("endpoint %s", endpoint.name)
            endpoint.fail(f"InternalServerError: local_aws failed: {error!r}. Its log has the traceback.")


def _endpoints(account_id: str, region: str) -> dict[str, Endpoint]:
    # moto's tag and search operations look for endpoints in this dictionary.
    return cast("dict[str, Endpoint]", sagemaker_backends[account_id][region].endpoints)


def _matches(endpoint: Endpoint, document: Mapping[str, Any]) -> bool:
    state = endpoint.state
    return listing.is_listed(endpoint.name, endpoint.creation_time, state.last_modified_time, state.status, document)
