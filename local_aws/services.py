"""What of SageMaker a server offers, as one object."""

from __future__ import annotations

from dataclasses import dataclass

from local_aws.endpoint_configs import EndpointConfigService
from local_aws.endpoint_service import EndpointService
from local_aws.images import ImageSource
from local_aws.models import ModelService
from local_aws.processing_service import ProcessingService
from local_aws.serving_hosts import ServingSurroundings
from local_aws.training_service import TrainingService
from local_aws.transform_service import TransformService
from local_aws.tuning_service import TuningService


@dataclass(frozen=True)
class Services:
    """SageMaker's jobs and resources by their kinds."""

    training: TrainingService
    tuning: TuningService
    models: ModelService
    endpoint_configs: EndpointConfigService
    endpoints: EndpointService
    transforms: TransformService
    processing: ProcessingService

    @classmethod
    def of_server(cls, training: TrainingService, images: ImageSource, surroundings: ServingSurroundings) -> Services:
        """All of a server, of which `training` is made already.

        Args:
            surroundings: what programs run in that serve models.
        """
        models = ModelService(images, surroundings.executor)
        configs = EndpointConfigService(models)
        endpoints = EndpointService(models, configs, surroundings)
        transforms = TransformService(models, surroundings)
        processing = ProcessingService(images, training.surroundings)
        return cls(training, TuningService(training), models, configs, endpoints, transforms, processing)

    def close(self) -> None:
        """Ends all programs."""
        # First those that would begin others.
        self.tuning.close()
        self.training.close()
        self.processing.close()
        self.transforms.close()
        self.endpoints.close()
