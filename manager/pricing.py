"""What training and serving cost: AWS's list price of an instance type, and the most that a job can cost."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from manager.aws import FAILURES, Aws, reason
from manager.monitoring import duration

# The Price List API answers in few regions, for all regions of its partition. Its prices in China are in yuan.
# https://docs.aws.amazon.com/awsaccountbilling/latest/aboutv2/using-price-list-query-api.html
PARTITION, REGION = "aws", "us-east-1"


Usage = Literal["Train", "Host", "Tsform", "Processing"]
"""The price list's words for training jobs, endpoints, transform jobs and processing jobs."""


@dataclass(frozen=True)
class Price:
    """What an instance of some type costs on demand, by AWS's public price list."""

    usd_per_hour: float | None
    """None: unknown."""
    why_unknown: str = ""


@dataclass(frozen=True)
class Machines:
    """Instances of one type that a job runs on together."""

    instance_type: str
    count: int

    def __str__(self) -> str:
        return f"{self.count} x {self.instance_type}"


@dataclass(frozen=True)
class MostCost:
    """The most that the instances of jobs can cost; storage and requests come on top, a few cents."""

    machines: tuple[Machines, ...]
    """Of each job."""
    seconds: int
    """For which each instance is paid at most."""
    usd: float | None
    """Of all jobs together. None: a price is unknown."""
    why_unknown: str = ""
    jobs: int = 1

    def __str__(self) -> str:
        what = f"{' and '.join(map(str, self.machines))} for at most {duration(self.seconds)}"
        if self.jobs > 1:
            what = f"{self.jobs} training jobs of {what} each"
        if self.usd is None:
            return f"{what}, at an unknown price ({self.why_unknown})"
        return f"{what}: at most {self.usd:,.2f} USD"


@dataclass(frozen=True)
class HourlyCost:
    """What instances cost as long as they run."""

    machines: Machines
    usd: float | None
    """An hour of all of them together. None: unknown."""
    why_unknown: str = ""

    def __str__(self) -> str:
        if self.usd is None:
            return f"{self.machines}, at an unknown price ({self.why_unknown})"
        return f"{self.machines}: {self.usd:,.2f} USD per hour"


def training_price(aws: Aws, instance_type: str) -> Price:
    """Ask AWS for the price of an instance type for training; see `instance_price`."""
    return instance_price(aws, instance_type, "Train")


def hourly_cost(aws: Aws, machines: Machines, usage: Usage) -> HourlyCost:
    """Return what instances cost as long as they run.

    Raises:
        AwsError: there are no credentials or no region.
    """
    price = instance_price(aws, machines.instance_type, usage)
    if price.usd_per_hour is None:
        return HourlyCost(machines, None, price.why_unknown)
    return HourlyCost(machines, price.usd_per_hour * machines.count)


def instance_price(aws: Aws, instance_type: str, usage: Usage) -> Price:
    """Ask AWS for the price of an instance type in the account's region; whatever goes wrong makes it unknown.

    Raises:
        AwsError: there are no credentials or no region.
    """
    place = aws.place
    if place.partition != PARTITION:
        return Price(None, f"the price list has no USD for the partition {place.partition}")
    # The usage type is the one attribute that all offers have; it begins with the region's abbreviation, "USE1-".
    filters = [
        {"Type": "EQUALS", "Field": "regionCode", "Value": place.region},
        {"Type": "CONTAINS", "Field": "usagetype", "Value": f"{usage}:{instance_type}"},
    ]
    try:
        answer = aws.impatient().client("pricing", REGION).get_products(ServiceCode="AmazonSageMaker", Filters=filters)
        offers = [_Offer.model_validate_json(text) for text in answer["PriceList"]]
    except FAILURES as error:
        return Price(None, f"pricing:GetProducts: {reason(error)}")
    except ValidationError:
        return Price(None, "the price list cannot be understood")
    prices = [price for offer in offers if offer.is_on_demand(instance_type, usage) for price in offer.usd_prices()]
    return Price(max(prices)) if prices else Price(None, f"the price list has no {instance_type} in {place.region}")


def machines_of(job: Any) -> tuple[Machines, ...]:
    """Return what a CreateTrainingJob request, or a training job's description, says that the job runs on."""
    resources = job.get("ResourceConfig", {})
    groups = resources.get("InstanceGroups") or [resources]
    return tuple(Machines(str(group.get("InstanceType")), int(group.get("InstanceCount", 1))) for group in groups)


def most_cost(aws: Aws, request: Any, jobs: int = 1) -> MostCost:
    """Return the most that the instances of training jobs can cost.

    Args:
        aws: where prices are asked.
        request: its CreateTrainingJob request. MaxRuntimeInSeconds is for all attempts of RetryStrategy together,
            and the waiting of a spot job costs nothing.
        jobs: how many such jobs there are.

    Raises:
        AwsError: there are no credentials or no region.
    """
    kept = request["ResourceConfig"].get("KeepAlivePeriodInSeconds", 0)
    seconds = request["StoppingCondition"]["MaxRuntimeInSeconds"] + kept
    return limited_cost(aws, machines_of(request), seconds, "Train", jobs)


def limited_cost(aws: Aws, machines: tuple[Machines, ...], seconds: int, usage: Usage, jobs: int = 1) -> MostCost:
    """Return the most that instances can cost which run for so many seconds at most.

    Raises:
        AwsError: there are no credentials or no region.
    """
    usd = 0.0
    for group in machines:
        price = instance_price(aws, group.instance_type, usage)
        if price.usd_per_hour is None:
            return MostCost(machines, seconds, None, price.why_unknown, jobs)
        usd += price.usd_per_hour * group.count * seconds / 3600 * jobs
    return MostCost(machines, seconds, usd, jobs=jobs)


class _PriceList(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class _Dimension(_PriceList):
    price_per_unit: dict[str, float] = Field(alias="pricePerUnit")
    unit: str


class _Term(_PriceList):
    dimensions: dict[str, _Dimension] = Field(alias="priceDimensions")


class _Terms(_PriceList):
    on_demand: dict[str, _Term] = Field({}, alias="OnDemand")


class _Attributes(_PriceList):
    usage_type: str = Field(alias="usagetype")


class _Product(_PriceList):
    attributes: _Attributes


class _Offer(_PriceList):
    product: _Product
    terms: _Terms

    def is_on_demand(self, instance_type: str, usage: Usage) -> bool:
        """Whether it is for this usage as such, not for spot jobs, asynchronous inference or free trials."""
        plain = rf"(\w+-)?{usage}:{re.escape(instance_type)}"
        return re.fullmatch(plain, self.product.attributes.usage_type) is not None

    def usd_prices(self) -> Iterator[float]:
        """Yield its prices of an hour; several, if many hours cost less each."""
        for term in self.terms.on_demand.values():
            for dimension in term.dimensions.values():
                if "USD" in dimension.price_per_unit and dimension.unit in ("Hrs", "Hours"):
                    yield dimension.price_per_unit["USD"]
