"""Importing TensorFlow."""

import gc
from collections.abc import Iterator

import pytest

from container.modeling.devices import import_tensorflow


@pytest.fixture
def collecting() -> Iterator[None]:
    yield
    gc.enable()


@pytest.mark.parametrize("is_enabled", [True, False])
@pytest.mark.usefixtures("collecting")
def test_the_search_for_garbage_goes_on_as_it_was_and_passes_over_the_modules(is_enabled: bool) -> None:
    (gc.enable if is_enabled else gc.disable)()
    tensorflow = import_tensorflow()
    assert gc.isenabled() == is_enabled
    assert not any(tracked is vars(tensorflow) for tracked in gc.get_objects())
