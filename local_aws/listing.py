"""What the answers of all List operations have in common: filters, orders and pages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from moto.sagemaker.exceptions import ValidationError

_DEFAULT_PAGE = 10


def is_listed(name: str, created: datetime, modified: datetime, status: str, document: Mapping[str, Any]) -> bool:
    """Whether something passes the request's NameContains, StatusEquals and limits of time."""
    return (
        document.get("NameContains", "").lower() in name.lower()
        and created.timestamp() > document.get("CreationTimeAfter", 0)
        and created.timestamp() < document.get("CreationTimeBefore", float("inf"))
        and modified.timestamp() > document.get("LastModifiedTimeAfter", 0)
        and modified.timestamp() < document.get("LastModifiedTimeBefore", float("inf"))
        and document.get("StatusEquals", status) == status
    )


def is_descending(document: Mapping[str, Any]) -> bool:
    """Whether the request's SortOrder asks for the largest first."""
    return bool(document.get("SortOrder", "Ascending") == "Descending")


def page(field: str, summaries: Sequence[Mapping[str, Any]], document: Mapping[str, Any]) -> dict[str, Any]:
    """An answer with those of the summaries, as `field`, that are on the page which the request asks for.

    Raises:
        ValidationError: the request's NextToken is none of an earlier answer.
    """
    token = document.get("NextToken", "0")
    if not token.isdecimal():
        raise ValidationError(message=f"Invalid NextToken {token!r}")
    begin = int(token)
    end = begin + document.get("MaxResults", _DEFAULT_PAGE)
    answer: dict[str, Any] = {field: summaries[begin:end]}
    return {**answer, "NextToken": str(end)} if end < len(summaries) else answer
