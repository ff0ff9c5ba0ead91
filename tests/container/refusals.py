"""What a call is refused with, for the tests."""

from collections.abc import Callable
from typing import Any

import pytest

from container.errors import ProjectError
from container.modeling.own_parts.errors import PartError


def refusal(function: Callable[[], Any], error: type[ProjectError] = PartError) -> str:
    """The one line that a call fails with."""
    with pytest.raises(error) as raised:
        function()
    text = str(raised.value)
    assert "\n" not in text
    return text
