"""What training costs: AWS's list price of an instance type, and the most that a job can cost."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from manager.aws import FAILURES, Aws, reason
from manager.monitoring import duration

# The Price List API answers in few regions, for all regions of its partition. Its prices in China are in yuan.
# https://docs.aws.amazon.com/awsaccountbilling/latest/aboutv2/using-price-list-query-api.html
PARTITION, REGION = "aws", "us-east-1"


@dataclass(frozen=True)
class Price:
    """What an instance of some type costs for training on demand, by AWS's public price list."""

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
    """The most that the instances of training jobs can cost; storage and requests come on top, a few cents."""

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


def training_price(aws: Aws, instance_type: str) -> Price:
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
        {"Type": "CONTAINS", "Field": "usagetype", "Value": f"Train:{instance_type}"},
    ]
    try:
        answer = aws.impatient().client("pricing", REGION).get_products(ServiceCode="AmazonSageMaker", Filters=filters)
        offers = [_Offer.model_validate_json(text) for text in answer["PriceList"]]
    except FAILURES as error:
        return Price(None, f"pricing:GetProducts: {reason(error)}")
    except ValidationError:
        return Price(None, "the price list cannot be understood")
    prices = [price for offer in offers if offer.is_on_demand(instance_type) for price in offer.usd_prices()]
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
    machines, usd = machines_of(request), 0.0
    for group in machines:
        price = training_price(aws, group.instance_type)
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

    def is_on_demand(self, instance_type: str) -> bool:
        """Whether it is for plain training jobs, not for spot jobs or free trials."""
        return re.fullmatch(rf"(\w+-)?Train:{re.escape(instance_type)}", self.product.attributes.usage_type) is not None

    def usd_prices(self) -> Iterator[float]:
        """Yield its prices of an hour; several, if many hours cost less each."""
        for term in self.terms.on_demand.values():
            for dimension in term.dimensions.values():
                if "USD" in dimension.price_per_unit and dimension.unit in ("Hrs", "Hours"):
                    yield dimension.price_per_unit["USD"]
