"""SageMaker's operations on models, on moto's SageMaker backend as their store."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

from moto.sagemaker.exceptions import ValidationError
from moto.sagemaker.models import sagemaker_backends
from moto.sagemaker.utils import arn_formatter

from local_aws import admission, listing
from local_aws.executors import Executor
from local_aws.hosting_requests import ModelRequest, parse_model
from local_aws.images import ImageSource
from local_aws.model_data import missing_data
from local_aws.serving_hosts import ServedModel
from local_aws.storage import Storage
from local_aws.times import this_moment


class Model:
    """One model. moto's own operations on tags find it by the attributes `arn` and `tags`."""

    def __init__(self, request: ModelRequest, arn: str) -> None:
        self.request = request
        self.arn = arn
        self.creation_time = this_moment()
        self.tags: list[dict[str, str]] = list(request.document.get("Tags", ()))

    def describe(self) -> dict[str, Any]:
        """The answer of DescribeModel."""
        request = {name: value for name, value in self.request.document.items() if name != "Tags"}
        isolation = self.request.network_isolation
        return {
            **request,
            "EnableNetworkIsolation": isolation,
            "ModelArn": self.arn,
            "CreationTime": self.creation_time,
        }

    def summary(self) -> dict[str, Any]:
        """The model's entry in the answer of ListModels."""
        return {"ModelName": self.request.name, "ModelArn": self.arn, "CreationTime": self.creation_time}


_SORT_KEYS: dict[str, Callable[[Model], Any]] = {
    "Name": lambda model: model.request.name,
    "CreationTime": lambda model: model.creation_time,
}


class ModelService:
    """The models of a server. Its methods take a request's JSON text and return the answer's document.

    Safe to share by threads. All raise moto's ServiceException with SageMaker's error codes.
    """

    def __init__(self, images: ImageSource, executor: Executor) -> None:
        self._images = images
        self._executor = executor

    def create(self, account_id: str, region: str, body: str) -> dict[str, Any]:
        """CreateModel: accepts the model, or refuses it."""
        request = parse_model(admission.check_document("CreateModel", body))
        arn = arn_formatter("model", request.name, account_id, region)
        admission.check_role(request.role_arn, account_id, region)
        admission.find_serving_image(request.image_uri, self._images, self._executor)
        if request.data and not Storage(account_id, region).has(request.data):
            raise ValidationError(message=missing_data(request.data))
        model = Model(request, arn)
        if _models(account_id, region).setdefault(request.name, model) is not model:
            raise ValidationError(message=f'Cannot create already existing model "{arn}".')
        return {"ModelArn": arn}

    def describe(self, account_id: str, region: str, body: str) -> dict[str, Any]:
        """DescribeModel."""
        document = admission.check_document("DescribeModel", body)
        return self.find(account_id, region, document["ModelName"]).describe()

    def list(self, account_id: str, region: str, body: str) -> dict[str, Any]:
        """ListModels, with its filters, its orders and its pages."""
        # Unlike those of training jobs the newest come first.
        document = {"SortOrder": "Descending", **admission.check_document("ListModels", body)}
        found = [model for model in list(_models(account_id, region).values()) if _matches(model, document)]
        found.sort(key=_SORT_KEYS[document.get("SortBy", "CreationTime")], reverse=listing.is_descending(document))
        return listing.page("Models", [model.summary() for model in found], document)

    def delete(self, account_id: str, region: str, body: str) -> None:
        """DeleteModel: forgets a model; what serves it already goes on."""
        name = admission.check_document("DeleteModel", body)["ModelName"]
        self.find(account_id, region, name)
        _models(account_id, region).pop(name, None)

    def find(self, account_id: str, region: str, name: str) -> Model:
        """The model of that name.

        Raises:
            ValidationError: there is none.
        """
        model = _models(account_id, region).get(name)
        if model is None:
            arn = arn_formatter("model", name, account_id, region)
            raise ValidationError(message=f'Could not find model "{arn}".')
        return model

    def served(self, account_id: str, region: str, name: str) -> ServedModel:
        """What hosts need of the model of that name.

        Raises:
            ValidationError: there is none, or its image is not in ECR any more.
        """
        request = self.find(account_id, region, name).request
        image = admission.find_serving_image(request.image_uri, self._images, self._executor)
        return ServedModel(image, request.data, request.environment, request.role_arn, request.network_isolation)


def _models(account_id: str, region: str) -> dict[str, Model]:
    # moto's tag operations look for models in this dictionary.
    return cast("dict[str, Model]", sagemaker_backends[account_id][region]._models)


def _matches(model: Model, document: Mapping[str, Any]) -> bool:
    created = model.creation_time
    return listing.is_listed(model.request.name, created, created, "", document)
