"""SageMaker's operations that run something here, in moto's place."""

from __future__ import annotations

from typing import Any, ClassVar

from moto.core.responses import ActionResult, EmptyResult
from moto.core.utils import camelcase_to_underscores
from moto.sagemaker.responses import SageMakerResponse

from local_aws.services import Services


class SageMakerApi(SageMakerResponse):
    """moto's class, with methods by the names of these operations.

    Attributes:
        services: the server's, set before the first request.
    """

    services: ClassVar[Services]

    def create_training_job(self) -> ActionResult:
        return ActionResult(self.services.training.create(self.current_account, self.region, self.body))

    def describe_training_job(self) -> ActionResult:
        return ActionResult(self.services.training.describe(self.current_account, self.region, self.body))

    def list_training_jobs(self) -> ActionResult:
        return ActionResult(self.services.training.list(self.current_account, self.region, self.body))

    def stop_training_job(self) -> ActionResult:
        self.services.training.stop(self.current_account, self.region, self.body)
        return EmptyResult()

    def delete_training_job(self) -> ActionResult:
        self.services.training.delete(self.current_account, self.region, self.body)
        return EmptyResult()

    def create_hyper_parameter_tuning_job(self) -> ActionResult:
        return ActionResult(self.services.tuning.create(self.current_account, self.region, self.body))

    def describe_hyper_parameter_tuning_job(self) -> ActionResult:
        return ActionResult(self.services.tuning.describe(self.current_account, self.region, self.body))

    def list_hyper_parameter_tuning_jobs(self) -> ActionResult:
        return ActionResult(self.services.tuning.list(self.current_account, self.region, self.body))

    def list_training_jobs_for_hyper_parameter_tuning_job(self) -> ActionResult:
        return ActionResult(self.services.tuning.list_training_jobs(self.current_account, self.region, self.body))

    def stop_hyper_parameter_tuning_job(self) -> ActionResult:
        self.services.tuning.stop(self.current_account, self.region, self.body)
        return EmptyResult()

    def delete_hyper_parameter_tuning_job(self) -> ActionResult:
        self.services.tuning.delete(self.current_account, self.region, self.body)
        return EmptyResult()

    def create_model(self) -> ActionResult:
        return ActionResult(self.services.models.create(self.current_account, self.region, self.body))

    def describe_model(self) -> ActionResult:
        return ActionResult(self.services.models.describe(self.current_account, self.region, self.body))

    def list_models(self) -> ActionResult:
        return ActionResult(self.services.models.list(self.current_account, self.region, self.body))

    def delete_model(self) -> ActionResult:
        self.services.models.delete(self.current_account, self.region, self.body)
        return EmptyResult()

    def create_endpoint_config(self) -> ActionResult:
        return ActionResult(self.services.endpoint_configs.create(self.current_account, self.region, self.body))

    def describe_endpoint_config(self) -> ActionResult:
        return ActionResult(self.services.endpoint_configs.describe(self.current_account, self.region, self.body))

    def list_endpoint_configs(self) -> ActionResult:
        return ActionResult(self.services.endpoint_configs.list(self.current_account, self.region, self.body))

    def delete_endpoint_config(self) -> ActionResult:
        self.services.endpoint_configs.delete(self.current_account, self.region, self.body)
        return EmptyResult()

    def create_endpoint(self) -> ActionResult:
        return ActionResult(self.services.endpoints.create(self.current_account, self.region, self.body))

    def update_endpoint(self) -> ActionResult:
        return ActionResult(self.services.endpoints.update(self.current_account, self.region, self.body))

    def update_endpoint_weights_and_capacities(self) -> ActionResult:
        # moto's would look for its own endpoints.
        raise NotImplementedError

    def describe_endpoint(self) -> ActionResult:
        return ActionResult(self.services.endpoints.describe(self.current_account, self.region, self.body))

    def list_endpoints(self) -> ActionResult:
        return ActionResult(self.services.endpoints.list(self.current_account, self.region, self.body))

    def delete_endpoint(self) -> ActionResult:
        self.services.endpoints.delete(self.current_account, self.region, self.body)
        return EmptyResult()

    def create_transform_job(self) -> ActionResult:
        return ActionResult(self.services.transforms.create(self.current_account, self.region, self.body))

    def describe_transform_job(self) -> ActionResult:
        return ActionResult(self.services.transforms.describe(self.current_account, self.region, self.body))

    def list_transform_jobs(self) -> ActionResult:
        return ActionResult(self.services.transforms.list(self.current_account, self.region, self.body))

    def stop_transform_job(self) -> ActionResult:
        self.services.transforms.stop(self.current_account, self.region, self.body)
        return EmptyResult()

    def create_processing_job(self) -> ActionResult:
        return ActionResult(self.services.processing.create(self.current_account, self.region, self.body))

    def describe_processing_job(self) -> ActionResult:
        return ActionResult(self.services.processing.describe(self.current_account, self.region, self.body))

    def list_processing_jobs(self) -> ActionResult:
        return ActionResult(self.services.processing.list(self.current_account, self.region, self.body))

    def stop_processing_job(self) -> ActionResult:
        self.services.processing.stop(self.current_account, self.region, self.body)
        return EmptyResult()

    def delete_processing_job(self) -> ActionResult:
        self.services.processing.delete(self.current_account, self.region, self.body)
        return EmptyResult()

    def parse_parameters(self, request: Any) -> None:
        # moto's parser assumes a valid document, and fails before any of the methods above could check it.
        if camelcase_to_underscores(self._get_action()) in vars(SageMakerApi):
            self.params: dict[str, Any] = {}
        else:
            super().parse_parameters(request)
