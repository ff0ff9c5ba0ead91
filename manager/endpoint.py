"""The endpoint that serves a model of the project: made, changed in place, removed (`--deploy`, `--undeploy`).

A model and an endpoint configuration cannot be changed, so what they are made of tells their names. To deploy anew is
to point the endpoint at another configuration; what it does not use any more is removed when it serves that one.
"""

import json
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Self

from botocore import xform_name
from botocore.exceptions import ClientError

from container.modeling.hosting_settings import Endpoint
from container.modeling.settings import Settings
from manager import names, training
from manager.aws import LARGE_PAGES, Aws
from manager.errors import EndpointError
from manager.plan import ApiCall, Plan, is_gone
from manager.pricing import Machines
from manager.served_model import EXISTS, is_there, model_call

VARIANT = "AllTraffic"
IN_SERVICE, FAILED, DELETING = "InService", "Failed", "Deleting"
# While it is in one of these, SageMaker takes no other change.
BUSY = ("Creating", "Updating", "SystemUpdating", "RollingBack", DELETING)


@dataclass(frozen=True)
class EndpointState:
    """What DescribeEndpoint tells."""

    name: str
    arn: str
    status: str
    """EndpointStatus."""
    config: str
    """The endpoint configuration that it serves by, or is going to where it is being changed."""
    instances: int | None
    """How many there are now; None: it tells none."""
    failure: str = ""

    @classmethod
    def read(cls, description: Any) -> Self:
        """Return what an answer says."""
        pending = description.get("PendingDeploymentSummary", {}).get("EndpointConfigName")
        counts = [variant.get("CurrentInstanceCount") for variant in description.get("ProductionVariants", [])]
        return cls(
            description["EndpointName"],
            description["EndpointArn"],
            description["EndpointStatus"],
            pending or description.get("EndpointConfigName", ""),
            sum(counts) if counts and None not in counts else None,
            description.get("FailureReason", ""),
        )

    @property
    def is_busy(self) -> bool:
        """Whether it is being changed."""
        return self.status in BUSY

    def will_serve(self, config: str) -> bool:
        """Whether it serves by a configuration, or is on the way there."""
        return self.config == config and self.status not in (FAILED, DELETING)


@dataclass(frozen=True)
class Served:
    """What there is on AWS that serves models of the project's algorithm."""

    endpoint: EndpointState | None = None
    configs: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    used_models: tuple[str, ...] = ()
    """Those of them that running transform jobs use."""


def describe_endpoint(aws: Aws, name: str) -> EndpointState | None:
    """Ask AWS about an endpoint; None: there is none.

    Raises:
        AwsError: AWS refuses to tell.
    """
    with aws.explained(f"could not look at the endpoint {name}"):
        try:
            return EndpointState.read(aws.client("sagemaker").describe_endpoint(EndpointName=name))
        except ClientError as error:
            if is_gone(error):
                return None
            raise


def read_endpoint(aws: Aws, settings: Settings) -> EndpointState | None:
    """Ask AWS about the project's endpoint; None: there is none.

    Raises:
        EndpointError: there is one of its name that is another project's.
        AwsError: AWS refuses to tell.
    """
    found = describe_endpoint(aws, names.endpoint(settings))
    if found:
        with aws.explained(f"could not look at the tags of the endpoint {found.name}"):
            is_own = training.is_own(aws, settings, found.arn)
        if not is_own:
            raise EndpointError(
                f"the endpoint {found.name} exists but does not carry this project's tag, so it is somebody else's: "
                "choose another ALGORITHM_NAME in config.py"
            )
    return found


def read_served(aws: Aws, settings: Settings) -> Served:
    """Ask AWS what serves models of the project's algorithm.

    Raises:
        EndpointError: there is an endpoint of its name that is another project's.
        AwsError: AWS refuses to tell.
    """
    with aws.explained("could not list what serves models"):
        return Served(
            read_endpoint(aws, settings),
            tuple(_own(aws, settings, "EndpointConfig")),
            tuple(_own(aws, settings, "Model")),
            tuple(_models_of_transform_jobs(aws, settings)),
        )


def machines_of(aws: Aws, state: EndpointState) -> Machines:
    """Return the instances that an endpoint runs on.

    Raises:
        AwsError: AWS refuses to tell.
    """
    variant = _variants(aws, state.config)[0]
    count = state.instances if state.instances is not None else variant["InitialInstanceCount"]
    return Machines(variant["InstanceType"], count)


def config_request(settings: Settings, job: str, model: str, endpoint: Endpoint) -> Any:
    """Return the CreateEndpointConfig request that serves a model; the same content has the same name.

    Args:
        settings: the settings.
        job: the training job that the model is of.
        model: its ModelName.
        endpoint: what it is served on.
    """
    variant = {
        "VariantName": VARIANT,
        "ModelName": model,
        "InstanceType": endpoint.instance_type,
        "InitialInstanceCount": endpoint.instance_count,
    }
    key = {"KmsKeyId": endpoint.volume_kms_key} if endpoint.volume_kms_key else {}
    content = {"ProductionVariants": [variant], **key}
    name = names.served(settings, job, json.dumps(content, sort_keys=True))
    return {"EndpointConfigName": name, **content, "Tags": names.serving_tags(settings)}


def plan_deployment(settings: Settings, model: Any, config: Any, served: Served) -> Plan:
    """Plan what makes the project's endpoint serve a model.

    Args:
        settings: the settings.
        model: its CreateModel request.
        config: the CreateEndpointConfig request that names it.
        served: what there is.

    Raises:
        EndpointError: the endpoint is being changed to something else.
    """
    model_name, config_name = model["ModelName"], config["EndpointConfigName"]
    calls = [] if model_name in served.models else [model_call(model)]
    if config_name not in served.configs:
        message = f"create the endpoint configuration {config_name}"
        calls.append(ApiCall("sagemaker", "create_endpoint_config", config, message, "created", is_done_by=is_there))
    calls += _plan_endpoint(settings, config_name, served.endpoint)
    kept = [f"model {model_name}"] * (model_name in served.models)
    kept += [f"endpoint configuration {config_name}"] * (config_name in served.configs)
    is_same = served.endpoint is not None and served.endpoint.will_serve(config_name)
    return Plan(tuple(calls), (*kept, *([f"endpoint {names.endpoint(settings)}"] if is_same else [])))


def plan_cleanup(served: Served, kept_config: str, kept_models: Collection[str]) -> Plan:
    """Plan the removal of configurations and models that neither the endpoint nor a running transform job uses.

    Args:
        served: what there is.
        kept_config: the configuration that the endpoint serves by; empty: there is no endpoint any more.
        kept_models: the models that this one names.
    """
    calls = [
        ApiCall(
            "sagemaker",
            "delete_endpoint_config",
            {"EndpointConfigName": name},
            f"delete the endpoint configuration {name}",
            "deleted",
        )
        for name in served.configs
        if name != kept_config
    ]
    calls += [
        ApiCall("sagemaker", "delete_model", {"ModelName": name}, f"delete the model {name}", "deleted")
        for name in served.models
        if name not in (*kept_models, *served.used_models)
    ]
    return Plan(tuple(calls))


def plan_removal(served: Served) -> Plan:
    """Plan the end of the endpoint, and of what it was made of."""
    return Plan(tuple(map(deletion, [served.endpoint.name] if served.endpoint else []))) + plan_cleanup(served, "", ())


def deletion(name: str) -> ApiCall:
    """Return the call that deletes an endpoint."""
    return ApiCall("sagemaker", "delete_endpoint", {"EndpointName": name}, f"delete the endpoint {name}", "deleted")


def models_of(aws: Aws, config: str) -> tuple[str, ...]:
    """Return the models that an endpoint configuration names.

    Raises:
        AwsError: AWS refuses to tell.
    """
    return tuple(variant["ModelName"] for variant in _variants(aws, config))


def _plan_endpoint(settings: Settings, config: str, state: EndpointState | None) -> list[ApiCall]:
    name = names.endpoint(settings)
    request = {"EndpointName": name, "EndpointConfigName": config}
    if state is None or state.status == FAILED:
        create = ApiCall(
            "sagemaker",
            "create_endpoint",
            {**request, "Tags": names.serving_tags(settings)},
            f"create the endpoint {name}",
            "created",
            # One that failed is there for some seconds after its deletion.
            retry_on=(EXISTS,) if state else (),
            is_done_by=partial(_serves, request),
        )
        return [deletion(name), create] if state else [create]
    if state.will_serve(config):
        return []
    if state.is_busy:
        raise EndpointError(
            f"the endpoint {name} is {state.status}, and takes no other change meanwhile: try again when that is over; "
            "--status tells"
        )
    message = f"let the endpoint {name} serve by {config}"
    return [ApiCall("sagemaker", "update_endpoint", request, message, "changed", is_done_by=partial(_serves, request))]


def _serves(request: Any, aws: Aws, error: ClientError) -> bool:
    """Whether an endpoint that AWS refuses to make or change is what the request asks for.

    Raises:
        ProjectError: AWS refuses to tell.
    """
    found = describe_endpoint(aws, request["EndpointName"])
    return found is not None and found.will_serve(request["EndpointConfigName"])


def _variants(aws: Aws, config: str) -> Any:
    with aws.explained(f"could not look at the endpoint configuration {config}"):
        return aws.client("sagemaker").describe_endpoint_config(EndpointConfigName=config)["ProductionVariants"]


def _own(aws: Aws, settings: Settings, kind: str) -> Iterator[str]:
    pages = aws.client("sagemaker").get_paginator(xform_name(f"List{kind}s"))
    wanted = [tag for tag in names.serving_tags(settings) if tag["Key"] in ("Project", "Algorithm")]
    for page in pages.paginate(NameContains=settings.algorithm_name, PaginationConfig=LARGE_PAGES):
        for found in page[f"{kind}s"]:
            name = str(found[f"{kind}Name"])
            if name.startswith(f"{settings.algorithm_name}-") and training.has_tags(aws, found[f"{kind}Arn"], wanted):
                yield name


def _models_of_transform_jobs(aws: Aws, settings: Settings) -> Iterator[str]:
    sagemaker = aws.client("sagemaker")
    pages = sagemaker.get_paginator("list_transform_jobs")
    for status in ("InProgress", "Stopping"):
        running = pages.paginate(
            NameContains=settings.algorithm_name, StatusEquals=status, PaginationConfig=LARGE_PAGES
        )
        for page in running:
            for found in page["TransformJobSummaries"]:
                name = found["TransformJobName"]
                if names.is_transform_job(settings, name):
                    yield str(sagemaker.describe_transform_job(TransformJobName=name)["ModelName"])
