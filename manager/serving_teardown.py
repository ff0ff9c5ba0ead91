"""What of the project serves models, of whatever ALGORITHM_NAME, and its removal (part of `--delete`).

SageMaker keeps the records of transform jobs: there is no operation that deletes them.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from botocore import xform_name

from container.modeling.settings import Settings
from manager import names
from manager.aws import LARGE_PAGES, Aws
from manager.endpoint import BUSY, DELETING, deletion
from manager.errors import EndpointError, JobError
from manager.job_logs import JobLogs, group_removal, log_removals, read_job_logs
from manager.plan import ApiCall
from manager.training import is_own

RUNNING = ("InProgress", "Stopping")


@dataclass(frozen=True)
class ServingHoldings:
    """What of the project was found that serves models, or did."""

    endpoints: tuple[str, ...] = ()
    configs: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    transform_logs: JobLogs = field(default_factory=lambda: JobLogs(names.TRANSFORM_JOBS_LOG_GROUP))
    log_groups: tuple[str, ...] = ()
    """Those of the endpoints, also of such as are gone."""

    @property
    def is_empty(self) -> bool:
        """Whether nothing was found."""
        return not any((self.endpoints, self.configs, self.models, self.transform_logs.streams, self.log_groups))


def read_serving_holdings(aws: Aws, settings: Settings, training_jobs: Sequence[str]) -> ServingHoldings:
    """Ask AWS what there is.

    Args:
        aws: the account.
        settings: the settings.
        training_jobs: the project's; their names tell what endpoints there may have been.

    Raises:
        JobError: a transform job is running.
        EndpointError: an endpoint is being changed, so that it cannot be deleted.
        AwsError: AWS refuses to tell.
    """
    with aws.explained("could not list what serves models"):
        jobs = []
        for job in _own(aws, settings, "TransformJob", "TransformJobSummaries"):
            if job["TransformJobStatus"] in RUNNING:
                name = job["TransformJobName"]
                raise JobError(f"{name} is still running: end it first by --stop_transform {name}, then delete")
            jobs.append(str(job["TransformJobName"]))
        endpoints = []
        for endpoint in _own(aws, settings, "Endpoint", "Endpoints"):
            if endpoint["EndpointStatus"] in BUSY and endpoint["EndpointStatus"] != DELETING:
                raise EndpointError(
                    f"the endpoint {endpoint['EndpointName']} is {endpoint['EndpointStatus']}, and cannot be deleted "
                    "meanwhile: try again when that is over; --status tells"
                )
            endpoints.append(str(endpoint["EndpointName"]))
        configs = [str(one["EndpointConfigName"]) for one in _own(aws, settings, "EndpointConfig", "EndpointConfigs")]
        models = [str(one["ModelName"]) for one in _own(aws, settings, "Model", "Models")]
        algorithms = (names.endpoint(settings), *filter(None, map(names.algorithm_of, training_jobs)))
        groups = tuple(_log_groups(aws, endpoints, algorithms))
    logs = read_job_logs(aws, names.TRANSFORM_JOBS_LOG_GROUP, jobs)
    return ServingHoldings(tuple(endpoints), tuple(configs), tuple(models), logs, groups)


def serving_removals(holdings: ServingHoldings) -> list[ApiCall]:
    """Return the calls that remove it: first what costs."""
    calls = [deletion(name) for name in holdings.endpoints]
    calls += [
        ApiCall(
            "sagemaker",
            "delete_endpoint_config",
            {"EndpointConfigName": name},
            f"delete the endpoint configuration {name}",
            "deleted",
            "delete endpoint configurations",
        )
        for name in holdings.configs
    ]
    calls += [
        ApiCall(
            "sagemaker", "delete_model", {"ModelName": name}, f"delete the model {name}", "deleted", "delete models"
        )
        for name in holdings.models
    ]
    calls += log_removals(holdings.transform_logs, "transform jobs")
    return calls + [group_removal(group) for group in holdings.log_groups]


def _own(aws: Aws, settings: Settings, kind: str, listed: str) -> Iterator[Any]:
    pages = aws.client("sagemaker").get_paginator(xform_name(f"List{kind}s"))
    for page in pages.paginate(PaginationConfig=LARGE_PAGES):
        for found in page[listed]:
            if is_own(aws, settings, found[f"{kind}Arn"]):
                yield found


def _log_groups(aws: Aws, own: Sequence[str], gone: Iterable[str]) -> Iterator[str]:
    """Yield the log groups of the project's endpoints, and of those that are gone, unless others have the name now."""
    pages = aws.client("sagemaker").get_paginator("list_endpoints").paginate(PaginationConfig=LARGE_PAGES)
    others = {found["EndpointName"] for page in pages for found in page["Endpoints"]} - set(own)
    for name in dict.fromkeys([*own, *gone]):
        group = names.endpoint_log_group(name)
        found = aws.client("logs").describe_log_groups(logGroupNamePrefix=group)["logGroups"]
        if name not in others and any(one["logGroupName"] == group for one in found):
            yield group
