"""A price list that answers like AWS's."""

import json
from typing import Any

from tests.manager.wire import Answer, Wire


def offer(usage_type: str, usd: str, currency: str = "USD", unit: str = "Hrs") -> str:
    """One offer as GetProducts returns it: a JSON document as text."""
    dimension = {"unit": unit, "pricePerUnit": {currency: usd}, "description": f"{usd} per hour", "beginRange": "0"}
    return json.dumps(
        {
            "product": {
                "productFamily": "ML Instance",
                "attributes": {"usagetype": usage_type, "regionCode": "eu-central-1", "servicecode": "AmazonSageMaker"},
                "sku": "SKU",
            },
            "serviceCode": "AmazonSageMaker",
            "terms": {"OnDemand": {"SKU.TERM": {"priceDimensions": {"SKU.TERM.RATE": dimension}, "sku": "SKU"}}},
        }
    )


def answer_with(wire: Wire, *offers: str) -> list[Any]:
    """Let the wire's price list have these offers; return where the questions that it is asked appear."""
    asked: list[Any] = []

    def answer(document: Any) -> Answer:
        asked.append(document)
        return Answer.of_json({"FormatVersion": "aws_v1", "PriceList": list(offers)})

    wire.answers["GetProducts"] = answer
    return asked
